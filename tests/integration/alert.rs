//! `pgcellar alert` tells what failed, and what it could not tell is told later, once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::mailbox::{Mailbox, Manner, PASSWORD, USER};
use crate::common::pgcellar::Run;
use crate::common::tls::Certificates;
use crate::common::{Cellar, Cluster, Version, exit};

const UNIT: &str = "pgcellar-backup@main.service";

/// A backup folder with mail to `ops@example.org` in the clear.
fn cellar(mailbox: &Mailbox) -> Cellar {
    let cellar = Cellar::unconnected().with("SMTP_HOST", "localhost").with("SMTP_PORT", mailbox.port().to_string());
    cellar.with("SMTP_TLS", "none").with("NOTIFICATION_EMAIL", "ops@example.org").with("DB_NAME", "shop")
}

fn alert(cellar: &Cellar) -> Run {
    cellar.run(["alert", "--task", "backup", "--exit-status", "69"])
}

#[test]
fn the_commands_of_an_alert_are_those_of_the_place() {
    let mailbox = Mailbox::start(Manner::plain());
    let cellar = cellar(&mailbox);
    alert(&cellar).env("container", "oci").succeeds();
    alert(&cellar).env("container", "oci").env("KUBERNETES_SERVICE_HOST", "10.0.0.1").succeeds();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for (mail, commands) in mailbox.mails().iter().zip([
        [format!("docker logs {host}"), format!("docker exec {host} pgcellar list")],
        [format!("kubectl logs {host}"), format!("kubectl exec {host} -- pgcellar list")],
    ]) {
        let text = mail.part("text/plain");
        assert!(commands.iter().all(|command| text.contains(command)), "no {commands:?} in\n{text}");
        assert!(!text.contains("journalctl") && !text.contains("systemctl"), "{text}");
    }
}

/// A run of the monitor as its timer starts it.
fn monitor(cellar: &Cellar) -> Run {
    cellar.run(["monitor", "check", "--notify"])
}

fn state(cellar: &Cellar) -> Value {
    serde_json::from_slice(&fs::read(cellar.backup_dir().join(".pgcellar.main.notified.json")).unwrap()).unwrap()
}

#[test]
fn an_alert_tells_what_failed_and_what_there_is_to_restore_from() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("größe 日本");
    let certificates = Certificates::make();
    let mailbox = Mailbox::start(Manner::encrypted("starttls", &certificates, "server"));
    let cellar = Cellar::new(cluster).with("SMTP_HOST", "localhost").with("SMTP_PORT", mailbox.port().to_string());
    let cellar = cellar.with("SMTP_USER", USER).with("SMTP_PASS", PASSWORD).with("DB_NAME", database.name());
    let cellar = cellar.with("SMTP_CA_FILE", certificates.certificate("authority"));
    let cellar = cellar.with("NOTIFICATION_EMAIL", "ops@example.org");
    let manifest = cellar.back_up(database.name());
    let log = cellar.scratch().join("log");
    // The run that failed really failed, and its words are its own.
    let failed = cellar.run(["backup"]).env("DB_PORT", "1").fails(exit::UNAVAILABLE);
    fs::write(&log, format!("starting\n{}", failed.stderr)).unwrap();

    let run = cellar.run(["alert", "--log"]).arguments([&log]).env("MONITOR_UNIT", UNIT);
    let run = run.env("MONITOR_SERVICE_RESULT", "exit-code").env("MONITOR_EXIT_CODE", "exited");
    let outcome = run.env("MONITOR_EXIT_STATUS", "69").env("MONITOR_INVOCATION_ID", "0123456789abcdef").succeeds();
    assert!(!outcome.stderr.contains(PASSWORD) && !outcome.stderr.contains("does not know"), "{outcome}");
    let mail = mailbox.only_mail();
    assert!(
        mail.subject().starts_with(&format!("[pgcellar] backup of {} failed on ", database.name())),
        "{}",
        mail.subject()
    );
    assert!(mail.subject().ends_with(" (main)"), "{}", mail.subject());
    for kind in ["text/plain", "text/html"] {
        let part = mail.part(kind);
        for word in [
            database.name(),
            "127.0.0.1:1",
            "is it running",
            "exit status 69",
            manifest["id"].as_str().unwrap(),
            UNIT,
            "journalctl _SYSTEMD_INVOCATION_ID=0123456789abcdef",
            "starting",
        ] {
            // A line's end may be where the word has a blank.
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words(part).contains(&words(word)), "no {word} in\n{part}");
        }
        assert!(!part.contains(crate::common::cluster::PASSWORD) && !part.contains(PASSWORD), "{part}");
    }
    // What it tells to do works.
    cellar.run(["list", "--instance", "main"]).succeeds();
    let state = state(&cellar);
    assert_eq!(state["told"][0]["check"], "unit_failed");
    assert_eq!(state["told"][0]["subject"], UNIT);
    assert_eq!(state["waiting"].as_array().unwrap().len(), 0);
}

#[test]
fn runs_that_were_killed_are_told_as_such_even_without_a_log_or_a_store() {
    let mailbox = Mailbox::start(Manner::plain());
    let cellar = cellar(&mailbox).with("BACKUP_DIR", "/nonexistent/backups");
    let ends = [
        ("signal", "KILL", "killed (SIGKILL)"),
        ("oom-kill", "KILL", "no memory left"),
        ("timeout", "TERM", "stopped"),
    ];
    for (number, (result, status, words)) in ends.into_iter().enumerate() {
        let run = cellar.run(["alert"]).env("MONITOR_UNIT", UNIT).env("MONITOR_SERVICE_RESULT", result);
        let run = run.env("MONITOR_EXIT_CODE", "killed").env("MONITOR_EXIT_STATUS", status);
        // There is no journal with this run, and perhaps none at all.
        run.env("MONITOR_INVOCATION_ID", "0123456789abcdef0123456789abcdef").succeeds();
        let mails = mailbox.mails();
        assert_eq!(mails.len(), number + 1);
        let mail = mails.last().unwrap();
        mail.is_well_formed();
        assert!(mail.text().contains(words), "{}", mail.text());
        assert!(mail.text().contains("/nonexistent/backups"), "{}", mail.text());
    }
}

#[test]
fn without_mail_nobody_is_told_and_nothing_fails() {
    let cellar = Cellar::unconnected();
    alert(&cellar).succeeds().says("no mail is configured");
    monitor(&cellar).finish();
    assert!(!cellar.backup_dir().join(".pgcellar.main.notified.json").exists());
    cellar.run(["alert"]).fails(exit::USAGE).says("--task");
}

#[test]
fn an_alert_that_the_server_puts_off_is_sent_by_the_next_run_of_the_monitor() {
    let mailbox = Mailbox::start(Manner::plain().with("greylist", 2));
    let cellar = cellar(&mailbox);
    alert(&cellar).fails(exit::TEMPFAIL).says("451 4.7.1").says("waits for the next run of the monitor");
    let file = cellar.backup_dir().join(".pgcellar.main.notified.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(state(&cellar)["waiting"].as_array().unwrap().len(), 1);
    let written = state(&cellar)["waiting"][0]["id"].as_str().unwrap().to_owned();
    // It is put off once more; the verdict is none of the mail's.
    let verdict = monitor(&cellar).finish().says("451 4.7.1").code();
    assert_eq!(state(&cellar)["waiting"].as_array().unwrap().len(), 1);
    assert_eq!(monitor(&cellar).finish().says("which had waited").code(), verdict);
    let waited = mailbox.mails().into_iter().find(|mail| mail.subject().contains("backup of shop failed")).unwrap();
    waited.is_well_formed();
    assert!(waited.header("Message-ID").starts_with(&format!("<{written}@")));
    let mails = mailbox.mails().len();
    monitor(&cellar).finish();
    assert_eq!(mailbox.mails().len(), mails, "{:#?}", mailbox.mails());
    // Nor does a list of backups show what is remembered.
    assert!(cellar.list().is_empty());
}

#[test]
fn an_alert_that_the_server_will_never_have_holds_up_no_other() {
    let mailbox = Mailbox::start(Manner::plain().with("refuse_message", "554 5.7.1 looks like spam"));
    let cellar = cellar(&mailbox);
    alert(&cellar).fails(exit::DATAERR).says("554");
    monitor(&cellar).finish().says("is given up: ");
    assert_eq!(state(&cellar)["waiting"].as_array().unwrap().len(), 0);
}

#[test]
fn what_waits_survives_a_crash_in_the_middle_of_sending() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    let hanging = Mailbox::start(Manner::plain());
    let cellar = cellar(&hanging).with("SMTP_PORT", port.to_string());
    // Connections are taken by the kernel, and nobody ever greets.
    let mut run = alert(&cellar).within(Duration::from_secs(40)).start();
    let file = cellar.backup_dir().join(".pgcellar.main.notified.json");
    run.wait_until("the alert is kept", || file.exists());
    assert_eq!(run.wait().code(), Some(exit::UNAVAILABLE));
    let before = fs::read(&file).unwrap();
    let mut run = monitor(&cellar).arguments(["-v"]).start();
    let lock = cellar.backup_dir().join(".pgcellar.main.notified.json.lock");
    run.wait_until("the monitor holds the state", || fs::File::open(&lock).is_ok_and(|file| file.try_lock().is_err()));
    run.signal(Signal::KILL);
    run.wait();
    assert_eq!(fs::read(&file).unwrap(), before);
    monitor(&cellar).env("SMTP_PORT", hanging.port().to_string()).finish().says("which had waited");
    let alerts = hanging.mails().into_iter().filter(|mail| mail.subject().contains("backup of shop failed"));
    assert_eq!(alerts.count(), 1);
}

#[test]
fn a_state_that_makes_no_sense_is_begun_anew() {
    let mailbox = Mailbox::start(Manner::plain());
    let cellar = cellar(&mailbox);
    fs::write(cellar.backup_dir().join(".pgcellar.main.notified.json"), "{\"told\": [").unwrap();
    alert(&cellar).succeeds().says("is begun anew");
    assert_eq!(state(&cellar)["told"][0]["subject"], "backup");
    mailbox.only_mail();
    // A unit's own state directory comes first.
    let folder = cellar.scratch().join("state");
    fs::create_dir(&folder).unwrap();
    alert(&cellar).env("STATE_DIRECTORY", &folder).succeeds();
    assert!(folder.join("main.notified.json").exists());
}

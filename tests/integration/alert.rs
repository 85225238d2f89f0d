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

/// In one line: a line's end may be where a text has a blank.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
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
        run.env("MONITOR_INVOCATION_ID", format!("{number:032x}")).succeeds();
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
fn a_state_that_cannot_be_parsed_is_replaced() {
    let mailbox = Mailbox::start(Manner::plain());
    let cellar = cellar(&mailbox);
    fs::write(cellar.backup_dir().join(".pgcellar.main.notified.json"), "{\"told\": [").unwrap();
    alert(&cellar).succeeds().says("is replaced");
    assert_eq!(state(&cellar)["told"][0]["subject"], "backup");
    mailbox.only_mail();
    // A unit's own state directory comes first.
    let folder = cellar.scratch().join("state");
    fs::create_dir(&folder).unwrap();
    alert(&cellar).env("STATE_DIRECTORY", &folder).succeeds();
    assert!(folder.join("main.notified.json").exists());
}

/// Runs of a unit that systemd did not start are told as such, whatever is known of the run before.
#[test]
fn a_run_that_did_not_come_about_is_not_the_one_before() {
    let mailbox = Mailbox::start(Manner::plain());
    let cellar = cellar(&mailbox);
    let run = cellar.run(["alert"]).env("MONITOR_UNIT", UNIT).env("MONITOR_SERVICE_RESULT", "success");
    let run = run.env("MONITOR_EXIT_CODE", "exited").env("MONITOR_EXIT_STATUS", "0");
    run.env("MONITOR_INVOCATION_ID", "0123456789abcdef0123456789abcdef").succeeds();
    let mail = mailbox.only_mail();
    assert!(mail.subject().contains("backup of shop could not start on "), "{}", mail.subject());
    assert!(mail.text().contains("systemd did not start it"), "{}", mail.text());
    assert!(!mail.text().contains("status 0") && !mail.text().contains("0123456789abcdef"), "{}", mail.text());
}

#[test]
fn the_exit_code_alone_does_not_say_what_was_in_the_way() {
    let mailbox = Mailbox::start(Manner::plain());
    cellar(&mailbox).run(["alert", "--task", "backup", "--exit-status", "75"]).succeeds();
    let text = mailbox.only_mail().text().to_owned();
    assert!(text.contains("a temporary failure (exit status 75)") && !text.contains("lock"), "{text}");
}

/// The unit's credentials as systemd lays them out.
fn credentials(cellar: &Cellar, unit: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
    let folder = cellar.scratch().join(unit);
    fs::create_dir(&folder).unwrap();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    folder
}

#[test]
fn a_unit_that_gets_no_credentials_is_told_with_the_file_that_is_wrong() {
    let mailbox = Mailbox::start(Manner::plain());
    let cellar = cellar(&mailbox);
    let unit = "pgcellar-backup-alert@main.service";
    let files = [("db-password.stored", "junk\n"), ("smtp-password", "\n"), ("db-password.misplaced", "\n")];
    let folder = credentials(&cellar, unit, &files);
    let run = |unit: &str, status: &str| {
        let run = cellar.run(["alert", "--task", "backup"]).env("MONITOR_UNIT", unit);
        run.env("MONITOR_SERVICE_RESULT", "exit-code")
            .env("MONITOR_EXIT_CODE", "exited")
            .env("MONITOR_EXIT_STATUS", status)
    };
    run(UNIT, "243").env("CREDENTIALS_DIRECTORY", &folder).succeeds();
    let text = words(mailbox.only_mail().text());
    let path = "/etc/credstore.encrypted/pgcellar.main.db-password.encrypted";
    for said in [
        "systemd could not load its credentials (exit status 243, CREDENTIALS)",
        &format!("{path} is not what systemd-creds encrypt makes"),
        &format!("systemd-creds encrypt --name=db-password.encrypted - {path}"),
        "pgcellar config check -i main",
    ] {
        assert!(text.contains(said), "no '{said}' in {text}");
    }
    // The alert of an alert: one that has run has said what it could not do.
    run(unit, "69").succeeds().says("has logged what it could not do");
    assert_eq!(mailbox.mails().len(), 1);
    run(unit, "243").succeeds();
    let mails = mailbox.mails();
    let text = words(mails.last().unwrap().text());
    assert!(mails.len() == 2 && text.contains(&format!("Unit {UNIT}")), "{text}");
    assert!(text.contains(&format!("{unit}: systemd could not load its credentials")), "{text}");
}

#[test]
fn wrong_settings_keep_no_alert_and_no_verdict_back() {
    let mailbox = Mailbox::start(Manner::plain());
    let cellar = cellar(&mailbox);
    let cases: [(&str, &str); 8] = [
        ("BACKUP_DIR", "relative"),
        ("AWS_S3_BUCKET", "no bucket"),
        ("PGCELLAR_HOST", "no host"),
        ("DB_NAME", "\"open"),
        ("SMTP_FROM", "nobody"),
        ("SMTP_USER", "me"),
        ("SMTP_TLS", "maybe"),
        ("NOTIFICATION_EMAIL", "root, ops@example.org"),
    ];
    for (number, (name, value)) in cases.into_iter().enumerate() {
        // Without SMTP_TLS, the server would have to encrypt: then the settings that worked last are better.
        alert(&cellar).env(name, value).succeeds();
        let mails = mailbox.mails();
        assert_eq!(mails.len(), number + 1, "{name}");
        let text = mails.last().unwrap().text();
        assert!(name == "DB_NAME" || text.contains(name), "{name}: {text}");
    }
    let before = mailbox.mails().len();
    let state = cellar.scratch().join("state");
    fs::create_dir(&state).unwrap();
    let run = monitor(&cellar).env("BACKUP_DIR", "relative").env("STATE_DIRECTORY", &state);
    assert_eq!(run.finish().code(), Some(3));
    assert_eq!(mailbox.mails().len(), before + 1);
    assert!(mailbox.mails().last().unwrap().text().contains("BACKUP_DIR"));
}

#[test]
fn settings_that_cannot_be_read_give_way_to_those_that_worked_last() {
    let mailbox = Mailbox::start(Manner::plain());
    let cellar = cellar(&mailbox);
    let state = cellar.scratch().join("state");
    fs::create_dir(&state).unwrap();
    monitor(&cellar).env("STATE_DIRECTORY", &state).finish();
    let before = mailbox.mails().len();
    let bare = || {
        let names = ["BACKUP_DIR", "DB_NAME", "SMTP_HOST", "SMTP_PORT", "SMTP_TLS", "NOTIFICATION_EMAIL"];
        let run = cellar.run(["alert"]).env("MONITOR_UNIT", "pgcellar-backup@none-such.service");
        let run = names.into_iter().fold(run, |run, name| run.without(name));
        run.env("MONITOR_SERVICE_RESULT", "resources").env("STATE_DIRECTORY", &state)
    };
    bare().succeeds();
    let mails = mailbox.mails();
    assert_eq!(mails.len(), before + 1);
    let mail = mails.last().unwrap();
    assert!(mail.subject().contains("backup could not start"), "{}", mail.subject());
    assert!(mail.text().contains("there is no /etc/pgcellar/main.env"), "{}", mail.text());
    fs::remove_dir_all(&state).unwrap();
    fs::create_dir(&state).unwrap();
    bare().fails(exit::CONFIG).says("there are no settings");
}

/// A monitor that systemd could not start has its verdict told by its alert: once, and when it is over.
#[test]
fn a_monitor_that_cannot_start_is_stood_in_for() {
    let mailbox = Mailbox::start(Manner::plain());
    let cellar = cellar(&mailbox);
    let folder = credentials(&cellar, "pgcellar-monitor-alert@main.service", &[("db-password.stored", "junk\n")]);
    let run = || {
        let run = cellar.run(["alert", "--task", "monitor"]).env("MONITOR_UNIT", "pgcellar-monitor@main.service");
        let run = run.env("MONITOR_SERVICE_RESULT", "exit-code").env("MONITOR_EXIT_CODE", "exited");
        run.env("MONITOR_EXIT_STATUS", "243").env("CREDENTIALS_DIRECTORY", &folder)
    };
    run().succeeds();
    let mail = mailbox.only_mail();
    let text = words(mail.text());
    for said in ["monitor could not start", "is not what", "neither the server", "pgcellar.main.db-password.encrypted"]
    {
        assert!(text.contains(said), "no '{said}' in {text}");
    }
    run().succeeds();
    assert_eq!(mailbox.mails().len(), 1, "{:#?}", mailbox.mails());
    monitor(&cellar).finish();
    let mails = mailbox.mails();
    assert!(words(mails.last().unwrap().text()).contains("recovered: monitor could not start"), "{mails:#?}");
}

//! `pgcellar alert` reports failures by mail; what could not be sent is sent later, once.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::common::mail_server::{MailServer, MailServerOptions, PASSWORD, USER};
use crate::common::pgcellar::Run;
use crate::common::tls::Certificates;
use crate::common::{Cellar, Cluster, Version, exit};

const UNIT: &str = "pgcellar-backup@main.service";

/// A backup folder with mail to `ops@example.org` without TLS.
fn cellar(mail_server: &MailServer) -> Cellar {
    let cellar = Cellar::unconnected().with("SMTP_HOST", "localhost").with("SMTP_PORT", mail_server.port().to_string());
    cellar.with("SMTP_TLS", "none").with("NOTIFICATION_EMAIL", "ops@example.org").with("DB_NAME", "shop")
}

fn alert(cellar: &Cellar) -> Run {
    cellar.run(["alert", "--task", "backup", "--exit-status", "69"])
}

#[test]
fn alerts_name_the_commands_of_the_installation() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server);
    alert(&cellar).env("container", "oci").succeeds();
    alert(&cellar).env("container", "oci").env("KUBERNETES_SERVICE_HOST", "10.0.0.1").succeeds();
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    for (mail, commands) in mail_server.mails().iter().zip([
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

/// The text in one line: mails are wrapped.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn state(cellar: &Cellar) -> Value {
    serde_json::from_slice(&fs::read(cellar.backup_dir().join(".pgcellar.main.notified.json")).unwrap()).unwrap()
}

#[test]
fn an_alert_names_the_failure_and_the_last_good_backup() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("größe 日本");
    let certificates = Certificates::make();
    let mail_server = MailServer::start(MailServerOptions::encrypted("starttls", &certificates, "server"));
    let cellar = Cellar::new(cluster).with("SMTP_HOST", "localhost").with("SMTP_PORT", mail_server.port().to_string());
    let cellar = cellar.with("SMTP_USER", USER).with("SMTP_PASS", PASSWORD).with("DB_NAME", database.name());
    let cellar = cellar.with("SMTP_CA_FILE", certificates.certificate("authority"));
    let cellar = cellar.with("NOTIFICATION_EMAIL", "ops@example.org");
    let manifest = cellar.back_up(database.name());
    let log = cellar.scratch().join("log");
    // A run that really fails, with its own messages.
    let failed = cellar.run(["backup"]).env("DB_PORT", "1").fails(exit::UNAVAILABLE);
    fs::write(&log, format!("starting\n{}", failed.stderr)).unwrap();

    let run = cellar.run(["alert", "--log"]).arguments([&log]).env("MONITOR_UNIT", UNIT);
    let run = run.env("MONITOR_SERVICE_RESULT", "exit-code").env("MONITOR_EXIT_CODE", "exited");
    let outcome = run.env("MONITOR_EXIT_STATUS", "69").env("MONITOR_INVOCATION_ID", "0123456789abcdef").succeeds();
    assert!(!outcome.stderr.contains(PASSWORD) && !outcome.stderr.contains("does not know"), "{outcome}");
    let mail = mail_server.only_mail();
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
    // The command in the mail works.
    cellar.run(["list", "--instance", "main"]).succeeds();
    let state = state(&cellar);
    assert_eq!(state["told"][0]["check"], "unit_failed");
    assert_eq!(state["told"][0]["subject"], UNIT);
    assert_eq!(state["waiting"].as_array().unwrap().len(), 0);
}

#[test]
fn killed_runs_are_reported_as_killed_without_log_or_store() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server).with("BACKUP_DIR", "/nonexistent/backups");
    let ends = [
        ("signal", "KILL", "killed (SIGKILL)"),
        ("oom-kill", "KILL", "no memory left"),
        ("timeout", "TERM", "stopped"),
    ];
    for (number, (result, status, words)) in ends.into_iter().enumerate() {
        let run = cellar.run(["alert"]).env("MONITOR_UNIT", UNIT).env("MONITOR_SERVICE_RESULT", result);
        let run = run.env("MONITOR_EXIT_CODE", "killed").env("MONITOR_EXIT_STATUS", status);
        // The journal has nothing of this run, if there is a journal.
        run.env("MONITOR_INVOCATION_ID", format!("{number:032x}")).succeeds();
        let mails = mail_server.mails();
        assert_eq!(mails.len(), number + 1);
        let mail = mails.last().unwrap();
        mail.is_well_formed();
        assert!(mail.text().contains(words), "{}", mail.text());
        assert!(mail.text().contains("/nonexistent/backups"), "{}", mail.text());
    }
}

#[test]
fn without_mail_settings_nothing_is_sent_and_nothing_fails() {
    let cellar = Cellar::unconnected();
    alert(&cellar).succeeds().says("no mail is configured");
    monitor(&cellar).finish();
    assert!(!cellar.backup_dir().join(".pgcellar.main.notified.json").exists());
    cellar.run(["alert"]).fails(exit::USAGE).says("--task");
}

#[test]
fn a_deferred_alert_is_sent_by_the_next_monitor_run() {
    let mail_server = MailServer::start(MailServerOptions::plain().with("greylist", 2));
    let cellar = cellar(&mail_server);
    alert(&cellar).fails(exit::TEMPFAIL).says("451 4.7.1").says("waits for the next run of the monitor");
    let file = cellar.backup_dir().join(".pgcellar.main.notified.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(state(&cellar)["waiting"].as_array().unwrap().len(), 1);
    let written = state(&cellar)["waiting"][0]["id"].as_str().unwrap().to_owned();
    // The mail is deferred once more, which does not change the verdict.
    let verdict = monitor(&cellar).finish().says("451 4.7.1").code();
    assert_eq!(state(&cellar)["waiting"].as_array().unwrap().len(), 1);
    assert_eq!(monitor(&cellar).finish().says("which had waited").code(), verdict);
    let waited = mail_server.mails().into_iter().find(|mail| mail.subject().contains("backup of shop failed")).unwrap();
    waited.is_well_formed();
    assert!(waited.header("Message-ID").starts_with(&format!("<{written}@")));
    let mails = mail_server.mails().len();
    monitor(&cellar).finish();
    assert_eq!(mail_server.mails().len(), mails, "{:#?}", mail_server.mails());
    // A list of backups does not show the queued alert.
    assert!(cellar.list().is_empty());
}

#[test]
fn a_rejected_alert_does_not_block_others() {
    let mail_server = MailServer::start(MailServerOptions::plain().with("refuse_message", "554 5.7.1 looks like spam"));
    let cellar = cellar(&mail_server);
    alert(&cellar).fails(exit::DATAERR).says("554");
    monitor(&cellar).finish().says("giving up on '");
    assert_eq!(state(&cellar)["waiting"].as_array().unwrap().len(), 0);
}

#[test]
fn queued_alerts_survive_a_crash_while_sending() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    let hanging = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&hanging).with("SMTP_PORT", port.to_string());
    // The kernel accepts connections, and no server ever sends a greeting.
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
fn an_unreadable_state_file_is_replaced() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server);
    fs::write(cellar.backup_dir().join(".pgcellar.main.notified.json"), "{\"told\": [").unwrap();
    alert(&cellar).succeeds().says("is replaced");
    assert_eq!(state(&cellar)["told"][0]["subject"], "backup");
    mail_server.only_mail();
    // A unit's own state directory comes first.
    let folder = cellar.scratch().join("state");
    fs::create_dir(&folder).unwrap();
    alert(&cellar).env("STATE_DIRECTORY", &folder).succeeds();
    assert!(folder.join("main.notified.json").exists());
}

/// A run that systemd did not start is reported as such, whatever is known of the previous run.
#[test]
fn a_run_that_systemd_did_not_start_is_reported_as_such() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server);
    let run = cellar.run(["alert"]).env("MONITOR_UNIT", UNIT).env("MONITOR_SERVICE_RESULT", "success");
    let run = run.env("MONITOR_EXIT_CODE", "exited").env("MONITOR_EXIT_STATUS", "0");
    run.env("MONITOR_INVOCATION_ID", "0123456789abcdef0123456789abcdef").succeeds();
    let mail = mail_server.only_mail();
    assert!(mail.subject().contains("backup of shop could not start on "), "{}", mail.subject());
    assert!(mail.text().contains("systemd did not start it"), "{}", mail.text());
    assert!(!mail.text().contains("status 0") && !mail.text().contains("0123456789abcdef"), "{}", mail.text());
}

#[test]
fn an_exit_code_without_a_message_names_no_cause() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    cellar(&mail_server).run(["alert", "--task", "backup", "--exit-status", "75"]).succeeds();
    let text = mail_server.only_mail().text().to_owned();
    assert!(text.contains("a temporary failure (exit status 75)") && !text.contains("lock"), "{text}");
}

/// The unit's credentials as systemd provides them.
fn credentials(cellar: &Cellar, unit: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
    let folder = cellar.scratch().join(unit);
    fs::create_dir(&folder).unwrap();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    folder
}

#[test]
fn missing_credentials_are_reported_with_the_faulty_file() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server);
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
    let text = words(mail_server.only_mail().text());
    let path = "/etc/credstore.encrypted/pgcellar.main.db-password.encrypted";
    for said in [
        "systemd could not load its credentials (exit status 243, CREDENTIALS)",
        &format!("{path} is not output of systemd-creds encrypt"),
        &format!("systemd-creds encrypt --name=db-password.encrypted - {path}"),
        "pgcellar config check -i main",
    ] {
        assert!(text.contains(said), "no '{said}' in {text}");
    }
    // The alert of an alert: an alert that ran has reported its own failure.
    run(unit, "69").succeeds().says("see the log of the failed alert");
    assert_eq!(mail_server.mails().len(), 1);
    run(unit, "243").succeeds();
    let mails = mail_server.mails();
    let text = words(mails.last().unwrap().text());
    assert!(mails.len() == 2 && text.contains(&format!("Unit {UNIT}")), "{text}");
    assert!(text.contains(&format!("{unit}: systemd could not load its credentials")), "{text}");
}

#[test]
fn wrong_settings_suppress_neither_alert_nor_verdict() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server);
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
        // Without SMTP_TLS the server would have to offer TLS, so the last good settings are used.
        alert(&cellar).env(name, value).succeeds();
        let mails = mail_server.mails();
        assert_eq!(mails.len(), number + 1, "{name}");
        let text = mails.last().unwrap().text();
        assert!(name == "DB_NAME" || text.contains(name), "{name}: {text}");
    }
    let before = mail_server.mails().len();
    let state = cellar.scratch().join("state");
    fs::create_dir(&state).unwrap();
    let run = monitor(&cellar).env("BACKUP_DIR", "relative").env("STATE_DIRECTORY", &state);
    assert_eq!(run.finish().code(), Some(3));
    assert_eq!(mail_server.mails().len(), before + 1);
    assert!(mail_server.mails().last().unwrap().text().contains("BACKUP_DIR"));
}

#[test]
fn unreadable_settings_fall_back_to_the_last_good_ones() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server);
    let state = cellar.scratch().join("state");
    fs::create_dir(&state).unwrap();
    monitor(&cellar).env("STATE_DIRECTORY", &state).finish();
    let before = mail_server.mails().len();
    let bare = || {
        let names = ["BACKUP_DIR", "DB_NAME", "SMTP_HOST", "SMTP_PORT", "SMTP_TLS", "NOTIFICATION_EMAIL"];
        let run = cellar.run(["alert"]).env("MONITOR_UNIT", "pgcellar-backup@none-such.service");
        let run = names.into_iter().fold(run, |run, name| run.without(name));
        run.env("MONITOR_SERVICE_RESULT", "resources").env("STATE_DIRECTORY", &state)
    };
    bare().succeeds();
    let mails = mail_server.mails();
    assert_eq!(mails.len(), before + 1);
    let mail = mails.last().unwrap();
    assert!(mail.subject().contains("backup could not start"), "{}", mail.subject());
    assert!(mail.text().contains("there is no /etc/pgcellar/main.env"), "{}", mail.text());
    fs::remove_dir_all(&state).unwrap();
    fs::create_dir(&state).unwrap();
    bare().fails(exit::CONFIG).says("there are no settings");
}

/// The alert reports a monitor that systemd could not start: once, and when it works again.
#[test]
fn the_alert_replaces_a_monitor_that_cannot_start() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server);
    let folder = credentials(&cellar, "pgcellar-monitor-alert@main.service", &[("db-password.stored", "junk\n")]);
    let run = || {
        let run = cellar.run(["alert", "--task", "monitor"]).env("MONITOR_UNIT", "pgcellar-monitor@main.service");
        let run = run.env("MONITOR_SERVICE_RESULT", "exit-code").env("MONITOR_EXIT_CODE", "exited");
        run.env("MONITOR_EXIT_STATUS", "243").env("CREDENTIALS_DIRECTORY", &folder)
    };
    run().succeeds();
    let mail = mail_server.only_mail();
    let text = words(mail.text());
    for said in
        ["monitor could not start", "is not output of", "neither the server", "pgcellar.main.db-password.encrypted"]
    {
        assert!(text.contains(said), "no '{said}' in {text}");
    }
    run().succeeds();
    assert_eq!(mail_server.mails().len(), 1, "{:#?}", mail_server.mails());
    monitor(&cellar).finish();
    let mails = mail_server.mails();
    assert!(words(mails.last().unwrap().text()).contains("recovered: monitor could not start"), "{mails:#?}");
}

//! The monitor mails new findings once, and the status report when it is due.

use std::fs;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::common::mail_server::{MailServer, MailServerOptions};
use crate::common::pgcellar::Run;
use crate::common::{Cellar, Cluster, Version};

const DATABASE: &str = "watched";

/// A server of these tests, without databases of other tests that no backup covers.
fn watched() -> &'static Cluster {
    static WATCHED: OnceLock<Cluster> = OnceLock::new();
    WATCHED.get_or_init(|| {
        let cluster = Cluster::start(Version::V15);
        cluster.sql("postgres", &format!("CREATE DATABASE {DATABASE}"));
        cluster.sql(DATABASE, "CREATE TABLE wine AS SELECT 1 AS n");
        cluster
    })
}

/// A healthy backup folder with mail to `ops@example.org` without TLS.
fn cellar(mail_server: &MailServer) -> Cellar {
    let cellar = Cellar::new(watched()).on_disk().with("DB_NAME", DATABASE).with("MONITOR_MIN_FREE", "0%");
    let cellar = cellar.with("SMTP_HOST", "localhost").with("SMTP_PORT", mail_server.port().to_string());
    let cellar = cellar.with("SMTP_TLS", "none").with("NOTIFICATION_EMAIL", "ops@example.org");
    cellar.back_up(DATABASE);
    cellar
}

/// A run of the monitor as its timer starts it.
fn monitor(cellar: &Cellar) -> Run {
    cellar.run(["monitor", "check", "--notify"])
}

/// The same, with a disk that counts as full.
fn full(cellar: &Cellar) -> Run {
    monitor(cellar).env("MONITOR_MIN_FREE", "100%")
}

fn state(cellar: &Cellar) -> Value {
    serde_json::from_slice(&fs::read(file(cellar)).unwrap()).unwrap()
}

fn file(cellar: &Cellar) -> std::path::PathBuf {
    cellar.backup_dir().join(".pgcellar.main.notified.json")
}

/// Sets a time of the state some days back.
fn days_ago(days: i64, change: impl FnOnce(&mut Value, Value), cellar: &Cellar) {
    let mut state = state(cellar);
    let then = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * days);
    change(&mut state, json!(then.to_string()));
    fs::write(file(cellar), state.to_string()).unwrap();
}

fn printed<'a>(state: &'a mut Value, check: &str) -> &'a mut Value {
    state["told"].as_array_mut().unwrap().iter_mut().find(|printed| printed["check"] == check).unwrap()
}

fn subjects(mail_server: &MailServer) -> Vec<String> {
    mail_server.mails().iter().map(|mail| mail.subject().to_owned()).collect()
}

#[test]
fn a_finding_is_mailed_again_after_a_day_and_when_resolved() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server).with("TZ", "Asia/Kolkata");
    // A manual run sends no mail.
    assert_eq!(cellar.run(["monitor", "check"]).env("MONITOR_MIN_FREE", "100%").finish().code(), Some(2));
    let first = full(&cellar).finish();
    assert_eq!(first.code(), Some(2));
    // A finding is printed on standard output only: in a container both streams go to one log.
    let lines = first.stdout.lines().filter(|line| line.starts_with("[CRITICAL] storage_full")).count();
    assert_eq!((lines, first.stderr.contains("free")), (1, false), "{first}");
    assert_eq!(full(&cellar).finish().code(), Some(2));
    let mail = mail_server.only_mail();
    assert!(
        mail.subject().starts_with("[pgcellar] CRITICAL ") && mail.subject().contains(" (main): "),
        "{}",
        mail.subject()
    );
    for kind in ["text/plain", "text/html"] {
        assert!(
            mail.part(kind).contains("CRITICAL") && mail.part(kind).contains("BACKUP_RETENTION_DAYS"),
            "{}",
            mail.part(kind)
        );
    }
    days_ago(1, |state, then| printed(state, "storage_full")["mailed"] = then, &cellar);
    full(&cellar).finish();
    full(&cellar).finish();
    assert_eq!(mail_server.mails().len(), 2);
    let again = mail_server.mails().remove(1);
    again.is_well_formed();
    assert!(again.subject().starts_with("[pgcellar] still CRITICAL "), "{}", again.subject());
    assert_eq!(monitor(&cellar).finish().code(), Some(0));
    monitor(&cellar).finish();
    assert_eq!(mail_server.mails().len(), 3, "{:#?}", mail_server.mails());
    let over = mail_server.mails().remove(2);
    over.is_well_formed();
    assert!(over.subject().starts_with("[pgcellar] recovered "), "{}", over.subject());
    for mail in [&again, &over] {
        assert!(mail.part("text/plain").contains(" IST"), "the times are not in the zone: {}", mail.part("text/plain"));
    }
    full(&cellar).finish();
    assert_eq!(mail_server.mails().len(), 4);
}

#[test]
fn several_findings_are_one_mail_and_so_is_a_wrong_setting() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server);
    full(&cellar).env("MONITOR_MIN_BACKUPS", "9").finish();
    let mail = mail_server.only_mail();
    assert!(
        mail.subject().starts_with("[pgcellar] CRITICAL ") && mail.subject().ends_with("(and 1 more)"),
        "{}",
        mail.subject()
    );
    assert!(mail.text().contains("CRITICAL: ") && mail.text().contains("WARNING: "), "{}", mail.text());
    // The state is unknown: that is mailed, and no finding counts as resolved.
    let unknown = monitor(&cellar).env("MONITOR_MIN_BACKUPS", "many").finish();
    assert_eq!((unknown.code(), unknown.stderr.contains("many")), (Some(3), false), "{unknown}");
    assert_eq!(mail_server.mails().len(), 2);
    let blind = mail_server.mails().remove(1);
    assert!(blind.text().contains("MONITOR_MIN_BACKUPS") && !blind.text().contains("recovered"), "{}", blind.text());
    assert!(blind.subject().starts_with("[pgcellar] UNKNOWN "), "{}", blind.subject());
}

#[test]
fn a_failed_mail_is_sent_by_the_next_run() {
    let mail_server = MailServer::start(MailServerOptions::plain().with("greylist", 1));
    let cellar = cellar(&mail_server);
    assert_eq!(full(&cellar).finish().says("451 4.7.1").code(), Some(2));
    assert!(mail_server.mails().is_empty());
    assert_eq!(state(&cellar)["told"].as_array().map(Vec::len).unwrap_or_default(), 0, "what was not mailed is news");
    assert_eq!(full(&cellar).finish().code(), Some(2));
    mail_server.only_mail();
    assert_eq!(monitor(&cellar).env("SMTP_PORT", "1").finish().says("connection refused").code(), Some(0));
    assert_eq!(state(&cellar)["told"].as_array().unwrap().len(), 1);
    monitor(&cellar).finish();
    assert!(subjects(&mail_server)[1].starts_with("[pgcellar] recovered "), "{:?}", subjects(&mail_server));
    // A wrong mail setting does not change the verdict either.
    assert_eq!(monitor(&cellar).env("SMTP_PORT", "none").finish().says("SMTP_PORT").code(), Some(0));
}

#[test]
fn a_run_reported_by_an_alert_is_not_reported_again() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server);
    cellar.run(["alert"]).env("MONITOR_UNIT", "pgcellar-backup@main.service").succeeds();
    monitor(&cellar).finish();
    assert_eq!(mail_server.mails().len(), 1, "{:?}", subjects(&mail_server));
}

#[test]
fn status_reports_come_when_they_are_due() {
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar = cellar(&mail_server).with("MONITOR_REPORT", "weekly");
    monitor(&cellar).succeeds();
    monitor(&cellar).succeeds();
    let mail = mail_server.only_mail();
    assert!(
        mail.subject().starts_with("[pgcellar] OK ") && mail.subject().contains("status of 20"),
        "{}",
        mail.subject()
    );
    let id = cellar.list()[0]["id"].as_str().unwrap().to_owned();
    assert!(mail.text().contains(&id) || mail.text().contains("watched"), "{}", mail.text());
    assert!(mail.part("text/html").contains("watched"), "{}", mail.part("text/html"));
    days_ago(8, |state, then| state["reported"] = then, &cellar);
    monitor(&cellar).succeeds();
    monitor(&cellar).succeeds();
    assert_eq!(mail_server.mails().len(), 2, "{:?}", subjects(&mail_server));
    monitor(&cellar).env("MONITOR_REPORT", "hourly").finish().says("MONITOR_REPORT");
}

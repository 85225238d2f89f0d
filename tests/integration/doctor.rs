//! `pgcellar doctor` reports problems of each part and their remedies, with real servers.

use std::fs;

use serde_json::Value;

use crate::common::pgcellar::{Outcome, Run};
use crate::common::{Cellar, Cluster, Version, exit, tree};

mod bucket;
mod database;
mod mail;

/// The output of `doctor --json`.
struct Report {
    outcome: Outcome,
    json: Value,
}

impl Report {
    /// Runs to the end, which must be this exit code, as in the JSON.
    #[track_caller]
    fn of(run: Run, code: i32) -> Report {
        let run = run.arguments(["--json"]);
        let outcome = if code == 0 { run.succeeds() } else { run.fails(code) };
        let json = outcome.json();
        assert_eq!(json["exit_code"], code, "{outcome}");
        Report { outcome, json }
    }

    /// All checks with this name in a part.
    fn all(&self, part: &str, check: &str) -> Vec<&Value> {
        let checks = self.json["checks"].as_array().unwrap().iter();
        checks.filter(|found| found["part"] == part && found["check"] == check).collect()
    }

    /// Fails the test unless there is a check with this result whose finding or hint contains all these texts.
    #[track_caller]
    fn says(&self, part: &str, check: &str, result: &str, texts: &[&str]) -> &Report {
        let all = self.all(part, check);
        let fits = |found: &&&Value| {
            let text = format!("{} {}", found["found"].as_str().unwrap(), found["mend"].as_str().unwrap_or_default());
            found["result"] == result && texts.iter().all(|expected| text.contains(expected))
        };
        assert!(all.iter().any(|found| fits(&found)), "{part} {check} {result} {texts:?}: {}", self.outcome);
        self
    }

    /// Fails the test unless every check passed without a warning.
    #[track_caller]
    fn only_has(&self, results: &[&str]) -> &Report {
        for check in self.json["checks"].as_array().unwrap() {
            assert!(results.contains(&check["result"].as_str().unwrap()), "{}", self.outcome);
        }
        self
    }
}

#[test]
fn each_check_has_a_line_and_all_pass() {
    let cluster = Cluster::shared(Version::V15);
    let shop = cluster.create("shop");
    shop.sql("CREATE TABLE wine (n int)");
    let cellar = Cellar::new(cluster).on_disk().with("DB_NAME", shop.name());
    let files = || [cellar.scratch(), &cellar.backup_dir()].map(tree::files);
    let before = files();
    let outcome = cellar.run(["doctor"]).succeeds();
    for line in outcome.stdout.lines() {
        assert!(line.starts_with("OK       ") || line.starts_with("WARNING  backups   disk: "), "{outcome}");
    }
    for text in ["settings  environment: every", "database  login: as 'postgres'", "programs  version: pg_dump 15"] {
        assert!(outcome.stdout.contains(text), "{text}: {outcome}");
    }
    for absent in ["s3 ", "mail "] {
        assert!(!outcome.stdout.contains(absent), "{outcome}");
    }
    assert_eq!(files(), before);
    // Only the named parts.
    let report = Report::of(cellar.run(["doctor", "clock", "programs"]), 0);
    let parts: Vec<&str> =
        report.json["checks"].as_array().unwrap().iter().map(|check| check["part"].as_str().unwrap()).collect();
    assert!(parts.starts_with(&["programs"]) && parts.ends_with(&["clock"]), "{}", report.outcome);
    report.says("clock", "server", "OK", &["its clock agrees with this host's"]).says("clock", "zone", "OK", &["UTC"]);
    cellar.run(["doctor", "weather"]).fails(exit::USAGE).says("schedule");
}

#[test]
fn a_failed_check_does_not_stop_the_others() {
    let cellar = Cellar::unconnected()
        .with("DB_HOST", "nowhere.invalid")
        .with("DB_NAME", "shop")
        .with("BACKUP_COMPRESION", "xz")
        .with("BACKUP_SCHEDULE", "0 25 * * *");
    let report = Report::of(cellar.run(["doctor"]), exit::CONFIG);
    report
        .says("settings", "BACKUP_COMPRESION", "WARNING", &["BACKUP_COMPRESSION"])
        .says("settings", "BACKUP_SCHEDULE", "FAILED", &["'25' as hour"])
        .says("database", "name", "FAILED", &["nowhere.invalid", "is DB_HOST right?"])
        .says("database", "login", "SKIPPED", &[])
        .says("programs", "version", "SKIPPED", &["pg_dump"])
        .says("backups", "write", "OK", &["written to"])
        .says("clock", "server", "SKIPPED", &[])
        .says("schedule", "BACKUP_SCHEDULE", "FAILED", &["'25' as hour (character 3)", "0 to 23"])
        .says("schedule", "RETENTION_SCHEDULE", "OK", &["'0 4 * * *', which is built in, is next due"]);
}

#[test]
fn schedules() {
    let cellar = Cellar::unconnected().with("TZ", "Europe/Berlin");
    let run = |line: &str| cellar.run(["doctor", "schedule"]).env("BACKUP_SCHEDULE", line);
    Report::of(run("30 2 * * *"), 0).says("schedule", "BACKUP_SCHEDULE", "OK", &[" 02:30 CE"]);
    Report::of(run("off"), 0).says("schedule", "BACKUP_SCHEDULE", "OK", &["switched off"]);
    Report::of(run("@reboot"), exit::CONFIG).says("schedule", "BACKUP_SCHEDULE", "FAILED", &["not a time of day"]);
    let never = Report::of(run("2020-01-01 00:00:00"), exit::CONFIG);
    never.says("schedule", "BACKUP_SCHEDULE", "FAILED", &["never elapses again", "elapse repeatedly"]);
    let retention = cellar.run(["doctor", "schedule"]).env("RETENTION_SCHEDULE", "* * *  * * *");
    Report::of(retention, exit::CONFIG).says("schedule", "RETENTION_SCHEDULE", "FAILED", &["6 fields instead of five"]);
}

#[test]
fn directories_that_cannot_be_written() {
    let cellar = Cellar::unconnected().with("DB_HOST", "nowhere.invalid");
    let run = || cellar.run(["doctor", "backups"]);
    let missing = cellar.scratch().join("not-mounted/backups");
    Report::of(run().env("BACKUP_DIR", &missing), exit::CANTCREAT).says(
        "backups",
        "write",
        "FAILED",
        &["neither", "is its disk mounted?", "install -d -o"],
    );
    let file = cellar.scratch().join("file");
    fs::write(&file, "").unwrap();
    Report::of(run().env("BACKUP_DIR", &file), exit::CANTCREAT).says(
        "backups",
        "write",
        "FAILED",
        &["not a directory"],
    );
    let new = cellar.scratch().join("new");
    // The server is asked for the databases' size, and the failure to reach it is reported.
    Report::of(run().env("BACKUP_DIR", &new), exit::UNAVAILABLE)
        .says("backups", "write", "OK", &["does not exist yet"])
        .says("backups", "space", "OK", &["are free"])
        .says("database", "name", "FAILED", &["nowhere.invalid"]);
    assert!(!new.exists());
    Report::of(run().env("BACKUP_DIR", "").env("AWS_S3_BUCKET", "b"), 0).says(
        "backups",
        "directory",
        "OK",
        &["bucket"],
    );

    let closed = cellar.scratch().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    open_to_all(cellar.scratch());
    let run = run().env("BACKUP_DIR", &closed).by_unprivileged_user();
    Report::of(run, exit::CANTCREAT).says("backups", "write", "FAILED", &["permission denied", "chown", "closed"]);
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 0);
}

/// Makes the test's folder accessible to the unprivileged user.
fn open_to_all(folder: &std::path::Path) {
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

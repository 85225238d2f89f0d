//! The doctor says what is wrong and how to mend it, of each part on its own, with real servers behind them.

use std::fs;

use serde_json::Value;

use crate::common::pgcellar::{Outcome, Run};
use crate::common::{Cellar, Cluster, Version, exit, tree};

mod bucket;
mod database;
mod mail;

/// What `doctor --json` says.
struct Told {
    outcome: Outcome,
    json: Value,
}

impl Told {
    /// Runs to the end, which must be this exit code; the JSON says the same one.
    #[track_caller]
    fn by(run: Run, code: i32) -> Told {
        let run = run.arguments(["--json"]);
        let outcome = if code == 0 { run.succeeds() } else { run.fails(code) };
        let json = outcome.json();
        assert_eq!(json["exit_code"], code, "{outcome}");
        Told { outcome, json }
    }

    /// All checks of this name in a part.
    fn all(&self, part: &str, check: &str) -> Vec<&Value> {
        let checks = self.json["checks"].as_array().unwrap().iter();
        checks.filter(|found| found["part"] == part && found["check"] == check).collect()
    }

    /// There is a check with this result, and what was found, or how to mend it, has all the texts in it.
    #[track_caller]
    fn says(&self, part: &str, check: &str, result: &str, texts: &[&str]) -> &Told {
        let all = self.all(part, check);
        let fits = |found: &&&Value| {
            let text = format!("{} {}", found["found"].as_str().unwrap(), found["mend"].as_str().unwrap_or_default());
            found["result"] == result && texts.iter().all(|expected| text.contains(expected))
        };
        assert!(all.iter().any(|found| fits(&found)), "{part} {check} {result} {texts:?}: {}", self.outcome);
        self
    }

    /// Nothing failed, and there is nothing to look at.
    #[track_caller]
    fn only_has(&self, results: &[&str]) -> &Told {
        for check in self.json["checks"].as_array().unwrap() {
            assert!(results.contains(&check["result"].as_str().unwrap()), "{}", self.outcome);
        }
        self
    }
}

#[test]
fn people_see_a_line_for_each_check_and_all_is_as_it_should_be() {
    let cluster = Cluster::shared(Version::V15);
    let shop = cluster.create("shop");
    shop.sql("CREATE TABLE wine (n int)");
    let cellar = Cellar::new(cluster).with("DB_NAME", shop.name());
    let before = tree::files(cellar.scratch());
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
    assert_eq!(tree::files(cellar.scratch()), before);
    // The parts that are named, and no other ones.
    let told = Told::by(cellar.run(["doctor", "clock", "programs"]), 0);
    let parts: Vec<&str> =
        told.json["checks"].as_array().unwrap().iter().map(|check| check["part"].as_str().unwrap()).collect();
    assert!(parts.starts_with(&["programs"]) && parts.ends_with(&["clock"]), "{}", told.outcome);
    told.says("clock", "server", "OK", &["its clock and ours agree"]).says("clock", "zone", "OK", &["UTC"]);
    cellar.run(["doctor", "weather"]).fails(exit::USAGE).says("schedule");
}

#[test]
fn nothing_that_fails_keeps_the_rest_from_being_checked() {
    let cellar = Cellar::unconnected()
        .with("DB_HOST", "nowhere.invalid")
        .with("DB_NAME", "shop")
        .with("BACKUP_COMPRESION", "xz")
        .with("BACKUP_SCHEDULE", "0 25 * * *");
    let told = Told::by(cellar.run(["doctor"]), exit::CONFIG);
    told.says("settings", "BACKUP_COMPRESION", "WARNING", &["BACKUP_COMPRESSION"])
        .says("settings", "BACKUP_SCHEDULE", "FAILED", &["'25' as hour"])
        .says("database", "name", "FAILED", &["nowhere.invalid", "is DB_HOST right?"])
        .says("database", "login", "SKIPPED", &[])
        .says("programs", "version", "SKIPPED", &["pg_dump"])
        .says("backups", "write", "OK", &["written to"])
        .says("clock", "server", "SKIPPED", &[])
        .says("schedule", "BACKUP_SCHEDULE", "FAILED", &["'25' as hour (character 3)", "0 to 23"])
        .says("schedule", "RETENTION_SCHEDULE", "OK", &["'0 4 * * *', which is built in, comes next"]);
}

#[test]
fn schedules() {
    let cellar = Cellar::unconnected().with("TZ", "Europe/Berlin");
    let run = |line: &str| cellar.run(["doctor", "schedule"]).env("BACKUP_SCHEDULE", line);
    Told::by(run("30 2 * * *"), 0).says("schedule", "BACKUP_SCHEDULE", "OK", &[" 02:30 CE"]);
    Told::by(run("off"), 0).says("schedule", "BACKUP_SCHEDULE", "OK", &["switched off"]);
    Told::by(run("@reboot"), exit::CONFIG).says("schedule", "BACKUP_SCHEDULE", "FAILED", &["no time at which"]);
    let never = Told::by(run("2020-01-01 00:00:00"), exit::CONFIG);
    never.says("schedule", "BACKUP_SCHEDULE", "FAILED", &["never elapses again", "elapse repeatedly"]);
    let retention = cellar.run(["doctor", "schedule"]).env("RETENTION_SCHEDULE", "* * *  * * *");
    Told::by(retention, exit::CONFIG).says("schedule", "RETENTION_SCHEDULE", "FAILED", &["6 fields instead of five"]);
}

#[test]
fn directories_that_cannot_be_written() {
    let cellar = Cellar::unconnected().with("DB_HOST", "nowhere.invalid");
    let run = || cellar.run(["doctor", "backups"]);
    let missing = cellar.scratch().join("not-mounted/backups");
    Told::by(run().env("BACKUP_DIR", &missing), exit::CANTCREAT).says(
        "backups",
        "write",
        "FAILED",
        &["neither", "is its disk mounted?", "install -d -o"],
    );
    let file = cellar.scratch().join("file");
    fs::write(&file, "").unwrap();
    Told::by(run().env("BACKUP_DIR", &file), exit::CANTCREAT).says("backups", "write", "FAILED", &["not a directory"]);
    let new = cellar.scratch().join("new");
    // The server is asked for the databases' size, and that it cannot be reached is not kept back.
    Told::by(run().env("BACKUP_DIR", &new), exit::UNAVAILABLE)
        .says("backups", "write", "OK", &["does not exist yet"])
        .says("backups", "space", "OK", &["are free"])
        .says("database", "name", "FAILED", &["nowhere.invalid"]);
    assert!(!new.exists());
    Told::by(run().env("BACKUP_DIR", "").env("AWS_S3_BUCKET", "b"), 0).says("backups", "directory", "OK", &["bucket"]);

    let closed = cellar.scratch().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    open_to_all(cellar.scratch());
    let run = run().env("BACKUP_DIR", &closed).by_unprivileged_user();
    Told::by(run, exit::CANTCREAT).says("backups", "write", "FAILED", &["permission denied", "chown", "closed"]);
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 0);
}

/// Lets the unprivileged user into the test's own folder.
fn open_to_all(folder: &std::path::Path) {
    fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

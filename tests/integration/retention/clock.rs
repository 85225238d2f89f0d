//! Clocks that are wrong, and hosts that were off.

use std::sync::OnceLock;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::common::backup_folder::BackupFolder;
use crate::common::bucket::Bucket;
use crate::common::pgcellar::Run;
use crate::common::{Cellar, Cluster, Version, exit};

/// Adds a backup of `shop` that began so many days before the first one of this process. Returns its id.
fn add(backups: &BackupFolder, days: i64) -> String {
    static NOW: OnceLock<Timestamp> = OnceLock::new();
    let started = *NOW.get_or_init(Timestamp::now) - SignedDuration::from_hours(24 * days);
    backups.add("shop", &started.to_zoned(TimeZone::UTC).strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A backup of each of the last seven nights.
fn seven(backups: &BackupFolder) -> Vec<String> {
    (1..=7).rev().map(|days| add(backups, days)).collect()
}

/// Runs it with a wall clock that is ahead by this, such as `+30d`.
fn ahead(run: Run, time: &str) -> Run {
    let run = run.env("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1").env("FAKETIME", time);
    run.env("DONT_FAKE_MONOTONIC", "1").env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// The same folder, with the settings to connect to a server.
fn with_server(run: Run, cluster: &Cluster) -> Run {
    let cellar = Cellar::new(cluster);
    let settings = cellar.settings().iter().filter(|(name, _)| name.to_string_lossy().starts_with("DB_"));
    settings.fold(run, |run, (name, value)| run.env(name, value))
}

#[test]
fn one_night_with_a_wrong_clock_removes_nothing() {
    let backups = BackupFolder { cellar: Cellar::unconnected().on_disk() };
    let mut all = seven(&backups);
    all.push(add(&backups, -30));
    // Without another source of time, backups that the rules would have kept without the new one stay.
    let outcome = ahead(backups.cellar.run(["retention"]), "+30d").succeeds().says("removed 0 backups");
    assert!(outcome.stderr.contains("a long time passed") && outcome.stderr.contains(&all[0]), "{outcome}");
    assert_eq!(backups.listed(), all);
    let dry = ahead(backups.cellar.run(["retention", "--dry-run"]), "+30d").succeeds();
    assert!(dry.stdout.contains("from before a gap of 31 d, too few came after it yet"), "{dry}");
    // With the clock set right again.
    backups.cellar.run(["retention"]).succeeds().says("removed 0 backups");
    assert_eq!(backups.listed(), all);
    let check = |backups: &BackupFolder| backups.cellar.run(["monitor", "check"]).env("MONITOR_MIN_FREE", "0").finish();
    let outcome = check(&backups);
    assert!(outcome.code() == Some(1) && outcome.stdout.contains("clock"), "{outcome}");
    // A backup with a time in the future does not count.
    let alone = BackupFolder::new();
    add(&alone, -30);
    let outcome = check(&alone);
    assert!(outcome.code() == Some(2) && outcome.stdout.contains("no_backup shop"), "{outcome}");
}

#[test]
fn a_month_without_backups_removes_nothing() {
    let backups = BackupFolder::new();
    let mut all: Vec<String> = (35..=42).rev().map(|days| add(&backups, days)).collect();
    for days in [4, 3, 2] {
        all.push(add(&backups, days));
        backups.cellar.run(["retention"]).succeeds();
    }
    // Each new backup has removed one at most.
    assert_eq!(backups.listed(), all[2..]);
    for days in [1, 0] {
        all.push(add(&backups, days));
        backups.cellar.run(["retention"]).succeeds();
    }
    assert_eq!(backups.listed(), all[4..]);
}

#[test]
fn nothing_is_removed_if_the_clock_differs_from_the_servers() {
    let backups = BackupFolder::new();
    let all: Vec<String> = (1..=10).rev().map(|days| add(&backups, days)).collect();
    let run = |arguments: &[&str]| {
        with_server(backups.cellar.run(["retention"]).arguments(arguments), Cluster::shared(Version::V15))
    };
    for arguments in [&["--json"][..], &["--dry-run", "--json"]] {
        let outcome = ahead(run(arguments), "+30d").fails(exit::SYSTEM);
        assert!(outcome.stderr.contains("d ahead of that of the server"), "{outcome}");
        assert!(outcome.json().as_array().unwrap().iter().all(|backup| backup["removed"] == false), "{outcome}");
    }
    ahead(run(&[]), "-1h").fails(exit::SYSTEM).says("behind that of the server");
    assert_eq!(backups.listed(), all);
    // A server that does not answer, or cannot be reached with these settings, shows no time.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    run(&["--dry-run"]).env("DB_PORT", port).succeeds();
    run(&["--dry-run"]).env("DB_PORT", "none").succeeds();
    run(&[]).succeeds().says("removed 2 backups");
    assert_eq!(backups.listed(), all[2..]);
}

#[test]
fn nothing_is_removed_if_the_clock_differs_from_the_buckets() {
    let bucket = Bucket::new();
    let backups = BackupFolder { cellar: bucket.copies(BackupFolder::new().cellar) };
    let all: Vec<String> = (1..=10).rev().map(|days| add(&backups, days)).collect();
    // S3 itself accepts less than a quarter of an hour.
    for time in ["+10m", "+2h"] {
        let run = backups.cellar.run(["retention", "--keep-last", "2"]);
        ahead(run, time).fails(exit::SYSTEM).says("ahead of that of the bucket");
        assert_eq!(backups.listed(), all);
    }
    backups.cellar.run(["retention", "--keep-last", "2"]).env("BACKUP_S3_KEEP_LAST", "1").succeeds();
    assert_eq!(backups.listed(), all[8..]);
}

//! The findings of `monitor check`, and its exit status.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use pgcellar::store::{ObjectKind, Store};

use crate::common::bucket::Bucket;
use crate::common::pgcellar::{Outcome, Run};
use crate::common::process::{hand_over, is_root, must, plain};
use crate::common::small_disk::SmallDisk;
use crate::common::{Cellar, Cluster, Version, forged, keys};

mod browser;
mod emptied;
mod report;
mod shrunk;

/// Exit statuses of a plugin.
const OK: i32 = 0;
const WARNING: i32 = 1;
const CRITICAL: i32 = 2;
const UNKNOWN: i32 = 3;

/// A folder without a server: no database is configured, so the databases with backups are monitored. The free space of
/// the tests' disk does not count.
fn folder() -> Cellar {
    Cellar::unconnected().on_disk().with("MONITOR_MIN_FREE", "0")
}

fn check(cellar: &Cellar) -> Run {
    cellar.run(["monitor", "check"])
}

/// Runs a check, and compares the verdict and the names of the checks with findings.
#[track_caller]
fn finds(run: Run, status: i32, checks: &[&str]) -> Outcome {
    let outcome = run.finish();
    assert_eq!(outcome.code(), Some(status), "{outcome}");
    let word = ["OK", "WARNING", "CRITICAL", "UNKNOWN"][status as usize];
    assert!(outcome.stdout.starts_with(&format!("PGCELLAR {word}: ")), "{outcome}");
    let named = |line: &str| line.split(['[', ']', ':', ' ']).nth(3).unwrap().to_owned();
    let found: Vec<String> = outcome.stdout.lines().skip(1).map(named).collect();
    assert_eq!(found, checks, "{outcome}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome}");
    outcome
}

fn says(outcome: &Outcome, texts: &[&str]) {
    for text in texts {
        assert!(outcome.stdout.contains(text), "{text:?} is missing: {outcome}");
    }
}

#[test]
fn an_instance_from_its_first_day() {
    let cluster = Cluster::start(Version::V15);
    let shop = cluster.create("shop");
    shop.sql("CREATE TABLE wine (n int)");
    let cellar = Cellar::new(&cluster).on_disk().with("DB_NAME", shop.name()).with("MONITOR_MIN_FREE", "0");
    let state = cellar.scratch().join("state");
    fs::create_dir(&state).unwrap();
    let cellar = cellar.with("STATE_DIRECTORY", &state);
    let outcome = finds(check(&cellar), OK, &["pending"]);
    says(&outcome, &["1 waiting for the first backup"]);
    // The first backup creates its folder if the parent exists.
    let elsewhere = cellar.scratch().join("elsewhere");
    finds(check(&cellar).env("BACKUP_DIR", &elsewhere), OK, &["pending"]);
    finds(check(&cellar).env("BACKUP_DIR", elsewhere.join("below")), CRITICAL, &["store_unreadable"]);
    assert!(fs::read_to_string(state.join("first-seen-main.json")).unwrap().contains(shop.name()));

    let id = cellar.back_up(shop.name())["id"].as_str().unwrap().to_owned();
    let outcome = finds(check(&cellar), OK, &[]);
    says(&outcome, &["1 database, backed up ", &format!("'{} age'=", shop.name()), "'free'="]);
    // A database with a backup is not new, and the folder must exist.
    finds(check(&cellar).env("BACKUP_DIR", &elsewhere), CRITICAL, &["store_unreadable"]);

    // A new database is reported as not covered, the maintenance database only if it has tables.
    let other = cluster.create("other");
    let outcome = finds(check(&cellar), WARNING, &["not_covered"]);
    says(&outcome, &[other.name(), "DB_NAME"]);
    cluster.sql("postgres", "CREATE TABLE left_here (n int)");
    says(&finds(check(&cellar), WARNING, &["not_covered", "not_covered"]), &["'postgres'"]);
    let excluded = format!("postgres,{}", other.name());
    finds(check(&cellar).env("BACKUP_EXCLUDE_DATABASES", &excluded), OK, &[]);
    let all = Cellar::new(&cluster)
        .with("MONITOR_MIN_FREE", "0")
        .with("BACKUP_DIR", cellar.backup_dir())
        .with("STATE_DIRECTORY", &state);
    let all = all.with("DB_NAME", "*").with("BACKUP_EXCLUDE_DATABASES", "postgres");
    says(&finds(check(&all), OK, &["pending"]), &[other.name()]);

    // The run that is due does not happen.
    fs::write(state.join("first-seen-main.json"), format!("{{\"{}\":\"2024-01-01T00:00:00Z\"}}", other.name()))
        .unwrap();
    says(&finds(check(&all), CRITICAL, &["no_backup"]), &[other.name(), "run pgcellar backup"]);

    let cellar = cellar.with("BACKUP_EXCLUDE_DATABASES", excluded);
    let wrong = cellar.run(["monitor", "check"]).env("DB_PASSWORD", "wrong").finish();
    assert_eq!(wrong.code(), Some(WARNING), "{wrong}");
    says(&wrong, &["server_unreachable", "password authentication failed", "DB_PASSWORD"]);

    fs::remove_file(cellar.backup_dir().join(format!("{id}.dump.gz"))).unwrap();
    says(&finds(check(&cellar), CRITICAL, &["no_backup", "damaged"]), &[&format!("{id}.dump.gz is missing")]);
}

#[test]
fn no_backups_and_no_folder() {
    let cellar = folder();
    says(&finds(check(&cellar), CRITICAL, &["no_backup"]), &["DB_NAME"]);
    let missing = cellar.scratch().join("missing");
    let outcome = finds(check(&cellar).env("BACKUP_DIR", &missing), CRITICAL, &["store_unreadable"]);
    says(&outcome, &[&missing.display().to_string(), "no such file or directory"]);
    let file = cellar.backup_dir().with_file_name("file");
    fs::write(&file, "").unwrap();
    finds(check(&cellar).env("BACKUP_DIR", &file), CRITICAL, &["store_unreadable"]);
}

#[test]
fn a_folder_without_read_permission() {
    let cellar = folder();
    forged::add(&cellar.backup_dir(), "shop", 1);
    fs::set_permissions(cellar.scratch(), fs::Permissions::from_mode(0o755)).unwrap();
    hand_over(&cellar.backup_dir());
    if is_root() {
        must(plain("chown").arg("root").arg(cellar.backup_dir()));
    }
    fs::set_permissions(cellar.backup_dir(), fs::Permissions::from_mode(0o000)).unwrap();
    let outcome = cellar.run(["monitor", "check"]).by_unprivileged_user().finish();
    fs::set_permissions(cellar.backup_dir(), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(outcome.code(), Some(CRITICAL), "{outcome}");
    says(&outcome, &["store_unreadable local", "permission denied"]);
}

#[test]
fn ten_thousand_backups_with_a_broken_manifest_among_them() {
    let cellar = folder().with("MONITOR_MIN_BACKUPS", "9999").with("BACKUP_RETENTION_DAYS", "1000");
    for hours in 0..10_000 {
        forged::add(&cellar.backup_dir(), "shop", hours);
    }
    finds(check(&cellar), OK, &[]);
    fs::write(cellar.backup_dir().join("shop_20200101_000000.manifest.json"), "{").unwrap();
    let outcome = finds(check(&cellar), WARNING, &["unusable_manifest"]);
    says(&outcome, &["shop_20200101_000000.manifest.json", "'shop backups'=10000;9999:"]);
    let report = cellar.run(["monitor", "report", "--format", "json"]).succeeds().json();
    assert_eq!(report["databases"][0]["good_backups"], 10_000);
    assert!(cellar.run(["monitor", "report"]).succeeds().stdout.lines().count() < 40);
}

#[test]
fn schedules() {
    let cellar = folder();
    forged::add(&cellar.backup_dir(), "shop", 5 * 24);
    finds(check(&cellar), CRITICAL, &["not_recent"]);
    for (schedule, status) in [
        ("0 3 * * 0  # Weekly on Sunday", OK),
        ("0 1 1 * *", OK),
        ("@monthly", OK),
        ("Sun 03:00", OK),
        ("Sun 03:00; 0 1 1 * *", OK),
        ("Sun 03:00; 02:00", CRITICAL),
        ("*-*-* 02:00:00", CRITICAL),
        ("0 */6 * * *", CRITICAL),
    ] {
        let checks: &[&str] = if status == OK { &[] } else { &["not_recent"] };
        finds(check(&cellar).env("BACKUP_SCHEDULE", schedule), status, checks);
    }
    for wrong in
        ["0 25 * * *", "@reboot", "every day", "2020-01-01 00:00:00", "Sun 03:00; 0 25 * * *", "Sun 03:00; every day"]
    {
        let outcome = finds(check(&cellar).env("BACKUP_SCHEDULE", wrong), CRITICAL, &["not_recent", "schedule"]);
        says(&outcome, &["BACKUP_SCHEDULE", wrong.rsplit("; ").next().unwrap()]);
    }
    let weekly = || check(&cellar).env("BACKUP_SCHEDULE", "@weekly");
    let outcome = finds(weekly().env("DRILL_SCHEDULE", "0 25 * * *"), WARNING, &["schedule"]);
    says(&outcome, &["[WARNING] schedule DRILL_SCHEDULE: DRILL_SCHEDULE: "]);
    finds(check(&cellar).env("MONITOR_RECENT_HOURS", "121"), OK, &[]);
    finds(check(&cellar).env("MONITOR_RECENT_HOURS", "119"), WARNING, &["not_recent"]);
    finds(check(&cellar).env("MONITOR_RECENT_HOURS", "59"), CRITICAL, &["not_recent"]);
}

#[test]
fn thresholds_come_from_the_settings() {
    let cellar = folder();
    for hours in [1, 25, 49] {
        forged::add(&cellar.backup_dir(), "shop", hours);
    }
    finds(check(&cellar), OK, &[]);
    for (variable, fine, wrong, name) in [
        ("MONITOR_MIN_BACKUPS", "3", "4", "few_backups"),
        ("MONITOR_MAX_SIZE", "2M", "1M", "too_large"),
        ("MONITOR_MAX_AGE_DAYS", "3", "2", "too_old"),
    ] {
        finds(check(&cellar).env(variable, fine), OK, &[]);
        says(&finds(check(&cellar).env(variable, wrong), WARNING, &[name]), &[variable]);
    }
    let full = cellar.run(["monitor", "check", "--min-free", "100%"]).finish();
    assert_eq!(full.code(), Some(CRITICAL), "{full}");
    says(&full, &["storage_full"]);
}

#[test]
fn retention_that_has_not_run() {
    let cellar = folder();
    for day in 0..8 {
        forged::add(&cellar.backup_dir(), "shop", 1 + 24 * day);
    }
    finds(check(&cellar), OK, &[]);
    let old: Vec<String> = (8..12).map(|day| forged::add(&cellar.backup_dir(), "shop", 1 + 24 * day)).collect();
    says(&finds(check(&cellar), WARNING, &["retention_behind"]), &[&old[3], "pgcellar retention"]);
    finds(check(&cellar).env("BACKUP_RETENTION_DAYS", "30"), OK, &[]);
    finds(check(&cellar).env("MONITOR_MAX_AGE_DAYS", "30"), OK, &[]);
    let report = cellar.run(["monitor", "report"]).succeeds();
    says(&report, &["retention  removes", &old[3]]);
    let removed = cellar.run(["retention"]).succeeds();
    assert!(!removed.stdout.contains("error"), "{removed}");
    finds(check(&cellar), OK, &[]);
    says(&cellar.run(["monitor", "report"]).succeeds(), &["retention  removes nothing"]);
}

#[test]
fn unusual_sizes_and_durations() {
    let cellar = folder();
    for day in 1..8 {
        forged::add(&cellar.backup_dir(), "shop", 24 * day);
    }
    finds(check(&cellar), OK, &[]);
    let id = forged::add_changed(&cellar.backup_dir(), "shop", 0, |manifest| {
        manifest["ended"] = manifest["started"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
            .checked_add(jiff::SignedDuration::from_hours(1))
            .unwrap()
            .to_string()
            .into();
        manifest["files"][0]["stored_bytes"] = 1000.into();
    });
    fs::File::create(cellar.backup_dir().join(format!("{id}.dump.gz.age"))).unwrap().set_len(1000).unwrap();
    let outcome = finds(check(&cellar), WARNING, &["unusual_size", "unusual_duration"]);
    says(&outcome, &[&id, "median", "spread"]);
    finds(check(&cellar).env("MONITOR_MAX_DEVIATION", "0"), OK, &[]);
}

#[test]
fn backups_of_others_do_not_count_as_usual() {
    let cellar = folder();
    for day in 1..8 {
        forged::add_changed(&cellar.backup_dir(), "shop", 24 * day, |manifest| {
            manifest["adopted"] = manifest["started"].clone();
            manifest["ended"] = manifest["started"].clone();
        });
    }
    forged::add_changed(&cellar.backup_dir(), "shop", 2, |manifest| {
        let started: jiff::Timestamp = manifest["started"].as_str().unwrap().parse().unwrap();
        manifest["ended"] = (started + jiff::SignedDuration::from_hours(1)).to_string().into();
    });
    finds(check(&cellar), OK, &[]);
}

#[test]
fn a_clock_set_back() {
    let cellar = folder();
    forged::add(&cellar.backup_dir(), "shop", 30);
    let future = forged::add(&cellar.backup_dir(), "shop", -1000);
    says(&finds(check(&cellar), WARNING, &["not_recent", "clock"]), &[&future, "timedatectl"]);
}

#[test]
fn backups_of_other_instances_do_not_count() {
    let cellar = folder();
    forged::add(&cellar.backup_dir(), "shop", 1);
    forged::add_changed(&cellar.backup_dir(), "other", 9000, |manifest| manifest["instance"] = "another".into());
    fs::write(cellar.backup_dir().join("seed_20231231_020000.dump.gz"), "x").unwrap();
    finds(check(&cellar), OK, &[]);
    finds(check(&cellar).env("PGCELLAR_INSTANCE", "another"), CRITICAL, &["not_recent"]);
}

#[test]
fn leftovers_of_a_killed_run() {
    let cellar = folder();
    forged::add(&cellar.backup_dir(), "shop", 1);
    let partial = cellar.backup_dir().join("shop_20231231_020000.dump.gz.partial");
    let file = fs::File::create(&partial).unwrap();
    finds(check(&cellar), OK, &[]);
    file.set_modified(SystemTime::now() - Duration::from_secs(25 * 3600)).unwrap();
    says(&finds(check(&cellar), WARNING, &["debris"]), &["shop_20231231_020000.dump.gz"]);
}

#[test]
fn a_verify_that_found_damage() {
    let cellar = folder();
    let (old, new) = (forged::add(&cellar.backup_dir(), "shop", 25), forged::add(&cellar.backup_dir(), "shop", 1));
    fs::write(cellar.backup_dir().join(format!("{new}.globals.sql.gz.age")), [b'x'; forged::SIZES[1] as usize])
        .unwrap();
    assert_ne!(cellar.run(["verify", &new]).finish().code(), Some(0));
    let outcome = finds(check(&cellar), CRITICAL, &["damaged"]);
    says(&outcome, &[&new]);
    assert!(!outcome.stdout.contains(&old), "{outcome}");
}

#[test]
fn a_full_disk() {
    let cellar = folder();
    let over = cellar.scratch().join("small");
    fs::create_dir(&over).unwrap();
    let disk = SmallDisk::mount(&over, 4096);
    forged::add(disk.path(), "shop", 1);
    let cellar = cellar.with("BACKUP_DIR", disk.path()).with("MONITOR_MIN_FREE", "5%");
    // The small disk is in memory, which is a finding of its own.
    finds(check(&cellar), CRITICAL, &["in_memory"]);
    let fill = |kilobytes: usize| fs::write(disk.path().join("filler"), vec![b'x'; kilobytes << 10]).unwrap();
    // The next backup needs 1.1 MiB.
    fill(3500);
    says(
        &finds(check(&cellar), CRITICAL, &["next_backup_fits", "in_memory"]),
        &["the next backup needs about 1.10 MiB"],
    );
    fill(3950);
    says(&finds(check(&cellar), CRITICAL, &["storage_full", "in_memory"]), &["free space there"]);
}

#[test]
fn keys_that_cannot_be_read() {
    let cellar = folder();
    forged::add(&cellar.backup_dir(), "shop", 1);
    let key = keys::age(cellar.scratch(), "key");
    let damaged = cellar.scratch().join("damaged");
    fs::write(&damaged, "no key").unwrap();
    finds(check(&cellar).env("BACKUP_AGE_RECIPIENTS", &key.recipient), OK, &[]);
    for (variable, path, status) in [
        ("BACKUP_AGE_RECIPIENTS_FILE", "/nonexistent/recipients", CRITICAL),
        ("BACKUP_AGE_RECIPIENTS_FILE", damaged.to_str().unwrap(), CRITICAL),
        ("BACKUP_AGE_IDENTITY_FILE", "/nonexistent/identity", WARNING),
        ("DB_PASSWORD_FILE", "/nonexistent/password", CRITICAL),
        ("DB_SSLROOTCERT", "/nonexistent/authority", CRITICAL),
        ("AWS_SECRET_ACCESS_KEY_FILE", "/nonexistent/secret", CRITICAL),
    ] {
        says(&finds(check(&cellar).env(variable, path), status, &["key"]), &[variable.trim_end_matches("_FILE")]);
    }
}

#[test]
fn a_bucket_that_lags_behind() {
    let bucket = Bucket::new();
    let cellar = bucket.copies(folder());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let add = |hours| {
        forged::add_changed(&cellar.backup_dir(), "shop", hours, |manifest| manifest["host"] = host.as_str().into())
    };
    let ids: Vec<String> = [60, 29, 5].map(add).to_vec();
    let copy = |id: &str| {
        for entry in fs::read_dir(cellar.backup_dir()).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with(id) {
                let mut upload = bucket.store_of("main", &host).create(&name, None, ObjectKind::Archive).unwrap();
                upload.write_all(&fs::read(entry.path()).unwrap()).unwrap();
                upload.seal().unwrap();
                upload.commit().unwrap();
            }
        }
    };
    says(&finds(check(&cellar), CRITICAL, &["copies_behind"]), &["shop in s3", "none of its backups"]);
    copy(&ids[0]);
    says(&finds(check(&cellar), CRITICAL, &["copies_behind"]), &["2 backups", &ids[1], &ids[2]]);
    copy(&ids[1]);
    says(&finds(check(&cellar), WARNING, &["copies_behind"]), &[&ids[2]]);
    copy(&ids[2]);
    finds(check(&cellar), OK, &[]);
    // Without the folder only the copies are left.
    let outcome = finds(check(&cellar).env("BACKUP_DIR", ""), OK, &[]);
    says(&outcome, &["'shop backups'=3"]);
    let metrics = cellar.run(["monitor", "report", "--format", "prometheus"]).succeeds().stdout;
    assert!(metrics.contains("pgcellar_store_readable{cellar=\"main\",store=\"s3\"} 1"), "{metrics}");
}

#[test]
fn an_unreachable_bucket() {
    let cellar = folder();
    forged::add(&cellar.backup_dir(), "shop", 1);
    let cellar = cellar.with("AWS_S3_BUCKET", "bucket").with("AWS_ENDPOINT_URL", "http://127.0.0.1:1");
    let cellar = cellar.with("AWS_ACCESS_KEY_ID", "id").with("AWS_SECRET_ACCESS_KEY", "secret");
    says(&finds(check(&cellar), WARNING, &["store_unreadable"]), &["store_unreadable s3"]);
    finds(check(&cellar).env("BACKUP_DIR", ""), CRITICAL, &["store_unreadable"]);
}

#[test]
fn wrong_settings_leave_the_state_unknown() {
    let cellar = folder();
    forged::add(&cellar.backup_dir(), "shop", 1);
    for (variable, value) in [
        ("MONITOR_MIN_FREE", "much"),
        ("MONITOR_MAX_SIZE", "10 apples"),
        ("MONITOR_RECENT_HOURS", "0"),
        ("MONITOR_MIN_BACKUPS", "-1"),
        ("MONITOR_MAX_AGE_DAYS", "week"),
        ("MONITOR_MAX_DEVIATION", "x"),
        ("DB_PORT", "70000"),
        ("PGCELLAR_INSTANCE", "a/b"),
    ] {
        let outcome = finds(check(&cellar).env(variable, value), UNKNOWN, &[]);
        says(&outcome, &[variable]);
        let json = cellar.run(["monitor", "check", "--json"]).env(variable, value).finish();
        assert_eq!((json.code(), &json.json()["level"]), (Some(UNKNOWN), &"UNKNOWN".into()), "{json}");
    }
}

#[test]
fn the_verdict_as_json() {
    let cellar = folder();
    forged::add(&cellar.backup_dir(), "shop", 30);
    let outcome = cellar.run(["monitor", "check", "--json"]).finish();
    assert_eq!(outcome.code(), Some(WARNING), "{outcome}");
    let verdict = outcome.json();
    assert_eq!(verdict["level"], "WARNING");
    assert_eq!(
        (&verdict["findings"][0]["check"], &verdict["findings"][0]["subject"]),
        (&"not_recent".into(), &"shop".into())
    );
    assert!(verdict["summary"].as_str().unwrap().contains("26 h are allowed"), "{outcome}");
}

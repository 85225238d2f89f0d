//! `pgcellar retention`: the backups that it removes, and those that it must never remove.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::backup_folder::BackupFolder;
use crate::common::process::hand_over;
use crate::common::{Cellar, Cluster, Version, exit, tree};

mod bucket;
mod clock;
mod last_usable;
mod pin_race;

/// Ids that a dry run would keep.
fn would_keep(backups: &BackupFolder, settings: &[(&str, &str)]) -> Vec<String> {
    let run = backups.cellar.run(["retention", "--dry-run", "--json"]);
    let outcome = settings.iter().fold(run, |run, (name, value)| run.env(*name, *value)).succeeds();
    ids(&outcome.json(), "keep")
}

fn ids(decisions: &Value, decision: &str) -> Vec<String> {
    let alone = |backup: &Value| {
        let reasons = backup["reasons"].as_array().unwrap();
        reasons.iter().all(|reason| reason.as_str().unwrap().starts_with("from before a gap"))
    };
    // Backups kept because of a gap after them have tests of their own.
    let chosen = decisions.as_array().unwrap().iter().filter(|backup| backup["decision"] == decision && !alone(backup));
    chosen.map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

fn make_old(path: &std::path::Path) {
    let written = SystemTime::now() - Duration::from_secs(25 * 3600);
    File::open(path).unwrap().set_modified(written).unwrap();
}

#[test]
fn by_default_seven_days_are_kept_and_older_files_removed() {
    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=10);
    backups.record(&all[0], true);
    backups.record(&all[9], true);
    let dry = backups.cellar.run(["retention", "--dry-run"]).succeeds();
    assert_eq!(dry.stdout.matches(" remove ").count(), 2, "{dry}");
    assert!(dry.stdout.contains("within 7 days") && dry.stdout.contains("no rule keeps it"), "{dry}");
    assert_eq!(backups.listed(), all);
    let outcome = backups.cellar.run(["retention"]).succeeds().says("removed 2 backups");
    assert!(outcome.stderr.contains(&format!("removed {}", all[1])), "{outcome}");
    assert_eq!(outcome.stdout, "");
    assert_eq!(backups.listed(), all[2..]);
    assert_eq!(backups.others(&all[2..]), Vec::<String>::new());
    backups.cellar.run(["retention"]).succeeds().says("removed 0 backups");
    assert_eq!(backups.listed(), all[2..]);
}

#[test]
fn each_rule_keeps_what_it_names() {
    let backups = BackupFolder::new();
    let all: Vec<String> = [
        "2022-12-31T23:30:00Z",
        "2023-06-01T02:00:00Z",
        "2023-12-31T02:00:00Z",
        "2024-01-01T02:00:00Z",
        "2024-01-14T02:00:00Z",
        "2024-01-15T02:00:00Z",
        "2024-01-15T22:30:00Z",
        "2024-01-15T23:10:00Z",
        "2024-01-15T23:20:00Z",
    ]
    .iter()
    .map(|started| backups.add("shop", started))
    .collect();
    let kept = |settings: &[(&str, &str)]| -> Vec<usize> {
        let kept = would_keep(&backups, settings);
        kept.iter().map(|id| all.iter().position(|other| other == id).unwrap()).collect()
    };
    assert_eq!(kept(&[("BACKUP_RETENTION_DAYS", "1")]), [5, 6, 7, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_LAST", "2")]), [7, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_HOURLY", "2")]), [6, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_DAILY", "2")]), [4, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_WEEKLY", "3")]), [3, 4, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_MONTHLY", "2")]), [2, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_YEARLY", "3")]), [0, 2, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_WITHIN", "14d22h")]), [3, 4, 5, 6, 7, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_WITHIN", "1h"), ("BACKUP_KEEP_YEARLY", "2")]), [2, 6, 7, 8]);
    // An hour later, in Berlin, it is the next day, month and year.
    let berlin = ("TZ", "Europe/Berlin");
    assert_eq!(kept(&[("BACKUP_KEEP_DAILY", "2"), berlin]), [6, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_YEARLY", "3"), berlin]), [0, 2, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_YEARLY", "2"), ("TZ", "UTC")]), [2, 8]);
    backups.cellar.run(["retention", "--keep-monthly", "3", "--keep-last", "1"]).succeeds();
    assert_eq!(backups.listed(), [all[1].clone(), all[2].clone(), all[8].clone()]);
}

#[test]
fn the_last_good_backup_is_kept() {
    let backups = BackupFolder::new();
    let good = backups.add_daily("shop", 1..=2);
    let damaged = backups.add("shop", "2024-01-20T02:00:00Z");
    tree::truncate(&backups.archive(&damaged), 10);
    let missing = backups.add("shop", "2024-01-21T02:00:00Z");
    fs::remove_file(backups.archive(&missing)).unwrap();
    let failed = backups.add("shop", "2024-01-22T02:00:00Z");
    backups.record(&failed, false);
    let partial = backups.add_changed("shop", "2024-01-23T02:00:00Z", |manifest| manifest["partial"] = json!(true));
    let before = tree::hashes(&backups.folder());
    for days in ["1", "5"] {
        backups.cellar.run(["retention"]).env("BACKUP_RETENTION_DAYS", days).succeeds();
    }
    let mut after = tree::hashes(&backups.folder());
    after.remove(std::path::Path::new(".pgcellar.lock"));
    assert_eq!(after, before, "the rules go by the good ones");
    backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(backups.listed(), [good[1].clone(), damaged.clone(), missing, failed, partial]);
    // With a good one again, damaged backups expire by their own age.
    let newest = backups.add("shop", "2024-01-28T02:00:00Z");
    backups.cellar.run(["retention", "--retention-days", "6"]).succeeds();
    // With the one before the gap.
    assert_eq!(backups.listed().len(), 4);
    assert!(backups.listed().contains(&newest) && !backups.listed().contains(&damaged));
    assert!(!backups.folder().join(format!("{damaged}.globals.sql.gz")).exists());
}

#[test]
fn months_of_failures_remove_nothing() {
    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=8);
    let alone = backups.add("once", "2020-02-29T02:00:00Z");
    backups.cellar.run(["retention"]).succeeds().says("removed 0 backups");
    let mut expected = vec![alone];
    expected.extend(all);
    assert_eq!(backups.listed(), expected);
}

#[test]
fn pinned_backups_stay_until_they_are_unpinned() {
    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=10);
    backups.cellar.run(["pin", &all[0], "--reason", "before the move"]).succeeds().says("is pinned");
    backups.cellar.run(["pin", "latest", "--database", "shop"]).succeeds();
    backups.cellar.run(["pin", "shop_20240103"]).succeeds();
    let listed = backups.cellar.list();
    assert_eq!(listed[0]["pin"]["reason"], "before the move");
    assert_eq!(listed[1]["pin"], Value::Null);
    let text = backups.cellar.run(["list"]).succeeds().stdout;
    assert_eq!(text.matches("good (pinned)").count(), 3, "{text}");
    backups.cellar.run(["verify", &all[0]]).succeeds();
    backups.cellar.run(["verify", &all[9]]).succeeds();

    backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    let expected = [all[0].clone(), all[2].clone(), all[9].clone()];
    assert_eq!(backups.listed(), expected);
    assert_eq!(backups.others(&expected), Vec::<String>::new());

    backups.cellar.run(["unpin", &all[0]]).succeeds();
    backups.cellar.run(["unpin", &all[0]]).succeeds();
    backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(backups.listed(), expected[1..]);
    assert_eq!(backups.others(&expected[1..]), Vec::<String>::new());
    for verb in ["pin", "unpin"] {
        backups.cellar.run([verb, &all[0]]).fails(exit::NOINPUT).says(&all[0]);
        backups.cellar.run([verb, "shop_2024"]).fails(exit::USAGE);
        backups.cellar.run([verb]).fails(exit::USAGE);
    }
    assert_eq!(backups.others(&expected[1..]), Vec::<String>::new());
}

#[test]
fn foreign_files_are_left_alone() {
    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=3);
    let foreign = [
        "shop_20200101_000000.dump.gz",
        "shop_20240101_020000.sql.gz",
        "shop_20240101_020000.dump.gz.bak",
        "other_20200101_000000.dump.gz",
        "notes.txt",
        "foreign.partial",
        "shop.dump.partial",
        "shop_20200101_000000.manifest.json.bak",
    ];
    for name in foreign {
        fs::write(backups.folder().join(name), name).unwrap();
        make_old(&backups.folder().join(name));
    }
    fs::create_dir(backups.folder().join("shop_20200102_000000")).unwrap();
    fs::write(backups.folder().join("shop_20200102_000000/toc.dat"), "x").unwrap();
    fs::write(backups.folder().join("newer_20200101_000000.manifest.json"), r#"{"manifest_version": 99}"#).unwrap();
    fs::write(backups.folder().join("newer_20200101_000000.dump"), "x").unwrap();
    backups.cellar.run(["retention", "--keep-last", "1"]).succeeds().says("newer_20200101_000000");
    assert_eq!(backups.listed(), all[2..]);
    for name in foreign {
        assert_eq!(fs::read_to_string(backups.folder().join(name)).unwrap(), name);
    }
    assert_eq!(backups.others(&all[2..]).len(), foreign.len() + 3, "{:?}", backups.others(&all[2..]));
    assert!(backups.folder().join("shop_20200102_000000/toc.dat").exists());
}

#[test]
fn a_common_name_prefix_does_not_mix_databases() {
    let backups = BackupFolder::new();
    let foo = backups.add_daily("foo", 1..=9);
    let foobar = backups.add_daily("foobar", 1..=1);
    let foo_bar = backups.add_daily("foo_bar", 2..=2);
    let strange = backups.add_changed("foo", "2024-01-01T03:00:00Z", |manifest| manifest["database"] = json!("foobar"));
    backups.cellar.run(["retention", "--database", "foo", "--keep-last", "1"]).succeeds();
    let mut expected = vec![foobar[0].clone(), strange.clone(), foo_bar[0].clone(), foo[8].clone()];
    assert_eq!(backups.listed(), expected);
    backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    // The manifest names the database, not the file name.
    expected.remove(0);
    assert_eq!(backups.listed(), expected);
    let outcome = backups.cellar.run(["retention", "--database", "fo", "--dry-run", "--json"]).succeeds();
    assert_eq!(outcome.json(), json!([]));
}

#[test]
fn another_instances_backups_are_left_alone() {
    let backups = BackupFolder::new();
    let own = backups.add_daily("shop", 1..=3);
    let others: Vec<String> = (11..=13)
        .map(|day| {
            let change = |manifest: &mut Value| manifest["instance"] = json!("other");
            backups.add_changed("shop", &format!("2024-01-{day}T02:00:00Z"), change)
        })
        .collect();
    backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    let expected: Vec<String> = own[2..].iter().chain(&others).cloned().collect();
    assert_eq!(backups.listed_of_all(), expected);
    backups.cellar.run(["pin", &others[0]]).fails(exit::NOINPUT);
    backups.cellar.run(["retention", "--keep-last", "1", "--instance", "other"]).succeeds();
    assert_eq!(backups.listed_of_all(), [own[2].clone(), others[2].clone()]);
}

#[test]
fn a_dry_run_shows_what_a_run_would_do() {
    let backups = BackupFolder::new();
    for (database, hours) in [("shop", 5), ("foo", 17), ("foobar", 31)] {
        for number in 0..40_u32 {
            let hour = number * hours;
            let started = format!("2024-{:02}-{:02}T{:02}:10:00Z", 1 + hour / 672, 1 + hour / 24 % 28, hour % 24);
            let change = |manifest: &mut Value| manifest["partial"] = json!(number % 7 == 3);
            let id = backups.add_changed(database, &started, change);
            if number % 5 == 2 {
                backups.record(&id, number % 2 == 0);
            }
        }
    }
    let settings = ["--keep-daily", "3", "--keep-weekly=2", "--keep-within=30h", "--timezone", "America/St_Johns"];
    let before = tree::hashes(&backups.folder());
    let dry = backups.cellar.run(["retention", "--dry-run", "--json"]).arguments(settings).succeeds().json();
    assert_eq!(tree::hashes(&backups.folder()), before);
    let real = backups.cellar.run(["retention", "--json"]).arguments(settings).succeeds().json();
    let without_outcome = |mut decisions: Value| {
        for backup in decisions.as_array_mut().unwrap() {
            assert_eq!(backup["error"], Value::Null);
            backup.as_object_mut().unwrap().remove("removed");
        }
        decisions
    };
    assert_eq!(without_outcome(dry.clone()), without_outcome(real.clone()));
    assert!(real.as_array().unwrap().iter().all(|backup| backup["removed"] == (backup["decision"] == "remove")));
    let kept = ids(&dry, "keep");
    assert_eq!(backups.listed(), kept);
    assert_eq!(backups.others(&kept), Vec::<String>::new());
    assert!(kept.len() > 10 && kept.len() < 100, "{}", kept.len());
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=9);
    for (name, value, said) in [
        ("BACKUP_RETENTION_DAYS", "0", "keeps nothing"),
        ("BACKUP_KEEP_LAST", "0", "keeps nothing"),
        ("BACKUP_S3_RETENTION_DAYS", "0", "BACKUP_S3_RETENTION_DAYS"),
        ("BACKUP_RETENTION_DAYS", "seven", "BACKUP_RETENTION_DAYS (--retention-days) is 'seven'"),
        ("BACKUP_KEEP_WITHIN", "2w", "BACKUP_KEEP_WITHIN (--keep-within) is '2w'"),
        ("TZ", "Europe/Berlim", "TZ (--timezone) is 'Europe/Berlim'"),
    ] {
        backups.cellar.run(["retention"]).env(name, value).fails(exit::CONFIG).says(said);
        backups.cellar.run(["retention", "--dry-run"]).env(name, value).fails(exit::CONFIG);
    }
    assert_eq!(backups.listed(), all);
    backups.cellar.run(["retention"]).env("BACKUP_RETENTION_DAYS", "").env("TZ", "").succeeds();
    assert_eq!(backups.listed(), all[1..]);
}

#[test]
fn two_runs_at_once() {
    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=9);
    backups.cellar.run(["retention", "--retention-days", "30"]).succeeds();
    let lock = File::options().write(true).open(backups.folder().join(".pgcellar.lock")).unwrap();
    lock.lock().unwrap();
    backups.cellar.run(["retention"]).fails(exit::TEMPFAIL).says("locked by");
    assert_eq!(would_keep(&backups, &[]), all[1..]);
    assert_eq!(backups.listed(), all);
    drop(lock);
    backups.cellar.run(["retention"]).succeeds();
    assert_eq!(backups.listed(), all[1..]);
}

#[test]
fn a_folder_that_cannot_be_written() {
    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=9);
    hand_over(backups.cellar.scratch());
    hand_over(&backups.folder());
    tree::files(&backups.folder()).iter().for_each(|file| hand_over(file));
    let mode = |mode| fs::set_permissions(backups.folder(), fs::Permissions::from_mode(mode)).unwrap();
    let run = || backups.cellar.run(["retention"]).by_unprivileged_user();
    mode(0o500);
    run().fails(exit::CANTCREAT).says("permission denied");
    assert_eq!(backups.listed(), all);
    // The lock is free, and no file can be renamed.
    mode(0o700);
    run().arguments(["--retention-days", "30"]).succeeds();
    mode(0o500);
    run().fails(exit::CANTCREAT).says("1 of 1 backups could not be removed").says(&all[0]);
    assert_eq!(backups.listed(), all);
    mode(0o700);
    run().succeeds();
    assert_eq!(backups.listed(), all[1..]);
}

#[test]
fn a_missing_folder() {
    let cellar = Cellar::unconnected().with("BACKUP_DIR", "/nonexistent/backups");
    cellar.run(["retention"]).fails(exit::CANTCREAT).says("/nonexistent/backups");
    cellar.run(["retention", "--dry-run"]).fails(exit::NOINPUT).says("/nonexistent/backups");
    cellar.run(["pin", "latest"]).fails(exit::NOINPUT).says("/nonexistent/backups");
}

/// The states after a kill at each step of a deletion are made by hand.
#[test]
fn the_next_run_finishes_a_killed_deletion() {
    let order = [".dump.gz", ".globals.sql.gz", ".verify.json", ".drill.json"];
    for gone in (0..=order.len()).map(|files| &order[..files]) {
        let backups = BackupFolder::new();
        let all = backups.add_daily("shop", 1..=4);
        backups.record(&all[1], true);
        fs::write(backups.folder().join(format!("{}.drill.json", all[1])), "{}").unwrap();
        let manifest = backups.folder().join(format!("{}.manifest.json", all[1]));
        fs::rename(&manifest, manifest.with_extension("json.partial")).unwrap();
        for suffix in gone {
            fs::remove_file(backups.folder().join(format!("{}{suffix}", all[1]))).unwrap();
        }
        let rest = [all[0].clone(), all[2].clone(), all[3].clone()];
        assert_eq!(backups.listed(), rest);
        backups.cellar.run(["retention"]).succeeds();
        assert_eq!(backups.listed(), rest);
        assert_eq!(backups.others(&rest), Vec::<String>::new(), "{gone:?}");
    }
}

#[test]
fn sigkill_during_many_deletions() {
    let backups = BackupFolder::new();
    for month in 1..=12 {
        for day in 1..=28 {
            backups.add("shop", &format!("2023-{month:02}-{day:02}T02:00:00Z"));
        }
    }
    let newest = backups.add("shop", "2024-01-01T02:00:00Z");
    let running = backups.cellar.run(["retention", "--keep-last", "1"]).start();
    running.wait_for_stderr("removed shop_20230101_020000");
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal(), Some(9));
    let left = backups.cellar.list();
    assert!(left.iter().all(|backup| backup["status"] == "good"), "{left:?}");
    assert!(left.len() > 1, "the kill came too late");
    backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(backups.listed(), std::slice::from_ref(&newest));
    assert_eq!(backups.others(&[newest]), Vec::<String>::new());
}

#[test]
fn leftovers_of_killed_backups_are_removed_after_a_day() {
    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=2);
    let (young, old) = ("shop_20240103_020000.dump.gz.partial", "shop_20240104_020000.dump.gz.partial");
    for name in [young, old] {
        fs::write(backups.folder().join(name), "half").unwrap();
    }
    fs::create_dir(backups.folder().join("shop_20240105_020000.partial")).unwrap();
    fs::write(backups.folder().join("shop_20240105_020000.partial/toc.dat"), "half").unwrap();
    make_old(&backups.folder().join(old));
    make_old(&backups.folder().join("shop_20240105_020000.partial"));
    backups.cellar.run(["retention", "--dry-run"]).succeeds();
    assert!(backups.folder().join(old).exists());
    backups.cellar.run(["retention"]).succeeds().says("shop_20240104_020000.dump.gz.partial");
    assert_eq!(backups.others(&all), [young]);
    assert_eq!(backups.listed(), all);
}

#[test]
fn a_directory_archive_is_removed_with_its_folder() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("retention");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n");
    let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", "directory");
    let ids: Vec<String> = (0..2).map(|_| cellar.back_up(database.name())["id"].as_str().unwrap().to_owned()).collect();
    fs::write(cellar.backup_dir().join(format!("{}/notes.txt", ids[0])), "x").unwrap();
    cellar.run(["retention", "--keep-last", "1"]).succeeds();
    let listed = cellar.list();
    assert_eq!((listed.len(), listed[0]["id"].as_str()), (1, Some(ids[1].as_str())));
    let left = tree::files(&cellar.backup_dir().join(&ids[0]));
    assert_eq!(left, [cellar.backup_dir().join(format!("{}/notes.txt", ids[0]))], "only what no manifest names");
    cellar.run(["verify", "--all"]).succeeds();
}

/// An unreadable verify record may be one of damage. Its backup does not count as good, and is not removed.
#[test]
fn an_unreadable_record_is_reported_and_removes_no_backup() {
    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=10);
    for id in [&all[0], &all[9]] {
        fs::write(backups.folder().join(format!("{id}.verify.json")), "{").unwrap();
    }
    let outcome = backups.cellar.run(["list", "--json"]).succeeds().says("cannot be read").says(&all[9]);
    assert_eq!((&outcome.json()[9]["status"], &outcome.json()[9]["verification"]), (&json!("good"), &Value::Null));
    assert!(outcome.json()[9]["verification_error"].is_string() && outcome.json()[8]["verification_error"].is_null());
    let report = backups.cellar.run(["monitor", "check"]).finish();
    assert!(format!("{report}").contains("result of the last verify cannot be read"), "{report}");
    // The newest good one is the ninth.
    let outcome = backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(backups.listed(), [all[0].clone(), all[8].clone(), all[9].clone()], "{outcome}");
    backups.cellar.run(["verify", &all[9]]).succeeds().says("the previous verify could not be read");
    backups.cellar.run(["verify", &all[0]]).succeeds();
    backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(backups.listed(), all[9..]);
}

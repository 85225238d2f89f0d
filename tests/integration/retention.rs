//! What `retention` removes, and what it must never remove.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::process::hand_over;
use crate::common::shelf::Shelf;
use crate::common::{Cellar, Cluster, Version, exit, tree};

mod bucket;
mod clock;
mod kept;
mod windows;

/// Ids that a dry run would keep.
fn would_keep(shelf: &Shelf, settings: &[(&str, &str)]) -> Vec<String> {
    let run = shelf.cellar.run(["retention", "--dry-run", "--json"]);
    let outcome = settings.iter().fold(run, |run, (name, value)| run.env(*name, *value)).succeeds();
    ids(&outcome.json(), "keep")
}

fn ids(decisions: &Value, decision: &str) -> Vec<String> {
    let alone = |backup: &Value| {
        let reasons = backup["reasons"].as_array().unwrap();
        reasons.iter().all(|reason| reason.as_str().unwrap().starts_with("from before a gap"))
    };
    // What stays for a gap after it has tests of its own.
    let chosen = decisions.as_array().unwrap().iter().filter(|backup| backup["decision"] == decision && !alone(backup));
    chosen.map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

fn make_old(path: &std::path::Path) {
    let written = SystemTime::now() - Duration::from_secs(25 * 3600);
    File::open(path).unwrap().set_modified(written).unwrap();
}

#[test]
fn seven_days_are_kept_by_default_and_every_file_of_the_others_goes() {
    let shelf = Shelf::new();
    let all = shelf.lay_daily("shop", 1..=10);
    shelf.record(&all[0], true);
    shelf.record(&all[9], true);
    let dry = shelf.cellar.run(["retention", "--dry-run"]).succeeds();
    assert_eq!(dry.stdout.matches(" remove ").count(), 2, "{dry}");
    assert!(dry.stdout.contains("within 7 days") && dry.stdout.contains("no rule keeps it"), "{dry}");
    assert_eq!(shelf.listed(), all);
    let outcome = shelf.cellar.run(["retention"]).succeeds().says("removed 2 backups");
    assert!(outcome.stderr.contains(&format!("removed {}", all[1])), "{outcome}");
    assert_eq!(outcome.stdout, "");
    assert_eq!(shelf.listed(), all[2..]);
    assert_eq!(shelf.others(&all[2..]), Vec::<String>::new());
    shelf.cellar.run(["retention"]).succeeds().says("removed 0 backups");
    assert_eq!(shelf.listed(), all[2..]);
}

#[test]
fn each_rule_keeps_what_it_names() {
    let shelf = Shelf::new();
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
    .map(|started| shelf.lay("shop", started))
    .collect();
    let kept = |settings: &[(&str, &str)]| -> Vec<usize> {
        let kept = would_keep(&shelf, settings);
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
    // An hour later it is the next day, month and year in Berlin, and half past.
    let berlin = ("TZ", "Europe/Berlin");
    assert_eq!(kept(&[("BACKUP_KEEP_DAILY", "2"), berlin]), [6, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_YEARLY", "3"), berlin]), [0, 2, 8]);
    assert_eq!(kept(&[("BACKUP_KEEP_YEARLY", "2"), ("TZ", "UTC")]), [2, 8]);
    shelf.cellar.run(["retention", "--keep-monthly", "3", "--keep-last", "1"]).succeeds();
    assert_eq!(shelf.listed(), [all[1].clone(), all[2].clone(), all[8].clone()]);
}

#[test]
fn the_last_good_backup_stays_whatever_is_newer() {
    let shelf = Shelf::new();
    let good = shelf.lay_daily("shop", 1..=2);
    let damaged = shelf.lay("shop", "2024-01-20T02:00:00Z");
    tree::truncate(&shelf.archive(&damaged), 10);
    let missing = shelf.lay("shop", "2024-01-21T02:00:00Z");
    fs::remove_file(shelf.archive(&missing)).unwrap();
    let failed = shelf.lay("shop", "2024-01-22T02:00:00Z");
    shelf.record(&failed, false);
    let partial = shelf.lay_changed("shop", "2024-01-23T02:00:00Z", |manifest| manifest["partial"] = json!(true));
    let before = tree::hashes(&shelf.folder());
    for days in ["1", "5"] {
        shelf.cellar.run(["retention"]).env("BACKUP_RETENTION_DAYS", days).succeeds();
    }
    let mut after = tree::hashes(&shelf.folder());
    after.remove(std::path::Path::new(".pgcellar.lock"));
    assert_eq!(after, before, "the rules go by the good ones");
    shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(shelf.listed(), [good[1].clone(), damaged.clone(), missing, failed, partial]);
    // Once there is a good one again, what is damaged grows old by its own age.
    let newest = shelf.lay("shop", "2024-01-28T02:00:00Z");
    shelf.cellar.run(["retention", "--retention-days", "6"]).succeeds();
    // With the one from before the gap.
    assert_eq!(shelf.listed().len(), 4);
    assert!(shelf.listed().contains(&newest) && !shelf.listed().contains(&damaged));
    assert!(!shelf.folder().join(format!("{damaged}.globals.sql.gz")).exists());
}

#[test]
fn a_service_that_has_failed_for_months_deletes_nothing_more() {
    let shelf = Shelf::new();
    let all = shelf.lay_daily("shop", 1..=8);
    let alone = shelf.lay("once", "2020-02-29T02:00:00Z");
    shelf.cellar.run(["retention"]).succeeds().says("removed 0 backups");
    let mut expected = vec![alone];
    expected.extend(all);
    assert_eq!(shelf.listed(), expected);
}

#[test]
fn pinned_backups_stay_until_they_are_unpinned() {
    let shelf = Shelf::new();
    let all = shelf.lay_daily("shop", 1..=10);
    shelf.cellar.run(["pin", &all[0], "--reason", "before the move"]).succeeds().says("is pinned");
    shelf.cellar.run(["pin", "latest", "--database", "shop"]).succeeds();
    shelf.cellar.run(["pin", "shop_20240103"]).succeeds();
    let listed = shelf.cellar.list();
    assert_eq!(listed[0]["pin"]["reason"], "before the move");
    assert_eq!(listed[1]["pin"], Value::Null);
    let text = shelf.cellar.run(["list"]).succeeds().stdout;
    assert_eq!(text.matches("good (pinned)").count(), 3, "{text}");
    shelf.cellar.run(["verify", &all[0]]).succeeds();
    shelf.cellar.run(["verify", &all[9]]).succeeds();

    shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    let expected = [all[0].clone(), all[2].clone(), all[9].clone()];
    assert_eq!(shelf.listed(), expected);
    assert_eq!(shelf.others(&expected), Vec::<String>::new());

    shelf.cellar.run(["unpin", &all[0]]).succeeds();
    shelf.cellar.run(["unpin", &all[0]]).succeeds();
    shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(shelf.listed(), expected[1..]);
    assert_eq!(shelf.others(&expected[1..]), Vec::<String>::new());
    for verb in ["pin", "unpin"] {
        shelf.cellar.run([verb, &all[0]]).fails(exit::NOINPUT).says(&all[0]);
        shelf.cellar.run([verb, "shop_2024"]).fails(exit::USAGE);
        shelf.cellar.run([verb]).fails(exit::USAGE);
    }
    assert_eq!(shelf.others(&expected[1..]), Vec::<String>::new());
}

#[test]
fn foreign_files_are_left_alone() {
    let shelf = Shelf::new();
    let all = shelf.lay_daily("shop", 1..=3);
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
        fs::write(shelf.folder().join(name), name).unwrap();
        make_old(&shelf.folder().join(name));
    }
    fs::create_dir(shelf.folder().join("shop_20200102_000000")).unwrap();
    fs::write(shelf.folder().join("shop_20200102_000000/toc.dat"), "x").unwrap();
    fs::write(shelf.folder().join("newer_20200101_000000.manifest.json"), r#"{"manifest_version": 99}"#).unwrap();
    fs::write(shelf.folder().join("newer_20200101_000000.dump"), "x").unwrap();
    shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds().says("newer_20200101_000000");
    assert_eq!(shelf.listed(), all[2..]);
    for name in foreign {
        assert_eq!(fs::read_to_string(shelf.folder().join(name)).unwrap(), name);
    }
    assert_eq!(shelf.others(&all[2..]).len(), foreign.len() + 3, "{:?}", shelf.others(&all[2..]));
    assert!(shelf.folder().join("shop_20200102_000000/toc.dat").exists());
}

#[test]
fn a_database_whose_name_begins_like_anothers_is_another() {
    let shelf = Shelf::new();
    let foo = shelf.lay_daily("foo", 1..=9);
    let foobar = shelf.lay_daily("foobar", 1..=1);
    let foo_bar = shelf.lay_daily("foo_bar", 2..=2);
    let strange = shelf.lay_changed("foo", "2024-01-01T03:00:00Z", |manifest| manifest["database"] = json!("foobar"));
    shelf.cellar.run(["retention", "--database", "foo", "--keep-last", "1"]).succeeds();
    let mut expected = vec![foobar[0].clone(), strange.clone(), foo_bar[0].clone(), foo[8].clone()];
    assert_eq!(shelf.listed(), expected);
    shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    // The manifest tells the database, and not the name of a file.
    expected.remove(0);
    assert_eq!(shelf.listed(), expected);
    let outcome = shelf.cellar.run(["retention", "--database", "fo", "--dry-run", "--json"]).succeeds();
    assert_eq!(outcome.json(), json!([]));
}

#[test]
fn another_instances_backups_are_left_alone() {
    let shelf = Shelf::new();
    let own = shelf.lay_daily("shop", 1..=3);
    let others: Vec<String> = (11..=13)
        .map(|day| {
            let change = |manifest: &mut Value| manifest["instance"] = json!("other");
            shelf.lay_changed("shop", &format!("2024-01-{day}T02:00:00Z"), change)
        })
        .collect();
    shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    let expected: Vec<String> = own[2..].iter().chain(&others).cloned().collect();
    assert_eq!(shelf.listed_of_all(), expected);
    shelf.cellar.run(["pin", &others[0]]).fails(exit::NOINPUT);
    shelf.cellar.run(["retention", "--keep-last", "1", "--instance", "other"]).succeeds();
    assert_eq!(shelf.listed_of_all(), [own[2].clone(), others[2].clone()]);
}

#[test]
fn a_dry_run_says_what_a_run_does_and_does_nothing() {
    let shelf = Shelf::new();
    for (database, hours) in [("shop", 5), ("foo", 17), ("foobar", 31)] {
        for number in 0..40_u32 {
            let hour = number * hours;
            let started = format!("2024-{:02}-{:02}T{:02}:10:00Z", 1 + hour / 672, 1 + hour / 24 % 28, hour % 24);
            let change = |manifest: &mut Value| manifest["partial"] = json!(number % 7 == 3);
            let id = shelf.lay_changed(database, &started, change);
            if number % 5 == 2 {
                shelf.record(&id, number % 2 == 0);
            }
        }
    }
    let settings = ["--keep-daily", "3", "--keep-weekly=2", "--keep-within=30h", "--timezone", "America/St_Johns"];
    let before = tree::hashes(&shelf.folder());
    let dry = shelf.cellar.run(["retention", "--dry-run", "--json"]).arguments(settings).succeeds().json();
    assert_eq!(tree::hashes(&shelf.folder()), before);
    let real = shelf.cellar.run(["retention", "--json"]).arguments(settings).succeeds().json();
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
    assert_eq!(shelf.listed(), kept);
    assert_eq!(shelf.others(&kept), Vec::<String>::new());
    assert!(kept.len() > 10 && kept.len() < 100, "{}", kept.len());
}

#[test]
fn a_policy_that_keeps_nothing_is_refused() {
    let shelf = Shelf::new();
    let all = shelf.lay_daily("shop", 1..=9);
    for (name, value, said) in [
        ("BACKUP_RETENTION_DAYS", "0", "keeps nothing"),
        ("BACKUP_KEEP_LAST", "0", "keeps nothing"),
        ("BACKUP_S3_RETENTION_DAYS", "0", "BACKUP_S3_RETENTION_DAYS"),
        ("BACKUP_RETENTION_DAYS", "seven", "BACKUP_RETENTION_DAYS (--retention-days) is 'seven'"),
        ("BACKUP_KEEP_WITHIN", "2w", "BACKUP_KEEP_WITHIN (--keep-within) is '2w'"),
        ("TZ", "Europe/Berlim", "TZ (--timezone) is 'Europe/Berlim'"),
    ] {
        shelf.cellar.run(["retention"]).env(name, value).fails(exit::CONFIG).says(said);
        shelf.cellar.run(["retention", "--dry-run"]).env(name, value).fails(exit::CONFIG);
    }
    assert_eq!(shelf.listed(), all);
    shelf.cellar.run(["retention"]).env("BACKUP_RETENTION_DAYS", "").env("TZ", "").succeeds();
    assert_eq!(shelf.listed(), all[1..]);
}

#[test]
fn two_runs_at_once() {
    let shelf = Shelf::new();
    let all = shelf.lay_daily("shop", 1..=9);
    shelf.cellar.run(["retention", "--retention-days", "30"]).succeeds();
    let lock = File::options().write(true).open(shelf.folder().join(".pgcellar.lock")).unwrap();
    lock.lock().unwrap();
    shelf.cellar.run(["retention"]).fails(exit::TEMPFAIL).says("locked by");
    assert_eq!(would_keep(&shelf, &[]), all[1..]);
    assert_eq!(shelf.listed(), all);
    drop(lock);
    shelf.cellar.run(["retention"]).succeeds();
    assert_eq!(shelf.listed(), all[1..]);
}

#[test]
fn a_folder_that_cannot_be_written() {
    let shelf = Shelf::new();
    let all = shelf.lay_daily("shop", 1..=9);
    hand_over(shelf.cellar.scratch());
    hand_over(&shelf.folder());
    tree::files(&shelf.folder()).iter().for_each(|file| hand_over(file));
    let mode = |mode| fs::set_permissions(shelf.folder(), fs::Permissions::from_mode(mode)).unwrap();
    let run = || shelf.cellar.run(["retention"]).by_unprivileged_user();
    mode(0o500);
    run().fails(exit::CANTCREAT).says("permission denied");
    assert_eq!(shelf.listed(), all);
    // The lock can be had, and nothing can be renamed.
    mode(0o700);
    run().arguments(["--retention-days", "30"]).succeeds();
    mode(0o500);
    run().fails(exit::CANTCREAT).says("1 of 1 backups could not be removed").says(&all[0]);
    assert_eq!(shelf.listed(), all);
    mode(0o700);
    run().succeeds();
    assert_eq!(shelf.listed(), all[1..]);
}

#[test]
fn a_folder_that_is_not_there() {
    let cellar = Cellar::unconnected().with("BACKUP_DIR", "/nonexistent/backups");
    cellar.run(["retention"]).fails(exit::CANTCREAT).says("/nonexistent/backups");
    cellar.run(["retention", "--dry-run"]).fails(exit::NOINPUT).says("/nonexistent/backups");
    cellar.run(["pin", "latest"]).fails(exit::NOINPUT).says("/nonexistent/backups");
}

/// What a run leaves that is killed at each moment of a deletion is made by hand.
#[test]
fn a_deletion_that_was_killed_is_finished_by_the_next_run() {
    let order = [".dump.gz", ".globals.sql.gz", ".verify.json", ".drill.json"];
    for gone in (0..=order.len()).map(|files| &order[..files]) {
        let shelf = Shelf::new();
        let all = shelf.lay_daily("shop", 1..=4);
        shelf.record(&all[1], true);
        fs::write(shelf.folder().join(format!("{}.drill.json", all[1])), "{}").unwrap();
        let manifest = shelf.folder().join(format!("{}.manifest.json", all[1]));
        fs::rename(&manifest, manifest.with_extension("json.partial")).unwrap();
        for suffix in gone {
            fs::remove_file(shelf.folder().join(format!("{}{suffix}", all[1]))).unwrap();
        }
        let rest = [all[0].clone(), all[2].clone(), all[3].clone()];
        assert_eq!(shelf.listed(), rest);
        shelf.cellar.run(["retention"]).succeeds();
        assert_eq!(shelf.listed(), rest);
        assert_eq!(shelf.others(&rest), Vec::<String>::new(), "{gone:?}");
    }
}

#[test]
fn kill_9_in_the_middle_of_many_deletions() {
    let shelf = Shelf::new();
    for month in 1..=12 {
        for day in 1..=28 {
            shelf.lay("shop", &format!("2023-{month:02}-{day:02}T02:00:00Z"));
        }
    }
    let newest = shelf.lay("shop", "2024-01-01T02:00:00Z");
    let running = shelf.cellar.run(["retention", "--keep-last", "1"]).start();
    running.wait_for_stderr("removed shop_20230101_020000");
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal(), Some(9));
    let left = shelf.cellar.list();
    assert!(left.iter().all(|backup| backup["status"] == "good"), "{left:?}");
    assert!(left.len() > 1, "the kill came too late");
    shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(shelf.listed(), std::slice::from_ref(&newest));
    assert_eq!(shelf.others(&[newest]), Vec::<String>::new());
}

#[test]
fn what_killed_backups_have_left_goes_after_a_day() {
    let shelf = Shelf::new();
    let all = shelf.lay_daily("shop", 1..=2);
    let (young, old) = ("shop_20240103_020000.dump.gz.partial", "shop_20240104_020000.dump.gz.partial");
    for name in [young, old] {
        fs::write(shelf.folder().join(name), "half").unwrap();
    }
    fs::create_dir(shelf.folder().join("shop_20240105_020000.partial")).unwrap();
    fs::write(shelf.folder().join("shop_20240105_020000.partial/toc.dat"), "half").unwrap();
    make_old(&shelf.folder().join(old));
    make_old(&shelf.folder().join("shop_20240105_020000.partial"));
    shelf.cellar.run(["retention", "--dry-run"]).succeeds();
    assert!(shelf.folder().join(old).exists());
    shelf.cellar.run(["retention"]).succeeds().says("shop_20240104_020000.dump.gz.partial");
    assert_eq!(shelf.others(&all), [young]);
    assert_eq!(shelf.listed(), all);
}

#[test]
fn a_directory_archive_goes_with_its_folder() {
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

/// A record of a verify that cannot be read may have said that the backup is damaged. Nothing is built upon that backup, and
/// it does not go.
#[test]
fn a_result_that_cannot_be_read_is_told_and_costs_no_backup() {
    let shelf = Shelf::new();
    let all = shelf.lay_daily("shop", 1..=10);
    for id in [&all[0], &all[9]] {
        fs::write(shelf.folder().join(format!("{id}.verify.json")), "{").unwrap();
    }
    let outcome = shelf.cellar.run(["list", "--json"]).succeeds().says("cannot be read").says(&all[9]);
    assert_eq!((&outcome.json()[9]["status"], &outcome.json()[9]["verification"]), (&json!("good"), &Value::Null));
    assert!(outcome.json()[9]["verification_error"].is_string() && outcome.json()[8]["verification_error"].is_null());
    let report = shelf.cellar.run(["monitor", "check"]).finish();
    assert!(format!("{report}").contains("result of the last verify cannot be read"), "{report}");
    // The newest one that can be trusted is the ninth.
    let outcome = shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(shelf.listed(), [all[0].clone(), all[8].clone(), all[9].clone()], "{outcome}");
    shelf.cellar.run(["verify", &all[9]]).succeeds().says("the verify before could not be read");
    shelf.cellar.run(["verify", &all[0]]).succeeds();
    shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(shelf.listed(), all[9..]);
}

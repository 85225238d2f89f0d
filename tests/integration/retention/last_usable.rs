//! Backups that replace removed ones have been read.

use std::fs;

use aws_sdk_s3::primitives::ByteStream;
use serde_json::Value;

use crate::common::backup_folder::BackupFolder;
use crate::common::bucket::Bucket;
use crate::common::process::new_folder;
use crate::common::s3_server::{OWNER, wait};
use crate::common::{Cellar, Cluster, Version, exit, tree};

/// Changes a byte in the middle of a file.
fn damage(path: &std::path::Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_last_usable_backup_is_kept() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("kept");
    database.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 100) n");
    let cellar = Cellar::new(cluster).with("BACKUP_KEEP_LAST", "1");
    let back_up = || cellar.back_up(database.name())["id"].as_str().unwrap().to_owned();
    let listed = || -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        cellar.list().iter().map(|backup| (text(&backup["id"]), text(&backup["status"]))).collect()
    };
    let archive = |id: &str| cellar.backup_dir().join(format!("{id}.dump.gz"));
    let old = back_up();
    cellar.run(["verify", &old]).succeeds();
    let new = back_up();
    damage(&archive(&new));
    let dry = cellar.run(["retention", "--dry-run"]).succeeds();
    assert!(dry.stdout.contains("last verified one"), "{dry}");
    cellar.run(["retention"]).succeeds();
    assert_eq!(listed(), [(old.clone(), "verified".to_owned()), (new.clone(), "good".to_owned())]);

    // Without a verify, the same.
    fs::remove_file(cellar.backup_dir().join(format!("{old}.verify.json"))).unwrap();
    let before = tree::hashes(&cellar.backup_dir());
    let dry = cellar.run(["retention", "--dry-run"]).succeeds().says(&format!("would first read {new}"));
    assert!(dry.stdout.contains("read before others go"), "{dry}");
    assert_eq!(tree::hashes(&cellar.backup_dir()), before, "a dry run records nothing");
    cellar.run(["retention"]).succeeds().says(&format!("reads {new}")).says("is damaged");
    assert_eq!(listed(), [(old.clone(), "good".to_owned()), (new.clone(), "damaged".to_owned())]);
    cellar.run(["restore", &old, "--target-database", &cluster.name_for("kept_again")]).succeeds();

    // A readable one replaces it; it is read once.
    let newest = back_up();
    let outcome = cellar.run(["retention", "--json"]).succeeds().says(&format!("reads {newest}"));
    let decisions = outcome.json();
    let reasons = decisions.as_array().unwrap().iter().find(|backup| backup["id"] == newest.as_str()).unwrap();
    assert!(reasons["reasons"].to_string().contains("read before others go"), "{outcome}");
    assert_eq!(listed().iter().map(|(id, _)| id).collect::<Vec<_>>(), [&new, &newest]);
    let record = fs::read_to_string(cellar.backup_dir().join(format!("{newest}.verify.json"))).unwrap();
    let record: Value = serde_json::from_str(&record).unwrap();
    assert_eq!((&record["passed"], &record["depth"]), (&true.into(), &"stored".into()));
    let outcome = cellar.run(["retention"]).succeeds();
    assert!(!outcome.stderr.contains("reads "), "{outcome}");
}

#[test]
fn an_unreadable_backup_replaces_none() {
    use std::os::unix::fs::PermissionsExt;

    use crate::common::process::hand_over;

    let backups = BackupFolder::new();
    let all = backups.add_daily("shop", 1..=9);
    let other = backups.add_daily("other", 1..=9);
    hand_over(backups.cellar.scratch());
    hand_over(&backups.folder());
    tree::files(&backups.folder()).iter().for_each(|file| hand_over(file));
    fs::set_permissions(backups.archive(&all[8]), fs::Permissions::from_mode(0o000)).unwrap();
    let run = || backups.cellar.run(["retention"]).by_unprivileged_user();
    run().fails(exit::NOPERM).says("nothing of 'shop' is removed").says("permission denied");
    let left = backups.listed();
    assert!(all.iter().all(|id| left.contains(id)) && !left.contains(&other[0]), "{left:?}");
    fs::set_permissions(backups.archive(&all[8]), fs::Permissions::from_mode(0o600)).unwrap();
    run().succeeds();
    assert!(!backups.listed().contains(&all[0]));
}

#[test]
fn in_a_bucket_only_foreign_objects_are_read() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("kept_in_bucket");
    let bucket = Bucket::new();
    let runtime = new_folder();
    let cellar = bucket.copies(Cellar::new(cluster)).with("BACKUP_DIR", "").with("BACKUP_KEEP_LAST", "1");
    let cellar = cellar.with("XDG_RUNTIME_DIR", runtime.path());
    let back_up = || cellar.back_up(database.name())["id"].as_str().unwrap().to_owned();
    let (_, second) = (back_up(), back_up());
    let outcome = cellar.run(["retention"]).succeeds();
    assert!(!outcome.stderr.contains("reads "), "{outcome}");
    assert_eq!(bucket.ids(), std::slice::from_ref(&second));
    let third = back_up();
    let key = format!("{third}.dump.gz");
    let mut bytes = bucket.objects().remove(&key).unwrap();
    bytes[20] ^= 1;
    let client = bucket.server().client(OWNER);
    let put = client.put_object().bucket(bucket.name()).key(format!("database-backups/{key}"));
    wait(put.body(ByteStream::from(bytes)).send()).unwrap();
    cellar.run(["retention"]).succeeds().says(&format!("reads {third}")).says("is damaged");
    assert_eq!(bucket.ids(), [second, third]);
}

#[test]
fn the_default_policy_applies_to_a_store_without_rules() {
    let bucket = Bucket::new();
    let backups = BackupFolder { cellar: bucket.copies(BackupFolder::new().cellar) };
    backups.add_daily("shop", 1..=3);
    let dry = backups.cellar.run(["retention", "--dry-run"]).env("BACKUP_S3_KEEP_LAST", "1").succeeds();
    assert!(dry.stderr.contains("backups: the rules keep 7 days (the default)"), "{dry}");
    assert!(dry.stderr.contains("database-backups: the rules keep the last 1\n"), "{dry}");
    assert!(dry.stdout.contains("within 7 days (the default)"), "{dry}");
    let checked =
        backups.cellar.run(["config", "check"]).env("BACKUP_S3_KEEP_LAST", "1").env("DB_NAME", "shop").succeeds();
    assert!(checked.stderr.contains("retention keeps 7 days (the default); in the bucket the last 1"), "{checked}");
}

#[test]
fn a_backup_due_for_removal_is_not_copied() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("copied_late");
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let backups = BackupFolder { cellar };
    for year in 2018..2021 {
        backups.add(database.name(), &format!("{year}-01-01T02:00:00Z"));
    }
    let kept = backups.add(database.name(), "2021-01-01T02:00:00Z");
    let outcome = backups.cellar.run(["backup"]).env("BACKUP_KEEP_LAST", "2").succeeds();
    let printed = format!(
        "3 backups are not copied to s3://{}/database-backups, where the rules would remove them",
        bucket.name()
    );
    assert!(outcome.stderr.contains(&printed) && outcome.stderr.contains("(the last 2)"), "{outcome}");
    let new = backups.listed().pop().unwrap();
    assert_eq!(bucket.ids(), [kept, new]);
    // They are not pending, and with longer rules they are copied.
    let dry = backups.cellar.run(["retention", "--dry-run"]).env("BACKUP_KEEP_LAST", "2").succeeds();
    assert!(!dry.stderr.contains("not in the bucket yet") && dry.stdout.matches(" remove ").count() == 3, "{dry}");
    backups.cellar.run(["backup"]).env("BACKUP_KEEP_LAST", "2").env("BACKUP_S3_KEEP_LAST", "9").succeeds();
    assert_eq!(bucket.ids().len(), 6);
    // A wrong rule stops neither backup nor copy.
    let outcome = backups.cellar.run(["backup"]).env("BACKUP_KEEP_LAST", "two").succeeds();
    assert!(outcome.stderr.contains("BACKUP_KEEP_LAST (--keep-last) is 'two'"), "{outcome}");
    assert_eq!(bucket.ids().len(), 7);
}

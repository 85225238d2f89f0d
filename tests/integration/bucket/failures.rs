//! Failures of restores from the bucket: connections that break, objects that change, a disk that fills up.

use std::fs;
use std::time::Duration;

use pgcellar::store::{ObjectKind, Store};
use rustix::process::Signal;

use super::*;
use crate::common::compare::assert_same;
use crate::common::programs::Programs;
use crate::common::proxies::{BreakingProxy, StallingProxy};
use crate::common::small_disk::SmallDisk;

/// A database of 5 MB that does not compress.
fn large(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("large");
    database.sql(
        "CREATE TABLE noise AS SELECT n, (SELECT string_agg(encode(sha256((n::text || ':' || k)::bytea), 'base64'), '') \
           FROM generate_series(1, 20) k) AS text FROM generate_series(1, 5000) n",
    );
    database
}

/// Databases left by restores into this target.
fn left(cluster: &Cluster, target: &str) -> String {
    cluster.sql("postgres", &format!("SELECT datname FROM pg_database WHERE starts_with(datname, '{target}')"))
}

#[test]
fn broken_connections_are_resumed() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    for (format, arguments) in [("custom", &[][..]), ("custom", &["--jobs", "2"]), ("directory", &["--jobs", "2"])] {
        let manifest = cellar.run(["backup", "--json"]).env("DB_NAME", database.name()).env("BACKUP_FORMAT", format);
        let id = id_of(&manifest.succeeds().json()[0]);
        lose_directory(&cellar);
        let proxy = BreakingProxy::start(bucket.server().port(), 1_000_000, 4);
        let target = cluster.name_for("cut");
        let run = cellar.run(["restore", &id, "--target-database", &target]).arguments(arguments);
        run.env("AWS_ENDPOINT_URL", proxy.endpoint()).succeeds();
        assert!(proxy.breaks() >= 3, "{format}: {} breaks", proxy.breaks());
        assert_same(&database, &cluster.database(&target));
    }
}

#[test]
fn losing_the_bucket_midway_leaves_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    cellar.back_up(database.name());
    lose_directory(&cellar);
    let staging = cellar.scratch().join("staging");
    fs::create_dir(&staging).unwrap();
    for arguments in [&[][..], &["--jobs", "2"]] {
        let proxy = BreakingProxy::for_good(bucket.server().port(), 1_200_000);
        let target = cluster.name_for("never");
        let run = cellar.run(["restore", "latest", "--target-database", &target]).arguments(arguments);
        let run = run.env("AWS_ENDPOINT_URL", proxy.endpoint()).env("RESTORE_STAGING_DIR", &staging);
        let outcome = run.within(Duration::from_secs(240)).fails(exit::UNAVAILABLE);
        assert!(proxy.breaks() > 0, "{outcome}");
        assert_eq!(left(cluster, &target), "", "{outcome}");
        assert!(is_empty(&staging), "{outcome}");
    }
    // A copy that could not be read to its end is neither good nor damaged.
    let proxy = BreakingProxy::for_good(bucket.server().port(), 1_200_000);
    let run = cellar.run(["verify", "--json"]).env("AWS_ENDPOINT_URL", proxy.endpoint());
    let outcome = run.within(Duration::from_secs(240)).fails(exit::UNAVAILABLE);
    assert_eq!(outcome.json()[0]["result"], "unfinished", "{outcome}");
    assert!(!bucket.keys().iter().any(|key| key.ends_with(".verify.json")), "{:?}", bucket.keys());
}

#[test]
fn a_restore_stops_on_a_signal_while_the_bucket_is_silent() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let id = id_of(&cellar.back_up(database.name()));
    lose_directory(&cellar);
    for verb in [&["restore", &id, "--jobs", "2"][..], &["restore", &id], &["list"], &["verify", &id]] {
        let proxy = StallingProxy::start(bucket.server().port(), 0);
        let mut running = cellar.run(verb).env("AWS_ENDPOINT_URL", proxy.endpoint()).start();
        running.wait_until("the request stands still", || proxy.stalls());
        running.signal(Signal::TERM);
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{verb:?} {outcome}");
        assert!(outcome.took.as_secs() < 20, "{verb:?} {outcome}");
    }
    assert_eq!(left(cluster, database.name()), database.name());
}

#[test]
fn a_disk_that_is_too_small_or_fills_up() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("BACKUP_FORMAT", "directory");
    let manifest = cellar.back_up(database.name());
    lose_directory(&cellar);
    let over = cellar.scratch().join("small");
    fs::create_dir(&over).unwrap();
    let disk = SmallDisk::mount(&over, 2048);
    let target = cluster.name_for("full");
    let restore = || {
        let run = cellar.run(["restore", "latest", "--target-database", &target]);
        let outcome = run.env("RESTORE_STAGING_DIR", disk.path()).fails(exit::CANTCREAT);
        assert!(is_empty(disk.path()), "{outcome}");
        assert_eq!(left(cluster, &target), "", "{outcome}");
        outcome.says("RESTORE_STAGING_DIR")
    };
    let _ = restore().says("MiB) free");
    // By the manifest there is space at the start, and it runs out later.
    let mut small = manifest.clone();
    let files = small["files"].as_array_mut().unwrap();
    let largest = files.iter_mut().max_by_key(|file| file["plain_bytes"].as_u64()).unwrap();
    largest["plain_bytes"] = 1.into();
    bucket
        .store()
        .replace(&format!("{}.manifest.json", id_of(&manifest)), small.to_string().as_bytes(), ObjectKind::Document)
        .unwrap();
    let _ = restore().says("no space left");
}

#[test]
fn an_object_that_is_damaged_is_never_loaded() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster);
    for (format, arguments) in
        [("custom", &[][..]), ("custom", &["--jobs", "2"]), ("directory", &[]), ("tar", &[]), ("plain", &[])]
    {
        let bucket = Bucket::new();
        let cellar = bucket.copies(Cellar::new(cluster)).with("BACKUP_FORMAT", format);
        let manifest = cellar.back_up(database.name());
        lose_directory(&cellar);
        damage(&bucket, &archive_of(&manifest));
        let target = cluster.name_for("damaged");
        let run = cellar.run(["restore", "latest", "--target-database", &target]).arguments(arguments);
        let _ = run.fails(exit::DATAERR).says("is damaged");
        assert_eq!(left(cluster, &target), "", "{format}");
    }
}

/// A dump without a manifest is read twice: the same bytes must be checked and loaded.
#[test]
fn an_object_that_changes_after_the_check_is_not_loaded() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let manifest = cellar.back_up(database.name());
    let dump = bucket.objects().remove(&archive_of(&manifest)).unwrap();
    let store = bucket.store();
    let address = format!("s3://{}/database-backups/theirs.dump.gz", bucket.name());
    store.replace("theirs.dump.gz", &dump, ObjectKind::Document).unwrap();
    let target = cluster.name_for("changed");
    let other = cluster.create("another");
    other.sql("CREATE TABLE another (n int)");
    let second = cellar.back_up(other.name());
    let another = bucket.objects().remove(&archive_of(&second)).unwrap();
    let programs = Programs::of(Version::V15);
    // The dump has been read to its end when pg_restore is asked for its version.
    let gate = programs.gate_all("pg_restore");
    let run = cellar.run(["restore", &address, "--target-database", &target]).env("PG_BINDIR", programs.path());
    let mut running = run.start();
    running.wait_until("pg_restore is looked for", || gate.reached().is_some());
    store.replace("theirs.dump.gz", &another, ObjectKind::Document).unwrap();
    programs.before_all("pg_restore", "");
    gate.open();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::DATAERR), "{outcome}");
    assert_eq!(left(cluster, &target), "", "{outcome}");
}

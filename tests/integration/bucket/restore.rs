//! Restores of backups of which the bucket has the only or the only good copy.

use std::fs;

use super::*;
use crate::common::compare::assert_same;
use crate::common::{everything, keys};

/// A temporary folder in memory.
fn memory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pgcellar-test-").tempdir_in("/dev/shm").unwrap()
}

#[test]
fn every_format_is_restored_on_a_new_host() {
    let cluster = Cluster::shared(Version::V15);
    let original = everything::database(cluster, "from_bucket");
    let ways = [
        ("custom", "gzip", false, &[][..]),
        ("custom", "zstd", true, &[]),
        ("custom", "gzip", false, &["--jobs", "2"]),
        ("custom", "none", false, &["--jobs", "2"]),
        ("custom", "gzip", true, &["--jobs", "2"]),
        ("tar", "gzip", false, &[]),
        ("plain", "xz", true, &[]),
        ("directory", "gzip", false, &[]),
        ("directory", "none", true, &["--jobs", "3"]),
    ];
    for (format, compression, encrypted, arguments) in ways {
        let bucket = Bucket::new();
        let cellar = bucket.copies(Cellar::new(cluster));
        let cellar = cellar.with("BACKUP_FORMAT", format).with("BACKUP_COMPRESSION", compression);
        let key = keys::age(cellar.scratch(), "key");
        let cellar = match encrypted {
            true => {
                let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient);
                cellar.with("BACKUP_AGE_IDENTITY_FILE", key.identity)
            }
            false => cellar,
        };
        cellar.back_up(original.name());
        lose_directory(&cellar);
        let (staging, target) = (memory(), cluster.name_for("from_bucket"));
        let run = cellar.run(["restore", "latest", "--target-database", &target]).arguments(arguments);
        run.env("RESTORE_STAGING_DIR", staging.path()).succeeds();
        assert_same(&original, &cluster.database(&target));
        assert!(is_empty(staging.path()), "{format} {compression}: {:?}", tree::files(staging.path()));
        assert!(is_empty(&cellar.backup_dir()), "a restore keeps nothing");
        // Showing it needs no staging.
        let outcome = cellar.run(["restore", "latest", "--list"]).succeeds();
        assert!(outcome.stdout.contains("rows of"), "{outcome}");
    }
}

#[test]
fn roles_are_restored_from_the_bucket() {
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    from.sql("postgres", "CREATE ROLE vintner");
    let original = from.create_named("owned");
    original.sql("ALTER DATABASE owned OWNER TO vintner; CREATE TABLE t AS SELECT 1 AS n");
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(&to));
    cellar.run(["backup"]).env("DB_NAME", "owned").env("DB_PORT", from.port().to_string()).succeeds();
    lose_directory(&cellar);
    let plan = cellar.run(["restore", "latest", "--dry-run"]).fails(exit::NOINPUT);
    assert!(plan.stdout.contains("vintner"), "{plan}");
    cellar.run(["restore", "latest", "--globals"]).succeeds();
    assert_same(&original, &to.database("owned"));
}

#[test]
fn a_new_host_is_shown_the_command_and_runs_it() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let old = Cellar::new(cluster);
    let id = id_of(&old.back_up(database.name()));
    moved_to_another_host(&old, &bucket, "main", "lost");
    let cellar = bucket.copies(Cellar::new(cluster));
    // The only host with backups there need not be named.
    let target = cluster.name_for("only");
    let outcome = cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
    assert_same(&database, &cluster.database(&target));
    let _ = outcome.says(&id).says("on host 'lost'");
    old.back_up(small(cluster).name());
    moved_to_another_host(&old, &bucket, "main", "another");
    let cellar = cellar.with("DB_NAME", database.name());
    let typed = format!("pgcellar restore {id}");
    let run = |arguments: &[&str]| cellar.run(["restore", "--database", database.name()]).arguments(arguments);
    run(&["latest"]).fails(exit::NOINPUT).says(&typed).says("on host 'lost'");
    // Its directory is not there yet either.
    let nowhere = cellar.scratch().join("new");
    run(&["latest"]).env("BACKUP_DIR", &nowhere).fails(exit::NOINPUT).says(&typed);
    for (number, directory) in [nowhere, cellar.backup_dir()].iter().enumerate() {
        let target = cluster.name_for(&format!("new_host_{number}"));
        let run = cellar.run(["restore", &id, "--target-database", &target]).env("BACKUP_DIR", directory);
        run.succeeds();
        assert_same(&database, &cluster.database(&target));
    }
}

#[test]
fn a_locally_damaged_backup_is_read_from_the_bucket() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let manifest = cellar.back_up(database.name());
    let archive = cellar.backup_dir().join(archive_of(&manifest));
    let restored = || {
        let target = cluster.name_for("taken");
        let outcome = cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
        assert_same(&database, &cluster.database(&target));
        outcome
    };
    let outcome = restored();
    assert!(!outcome.stderr.contains("s3"), "the local one is good: {outcome}");
    tree::truncate(&archive, archive.metadata().unwrap().len() - 1);
    let _ = restored().says("is damaged in local").says("using the copy in s3");
    fs::remove_file(&archive).unwrap();
    let _ = restored().says("is missing").says("using the copy in s3");
    fs::write(cellar.backup_dir().join(format!("{}.manifest.json", id_of(&manifest))), "{").unwrap();
    let _ = restored().says("using the copy in s3");
    // Without a good copy nothing is restored.
    bucket.store().delete(&archive_of(&manifest)).unwrap();
    cellar.run(["restore", &id_of(&manifest)]).fails(exit::DATAERR).says("is missing");
}

#[test]
fn local_restores_work_while_the_bucket_is_unreachable() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let id = id_of(&cellar.back_up(database.name()));
    let target = cluster.name_for("bucket_down");
    let down = closed_endpoint();
    let run = cellar.run(["restore", "latest", "--target-database", &target]).env("AWS_ENDPOINT_URL", &down);
    let _ = run.succeeds().says(&down).says("continuing without its backups");
    assert_same(&database, &cluster.database(&target));
    lose_directory(&cellar);
    for wanted in ["latest", &id] {
        cellar.run(["restore", wanted]).env("AWS_ENDPOINT_URL", &down).fails(exit::UNAVAILABLE).says(&down);
    }
    cellar.run(["restore", "latest"]).env("AWS_SECRET_ACCESS_KEY", "wrong").fails(exit::NOPERM);
}

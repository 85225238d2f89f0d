//! What comes back of such archives, in every compression, encrypted, from a folder and a bucket, by stock pg_restore and ours.

use std::fs;

use super::large;
use crate::common::bucket::Bucket;
use crate::common::compare::assert_same;
use crate::common::process::must;
use crate::common::stock_archive::{backed_up, path, raw};
use crate::common::{Cluster, Database, Version, keys};
use crate::locks::times;

/// Restores by pg_restore and by pgcellar, each with this number of jobs. Both must have the rows of the fingerprints. Leaves nothing,
/// so that many rounds find room.
fn comes_back(database: &Database<'_>, jobs: u32) {
    let (cluster, cellar) = (database.cluster(), raw(database));
    let (manifest, _) = backed_up(&cellar, "3");
    let target = cluster.create("by_stock");
    let mut pg_restore = cluster.client("pg_restore", target.name());
    pg_restore.args(["--exit-on-error", &format!("--jobs={jobs}"), "--dbname", target.name()]);
    must(pg_restore.arg(path(&cellar, &manifest, "archive")));
    cellar.run(["verify", "latest", "--against-live", target.name()]).succeeds();
    assert_same(database, &target);

    let ours = cluster.name_for("by_us");
    cellar.run(["restore", "latest", "--jobs", &jobs.to_string(), "--target-database", &ours]).succeeds();
    assert_same(database, &cluster.database(&ours));
    for name in [target.name(), &ours] {
        cluster.sql("postgres", &format!("DROP DATABASE {name}"));
    }
}

#[test]
fn by_every_number_of_jobs() {
    for version in [Version::V15, Version::V17, Version::V18] {
        if !version.is_covered() {
            continue;
        }
        let database = large(Cluster::shared(version), "restored");
        for time in 0..times(2) {
            comes_back(&database, [1, 4, 2, 8, 3, 5, 6, 7][time as usize % 8]);
        }
    }
}

#[test]
fn in_every_compression_and_encrypted() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster, "compressed");
    let cellar = raw(&database).with("BACKUP_JOBS", "3");
    let key = keys::age(cellar.scratch(), "key");
    for method in ["gzip", "zstd", "xz", "bzip2"] {
        for encrypted in [false, true] {
            let mut run = cellar.run(["backup", "--json"]).env("BACKUP_COMPRESSION", method);
            if encrypted {
                run = run.env("BACKUP_AGE_RECIPIENTS", &key.recipient);
            }
            let outcome = run.succeeds();
            assert_eq!(outcome.json()[0]["jobs"], 3, "{outcome}");
            let verify = cellar.run(["verify", "latest", "--against-live", database.name()]);
            verify.env("BACKUP_AGE_IDENTITY_FILE", &key.identity).succeeds();
        }
    }
}

#[test]
fn straight_to_a_bucket() {
    let bucket = Bucket::new();
    let database = large(Cluster::shared(Version::V15), "bucket");
    let cellar = raw(&database).with("BACKUP_JOBS", "3");
    let cellar = bucket.copies(cellar).with("BACKUP_DIR", "").with("BACKUP_COMPRESSION", "zstd");
    assert_eq!(cellar.run(["backup", "--json"]).succeeds().json()[0]["jobs"], 3);
    cellar.run(["verify", "latest", "--against-live", database.name()]).succeeds();
    let target = database.cluster().name_for("from_bucket");
    cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
    assert_same(&database, &database.cluster().database(&target));
    assert!(fs::read_dir(cellar.backup_dir()).unwrap().next().is_none());
}

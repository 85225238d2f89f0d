//! The prefix of keys, and the objects with the storage class.

use super::*;
use crate::common::fault_proxy::{Fault, FaultProxy};

/// A server that folds slashes would store every object under another key.
#[test]
fn a_prefix_has_one_spelling() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    for wrong in ["a//b", "a/./b", "../a", "."] {
        for verb in ["backup", "list"] {
            let run = cellar.run([verb]).env("AWS_S3_PREFIX", wrong);
            run.fails(exit::CONFIG).says("AWS_S3_PREFIX").says("single slashes");
        }
    }
    for (written, kept) in [("/deep/er/", "deep/er/"), ("/", "")] {
        let cellar = bucket.copies(Cellar::new(cluster)).with("AWS_S3_PREFIX", written);
        let manifest = cellar.back_up(database.name());
        let listed = cellar.run(["list", "--store", "s3", "--json"]).succeeds().json();
        assert_eq!(listed[0]["id"], manifest["id"], "{written}");
        let address = format!("s3://{}/{kept}{}", bucket.name(), archive_of(&manifest));
        cellar.run(["verify", &address]).succeeds().says("good");
    }
    let doubled = format!("s3://{}/a//b.dump", bucket.name());
    cellar.run(["verify", &doubled]).fails(exit::USAGE);
}

#[test]
fn only_archives_have_the_storage_class() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    for (directory, format) in [(true, "custom"), (true, "directory"), (false, "custom")] {
        let bucket = Bucket::new();
        let proxy = FaultProxy::start(bucket.server().port(), |_| Fault::None);
        let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
        let run = cellar.run(["backup"]).env("AWS_S3_STORAGE_CLASS", "STANDARD_IA").env("BACKUP_FORMAT", format);
        let run = if directory { run } else { run.env("BACKUP_DIR", "") };
        run.env("AWS_ENDPOINT_URL", proxy.endpoint()).succeeds();
        let mut archives = 0;
        for (seen, _) in proxy.seen() {
            if seen.method != "PUT" && !seen.target.ends_with("?uploads") {
                continue;
            }
            let class =
                seen.headers.iter().any(|header| header.eq_ignore_ascii_case("x-amz-storage-class: STANDARD_IA"));
            let is_other = [".json", ".globals.sql", ".partial"].iter().any(|word| seen.target.contains(word));
            assert_eq!(class, !is_other, "{seen:?}");
            archives += usize::from(class);
        }
        assert!(archives > 0);
    }
}

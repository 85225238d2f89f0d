//! `verify` of every copy, each with a record of its own.

use pgcellar::store::Store;
use serde_json::json;

use super::*;

/// Store, result and bytes of each verified copy.
fn results(outcome: &Outcome) -> Vec<(String, String)> {
    let text = |report: &Value, name: &str| report[name].as_str().unwrap().to_owned();
    outcome.json().as_array().unwrap().iter().map(|report| (text(report, "store"), text(report, "result"))).collect()
}

fn said(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(store, result)| ((*store).to_owned(), (*result).to_owned())).collect()
}

/// The verify records in the bucket, and in the directory.
fn records(cellar: &Cellar, bucket: &Bucket, id: &str) -> [Option<bool>; 2] {
    let key = format!("{id}.verify.json");
    let passed = |bytes: Vec<u8>| serde_json::from_slice::<Value>(&bytes).unwrap()["passed"].as_bool().unwrap();
    [bucket.objects().remove(&key), std::fs::read(cellar.backup_dir().join(key)).ok()].map(|bytes| bytes.map(passed))
}

#[test]
fn damage_in_the_bucket_is_found_and_recorded_there() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    for format in ["custom", "directory", "tar", "plain"] {
        let bucket = Bucket::new();
        let cellar = bucket.copies(Cellar::new(cluster)).with("BACKUP_FORMAT", format);
        let manifest = cellar.back_up(database.name());
        let id = id_of(&manifest);
        let outcome = cellar.run(["verify", "--json"]).succeeds().says("in s3: good, 1 table");
        assert_eq!(results(&outcome), said(&[("local", "good"), ("s3", "good")]), "{format}");
        assert_eq!(records(&cellar, &bucket, &id), [Some(true); 2]);
        assert_eq!(rows(&cellar.run(["list"]).succeeds())[0][6], "verified");

        damage(&bucket, &archive_of(&manifest));
        let outcome = cellar.run(["verify", "--all", "--json"]).fails(exit::DATAERR).says("1 of 2 copies are damaged");
        assert_eq!(results(&outcome), said(&[("local", "good"), ("s3", "damaged")]), "{outcome}");
        assert_eq!(records(&cellar, &bucket, &id), [Some(false), Some(true)]);
        assert_eq!(rows(&cellar.run(["list"]).succeeds())[0][6], "local verified, s3 damaged");
        cellar.run(["verify", "--store", "local"]).succeeds();
        cellar.run(["verify", &id, "--store", "s3"]).fails(exit::DATAERR);
        cellar.run(["restore", "latest", "--target-database", &cluster.name_for("good_here")]).succeeds();
        lose_directory(&cellar);
        cellar.run(["restore", "latest"]).fails(exit::NOINPUT).says("no good whole backup");
        cellar.run(["restore", &id]).fails(exit::DATAERR).says("damaged");
    }
}

#[test]
fn unreachable_copies_are_not_reported_as_verified() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let id = id_of(&cellar.back_up(database.name()));
    let down = closed_endpoint();
    for arguments in [&["verify", "--json"][..], &["verify", "--all", "--json"]] {
        let outcome = cellar.run(arguments).env("AWS_ENDPOINT_URL", &down).fails(exit::UNAVAILABLE).says(&down);
        assert_eq!(results(&outcome), said(&[("local", "good")]), "{outcome}");
    }
    assert_eq!(records(&cellar, &bucket, &id), [None, Some(true)]);
    cellar.run(["verify", "--store", "local"]).env("AWS_ENDPOINT_URL", &down).succeeds();
}

#[test]
fn backups_of_other_instances_are_not_verified() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let old = Cellar::new(cluster);
    let manifest = old.back_up(database.name());
    moved_to_another_host(&old, &bucket, "reports", "db7");
    let cellar = bucket.copies(Cellar::new(cluster));
    cellar.run(["verify", "--all"]).fails(exit::NOINPUT).says("1 backups of other instances");
    // One that is named is verified.
    let outcome = cellar.run(["verify", &id_of(&manifest), "--json"]).succeeds();
    assert_eq!(results(&outcome), said(&[("s3", "good")]));
    bucket.store().delete(&archive_of(&manifest)).unwrap();
    let outcome = cellar.run(["verify", &id_of(&manifest), "--json"]).fails(exit::DATAERR);
    assert_eq!(outcome.json()[0]["damage"], json!([format!("{}: is missing", archive_of(&manifest))]));
}

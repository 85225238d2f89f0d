//! Dumps that scripts uploaded become backups in the bucket.

use pgcellar::store::{ObjectKind, Store};

use super::*;
use crate::common::bucket::Bucket;
use crate::common::cluster::CLOSED_PORT;

/// Uploads a file of the directory unchanged.
fn upload(bucket: &Bucket, cellar: &Cellar, key: &str) {
    bucket.store().replace(key, &fs::read(cellar.backup_dir().join(key)).unwrap(), ObjectKind::Document).unwrap();
}

/// Dumps a database into the bucket, and not into the directory.
fn lay_there(bucket: &Bucket, cellar: &Cellar, database: &Database<'_>, way: (&str, &str, &str), time: &str) -> String {
    let name = format!("{}_{time}{}", database.name(), way.2);
    add(cellar, database, &[way.0], way.1, &name);
    upload(bucket, cellar, &name);
    fs::remove_file(cellar.backup_dir().join(&name)).unwrap();
    name
}

fn copies(cellar: &Cellar, id: &str) -> Vec<Value> {
    cellar.list().into_iter().filter(|backup| backup["id"] == id).collect()
}

fn comes_back(cellar: &Cellar, cluster: &Cluster, id: &str) {
    let target = cluster.name_for("from_the_bucket");
    cellar.run(["restore", id, "--target-database", &target]).succeeds();
    assert_eq!(cluster.database(&target).sql("SELECT count(*), sum(n) FROM wine"), "2000|2001000", "{id}");
}

#[test]
fn uploaded_dumps_become_backups() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "uploaded");
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let mut names = Vec::new();
    for (at, way) in WAYS.iter().enumerate() {
        names.push(lay_there(&bucket, &cellar, &original, *way, &format!("20231231_02000{at}")));
    }
    let folder = format!("{}_20231231_020010", original.name());
    must(pg_dump(&original, &["-Fd", "-f"]).arg(cellar.backup_dir().join(&folder)));
    for file in tree::files(&cellar.backup_dir().join(&folder)) {
        upload(&bucket, &cellar, file.strip_prefix(cellar.backup_dir()).unwrap().to_str().unwrap());
    }
    fs::remove_dir_all(cellar.backup_dir().join(&folder)).unwrap();
    names.push(folder);
    let before = bucket.objects();

    let address = |name: &str| format!("s3://{}/database-backups/{name}", bucket.name());
    cellar.run(["verify", &address(&names[0])]).succeeds().says("good, 1 table");
    assert_eq!(bucket.objects(), before);
    let (by_address, by_name) = names.split_at(4);
    adopt(&cellar, by_name.iter().map(String::as_str)).succeeds();
    let addresses: Vec<String> = by_address.iter().map(|name| address(name)).collect();
    // Without a directory at all.
    adopt(&cellar, addresses.iter().map(String::as_str)).env("BACKUP_DIR", "").succeeds();
    for name in &names {
        let id = name.split('.').next().unwrap();
        let backup = listed(&cellar, id);
        assert_eq!((&backup["status"], &backup["store"]), (&json!("good"), &json!("s3")), "{name}");
        comes_back(&cellar, cluster, id);
    }
    cellar.run(["verify", "--all"]).succeeds();
    let after = bucket.objects();
    for (key, bytes) in &before {
        assert!(after.get(key) == Some(bytes), "{key} was touched");
    }
    assert_eq!(bucket.unfinished(), [""; 0], "what is announced may be swept");
    adopt(&cellar, by_name.iter().map(String::as_str)).succeeds().says("is a backup already");
    assert_eq!(bucket.objects(), after);

    let outside = format!("s3://{}/elsewhere/{}", bucket.name(), names[0]);
    adopt(&cellar, [outside.as_str()]).fails(exit::USAGE).says("AWS_S3_PREFIX");
    adopt(&cellar, [address("nothing_20231231_020000.dump").as_str()]).fails(exit::NOINPUT).says("there is no file");
}

#[test]
fn the_same_dump_in_folder_and_bucket_is_one_backup() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "both");
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let name = |second: u32| format!("{}_20231231_02000{second}.dump.gz", original.name());
    let id = |second: u32| format!("{}_20231231_02000{second}", original.name());
    for second in 0..3 {
        add(&cellar, &original, &["-Fc"], "gzip", &name(second));
        upload(&bucket, &cellar, &name(second));
    }
    adopt(&cellar, [name(0).as_str()]).succeeds();
    let manifest = format!("{}.manifest.json", id(0));
    assert_eq!(fs::read(cellar.backup_dir().join(&manifest)).unwrap(), bucket.objects()[&manifest]);

    // Another dump under the same name.
    original.sql("DELETE FROM wine WHERE n = 1");
    add(&cellar, &original, &["-Fc"], "gzip", &name(1));
    adopt(&cellar, [name(1).as_str()]).fails(exit::CANTCREAT).says("is another one");
    assert_eq!(bucket.ids(), [id(0)]);

    // Adopted in the directory alone: a copy would overwrite the script's own upload.
    let path = cellar.backup_dir().join(name(2));
    adopt(&cellar, [path.to_str().unwrap()]).succeeds();
    let before = bucket.objects();
    let outcome = cellar.run(["backup"]).env("DB_NAME", original.name()).finish();
    assert_ne!(outcome.code(), Some(0), "{outcome}");
    let address = format!("s3://{}/database-backups/{}", bucket.name(), name(2));
    let outcome = outcome.says(&format!("pgcellar adopt {address}"));
    assert!(before.iter().all(|(key, bytes)| bucket.objects().get(key) == Some(bytes)), "{outcome}");
    assert!(!bucket.unfinished().iter().any(|key| key.starts_with(&id(2))), "{outcome}");
    adopt(&cellar, [address.as_str()]).succeeds();
    assert!(bucket.ids().contains(&id(2)));
    assert!(!copies(&cellar, &id(2)).is_empty());
    comes_back(&cellar, cluster, &id(2));
    // The one whose upload is another dump stays a conflict until it is resolved.
    for key in [name(1), format!("{}.manifest.json", id(1))] {
        fs::remove_file(cellar.backup_dir().join(key)).unwrap();
    }
    cellar.run(["backup"]).env("DB_NAME", original.name()).succeeds();
}

#[test]
fn files_are_adopted_while_the_bucket_does_not_answer() {
    let cluster = Cluster::shared(Version::V15);
    let original = small(cluster, "dead");
    let bucket = Bucket::new();
    let cellar =
        bucket.copies(Cellar::new(cluster)).with("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{CLOSED_PORT}"));
    let (first, second) = ("20231231_020000", "20231231_020001");
    let name = |time: &str| format!("{}_{time}.dump.gz", original.name());
    for time in [first, second] {
        add(&cellar, &original, &["-Fc"], "gzip", &name(time));
    }
    let path = cellar.backup_dir().join(name(first));
    adopt(&cellar, [path.to_str().unwrap()]).succeeds().says("is not known");
    adopt(&cellar, [name(second).as_str()]).fails(exit::UNAVAILABLE);
    assert_eq!(manifests(&cellar.backup_dir()), 2);
}

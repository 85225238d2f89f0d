//! `list` over the directory and the bucket.

use std::fs;

use pgcellar::store::{ObjectKind, Store};
use serde_json::json;

use super::*;

/// Status and store of each copy in `list --json`.
fn copies(cellar: &Cellar, arguments: &[&str]) -> Vec<(String, String, String)> {
    let outcome = cellar.run(["list", "--json"]).arguments(arguments).succeeds();
    let text = |backup: &Value, name: &str| backup[name].as_str().unwrap().to_owned();
    let all = outcome.json().as_array().cloned().unwrap();
    all.iter().map(|backup| (text(backup, "id"), text(backup, "store"), text(backup, "status"))).collect()
}

fn copy(id: &str, store: &str, status: &str) -> (String, String, String) {
    (id.to_owned(), store.to_owned(), status.to_owned())
}

#[test]
fn both_stores_in_one_table() {
    let cluster = Cluster::shared(Version::V15);
    // Several databases: two backups of one in the same second would have one id.
    let databases = [small(cluster), small(cluster), small(cluster)];
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let gone = cellar.back_up(databases[0].name());
    lose_directory(&cellar);
    let both = cellar.back_up(databases[1].name());
    let last = cellar.run(["backup", "--json"]).env("DB_NAME", databases[2].name());
    let outcome = last.without("AWS_S3_BUCKET").succeeds();
    let here = outcome.json()[0].clone();
    let ids = [&gone, &both, &here].map(id_of);

    let table = rows(&cellar.run(["list"]).succeeds());
    let shown: Vec<[&str; 3]> = table.iter().map(|row| [0, 6, 7].map(|at| row[at].as_str())).collect();
    let expected = [[&ids[0], "good", "s3"], [&ids[1], "good", "local, s3"], [&ids[2], "good", "local"]];
    assert_eq!(shown, expected);

    let all = [
        copy(&ids[0], "s3", "good"),
        copy(&ids[1], "local", "good"),
        copy(&ids[1], "s3", "good"),
        copy(&ids[2], "local", "good"),
    ];
    assert_eq!(copies(&cellar, &[]), all);
    let of = |store: &str| all.iter().filter(|copy| copy.1 == store).cloned().collect::<Vec<_>>();
    for store in ["local", "s3"] {
        assert_eq!(copies(&cellar, &["--store", store]), of(store));
    }
    cellar.run(["list", "--store", "tape"]).fails(exit::USAGE).says("local or s3");
    cellar.run(["list", "--store", "s3"]).without("AWS_S3_BUCKET").fails(exit::USAGE).says("no store 's3'");

    // The copies of one backup differ.
    tree::truncate(&cellar.backup_dir().join(archive_of(&both)), 10);
    let table = rows(&cellar.run(["list"]).succeeds());
    assert_eq!((&*table[1][6], &*table[1][7]), ("local damaged, s3 good", "local, s3"));
    bucket.store().delete(&archive_of(&gone)).unwrap();
    assert_eq!(copies(&cellar, &["--store", "s3"])[0], copy(&ids[0], "s3", "damaged"));
}

#[test]
fn an_unreachable_bucket_does_not_hide_the_directory() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let id = id_of(&cellar.back_up(database.name()));
    let down = closed_endpoint();
    let outcome = cellar.run(["list"]).env("AWS_ENDPOINT_URL", &down).fails(exit::UNAVAILABLE).says(&down);
    assert_eq!((rows(&outcome).len(), &rows(&outcome)[0][0], &*rows(&outcome)[0][7]), (1, &id, "local"));
    let outcome = cellar.run(["list", "--json"]).env("AWS_ENDPOINT_URL", &down).fails(exit::UNAVAILABLE);
    assert_eq!(outcome.json().as_array().map(Vec::len), Some(1), "{outcome}");
    cellar.run(["list", "--store", "local"]).env("AWS_ENDPOINT_URL", &down).succeeds();
    let outcome = cellar.run(["list", "--store", "s3"]).env("AWS_ENDPOINT_URL", &down).fails(exit::UNAVAILABLE);
    assert_eq!(outcome.stdout, "");
    let outcome = cellar.run(["list"]).env("AWS_S3_BUCKET", "no-such-bucket").fails(exit::CONFIG);
    assert_eq!(rows(&outcome.says("no-such-bucket")).len(), 1);

    // The reverse: the host has no directory yet, or the disk is not mounted.
    fs::remove_dir_all(cellar.backup_dir()).unwrap();
    let outcome = cellar.run(["list"]).succeeds().says("does not exist: the backups are those in s3");
    assert_eq!((&*rows(&outcome)[0][7], outcome.stderr.lines().count()), ("s3", 1));
    cellar.run(["list"]).env("AWS_ENDPOINT_URL", &down).fails(exit::UNAVAILABLE).says("BACKUP_DIR").says(&down);
    for verb in [&["verify", &id][..], &["verify", "--all"], &["show", &id], &["pin", &id], &["unpin", "latest"]] {
        cellar.run(verb).succeeds();
    }
    // Without a directory there is no warning.
    let outcome = cellar.run(["list"]).env("BACKUP_DIR", "").succeeds();
    assert_eq!((&*rows(&outcome)[0][7], &*outcome.stderr), ("s3", ""));
}

#[test]
fn backups_of_others_are_counted_and_listed_on_request() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let alone = Cellar::new(cluster);
    let theirs: Vec<String> = [("main", "db7"), ("reports", "db7"), ("main", "db8")]
        .map(|(instance, host)| {
            let id = id_of(&alone.back_up(small(cluster).name()));
            moved_to_another_host(&alone, &bucket, instance, host);
            id
        })
        .into();
    let cellar = bucket.copies(Cellar::new(cluster));
    let outcome = cellar.run(["list"]).succeeds().says("3 backups of instance 'main' on host 'db7', ");
    assert_eq!(outcome.stdout, "", "{outcome}");
    let ours = id_of(&cellar.back_up(database.name()));
    let outcome = cellar.run(["list"]).succeeds().says("--all-instances");
    assert_eq!(rows(&outcome).iter().map(|row| &row[0]).collect::<Vec<_>>(), [&ours]);

    let outcome = cellar.run(["list", "--all-instances"]).succeeds();
    assert!(!outcome.stderr.contains("not shown"), "{outcome}");
    let table = rows(&outcome);
    let shown: Vec<[&str; 3]> = table.iter().map(|row| [0, 8, 9].map(|at| row[at].as_str())).collect();
    assert_eq!(shown[..3], [[&theirs[0], "main", "db7"], [&theirs[2], "main", "db8"], [&theirs[1], "reports", "db7"]]);
    assert_eq!(shown[3][..2], [&ours, "main"]);
    assert_eq!(copies(&cellar, &["--all-instances"]).len(), 5);
    assert_eq!(copies(&cellar, &["--store", "s3"]), [copy(&ours, "s3", "good")]);
}

#[test]
fn unusual_objects_in_a_bucket_are_reported() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let id = id_of(&cellar.back_up(database.name()));
    let store = bucket.store();
    store.replace("seed_20231231_020000.dump.gz", b"x", ObjectKind::Document).unwrap();
    store.replace("notes.txt", b"x", ObjectKind::Document).unwrap();
    // Another host is in the middle of a backup.
    store.announce("busy_20231231_020000.manifest.json", b"{}").unwrap();
    store.replace("busy_20231231_020000.dump.gz", b"x", ObjectKind::Document).unwrap();
    // A manifest of another pgcellar, and a damaged one of our own.
    store.replace("newer_20231231_020000.manifest.json", br#"{"manifest_version": 99}"#, ObjectKind::Document).unwrap();
    let host = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    bucket
        .store_of("main", &host)
        .replace("ours_20231231_020000.manifest.json", b"not JSON", ObjectKind::Document)
        .unwrap();

    let address = format!("address s3://{}/database-backups/…", bucket.name());
    let outcome = cellar.run(["list"]).succeeds().says("seed_20231231_020000.dump.gz: named like").says(&address);
    let outcome = outcome.says("ours_20231231_020000.manifest.json cannot be used").says("newer_20231231_020000");
    for quiet in ["busy", "notes", "version 99"] {
        assert!(!outcome.stderr.contains(quiet), "{quiet}: {outcome}");
    }
    assert_eq!(rows(&outcome).len(), 1);
    cellar.run(["list", "--all-instances"]).succeeds().says("version 99");
    // A verify counts our own, not those of others.
    let outcome = cellar.run(["verify", "--all", "--json"]).fails(exit::DATAERR).says("1 of 3 copies");
    let results = outcome.json();
    let of = |at: usize, name: &str| results[at][name].clone();
    assert_eq!((of(0, "id"), of(0, "store")), (json!("ours_20231231_020000"), json!("s3")), "{outcome}");
    assert_eq!([of(1, "id"), of(2, "id")], [json!(id), json!(id)]);
}

#[test]
fn more_backups_than_a_page_of_the_listing() {
    const BACKUPS: usize = 1500;
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster));
    let template = cellar.back_up(database.name());
    let bytes = fs::read(cellar.backup_dir().join(archive_of(&template))).unwrap();
    let store = bucket.store_of("main", template["host"].as_str().unwrap());
    std::thread::scope(|scope| {
        for part in 0..8 {
            let (store, template, bytes) = (&store, &template, &bytes);
            scope.spawn(move || {
                for at in (part..BACKUPS).step_by(8) {
                    let id = format!(
                        "{}_2023{:02}{:02}_{:02}0000",
                        database_of(template),
                        1 + at / 672,
                        1 + at / 24 % 28,
                        at % 24
                    );
                    let mut manifest = template.clone();
                    manifest["id"] = id.clone().into();
                    manifest["started"] =
                        format!("2023-{:02}-{:02}T{:02}:00:00Z", 1 + at / 672, 1 + at / 24 % 28, at % 24).into();
                    manifest["files"] = json!([template["files"][0]]);
                    manifest["files"][0]["key"] = format!("{id}.dump.gz").into();
                    store.replace(&format!("{id}.dump.gz"), bytes, ObjectKind::Document).unwrap();
                    store
                        .replace(&format!("{id}.manifest.json"), manifest.to_string().as_bytes(), ObjectKind::Document)
                        .unwrap();
                }
            });
        }
    });
    let all = copies(&cellar, &[]);
    assert_eq!(all.len(), BACKUPS + 2);
    assert!(all.iter().all(|(_, _, status)| status == "good"));
    assert_eq!(rows(&cellar.run(["list"]).succeeds()).len(), BACKUPS + 1);
    let target = cluster.name_for("one_of_many");
    cellar.run(["restore", &all[777].0, "--target-database", &target]).succeeds();
    assert_eq!(cluster.database(&target).sql("SELECT count(*) FROM wine"), "2000");
}

fn database_of(manifest: &Value) -> String {
    id_of(manifest).rsplitn(3, '_').nth(2).unwrap().to_owned()
}

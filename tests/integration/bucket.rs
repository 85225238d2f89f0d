//! Backups in a bucket are listed, verified and restored like those in the directory.

use std::fs;
use std::path::Path;

use pgcellar::store::{ObjectKind, Store};
use serde_json::Value;

use crate::common::bucket::Bucket;
use crate::common::cluster::CLOSED_PORT;
use crate::common::pgcellar::Outcome;
use crate::common::{Cellar, Cluster, Database, Version, exit, tree};

mod addresses;
mod failures;
mod keys;
mod list;
mod recipe;
mod restore;
mod unresponsive;
mod verify;

/// A small one, with a table, an index and a large object.
fn small(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("bucket");
    database.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 2000) n");
    database.sql("ALTER TABLE wine ADD PRIMARY KEY (n); SELECT lo_from_bytea(0, 'cork')");
    database
}

fn id_of(manifest: &Value) -> String {
    manifest["id"].as_str().unwrap().to_owned()
}

/// Key of the archive, or of the first file of a directory archive.
fn archive_of(manifest: &Value) -> String {
    manifest["files"][0]["key"].as_str().unwrap().to_owned()
}

/// Empties the directory, as on a new host.
fn lose_directory(cellar: &Cellar) {
    fs::remove_dir_all(cellar.backup_dir()).unwrap();
    fs::create_dir(cellar.backup_dir()).unwrap();
}

/// Moves the files of the directory into the bucket, as if another host had uploaded them.
pub fn moved_to_another_host(cellar: &Cellar, bucket: &Bucket, instance: &str, host: &str) {
    let (folder, store) = (cellar.backup_dir(), bucket.store_of(instance, host));
    for path in tree::files(&folder) {
        let key = path.strip_prefix(&folder).unwrap().to_str().unwrap();
        if key.starts_with('.') {
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        if key.ends_with(".manifest.json") {
            let mut manifest: Value = serde_json::from_slice(&bytes).unwrap();
            manifest["instance"] = instance.into();
            manifest["host"] = host.into();
            // Each of these hosts has a server of its own.
            let identifier: u64 = host.bytes().map(u64::from).sum();
            manifest["server"]["identity"] = serde_json::json!({ "system_identifier": identifier.to_string() });
            bytes = manifest.to_string().into_bytes();
        }
        store.replace(key, &bytes, ObjectKind::Document).unwrap();
    }
    lose_directory(cellar);
}

/// Inverts a byte in the middle of an object.
fn damage(bucket: &Bucket, key: &str) {
    let store = bucket.store();
    let mut bytes = bucket.objects().remove(key).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] = !bytes[middle];
    store.replace(key, &bytes, ObjectKind::Document).unwrap();
}

/// The words of each line of a table, without the headings.
fn rows(outcome: &Outcome) -> Vec<Vec<String>> {
    let line =
        |line: &str| line.split("  ").map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    outcome.stdout.lines().skip(1).map(line).collect()
}

/// An endpoint without a server.
fn closed_endpoint() -> String {
    format!("http://127.0.0.1:{CLOSED_PORT}")
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

//! Reads folders and buckets without pgcellar: manifests as JSON, files by size and hash, archives by stock programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use aws_sdk_s3::Client;
use serde_json::Value;

use super::fixture::{Fixture, script_hash};
use crate::common::bucket::Bucket;
use crate::common::process::{must, new_folder, plain};
use crate::common::s3_server::{OWNER, wait};
use crate::common::tree;

/// The prefix of keys in a bucket.
const PREFIX: &str = "database-backups/";

/// Records beside a manifest.
const RECORDS: [&str; 3] = ["verify", "pin", "drill"];

/// The contents of a store.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The hash of each file of each backup, including its manifest.
    pub backups: BTreeMap<String, BTreeMap<String, String>>,
    /// Records of existing backups.
    pub records: BTreeSet<String>,
    /// Files that belong to no backup.
    pub others: Vec<String>,
}

impl Holding {
    /// Reads a folder. Fails if a file is missing or does not match its manifest.
    #[track_caller]
    pub fn of(folder: &Path) -> Holding {
        let mut left: BTreeMap<String, u64> =
            tree::files(folder).into_iter().map(|file| named(folder, &file)).collect();
        let mut holding = Holding::default();
        let manifests: Vec<String> = left.keys().filter(|key| key.ends_with(".manifest.json")).cloned().collect();
        for key in manifests {
            left.remove(&key);
            let bytes = fs::read(folder.join(&key)).unwrap();
            let manifest: Value = serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{key}: {error}"));
            let id = manifest["id"].as_str().unwrap().to_owned();
            assert_eq!(key, format!("{id}.manifest.json"));
            let mut files = sha256(folder, std::iter::once(key.as_str()));
            let listed = manifest["files"].as_array().unwrap();
            let hashes = sha256(folder, listed.iter().map(|file| file["key"].as_str().unwrap()));
            assert!(!listed.is_empty() && hashes.len() == listed.len(), "{key} names {hashes:?}");
            for file in listed {
                let name = file["key"].as_str().unwrap();
                assert_eq!(left.remove(name), file["stored_bytes"].as_u64(), "size of {name}");
                assert_eq!(hashes[name], file["stored_sha256"].as_str().unwrap(), "hash of {name}");
            }
            files.extend(hashes);
            for record in RECORDS.map(|record| format!("{id}.{record}.json")) {
                if left.remove(&record).is_some() {
                    read_json(folder, &record);
                    holding.records.insert(record);
                }
            }
            holding.backups.insert(id, files);
        }
        left.remove(".pgcellar.lock");
        left.remove(".pgcellar.id");
        if left.remove(".pgcellar.copied.json").is_some() {
            read_json(folder, ".pgcellar.copied.json");
        }
        holding.others = left.into_keys().collect();
        holding
    }

    /// Ids of the backups.
    pub fn ids(&self) -> BTreeSet<&str> {
        self.backups.keys().map(String::as_str).collect()
    }

    /// Fails unless all these backups are in `later`, unchanged.
    #[track_caller]
    pub fn must_survive(&self, later: &Holding, ids: &BTreeSet<&str>) {
        for id in ids {
            assert_eq!(later.backups.get(*id), self.backups.get(*id), "{id} was lost, or changed");
        }
    }
}

fn named(folder: &Path, file: &Path) -> (String, u64) {
    let name = file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
    (name, file.metadata().unwrap().len())
}

#[track_caller]
fn read_json(folder: &Path, name: &str) -> Value {
    let bytes = fs::read(folder.join(name)).unwrap();
    serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Hashes of these files.
#[track_caller]
fn sha256<'a>(folder: &Path, names: impl Iterator<Item = &'a str>) -> BTreeMap<String, String> {
    let sums = must(plain("sha256sum").current_dir(folder).arg("--").args(names));
    let of_line = |line: &str| line.split_once("  ").map(|(hash, name)| (name.to_owned(), hash.to_owned()));
    sums.lines().filter_map(of_line).collect()
}

/// Fails unless stock programs read the contents of the large database from the archive of this backup.
#[track_caller]
pub fn must_have_all(fixture: &Fixture, folder: &Path, id: &str) {
    let manifest = read_json(folder, &format!("{id}.manifest.json"));
    if manifest["database"] != fixture.large.name() {
        return;
    }
    let scratch = new_folder();
    let (key, bin) = (fixture.key.identity.display(), fixture.cluster.version().bin_dir());
    let mut entry = folder.join(id);
    if manifest["format"] == "directory" && manifest["encryption"].is_object() {
        for (name, _) in tree::files(&entry).iter().map(|file| named(&entry, file)) {
            let mut age = plain("age");
            age.arg("-d").arg("-i").arg(&fixture.key.identity);
            must(age.arg("-o").arg(scratch.path().join(name.trim_end_matches(".age"))).arg(entry.join(&name)));
        }
        entry = scratch.path().to_owned();
    }
    let file = manifest["files"].as_array().unwrap().iter().find(|file| file["role"] == "archive").unwrap();
    let archive = folder.join(file["key"].as_str().unwrap());
    let mut read = format!("cat '{}'", archive.display());
    if manifest["encryption"].is_object() {
        read.push_str(&format!(" | age -d -i '{key}'"));
    }
    match manifest["compression"]["method"].as_str().unwrap() {
        "none" => {}
        method if manifest["adopted"].is_null() => read.push_str(&format!(" | {method} -dc")),
        // pg_dump compressed it.
        _ => {}
    }
    let pg_restore = format!("'{}' -f -", bin.join("pg_restore").display());
    let script = match manifest["format"].as_str().unwrap() {
        "plain" => read,
        "directory" => format!("{pg_restore} '{}'", entry.display()),
        // It stops at the end of the archive, before the end of the file.
        "tar" => format!("{pg_restore} '{}'", archive.display()),
        format => format!("{read} | {pg_restore} --format={format}"),
    };
    assert_eq!(script_hash(&script), fixture.script, "{id} has something else in it than the database: {script}");
}

/// Fails unless a folder is empty.
#[track_caller]
pub fn must_be_empty(folder: &Path) {
    let names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.is_empty(), "left in {}: {names:?}", folder.display());
}

/// Downloads a bucket into a folder. An unfinished upload is an empty file with the suffix `.upload`.
pub fn download(bucket: &Bucket, folder: &Path) {
    let client = bucket.server().client(OWNER);
    let listed = wait(client.list_objects_v2().bucket(bucket.name()).prefix(PREFIX).send()).unwrap();
    assert!(!listed.is_truncated().unwrap_or_default(), "more objects than one page has");
    let write = |key: &str, end: &str, bytes: &[u8]| {
        let path = folder.join(format!("{}{end}", key.strip_prefix(PREFIX).unwrap()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    for key in listed.contents().iter().filter_map(|object| object.key()) {
        let got = wait(client.get_object().bucket(bucket.name()).key(key).send()).unwrap();
        write(key, "", &wait(got.body.collect()).unwrap().into_bytes());
    }
    for key in uploads(&client, bucket.name()) {
        write(&key, ".upload", b"");
    }
}

fn uploads(client: &Client, bucket: &str) -> Vec<String> {
    let begun = wait(client.list_multipart_uploads().bucket(bucket).prefix(PREFIX).send()).unwrap();
    begun.uploads().iter().filter_map(|upload| upload.key().map(str::to_owned)).collect()
}

/// Deletes a bucket with its contents to free the disk.
pub fn forget(bucket: &Bucket) {
    let client = bucket.server().client(OWNER);
    let listed = wait(client.list_objects_v2().bucket(bucket.name()).send()).unwrap();
    for key in listed.contents().iter().filter_map(|object| object.key()) {
        wait(client.delete_object().bucket(bucket.name()).key(key).send()).unwrap();
    }
    // A bucket that is not empty stays until the server ends.
    let _ = wait(client.delete_bucket().bucket(bucket.name()).send());
}

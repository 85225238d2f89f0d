//! Forged backups: manifests of any age, with files of zeros whose sizes and hashes are right.

use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const MANIFEST: &str = include_str!("../../golden/manifest.json");

/// Size of an archive and of globals.
pub const SIZES: [u64; 2] = [1 << 20, 1000];

/// SHA-256 of that many zeros.
const SHA256: [&str; 2] = [
    "30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58",
    "541b3e9daa09b20bf85fa273e5cbd3e80185aa4ec298e765db87742b70138a53",
];

/// Adds a good complete backup of a database that began so many hours ago, and returns its id.
pub fn add(folder: &Path, database: &str, hours: i64) -> String {
    add_changed(folder, database, hours, |_| {})
}

/// The same, with a changed manifest.
pub fn add_changed(folder: &Path, database: &str, hours: i64, change: impl FnOnce(&mut Value)) -> String {
    let started = Timestamp::now() - SignedDuration::from_hours(hours);
    let id = format!("{database}_{}", started.to_zoned(TimeZone::UTC).strftime("%Y%m%d_%H%M%S"));
    let mut manifest: Value = serde_json::from_str(MANIFEST).unwrap();
    manifest["id"] = json!(id);
    manifest["database"] = json!(database);
    manifest["partial"] = json!(false);
    manifest["adopted"] = json!(null);
    manifest["server"]["identity"] = json!({});
    manifest["started"] = json!(started);
    manifest["ended"] = json!(started + SignedDuration::from_secs(60));
    let suffixes = [".dump.gz.age", ".globals.sql.gz.age"];
    let files = manifest["files"].as_array_mut().unwrap().iter_mut().zip(suffixes).zip(SIZES).zip(SHA256);
    for (((file, suffix), bytes), sha256) in files {
        let key = format!("{id}{suffix}");
        fs::File::create(folder.join(&key)).unwrap().set_len(bytes).unwrap();
        file["key"] = json!(key);
        file["stored_bytes"] = json!(bytes);
        file["stored_sha256"] = json!(sha256);
    }
    change(&mut manifest);
    fs::write(folder.join(format!("{id}.manifest.json")), manifest.to_string()).unwrap();
    id
}

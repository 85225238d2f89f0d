//! Backups that only look like some: manifests of any age, with files that have nothing but the right size.

use std::fs;
use std::path::Path;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const MANIFEST: &str = include_str!("../../golden/manifest.json");

/// Size of an archive and of globals.
pub const SIZES: [u64; 2] = [1 << 20, 1000];

/// Lays a good whole backup of a database that began so many hours ago, and returns its id.
pub fn lay(folder: &Path, database: &str, hours: i64) -> String {
    lay_changed(folder, database, hours, |_| {})
}

/// The same, with a changed manifest.
pub fn lay_changed(folder: &Path, database: &str, hours: i64, change: impl FnOnce(&mut Value)) -> String {
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
    for ((file, suffix), bytes) in manifest["files"].as_array_mut().unwrap().iter_mut().zip(suffixes).zip(SIZES) {
        let key = format!("{id}{suffix}");
        fs::File::create(folder.join(&key)).unwrap().set_len(bytes).unwrap();
        file["key"] = json!(key);
        file["stored_bytes"] = json!(bytes);
    }
    change(&mut manifest);
    fs::write(folder.join(format!("{id}.manifest.json")), manifest.to_string()).unwrap();
    id
}

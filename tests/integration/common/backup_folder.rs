//! Many backups at once: copies of one real backup with other names and times.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::{Value, json};

use super::{Cellar, Cluster, Version};

/// A backup that pgcellar made: its manifest, and its files by the part of their names after the id.
struct Template {
    manifest: Value,
    files: Vec<(String, Vec<u8>)>,
}

fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| {
        let database = Cluster::shared(Version::V15).create("shelf");
        database.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 100) n");
        let cellar = Cellar::new(Cluster::shared(Version::V15));
        let manifest = cellar.back_up(database.name());
        let id = manifest["id"].as_str().unwrap();
        let read = |file: &Value| {
            let key = file["key"].as_str().unwrap();
            (key.strip_prefix(id).unwrap().to_owned(), fs::read(cellar.backup_dir().join(key)).unwrap())
        };
        let files = manifest["files"].as_array().unwrap().iter().map(read).collect();
        Template { manifest, files }
    })
}

/// A folder of backups.
#[derive(Debug)]
pub struct BackupFolder {
    /// Runs pgcellar over the folder; there is no server.
    pub cellar: Cellar,
}

impl BackupFolder {
    /// An empty folder.
    pub fn new() -> BackupFolder {
        BackupFolder { cellar: Cellar::unconnected() }
    }

    /// The folder.
    pub fn folder(&self) -> PathBuf {
        self.cellar.backup_dir()
    }

    /// Adds a complete backup of this database with this start, such as `2024-01-31T02:00:00Z`. Returns its id.
    pub fn add(&self, database: &str, started: &str) -> String {
        self.add_changed(database, started, |_| {})
    }

    /// Adds a backup with a changed manifest.
    pub fn add_changed(&self, database: &str, started: &str, change: impl FnOnce(&mut Value)) -> String {
        let digits: String = started.chars().filter(char::is_ascii_digit).take(14).collect();
        let id = format!("{database}_{}_{}", &digits[..8], &digits[8..]);
        let mut manifest = template().manifest.clone();

        manifest["id"] = json!(id);
        manifest["database"] = json!(database);
        manifest["started"] = json!(started);
        manifest["ended"] = json!(started);
        for (file, (suffix, bytes)) in manifest["files"].as_array_mut().unwrap().iter_mut().zip(&template().files) {
            let key = format!("{id}{suffix}");
            fs::write(self.folder().join(&key), bytes).unwrap();
            file["key"] = json!(key);
        }
        change(&mut manifest);
        fs::write(self.folder().join(format!("{id}.manifest.json")), manifest.to_string()).unwrap();
        id
    }

    /// Adds a backup at 02:00 UTC for each of these days of January 2024. Returns their ids.
    pub fn add_daily(&self, database: &str, days: std::ops::RangeInclusive<u8>) -> Vec<String> {
        days.map(|day| self.add(database, &format!("2024-01-{day:02}T02:00:00Z"))).collect()
    }

    /// Writes the result of a verify.
    pub fn record(&self, id: &str, passed: bool) {
        let record = json!({ "id": id, "at": "2024-02-01T00:00:00Z", "passed": passed, "depth": "full", "damage": [] });
        fs::write(self.folder().join(format!("{id}.verify.json")), record.to_string()).unwrap();
    }

    /// The file of a backup's archive.
    pub fn archive(&self, id: &str) -> PathBuf {
        self.folder().join(format!("{id}{}", template().files[0].0))
    }

    /// Ids of the listed backups, the oldest first.
    pub fn listed(&self) -> Vec<String> {
        ids(&self.cellar.list())
    }

    /// Ids of the backups of all instances, sorted.
    pub fn listed_of_all(&self) -> Vec<String> {
        let all = self.cellar.run(["list", "--all-instances", "--json"]).succeeds().json();
        let mut ids = ids(all.as_array().unwrap());
        ids.sort();
        ids
    }

    /// Names in the folder that belong to none of these backups, except the lock's.
    pub fn others(&self, ids: &[String]) -> Vec<String> {
        let is_of =
            |name: &str, id: &String| name.strip_prefix(id.as_str()).is_some_and(|rest| rest.starts_with(['.', '/']));
        let names = names(&self.folder()).into_iter();
        names.filter(|name| name != ".pgcellar.lock" && !ids.iter().any(|id| name == id || is_of(name, id))).collect()
    }
}

fn ids(backups: &[Value]) -> Vec<String> {
    backups.iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

//! What a backup folder held before something went wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::cluster::{Cluster, Database};
use super::pgcellar::{Cellar, PROGRAM};
use super::process::{must, plain};
use super::tree;

/// Foreign files: two are named like pgcellar's own, one is not.
const FOREIGN: [&str; 3] = ["shop_20200101_000000.dump.gz", "foreign.partial", "notes.txt"];

/// The files in a backup folder, and the backups that are listed.
#[derive(Debug)]
pub struct FolderSnapshot {
    directory: PathBuf,
    names: BTreeSet<PathBuf>,
    hashes: BTreeMap<PathBuf, u64>,
    listed: Vec<String>,
}

impl FolderSnapshot {
    /// Reads a folder.
    pub fn of(directory: &Path) -> FolderSnapshot {
        FolderSnapshot {
            directory: directory.to_owned(),
            names: names(directory),
            hashes: hashes(directory),
            listed: listed(directory),
        }
    }

    /// A cellar with one backup of the database and with foreign files, set up to back up the same database again.
    pub fn with_backup(cluster: &Cluster, database: &Database<'_>) -> (Cellar, FolderSnapshot) {
        let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
        cellar.run(["backup"]).succeeds();
        for name in FOREIGN {
            fs::write(cellar.backup_dir().join(name), format!("{name} of somebody else")).unwrap();
        }
        let before = FolderSnapshot::of(&cellar.backup_dir());
        assert_eq!(before.listed.len(), 1);
        (cellar, before)
    }

    /// Fails the test if anything was added, lost or changed.
    #[track_caller]
    pub fn is_unchanged(&self) {
        assert_eq!(names(&self.directory), self.names, "other names than before");
        assert_eq!(hashes(&self.directory), self.hashes, "other bytes than before");
        self.is_listed();
    }

    /// Fails the test unless the same backups are listed and their files are unchanged. Other files may be there.
    #[track_caller]
    pub fn is_listed(&self) {
        assert_eq!(listed(&self.directory), self.listed, "another list than before");
        self.is_whole();
    }

    /// Fails the test if a file was lost or changed. Other files may be there.
    #[track_caller]
    pub fn is_whole(&self) {
        let now = hashes(&self.directory);
        let lost: Vec<_> = self.hashes.iter().filter(|(path, hash)| now.get(*path) != Some(hash)).collect();
        assert!(lost.is_empty(), "lost or changed: {lost:?}");
    }

    /// Fails the test unless the files of one further backup were added and nothing else. Returns its id.
    #[track_caller]
    pub fn has_one_more(&self) -> String {
        self.is_whole();
        let listed = listed(&self.directory);
        let new: Vec<&String> = listed.iter().filter(|id| !self.listed.contains(id)).collect();
        assert_eq!((new.len(), listed.len()), (1, self.listed.len() + 1), "{listed:?}");
        // The first backup of a directory gives it an id.
        let stray: Vec<PathBuf> = names(&self.directory)
            .into_iter()
            .filter(|name| name.as_os_str() != ".pgcellar.id")
            .filter(|name| !self.names.contains(name) && !name.to_string_lossy().starts_with(new[0].as_str()))
            .collect();
        assert!(stray.is_empty(), "left behind: {stray:?}");
        assert!(names(&self.directory).iter().all(|name| self.names.contains(name) || !is_partial(name)));
        new[0].clone()
    }
}

fn is_partial(name: &Path) -> bool {
    name.to_string_lossy().ends_with(".partial")
}

/// Ids of what `pgcellar list` shows. A backup that is not good, or a manifest that cannot be read, fails the test.
pub fn listed(directory: &Path) -> Vec<String> {
    let printed = must(plain(PROGRAM).args(["list", "--json"]).env("BACKUP_DIR", directory));
    let backups: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let id = |backup: &Value| {
        assert!(backup["status"] == "good" || backup["status"] == "partial", "{backup:#}");
        backup["id"].as_str().expect("an id").to_owned()
    };
    backups.iter().map(id).collect()
}

fn names(directory: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name()));
    entries.filter(|name| !is_lock(name)).collect()
}

fn hashes(directory: &Path) -> BTreeMap<PathBuf, u64> {
    let mut hashes = tree::hashes(directory);
    hashes.retain(|path, _| !is_lock(path));
    hashes
}

/// The file of the lock stays, and names its last holder.
fn is_lock(path: &Path) -> bool {
    path == Path::new(".pgcellar.lock")
}

//! Which backups of a directory a bucket still lacks, and a record of those that it was given.
//!
//! A backup that is in the directory and not in the bucket was either never copied, or was copied and has been cleaned away
//! there, where backups may live shorter. The bucket cannot tell these apart, so the directory remembers what was
//! copied. The record is only ever a reason to leave a copy out: one that is lost costs some copies that retention
//! deletes again, and never a backup.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::catalogue::Backup;
use crate::catalogue::manifest::{MANIFEST, Manifest};
use crate::config::S3Settings;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::store::{Store, StoreEntry};

/// Name of the record in the directory. The dot keeps it from being taken for a backup's file.
pub const RECORD: &str = ".pgcellar.copied.json";

/// Ids of the backups that each bucket was given, by what [`address`] calls it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CopyRecord {
    buckets: BTreeMap<String, BTreeSet<String>>,
}

/// What a bucket lacks.
#[derive(Debug, Default)]
pub struct MissingCopies<'a> {
    /// To be copied, the oldest first.
    pub missing: Vec<&'a Backup>,
    /// A manifest with this id is there, and nothing says yet that it is the backup's own.
    pub unknown: Vec<&'a Backup>,
    /// Copied once and deleted since, by a retention or by somebody.
    pub deleted: usize,
}

impl CopyRecord {
    /// Reads the record of a directory. One that is not there or cannot be used is an empty one.
    pub fn read(store: &dyn Store) -> Self {
        let read = catalogue::read_document(store, RECORD).and_then(|bytes| {
            document::parse(&bytes)
                .map_err(|error| Error::new(Kind::Data, format!("{RECORD} is no record of copies: {error}")))
        });
        read.unwrap_or_else(|error| {
            if error.kind() != Kind::Missing {
                log::warn!("{error}: backups that were deleted from the bucket may be copied there again");
            }
            CopyRecord::default()
        })
    }

    /// Writes the record into its directory.
    pub fn write(&self, store: &dyn Store) -> Result<()> {
        let bytes = serde_json::to_vec(self)
            .map_err(|error| Error::new(Kind::Internal, format!("cannot write {RECORD} as JSON: {error}")))?;
        store.replace(RECORD, &bytes)
    }

    /// Whether a bucket was given this backup.
    pub fn has(&self, bucket: &str, id: &str) -> bool {
        self.buckets.get(bucket).is_some_and(|ids| ids.contains(id))
    }

    /// Remembers that a bucket was given this backup.
    pub fn add(&mut self, bucket: &str, id: &str) {
        self.buckets.entry(bucket.to_owned()).or_default().insert(id.to_owned());
    }

    /// Forgets what is not in the directory any more.
    pub fn keep(&mut self, backups: &[Backup]) {
        let there: HashSet<&str> = backups.iter().map(|backup| backup.manifest.id.as_str()).collect();
        for ids in self.buckets.values_mut() {
            ids.retain(|id| there.contains(id.as_str()));
        }
        self.buckets.retain(|_, ids| !ids.is_empty());
    }

    /// Forgets the copies of a database of which the bucket has none left. A retention keeps the last good one, so this
    /// is another bucket of the same name, or one that somebody emptied: it lacks them all.
    pub fn forget_emptied(&mut self, bucket: &str, backups: &[&Backup], there: &HashSet<&str>) {
        let Some(ids) = self.buckets.get_mut(bucket) else { return };
        let left: HashSet<&str> = backups
            .iter()
            .filter(|backup| ids.contains(&backup.manifest.id) && there.contains(backup.manifest.id.as_str()))
            .map(|backup| backup.manifest.database.as_str())
            .collect();
        for backup in backups.iter().filter(|backup| !left.contains(backup.manifest.database.as_str())) {
            ids.remove(&backup.manifest.id);
        }
    }

    /// What the bucket lacks of these backups, which stay in their order.
    pub fn lacking<'a>(&self, bucket: &str, backups: &[&'a Backup], there: &HashSet<&str>) -> MissingCopies<'a> {
        let mut lacking = MissingCopies::default();
        for backup in backups {
            let id = backup.manifest.id.as_str();
            match (there.contains(id), self.has(bucket, id)) {
                (true, true) => {}
                (true, false) => lacking.unknown.push(backup),
                (false, true) => lacking.deleted += 1,
                (false, false) => lacking.missing.push(backup),
            }
        }
        lacking
    }
}

/// What a record calls a bucket: its name and prefix, and its server where that is not Amazon's, because two servers may
/// have buckets of one name.
pub fn address(settings: &S3Settings) -> String {
    let S3Settings { bucket, prefix, endpoint, .. } = settings;
    let at = endpoint.as_ref().map(|endpoint| format!(" at {endpoint}")).unwrap_or_default();
    format!("s3://{bucket}/{prefix}{at}")
}

/// Ids of the backups whose manifests are among these objects.
pub fn ids(entries: &[StoreEntry]) -> HashSet<&str> {
    entries
        .iter()
        .filter(|entry| !entry.key.contains('/'))
        .filter_map(|entry| entry.key.strip_suffix(MANIFEST))
        .collect()
}

/// Whether a store has this very backup: under its id there is a manifest that says the same.
pub fn is_there(store: &dyn Store, manifest: &Manifest) -> Result<bool> {
    let key = Manifest::key(&manifest.id);
    let there = catalogue::read_document(store, &key).and_then(|bytes| Manifest::parse(&key, &bytes));
    match there {
        Ok(there) => Ok(there == *manifest),
        Err(error) if error.kind() == Kind::Data => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Status;
    use crate::store::local::LocalStore;

    const BUCKET: &str = "s3://bucket/prefix";

    fn backup(database: &str, second: u8) -> Backup {
        let mut manifest: Manifest = serde_json::from_str(include_str!("../../tests/golden/manifest.json")).unwrap();
        manifest.database = database.to_owned();
        manifest.id = format!("{database}_20231231_0200{second:02}");
        for (file, extension) in manifest.files.iter_mut().zip(["dump", "globals.sql"]) {
            file.key = format!("{}.{extension}", manifest.id);
        }
        Backup {
            manifest,
            store: "local",
            status: Status::Good,
            verification: None,
            verification_error: None,
            pin: None,
            drill: None,
            damage: Vec::new(),
        }
    }

    /// What is copied in which order, what has to be compared, and how many were deleted.
    fn lacking(copied: &mut CopyRecord, local: &[Backup], there: &[&str]) -> (Vec<String>, Vec<String>, usize) {
        let local: Vec<&Backup> = local.iter().collect();
        let there: HashSet<&str> = there.iter().copied().collect();
        copied.forget_emptied(BUCKET, &local, &there);
        let lacking = copied.lacking(BUCKET, &local, &there);
        let ids = |backups: Vec<&Backup>| backups.into_iter().map(|backup| backup.manifest.id.clone()).collect();
        (ids(lacking.missing), ids(lacking.unknown), lacking.deleted)
    }

    fn copied(ids: &[&str]) -> CopyRecord {
        let mut copied = CopyRecord::default();
        ids.iter().for_each(|id| copied.add(BUCKET, id));
        copied
    }

    #[test]
    fn a_new_bucket_lacks_everything() {
        let local = [backup("foo", 1), backup("foobar", 2), backup("foo", 3)];
        let mut copied = CopyRecord::default();
        copied.add("s3://another/prefix", "foo_20231231_020001");
        let (missing, unknown, deleted) = lacking(&mut copied, &local, &[]);
        assert_eq!(missing, ["foo_20231231_020001", "foobar_20231231_020002", "foo_20231231_020003"]);
        assert_eq!((unknown.len(), deleted), (0, 0));
    }

    #[test]
    fn what_was_cleaned_away_is_not_copied_again() {
        let local = [backup("foo", 1), backup("foo", 2), backup("foo", 3)];
        let mut copied = copied(&["foo_20231231_020001", "foo_20231231_020002"]);
        let (missing, unknown, deleted) = lacking(&mut copied, &local, &["foo_20231231_020002"]);
        assert_eq!(missing, ["foo_20231231_020003"]);
        assert_eq!((unknown.len(), deleted), (0, 1));
    }

    #[test]
    fn an_older_one_that_never_was_there_is_copied() {
        let local = [backup("foo", 1), backup("foo", 2)];
        let (missing, _, _) = lacking(&mut copied(&["foo_20231231_020002"]), &local, &["foo_20231231_020002"]);
        assert_eq!(missing, ["foo_20231231_020001"]);
    }

    #[test]
    fn a_bucket_that_was_emptied_is_filled_again() {
        let local = [backup("foo", 1), backup("foo", 2), backup("foobar", 3), backup("foobar", 4)];
        let recorded =
            ["foo_20231231_020001", "foo_20231231_020002", "foobar_20231231_020003", "foobar_20231231_020004"];
        let mut copied = copied(&recorded);
        let (missing, _, deleted) = lacking(&mut copied, &local, &["foobar_20231231_020004"]);
        assert_eq!(missing, ["foo_20231231_020001", "foo_20231231_020002"]);
        assert_eq!(deleted, 1);
        // A run that fills it again and is killed goes on where it was.
        copied.add(BUCKET, "foo_20231231_020001");
        let (missing, _, _) = lacking(&mut copied, &local, &["foo_20231231_020001", "foobar_20231231_020004"]);
        assert_eq!(missing, ["foo_20231231_020002"]);
    }

    #[test]
    fn one_that_is_there_without_a_record_is_looked_at() {
        let local = [backup("foo", 1)];
        let (missing, unknown, _) = lacking(&mut CopyRecord::default(), &local, &["foo_20231231_020001"]);
        assert_eq!((missing.len(), unknown), (0, vec!["foo_20231231_020001".to_owned()]));
    }

    #[test]
    fn the_record_is_kept_and_a_damaged_one_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        assert_eq!(CopyRecord::read(&store), CopyRecord::default());
        let mut record = copied(&["foo_20231231_020001", "gone_20231231_020001"]);
        record.keep(&[backup("foo", 1)]);
        record.write(&store).unwrap();
        assert_eq!(CopyRecord::read(&store), copied(&["foo_20231231_020001"]));
        assert!(store.list().unwrap().is_empty());
        std::fs::write(folder.path().join(RECORD), "not JSON").unwrap();
        assert_eq!(CopyRecord::read(&store), CopyRecord::default());
    }

    #[test]
    fn only_the_same_manifest_is_the_same_backup() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let manifest = backup("foo", 1).manifest;
        let path = folder.path().join(Manifest::key(&manifest.id));
        assert_eq!(is_there(&store, &manifest).unwrap_err().kind(), Kind::Missing);
        std::fs::write(&path, manifest.to_json().unwrap()).unwrap();
        assert!(is_there(&store, &manifest).unwrap());
        let other = Manifest { host: "another".to_owned(), ..manifest.clone() };
        std::fs::write(&path, other.to_json().unwrap()).unwrap();
        assert!(!is_there(&store, &manifest).unwrap());
        std::fs::write(&path, "not JSON").unwrap();
        assert!(!is_there(&store, &manifest).unwrap());
    }
}

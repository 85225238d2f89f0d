//! The backups of a directory that have no copy in a bucket, and a record of the copies that were made.
//!
//! A backup that is in the directory and not in the bucket was either never copied, or was copied and removed there by
//! retention, whose rules may differ. The bucket does not distinguish these, so the directory has a record of the copies. The
//! record only ever prevents a copy: if it is lost, some copies are made that retention deletes again, and no backup is lost.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde::{Deserialize, Serialize};

use crate::catalogue;
use crate::catalogue::Backup;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::MANIFEST;
use crate::config::S3Settings;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::store::{ObjectKind, Store, StoreEntry};

/// Name of the record in the directory. It begins with a dot, unlike those of backups.
pub const RECORD: &str = ".pgcellar.copied.json";

/// Ids of the backups that were copied to each bucket, by its [`address`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CopyRecord {
    buckets: BTreeMap<String, BTreeSet<String>>,
}

/// The backups that a bucket lacks.
#[derive(Debug, Default)]
pub struct MissingCopies<'a> {
    /// To be copied, the oldest first.
    pub missing: Vec<&'a Backup>,
    /// The bucket has a manifest with this id, which must still be compared.
    pub unknown: Vec<&'a Backup>,
    /// Number of backups that were copied and have been deleted since.
    pub deleted: usize,
}

impl CopyRecord {
    /// Reads the record of a directory. A missing or unusable one is empty.
    pub fn read(store: &dyn Store) -> Self {
        let read = catalogue::read_document(store, RECORD).and_then(|bytes| {
            document::parse(&bytes)
                .map_err(|error| Error::new(Kind::Data, format!("{RECORD} is not a record of copies: {error}")))
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
        store.replace(RECORD, &bytes, ObjectKind::Record)
    }

    /// Whether this backup was copied to a bucket.
    pub fn has(&self, bucket: &str, id: &str) -> bool {
        self.buckets.get(bucket).is_some_and(|ids| ids.contains(id))
    }

    /// Records that this backup was copied to a bucket.
    pub fn add(&mut self, bucket: &str, id: &str) {
        self.buckets.entry(bucket.to_owned()).or_default().insert(id.to_owned());
    }

    /// Removes backups that are no longer in the directory.
    pub fn keep(&mut self, backups: &[Backup]) {
        let there: HashSet<&str> = backups.iter().map(|backup| backup.manifest.id.as_str()).collect();
        for ids in self.buckets.values_mut() {
            ids.retain(|id| there.contains(id.as_str()));
        }
        self.buckets.retain(|_, ids| !ids.is_empty());
    }

    /// Removes the backups of databases that have no copy left in the bucket. Retention keeps the last good one, so this is
    /// another bucket of the same name, or one that was emptied, and all are to be copied.
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

    /// Which of these backups the bucket lacks, in their order.
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

/// The name of a bucket in the record: its name and prefix, and its server unless that is Amazon, because two servers may have
/// buckets of one name.
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

/// Whether a store has this backup: a manifest under its id that is equal.
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
    use crate::store::StoreKind;
    use crate::store::local::LocalStore;
    use crate::store::sample::empty;

    const BUCKET: &str = "s3://bucket/prefix";

    fn backup(database: &str, second: u8) -> Backup {
        let mut manifest: Manifest = serde_json::from_str(include_str!("../../tests/golden/manifest.json")).unwrap();
        manifest.database = database.to_owned();
        manifest.id = format!("{database}_20231231_0200{second:02}");
        for (file, extension) in manifest.files.iter_mut().zip(["dump", "globals.sql"]) {
            file.key = format!("{}.{extension}", manifest.id);
        }
        Backup::good(manifest, empty(StoreKind::Local))
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
    fn copies_that_retention_removed_are_not_made_again() {
        let local = [backup("foo", 1), backup("foo", 2), backup("foo", 3)];
        let mut copied = copied(&["foo_20231231_020001", "foo_20231231_020002"]);
        let (missing, unknown, deleted) = lacking(&mut copied, &local, &["foo_20231231_020002"]);
        assert_eq!(missing, ["foo_20231231_020003"]);
        assert_eq!((unknown.len(), deleted), (0, 1));
    }

    #[test]
    fn an_older_backup_without_a_copy_is_copied() {
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
        // A killed run that fills it again is continued.
        copied.add(BUCKET, "foo_20231231_020001");
        let (missing, _, _) = lacking(&mut copied, &local, &["foo_20231231_020001", "foobar_20231231_020004"]);
        assert_eq!(missing, ["foo_20231231_020002"]);
    }

    #[test]
    fn a_copy_without_a_record_is_compared() {
        let local = [backup("foo", 1)];
        let (missing, unknown, _) = lacking(&mut CopyRecord::default(), &local, &["foo_20231231_020001"]);
        assert_eq!((missing.len(), unknown), (0, vec!["foo_20231231_020001".to_owned()]));
    }

    #[test]
    fn the_record_is_stored_and_a_damaged_one_is_empty() {
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

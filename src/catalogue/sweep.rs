//! Removes what killed runs have left. The caller holds the lock, so none of it belongs to a running one.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::catalogue::copy_record::RECORD;
use crate::catalogue::manifest::{Manifest, StoredFile};
use crate::catalogue::name::{MANIFEST, RECORDS, leading_id};
use crate::catalogue::read_document;
use crate::catalogue::records::drill::DrillRecord;
use crate::catalogue::records::rehearsal::RehearsalRecord;
use crate::catalogue::records::{self, Pin, Verification};
use crate::error::Result;
use crate::printable::printable;
use crate::store::local::LocalStore;
use crate::store::{Store, StoreEntry, StoreKind};

pub mod bucket;

/// How long writing a small record may take at most.
const RECORDING: Duration = Duration::from_secs(600);

/// Minimum age of a record without a backup before it is removed.
const ORPHANED: Duration = Duration::from_secs(24 * 3600);

/// Removes from a folder the temporary files with a backup's name that are at least of this age, and the files of an unfinished
/// manifest of this instance, whether a backup or a deletion was killed. A file with a backup's name that is in no manifest is
/// left alone: it may be the only copy of a dump.
pub fn sweep(store: &LocalStore, instance: &str, age: Duration) -> Result<()> {
    let now = Timestamp::now();
    let (manifests, others): (Vec<StoreEntry>, Vec<StoreEntry>) =
        store.partials()?.into_iter().partition(|entry| entry.key.ends_with(MANIFEST));
    for entry in manifests {
        sweep_unfinished(store, &entry.key, instance)?;
    }
    sweep_orphans(store, now)?;
    for StoreEntry { key, modified, .. } in others {
        // A verify, a drill and a pin take no lock, and may be about to rename a record.
        let age = if is_written_without_lock(&key) { age.max(RECORDING) } else { age };
        let is_own = leading_id(&key).is_some() || key.starts_with(RECORD);
        if is_own && is_older(modified, age, now) {
            store.discard(&key)?;
            log::info!("removed {}.partial, left by a killed run", printable(&key));
        }
    }
    Ok(())
}

fn is_written_without_lock(key: &str) -> bool {
    RECORDS.iter().any(|end| key.contains(end))
}

/// Removes temporary files of records, and of the manifests of adopted dumps, left by killed runs of verbs that do not take the
/// lock. Those of a running one are younger.
pub fn records(store: &dyn Store) -> Result<()> {
    if store.kind() != StoreKind::Local {
        return Ok(());
    }
    let now = Timestamp::now();
    for StoreEntry { key, modified, .. } in store.partials()? {
        // The temporary file of a backup's manifest ends in the manifest's name. `sweep` needs it.
        let is_replacement = key.contains(MANIFEST) && !key.ends_with(MANIFEST);
        let is_own = leading_id(&key).is_some() && (is_written_without_lock(&key) || is_replacement);
        if is_own && is_older(modified, RECORDING, now) {
            store.discard(&key)?;
            log::info!("removed {}.partial, left by a killed run", printable(&key));
        }
    }
    Ok(())
}

/// Removes records of backups of which nothing else is left: the run that wrote them was killed before it noticed that the
/// backup had been removed.
fn sweep_orphans(store: &LocalStore, now: Timestamp) -> Result<()> {
    let entries = store.list()?;
    let id_of = |key: &str| RECORDS.iter().find_map(|end| key.strip_suffix(end)).map(str::to_owned);
    let id_of = |key: &str| id_of(key).filter(|id| leading_id(id) == Some(id));
    let begun = store.partials()?.into_iter().map(|entry| entry.key);
    let names = entries.iter().map(|entry| entry.key.clone()).filter(|key| id_of(key).is_none()).chain(begun);
    let others = store.not_files()?.into_iter().map(|(name, _)| name);
    let alive: HashSet<String> =
        names.chain(others).filter_map(|name| leading_id(top(&name)).map(str::to_owned)).collect();
    for entry in &entries {
        let Some(id) = id_of(&entry.key).filter(|id| !alive.contains(id)) else { continue };
        if is_older(entry.modified, ORPHANED, now) && is_record_of(store, &entry.key, &id) {
            store.delete(&entry.key)?;
            log::info!("removed {}: its backup does not exist", printable(&entry.key));
        }
    }
    Ok(())
}

/// The name of the file or folder at the store's top.
fn top(key: &str) -> &str {
    key.split_once('/').map_or(key, |(folder, _)| folder)
}

/// Whether a file is a record of this backup.
fn is_record_of(store: &LocalStore, key: &str, id: &str) -> bool {
    let document =
        read_document(store, key).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    document.is_some_and(|document| document.get("id").and_then(serde_json::Value::as_str) == Some(id))
}

/// Whether this was written at least `age` ago.
fn is_older(written: Timestamp, age: Duration, now: Timestamp) -> bool {
    age.is_zero() || now.duration_since(written).try_into().is_ok_and(|passed: Duration| passed >= age)
}

/// Whether what has the file's name is this file. If its bytes are still under the temporary name, or the size differs, it is
/// another file.
fn is_renamed(store: &LocalStore, file: &StoredFile) -> Result<bool> {
    let named = file.key.split('/').next().unwrap_or(&file.key);
    Ok(!store.partial_path(named)?.exists() && store.size(&file.key)? == Some(file.stored_bytes))
}

fn sweep_unfinished(store: &LocalStore, key: &str, instance: &str) -> Result<()> {
    if leading_id(key).is_none() {
        return Ok(());
    }
    // If a manifest is incomplete, no file has been renamed yet.
    let manifest = store.read_partial(key).ok().and_then(|bytes| Manifest::parse(key, &bytes).ok());
    if manifest.as_ref().is_some_and(|manifest| manifest.instance != instance) {
        return Ok(());
    }
    if let Some(manifest) = &manifest
        && store.size(key)?.is_none()
        && records::is_to_be_reinstated(store, manifest)?
    {
        store.reinstate(key)?;
        log::warn!(
            "{} is listed again: it was pinned when a killed run was about to remove it",
            printable(&manifest.id)
        );
        return Ok(());
    }
    if store.size(key)?.is_none() {
        for file in manifest.iter().flat_map(|manifest| &manifest.files) {
            if is_renamed(store, file)? {
                store.delete(&file.key)?;
            }
        }
        if let Some(manifest) = &manifest {
            store.remove_empty_folder(&manifest.id)?;
            store.delete(&Verification::key(&manifest.id))?;
            store.delete(&Pin::key(&manifest.id))?;
            store.delete(&DrillRecord::key(&manifest.id))?;
            store.delete(&RehearsalRecord::key(&manifest.id))?;
        }
    }
    store.discard(key)?;
    log::info!("removed what a killed run had left of {}", printable(key.trim_end_matches(MANIFEST)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with an unfinished manifest, and for each of its files what bears its name and its temporary name.
    fn swept(lay: impl Fn(&LocalStore, &StoredFile)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let manifest: Manifest = serde_json::from_str(include_str!("../../tests/golden/manifest.json")).unwrap();
        let key = Manifest::key(&manifest.id);
        std::fs::write(store.partial_path(&key).unwrap(), manifest.to_json().unwrap()).unwrap();
        for file in &manifest.files {
            lay(&store, file);
        }
        sweep(&store, &manifest.instance, Duration::ZERO).unwrap();
        store
            .list()
            .unwrap()
            .into_iter()
            .map(|entry| entry.key)
            .chain(store.partials().unwrap().into_iter().map(|entry| entry.key))
            .collect()
    }

    fn write(path: std::path::PathBuf, bytes: u64) {
        std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
    }

    #[test]
    fn files_of_an_unfinished_manifest_are_removed() {
        let named = |store: &LocalStore, file: &StoredFile| write(store.path(&file.key).unwrap(), file.stored_bytes);
        assert_eq!(swept(named), [""; 0]);
        let unnamed =
            |store: &LocalStore, file: &StoredFile| write(store.partial_path(&file.key).unwrap(), file.stored_bytes);
        assert_eq!(swept(unnamed), [""; 0]);
    }

    #[test]
    fn unfinished_backups_of_other_instances_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let mut manifest: Manifest = serde_json::from_str(include_str!("../../tests/golden/manifest.json")).unwrap();
        manifest.instance = "another".to_owned();
        std::fs::write(store.partial_path(&Manifest::key(&manifest.id)).unwrap(), manifest.to_json().unwrap()).unwrap();
        sweep(&store, "main", Duration::ZERO).unwrap();
        assert_eq!(store.partials().unwrap().len(), 1);
    }

    #[test]
    fn young_temporary_files_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let records = ["verify", "pin", "drill"].map(|record| format!("a_20231231_020000.{record}.json.1-0"));
        let [verify, pin, drill] = records.each_ref().map(String::as_str);
        let names =
            ["a_20231231_020000.dump", verify, pin, drill, "a", ".pgcellar.copied.json.1-0", ".a_20231231_020000"];
        for (hours, left) in [(1, 7), (25, 2)] {
            for name in names {
                let path = store.partial_path(name).unwrap();
                let written = std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
                std::fs::File::create(path).unwrap().set_modified(written).unwrap();
            }
            sweep(&store, "main", Duration::from_secs(24 * 3600)).unwrap();
            assert_eq!(store.partials().unwrap().len(), left);
        }
        for name in names {
            std::fs::File::create(store.partial_path(name).unwrap()).unwrap();
        }
        sweep(&store, "main", Duration::ZERO).unwrap();
        let left: Vec<String> = store.partials().unwrap().into_iter().map(|entry| entry.key).collect();
        assert_eq!(left, [".a_20231231_020000", "a", drill, pin, verify]);
    }

    /// A folder in which a deletion was killed before its first file, and the backup pinned.
    #[test]
    fn a_pinned_backup_whose_removal_was_killed_is_listed_again() {
        let pin = |store: &LocalStore, file: &StoredFile| {
            write(store.path(&file.key).unwrap(), file.stored_bytes);
            std::fs::write(store.path("my%20shop_20231231_020000.pin.json").unwrap(), "{}").unwrap();
        };
        let mut names = swept(pin);
        names.sort();
        let ends = ["dump.gz.age", "globals.sql.gz.age", "manifest.json", "pin.json"];
        assert_eq!(names, ends.map(|end| format!("my%20shop_20231231_020000.{end}")));
        // If a file has been deleted, the removal is finished.
        let half = |store: &LocalStore, file: &StoredFile| {
            if file.key.contains("globals") {
                pin(store, file);
            }
        };
        assert_eq!(swept(half), [""; 0]);
    }

    #[test]
    fn records_without_a_backup_are_removed_after_a_day() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let lay = |name: &str, text: &str, hours: u64| {
            let path = store.path(name).unwrap();
            std::fs::write(&path, text).unwrap();
            let written = std::time::SystemTime::now() - Duration::from_secs(hours * 3600);
            std::fs::File::options().write(true).open(path).unwrap().set_modified(written).unwrap();
        };
        let of = |id: &str| format!("{{\"id\": \"{id}\"}}");
        let stay = ["young_20231231_020000", "whole_20231231_020000", "dump_20231231_020000", "other_20231231_020000"];
        lay(&format!("{}.verify.json", stay[0]), &of(stay[0]), 23);
        lay(&format!("{}.verify.json", stay[1]), &of(stay[1]), 99);
        lay(&format!("{}.manifest.json", stay[1]), "{}", 99);
        lay(&format!("{}.drill.json", stay[2]), &of(stay[2]), 99);
        lay(&format!("{}.dump", stay[2]), "x", 99);
        // Not a record of this backup.
        lay(&format!("{}.pin.json", stay[3]), "{}", 99);
        let before: Vec<String> = store.list().unwrap().into_iter().map(|entry| entry.key).collect();
        for record in ["verify", "pin", "drill"] {
            lay(&format!("gone_20231231_020000.{record}.json"), &of("gone_20231231_020000"), 25);
        }
        sweep(&store, "main", Duration::ZERO).unwrap();
        assert_eq!(store.list().unwrap().into_iter().map(|entry| entry.key).collect::<Vec<_>>(), before);
    }

    #[test]
    fn records_are_swept_without_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let names = ["verify.json.1-0", "drill.json.1-0", "pin.json.1-0", "manifest.json.1-0", "manifest.json", "dump"];
        let names = names.map(|name| format!("a_20231231_020000.{name}"));
        for (minutes, left) in [(1, names.len()), (11, 2)] {
            for name in &names {
                let written = std::time::SystemTime::now() - Duration::from_secs(minutes * 60);
                std::fs::File::create(store.partial_path(name).unwrap()).unwrap().set_modified(written).unwrap();
            }
            records(&store).unwrap();
            assert_eq!(store.partials().unwrap().len(), left);
        }
    }

    #[test]
    fn other_files_with_the_same_names_are_kept() {
        let taken = |store: &LocalStore, file: &StoredFile| {
            write(store.partial_path(&file.key).unwrap(), file.stored_bytes);
            write(store.path(&file.key).unwrap(), file.stored_bytes);
        };
        assert_eq!(swept(taken).len(), 2);
        let another =
            |store: &LocalStore, file: &StoredFile| write(store.path(&file.key).unwrap(), file.stored_bytes + 1);
        assert_eq!(swept(another).len(), 2);
    }
}

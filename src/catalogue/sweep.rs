//! What killed runs have left: found under the lock, so none of it belongs to a run that still lives.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::catalogue::copy_record::RECORD;
use crate::catalogue::manifest::{MANIFEST, Manifest, PIN, Pin, StoredFile, VERIFY, Verification};
use crate::catalogue::name::leading_id;
use crate::catalogue::read_document;
use crate::catalogue::records;
use crate::catalogue::records::drill::{DRILL, DrillRecord};
use crate::error::Result;
use crate::printable::printable;
use crate::store::local::LocalStore;
use crate::store::{Store, StoreEntry};

pub mod bucket;

/// Longest time that writing a small record may take.
const RECORDING: Duration = Duration::from_secs(600);

/// How old a record of nothing must be to be removed.
const ORPHANED: Duration = Duration::from_secs(24 * 3600);

/// What the names of records end in.
const RECORDS: [&str; 3] = [VERIFY, PIN, DRILL];

/// Removes what no manifest, finished or not, will ever name: see the functions for what is provably ours in a folder and in
/// a bucket.
///
/// In a folder: temporary files with a backup's name that are at least so old, and the files that an unfinished manifest
/// of this instance names, whether a backup or a deletion was killed. A file with a backup's name that no manifest names
/// is left alone: it may be somebody's last copy.
pub fn sweep(store: &LocalStore, instance: &str, age: Duration) -> Result<()> {
    let now = Timestamp::now();
    let (manifests, others): (Vec<StoreEntry>, Vec<StoreEntry>) =
        store.partials()?.into_iter().partition(|entry| entry.key.ends_with(MANIFEST));
    for entry in manifests {
        sweep_unfinished(store, &entry.key, instance)?;
    }
    sweep_orphans(store, now)?;
    for StoreEntry { key, modified, .. } in others {
        // A verify, a drill and a pin take no lock, and may be about to give a record its name.
        let age = if is_written_without_lock(&key) { age.max(RECORDING) } else { age };
        let ours = leading_id(&key).is_some() || key.starts_with(RECORD);
        if ours && is_older(modified, age, now) {
            store.discard(&key)?;
            log::info!("removed {}.partial, which a killed run had left", printable(&key));
        }
    }
    Ok(())
}

fn is_written_without_lock(key: &str) -> bool {
    RECORDS.iter().any(|end| key.contains(end))
}

/// Removes temporary files of records, and of the manifests that adopted dumps get, which runs without a backup or a
/// retention have left that were killed. Those of a run that goes on are younger.
pub fn records(store: &dyn Store) -> Result<()> {
    if store.name() != "local" {
        return Ok(());
    }
    let now = Timestamp::now();
    for StoreEntry { key, modified, .. } in store.partials()? {
        // The manifest of a backup has its whole name while it is not finished, and tells what to sweep.
        let is_replacement = key.contains(MANIFEST) && !key.ends_with(MANIFEST);
        let ours = leading_id(&key).is_some() && (is_written_without_lock(&key) || is_replacement);
        if ours && is_older(modified, RECORDING, now) {
            store.discard(&key)?;
            log::info!("removed {}.partial, which a killed run had left", printable(&key));
        }
    }
    Ok(())
}

/// Removes records of backups of which nothing else is left: whoever wrote them was killed before it saw that the backup had
/// been removed.
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
        if is_older(entry.modified, ORPHANED, now) && tells_its_id(store, &entry.key, &id) {
            store.delete(&entry.key)?;
            log::info!("removed {}: there is no such backup any more", printable(&entry.key));
        }
    }
    Ok(())
}

/// The file or folder at the store's top.
fn top(key: &str) -> &str {
    key.split_once('/').map_or(key, |(folder, _)| folder)
}

/// Whether a file is a record of ours.
fn tells_its_id(store: &LocalStore, key: &str, id: &str) -> bool {
    let document =
        read_document(store, key).ok().and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    document.is_some_and(|document| document.get("id").and_then(serde_json::Value::as_str) == Some(id))
}

/// Whether this was written at least so long ago.
fn is_older(written: Timestamp, age: Duration, now: Timestamp) -> bool {
    age.is_zero() || now.duration_since(written).try_into().is_ok_and(|passed: Duration| passed >= age)
}

/// Whether what bears the file's name is the file. While its bytes still bear their temporary name, or where the size is
/// another one, it is somebody else's.
fn got_its_name(store: &LocalStore, file: &StoredFile) -> Result<bool> {
    let named = file.key.split('/').next().unwrap_or(&file.key);
    Ok(!store.partial_path(named)?.exists() && store.size(&file.key)? == Some(file.stored_bytes))
}

fn sweep_unfinished(store: &LocalStore, key: &str, instance: &str) -> Result<()> {
    if leading_id(key).is_none() {
        return Ok(());
    }
    // A manifest that was cut short was so before any file got its name.
    let manifest = store.read_partial(key).ok().and_then(|bytes| Manifest::parse(key, &bytes).ok());
    if manifest.as_ref().is_some_and(|manifest| manifest.instance != instance) {
        return Ok(());
    }
    if let Some(manifest) = &manifest
        && store.size(key)?.is_none()
        && records::is_to_come_back(store, manifest)?
    {
        store.reinstate(key)?;
        log::warn!("{} is listed again: it was pinned when a killed run was to remove it", printable(&manifest.id));
        return Ok(());
    }
    if store.size(key)?.is_none() {
        for file in manifest.iter().flat_map(|manifest| &manifest.files) {
            if got_its_name(store, file)? {
                store.delete(&file.key)?;
            }
        }
        if let Some(manifest) = &manifest {
            store.remove_empty_folder(&manifest.id)?;
            store.delete(&Verification::key(&manifest.id))?;
            store.delete(&Pin::key(&manifest.id))?;
            store.delete(&DrillRecord::key(&manifest.id))?;
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
    fn files_that_an_unfinished_manifest_names_go() {
        let named = |store: &LocalStore, file: &StoredFile| write(store.path(&file.key).unwrap(), file.stored_bytes);
        assert_eq!(swept(named), [""; 0]);
        let unnamed =
            |store: &LocalStore, file: &StoredFile| write(store.partial_path(&file.key).unwrap(), file.stored_bytes);
        assert_eq!(swept(unnamed), [""; 0]);
    }

    #[test]
    fn what_another_instance_has_not_finished_stays() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let mut manifest: Manifest = serde_json::from_str(include_str!("../../tests/golden/manifest.json")).unwrap();
        manifest.instance = "another".to_owned();
        std::fs::write(store.partial_path(&Manifest::key(&manifest.id)).unwrap(), manifest.to_json().unwrap()).unwrap();
        sweep(&store, "main", Duration::ZERO).unwrap();
        assert_eq!(store.partials().unwrap().len(), 1);
    }

    #[test]
    fn young_temporary_files_stay_where_age_counts() {
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
        // Where a file is gone already, so is the backup.
        let half = |store: &LocalStore, file: &StoredFile| {
            if file.key.contains("globals") {
                pin(store, file);
            }
        };
        assert_eq!(swept(half), [""; 0]);
    }

    #[test]
    fn records_of_nothing_go_after_a_day() {
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
        // Not ours, as far as can be told.
        lay(&format!("{}.pin.json", stay[3]), "{}", 99);
        let before: Vec<String> = store.list().unwrap().into_iter().map(|entry| entry.key).collect();
        for record in ["verify", "pin", "drill"] {
            lay(&format!("gone_20231231_020000.{record}.json"), &of("gone_20231231_020000"), 25);
        }
        sweep(&store, "main", Duration::ZERO).unwrap();
        assert_eq!(store.list().unwrap().into_iter().map(|entry| entry.key).collect::<Vec<_>>(), before);
    }

    #[test]
    fn runs_without_a_lock_sweep_their_own() {
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
    fn files_of_somebody_else_that_took_their_names_stay() {
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

//! What killed runs have left: found under the lock, so none of it belongs to a run that still lives.

use std::time::Duration;

use jiff::Timestamp;

use crate::catalogue::copied::RECORD;
use crate::catalogue::drill::{DRILL, Drill};
use crate::catalogue::manifest::{MANIFEST, Manifest, PIN, Pin, StoredFile, VERIFY, Verification};
use crate::catalogue::name::leading_id;
use crate::error::Result;
use crate::printable::printable;
use crate::store::local::LocalStore;
use crate::store::{Entry, Store};

pub mod bucket;

/// Longest time that writing a small record may take.
const RECORDING: Duration = Duration::from_secs(600);

/// Removes what no manifest, finished or not, will ever name: see the functions for what is provably ours in a folder and in
/// a bucket.
///
/// In a folder: temporary files with a backup's name that are at least so old, and the files that an unfinished manifest
/// of this instance names, whether a backup or a deletion was killed. A file with a backup's name that no manifest names
/// is left alone: it may be somebody's last copy.
pub fn sweep(store: &LocalStore, instance: &str, age: Duration) -> Result<()> {
    let now = Timestamp::now();
    let (manifests, others): (Vec<Entry>, Vec<Entry>) =
        store.partials()?.into_iter().partition(|entry| entry.key.ends_with(MANIFEST));
    for entry in manifests {
        sweep_unfinished(store, &entry.key, instance)?;
    }
    for Entry { key, modified, .. } in others {
        // A verify, a drill and a pin take no lock, and may be about to give a record its name.
        let is_record = [VERIFY, PIN, DRILL].iter().any(|end| key.contains(end));
        let age = if is_record { age.max(RECORDING) } else { age };
        let ours = leading_id(&key).is_some() || key.starts_with(RECORD);
        if ours && is_older(modified, age, now) {
            store.discard(&key)?;
            log::info!("removed {}.partial, which a killed run had left", printable(&key));
        }
    }
    Ok(())
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
            store.delete(&Drill::key(&manifest.id))?;
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

//! What killed runs have left: found under the lock, so none of it belongs to a run that still lives.

use std::time::Duration;

use crate::catalogue::manifest::{MANIFEST, Manifest, StoredFile, VERIFY};
use crate::catalogue::name::leading_id;
use crate::error::Result;
use crate::store::Store;
use crate::store::local::LocalStore;

/// Longest time that writing a small record may take.
const RECORDING: Duration = Duration::from_secs(600);

/// Removes temporary files of ours, and the files that an unfinished manifest names. A file with a backup's name that no
/// manifest names is left alone: it may be somebody's last copy.
pub fn sweep(store: &LocalStore) -> Result<()> {
    let partials: Vec<String> = store.partials()?.into_iter().map(|entry| entry.key).collect();
    let (manifests, others): (Vec<_>, Vec<_>) = partials.iter().partition(|key| key.ends_with(MANIFEST));
    for key in manifests {
        sweep_unfinished(store, key)?;
    }
    let ours = |key: &&String| leading_id(key).is_some() && !is_being_recorded(store, key);
    for key in others.into_iter().filter(ours) {
        store.discard(key)?;
        log::info!("removed {key}.partial, which a killed run had left");
    }
    Ok(())
}

/// Whether a verify, which takes no lock, may be about to give this record its name.
fn is_being_recorded(store: &LocalStore, key: &str) -> bool {
    let modified = || store.partial_path(key).ok()?.metadata().ok()?.modified().ok()?.elapsed().ok();
    key.contains(VERIFY) && modified().is_some_and(|age| age < RECORDING)
}

/// Whether what bears the file's name is the file. While its bytes still bear their temporary name, or where the size is
/// another one, it is somebody else's.
fn got_its_name(store: &LocalStore, file: &StoredFile) -> Result<bool> {
    let named = file.key.split('/').next().unwrap_or(&file.key);
    Ok(!store.partial_path(named)?.exists() && store.size(&file.key)? == Some(file.stored_bytes))
}

fn sweep_unfinished(store: &LocalStore, key: &str) -> Result<()> {
    if leading_id(key).is_none() {
        return Ok(());
    }
    // A manifest that was cut short was so before any file got its name.
    let manifest = store.read_partial(key).ok().and_then(|bytes| Manifest::parse(key, &bytes).ok());
    if store.size(key)?.is_none() {
        for file in manifest.iter().flat_map(|manifest| &manifest.files) {
            if got_its_name(store, file)? {
                store.delete(&file.key)?;
            }
        }
        if let Some(manifest) = &manifest {
            store.remove_empty_folder(&manifest.id)?;
        }
    }
    store.discard(key)?;
    log::info!("removed what a killed run had left of {}", key.trim_end_matches(MANIFEST));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with an unfinished manifest, and for each of its files what bears its name and its temporary name.
    fn swept(lay: impl Fn(&LocalStore, &StoredFile)) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let manifest: Manifest = serde_json::from_str(include_str!("../../../tests/golden/manifest.json")).unwrap();
        let key = Manifest::key(&manifest.id);
        std::fs::write(store.partial_path(&key).unwrap(), manifest.to_json().unwrap()).unwrap();
        for file in &manifest.files {
            lay(&store, file);
        }
        sweep(&store).unwrap();
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

//! What killed runs have left: found under the lock, so none of it belongs to a run that still lives.

use std::time::Duration;

use crate::catalogue::manifest::{MANIFEST, Manifest, VERIFY};
use crate::catalogue::name::leading_id;
use crate::error::Result;
use crate::store::Store;
use crate::store::local::LocalStore;

/// Longest time that writing a small record may take.
const RECORDING: Duration = Duration::from_secs(600);

/// Removes temporary files of ours, and the files that an unfinished manifest names. A file with a backup's name that no
/// manifest names is left alone: it may be somebody's last copy.
pub fn sweep(store: &LocalStore) -> Result<()> {
    let partials = store.partials()?;
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

fn sweep_unfinished(store: &LocalStore, key: &str) -> Result<()> {
    if leading_id(key).is_none() {
        return Ok(());
    }
    // A manifest that was cut short was so before any file got its name.
    let manifest = store.read_partial(key).ok().and_then(|bytes| Manifest::parse(key, &bytes).ok());
    if store.size(key)?.is_none() {
        for file in manifest.iter().flat_map(|manifest| &manifest.files) {
            store.delete(&file.key)?;
        }
        if let Some(manifest) = &manifest {
            store.remove_empty_folder(&manifest.id)?;
        }
    }
    store.discard(key)?;
    log::info!("removed what a killed run had left of {}", key.trim_end_matches(MANIFEST));
    Ok(())
}

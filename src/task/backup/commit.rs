//! How a backup comes to exist: the files get their names, and the manifest gets its name last.

use crate::catalogue::manifest::{Manifest, Role, StoredFile};
use crate::error::{Error, Result};
use crate::host::thread::joined;
use crate::store::Store;
use crate::store::local::LocalStore;
use crate::task::backup::Run;
use crate::task::backup::attempt::{Sealed, Whole};

/// Writes the manifest, and gives everything its name. Blocks only for the moment that the file system takes.
pub async fn commit(run: &Run<'_>, whole: Whole) -> Result<Manifest> {
    if run.stop.requested() {
        return Err(run.stop.error());
    }
    let manifest = whole.manifest(run, run.place.host.clone());
    let store = run.store.clone();
    let committed = tokio::task::spawn_blocking(move || {
        let named = name_all(&store, whole, &manifest);
        named.map(|()| manifest)
    });
    joined(committed.await)
}

fn name_all(store: &LocalStore, whole: Whole, manifest: &Manifest) -> Result<()> {
    let mut upload = store.create(&Manifest::key(&manifest.id), None)?;
    upload.write_all(&manifest.to_json()?).map_err(|error| Error::write("the manifest", &error))?;
    // From here on a sweep finds in the manifest under its temporary name which files are ours.
    upload.seal()?;
    name_archive(whole.archive)?;
    let archive = manifest.files(Role::Archive);
    whole.globals.commit().inspect_err(|_| withdraw(store, &manifest.id, archive))?;
    upload.commit().inspect_err(|_| withdraw(store, &manifest.id, &manifest.files))
}

fn name_archive(archive: Sealed) -> Result<()> {
    match archive {
        Sealed::File(upload) => upload.commit(),
        Sealed::Folder(folder) => folder.commit(),
    }
}

/// Takes away those files of a backup that got their names, where it did not get its manifest. A name that could not be
/// given may be that of somebody else's file.
fn withdraw<'a>(store: &LocalStore, id: &str, named: impl IntoIterator<Item = &'a StoredFile>) {
    let deleted = named.into_iter().try_for_each(|file| store.delete(&file.key));
    if let Err(error) = deleted.and_then(|()| store.remove_empty_folder(id)) {
        log::warn!("{error}");
    }
}

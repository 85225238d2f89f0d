//! How a backup comes to exist: the files get their names, and the manifest gets its name last.

use crate::blocking;
use crate::catalogue::directory_id;
use crate::catalogue::manifest::{FileRole, Manifest, StoredFile};
use crate::catalogue::publish::publish;
use crate::error::{Error, Result};
use crate::store::local::LocalStore;
use crate::store::{ObjectKind, Store};
use crate::task::backup::finished::{DurableArchive, FinishedBackup};
use crate::task::backup::{BackupRun, reservation};

/// Writes the manifest, and gives everything its name, in the store that the backup was made in.
pub async fn commit(run: &BackupRun<'_>, whole: FinishedBackup) -> Result<Manifest> {
    let manifest = whole.manifest(run);
    let (store, local, stop) = (run.store.clone(), run.local.clone(), run.stop.clone());
    let id = manifest.id.clone();
    let committed = blocking::to_end(move || {
        if stop.requested() {
            return Err(stop.error());
        }
        match local {
            Some(local) => name_all(&local, whole, &manifest)?,
            None => name_all_in_bucket(store.as_ref(), whole, &manifest)?,
        }
        Ok(manifest)
    })
    .await;
    if committed.is_err() && (run.local.is_some() || run.stop.requested()) {
        reservation::give_back(run, &id).await;
    }
    committed
}

fn name_all(store: &LocalStore, whole: FinishedBackup, manifest: &Manifest) -> Result<()> {
    let mut upload = store.create(&Manifest::key(&manifest.id), None, ObjectKind::Document)?;
    upload.write_all(&manifest.to_json()?).map_err(|error| Error::write("the manifest", &error))?;
    // From here on a sweep finds in the manifest under its temporary name which files are ours.
    upload.seal()?;
    if let Some(id) = &manifest.server.identity.backup_directory {
        directory_id::keep(store, id)?;
    }
    name_archive(whole.archive)?;
    let mut named: Vec<&StoredFile> = manifest.files(FileRole::Archive).collect();
    let beside = manifest.files.iter().filter(|file| file.role != FileRole::Archive);
    for (upload, file) in whole.beside.into_iter().zip(beside) {
        upload.commit().inspect_err(|_| withdraw(store, &manifest.id, named.iter().copied()))?;
        named.push(file);
    }
    upload.commit().inspect_err(|_| withdraw(store, &manifest.id, &manifest.files))
}

/// Nothing is taken back of what got its name: an answer that was lost does not say whether the object is there, and a
/// manifest may arrive late. The announcement stays then, and says whose the objects are until retention removes them.
fn name_all_in_bucket(store: &dyn Store, whole: FinishedBackup, manifest: &Manifest) -> Result<()> {
    let (key, document) = (Manifest::key(&manifest.id), manifest.to_json()?);
    name_archive(whole.archive)?;
    whole.beside.into_iter().try_for_each(|upload| upload.commit())?;
    publish(store, &key, &document)?;
    forget_announcement(store, &key);
    Ok(())
}

/// The backup exists. An announcement that stays says nothing any more, and retention removes it.
pub fn forget_announcement(store: &dyn Store, key: &str) {
    if let Err(error) = store.discard(key) {
        log::warn!("the announcement of {key} stays in {} for now: {error}", store.location());
    }
}

fn name_archive(archive: DurableArchive) -> Result<()> {
    match archive {
        DurableArchive::File(upload) => upload.commit(),
        DurableArchive::Folder(folder) => folder.commit(),
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

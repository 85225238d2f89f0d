//! The commit of a backup: the files get their names, and the manifest gets its name last.

use crate::blocking;
use crate::catalogue::directory_id;
use crate::catalogue::manifest::{FileRole, Manifest, StoredFile};
use crate::catalogue::publish::publish_announced;
use crate::error::{Error, Result};
use crate::store::local::LocalStore;
use crate::store::{ObjectKind, Store};
use crate::task::backup::finished::FinishedBackup;
use crate::task::backup::reservation;
use crate::task::backup::run::BackupRun;

/// Writes the manifest and gives everything its name, in the store that the backup is made in.
pub async fn commit(run: &BackupRun<'_>, finished: FinishedBackup) -> Result<Manifest> {
    let manifest = finished.manifest(run);
    let (store, local, stop) = (run.store.clone(), run.local.clone(), run.stop.clone());
    let id = manifest.id.clone();
    let committed = blocking::to_end(move || {
        if stop.requested() {
            return Err(stop.error());
        }
        match local {
            Some(local) => name_all(&local, finished, &manifest)?,
            None => name_all_in_bucket(store.as_ref(), finished, &manifest)?,
        }
        Ok(manifest)
    })
    .await;
    if committed.is_err() && (run.local.is_some() || run.stop.requested()) {
        reservation::withdraw(run, &id).await;
    }
    committed
}

fn name_all(store: &LocalStore, finished: FinishedBackup, manifest: &Manifest) -> Result<()> {
    let mut upload = store.create(&Manifest::key(&manifest.id), None, ObjectKind::Document)?;
    upload.write_all(&manifest.to_json()?).map_err(|error| Error::write("the manifest", &error))?;
    // From here on a sweep finds the names of the files in the manifest under its temporary name.
    upload.seal()?;
    if let Some(id) = &manifest.server.identity.backup_directory {
        directory_id::keep(store, id)?;
    }
    let mut named: Vec<&StoredFile> = Vec::new();
    if let Some(folder) = finished.folder {
        folder.commit()?;
        named.extend(manifest.files(FileRole::Archive));
    }
    for (upload, file) in finished.uploads.into_iter().zip(manifest.files.iter().skip(named.len())) {
        upload.commit().inspect_err(|_| delete_named(store, &manifest.id, named.iter().copied()))?;
        named.push(file);
    }
    upload.commit().inspect_err(|_| delete_named(store, &manifest.id, &manifest.files))
}

/// On failure, objects that have their names stay: after a lost answer it is unknown whether the object exists, and a manifest may
/// arrive late. The announcement stays too, and names the owner of the objects until retention removes them.
fn name_all_in_bucket(store: &dyn Store, finished: FinishedBackup, manifest: &Manifest) -> Result<()> {
    let (key, document) = (Manifest::key(&manifest.id), manifest.to_json()?);
    finished.uploads.into_iter().try_for_each(|upload| upload.commit())?;
    publish_announced(store, &key, &document)
}

/// Deletes the files that got their names, if the manifest did not get its name. A file that did not get its name is not deleted:
/// the name may belong to another file.
fn delete_named<'a>(store: &LocalStore, id: &str, named: impl IntoIterator<Item = &'a StoredFile>) {
    let deleted = named.into_iter().try_for_each(|file| store.delete(&file.key));
    if let Err(error) = deleted.and_then(|()| store.remove_empty_folder(id)) {
        log::warn!("{error}");
    }
}

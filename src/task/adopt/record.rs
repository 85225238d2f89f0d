//! The manifest of an adopted dump, written beside it.
//!
//! It is never announced under the temporary name of a backup's manifest: the files of an unfinished manifest are deleted,
//! and these files may be the only copy.

use crate::catalogue;
use crate::catalogue::manifest::{FileRole, Manifest};
use crate::catalogue::publish::publish;
use crate::catalogue::records::drill::DrillRecord;
use crate::catalogue::records::rehearsal::RehearsalRecord;
use crate::catalogue::records::{Pin, Verification};
use crate::config::Place;
use crate::error::{Error, Kind, Result};
use crate::host::lock::Lock;
use crate::store::{ObjectKind, Store, StoreKind};
use crate::task::adopt::candidate::Candidate;

/// Checks that the manifest of this id is that of this file or folder.
///
/// # Errors
/// `CannotWrite` if it is that of another one: two dumps of the same second cannot both be the backup.
pub fn belongs_to(manifest: &Manifest, key: &str, called: &str) -> Result<()> {
    let inside = format!("{key}/");
    let its = |file: &str| file == key || file.starts_with(&inside);
    let id = &manifest.id;
    let records =
        [Manifest::key(id), Verification::key(id), Pin::key(id), DrillRecord::key(id), RehearsalRecord::key(id)];
    if records.iter().any(|record| record == key) || manifest.files.iter().any(|file| its(&file.key)) {
        return Ok(());
    }
    let first = manifest.files.first().map_or("another file", |file| file.key.as_str());
    let message = format!("{called} cannot be adopted: the backup {} is {first} already", manifest.id);
    Err(Error::new(Kind::CannotWrite, message).hint(
        "a database has one backup per second at most: if this one is needed too, change the time in its name by \
               a second",
    ))
}

/// Writes the manifest durably, with the lock of the directory. Blocks.
///
/// # Errors
/// Files that have changed since they were read; a manifest that exists meanwhile; what keeps it from being written.
pub fn write(place: &Place, candidate: &Candidate, manifest: &Manifest) -> Result<()> {
    let store = candidate.store.as_ref();
    let _lock = match &place.directory {
        Some(directory) if directory.is_dir() => Some(Lock::take(directory, "adopt")?),
        _ => None,
    };
    nothing_changed(store, manifest)?;
    let mut copied = None;
    for other in &candidate.others {
        copied = same_elsewhere(other.as_ref(), manifest)?.or(copied);
    }
    // Copies of one backup have one manifest.
    let manifest = copied.as_ref().unwrap_or(manifest);
    let (key, bytes) = (Manifest::key(&manifest.id), manifest.to_json()?);
    // The names of the files may make a manifest that cannot be read again.
    Manifest::parse(&key, &bytes)?;
    if store.kind() == StoreKind::Local {
        return store.replace(&key, &bytes, ObjectKind::Document);
    }
    publish(store, &key, &bytes)
}

fn nothing_changed(store: &dyn Store, manifest: &Manifest) -> Result<()> {
    let id = &manifest.id;
    if catalogue::manifest(store, id)?.is_some() {
        return Err(Error::new(Kind::CannotWrite, format!("{id} has been given a manifest meanwhile")));
    }
    match store.read_partial(&Manifest::key(id)) {
        Err(error) if error.kind() == Kind::Missing => {}
        Err(error) => return Err(error),
        Ok(_) => {
            let message = format!("{id} cannot be adopted: it was left by a backup that did not finish");
            return Err(
                Error::new(Kind::CannotWrite, message).hint("the next backup removes it; move it away to keep it")
            );
        }
    }
    for file in &manifest.files {
        match store.size(&file.key)? {
            Some(bytes) if bytes == file.stored_bytes => {}
            _ => {
                let message = format!("{} cannot be adopted: it changed while it was read", file.key);
                return Err(Error::new(Kind::Data, message).hint("is something still writing it? try again later"));
            }
        }
    }
    Ok(())
}

/// The manifest of the same id in another store, which must be that of a copy.
///
/// # Errors
/// `CannotWrite` if it is another backup.
fn same_elsewhere(other: &dyn Store, manifest: &Manifest) -> Result<Option<Manifest>> {
    let Some(there) = catalogue::manifest(other, &manifest.id)? else { return Ok(None) };
    let archive = |manifest: &Manifest| -> Vec<(String, String)> {
        manifest.files(FileRole::Archive).map(|file| (file.key.clone(), file.stored_sha256.clone())).collect()
    };
    let same_maker = there.instance == manifest.instance && there.host == manifest.host;
    match (archive(&there) == archive(manifest), same_maker && there.adopted.is_some()) {
        (true, adopted) => Ok(Some(there).filter(|_| adopted)),
        (false, _) => {
            let (id, place) = (&manifest.id, other.location());
            let message = format!("{id} cannot be adopted: the backup {id} in {place} is another one");
            Err(Error::new(Kind::CannotWrite, message).hint(
                "a database has one backup per second at most: if this one is needed too, change the time in its \
                       name by a second",
            ))
        }
    }
}

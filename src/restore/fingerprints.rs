//! The fingerprints of a backup, read and compared with the manifest.

use std::sync::Arc;

use crate::blocking;
use crate::catalogue::manifest::FileRole;
use crate::error::{Error, Result};
use crate::fingerprint::Fingerprints;
use crate::host::progress::Counter;
use crate::restore::archive::{Archive, whole};
use crate::stop::Stop;

/// The fingerprints of a backup. Dumps of other tools and backups of older versions have none.
///
/// # Errors
/// `Data` if they are not what the manifest says; what keeps the file from being read.
pub async fn read(archive: &Arc<Archive>, stop: &Stop) -> Result<Option<Fingerprints>> {
    let archive = Arc::clone(archive);
    blocking::run(stop, move || read_now(&archive)).await
}

fn read_now(archive: &Archive) -> Result<Option<Fingerprints>> {
    let Some(file) = archive.manifest.iter().find_map(|manifest| manifest.files(FileRole::Fingerprints).next()) else {
        return Ok(None);
    };
    let mut plain = archive.open(file, &Counter::default())?;
    let read = Fingerprints::from_json(&mut plain);
    // Damaged bytes may be no JSON any more. That they are damaged is the more useful error.
    let digests = plain.finish().map_err(|error| archive.unreadable(&file.key, &error))?;
    whole(file, &digests)?;
    read.map(Some).map_err(|error| Error::read(&file.key, &error))
}

//! The result of a verify, and its record beside the manifest.

use std::sync::Arc;

use jiff::Timestamp;

use crate::catalogue::manifest::Manifest;
use crate::catalogue::records::{self, Depth, Verification};
use crate::catalogue::verification;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::restore::read_back::FileReader;
use crate::stop::Stop;
use crate::store::Store;

/// Records the result of a verify beside the manifest. A result of the stored bytes alone does not replace that of a full verify:
/// unchanged bytes refute nothing that the full verify found in them.
///
/// # Errors
/// `Missing` if the backup was deleted meanwhile; `CannotWrite`.
pub fn record(store: &dyn Store, result: &Verification) -> Result<()> {
    let is_less = result.passed && result.depth == Depth::Stored && was_full(store, &result.id);
    let written = match is_less {
        true => store.size(&Manifest::key(&result.id)).map(|size| size.is_some()),
        false => {
            result.to_json().and_then(|bytes| records::write(store, &result.id, &Verification::key(&result.id), &bytes))
        }
    };
    let written = match written {
        Ok(true) => Ok(()),
        Ok(false) => Err(Error::new(Kind::Missing, format!("{} was deleted while it was verified", result.id))),
        Err(error) => Err(error),
    };
    written.map_err(|error| error.context("the result cannot be recorded"))
}

/// Reads the stored bytes of a backup, and records the result as a verify does; a record that cannot be written is logged. Blocks.
///
/// # Errors
/// A file cannot be read.
pub fn read_stored(store: &Arc<dyn Store>, manifest: &Manifest, stop: &Stop) -> Result<Verification> {
    let progress = Progress::begin(&format!("read {}", manifest.id), Some(manifest.stored_bytes()));
    let (moved, stop) = (progress.counter(), stop.clone());
    let reader = FileReader { store: Arc::clone(store), identities: None, moved, stop };
    let mut damage = Vec::new();
    for file in &manifest.files {
        damage.extend(reader.read_stored(manifest, file)?);
    }
    let (id, passed) = (manifest.id.clone(), damage.is_empty());
    let result = Verification { id, at: Timestamp::now(), passed, depth: Depth::Stored, damage };
    if let Err(error) = record(store.as_ref(), &result) {
        log::warn!("{error}");
    }
    Ok(result)
}

fn was_full(store: &dyn Store, id: &str) -> bool {
    verification(store, id).is_some_and(|earlier| earlier.depth == Depth::Full)
}

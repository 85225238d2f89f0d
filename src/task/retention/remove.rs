//! How a backup ceases to exist: the manifest goes out of sight first, so that a half-removed backup is never listed; then
//! the files go, and the manifest's bytes last, which tell the next run what is left to do.

use indicatif::HumanBytes;

use super::{Planned, RetentionRun, Shelf};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::records;
use crate::catalogue::records::drill::DrillRecord;
use crate::catalogue::records::verification::Verification;
use crate::error::{Error, Result};
use crate::host::event;
use crate::parallel;
use crate::printable::printable;

/// Removes what was decided. A backup that cannot be removed does not keep the others from being removed. The error is that
/// of a run that was told to stop.
pub fn remove(run: &RetentionRun, shelf: &mut Shelf, planned: &mut [Planned]) -> Result<()> {
    let (mut removals, mut failed) = (0, 0);
    let mut first: Option<Error> = None;
    for (at, planned) in planned.iter_mut().enumerate().filter(|(_, planned)| !planned.decision.keep) {
        if run.stop.requested() {
            return Err(run.stop.error());
        }
        removals += 1;
        match remove_one(shelf, &shelf.backups[at].manifest) {
            Ok(()) => {
                planned.removed = true;
                log_removal(shelf, &shelf.backups[at].manifest, planned);
            }
            Err(error) => {
                failed += 1;
                planned.error = Some(Error::new(error.kind(), error.to_string()));
                first.get_or_insert(error);
            }
        }
    }
    if let Some(first) = first {
        let context = format!("{failed} of {removals} backups could not be removed from {}", shelf.store.location());
        shelf.failure = Some(first.context(context));
    }
    Ok(())
}

fn remove_one(shelf: &Shelf, manifest: &Manifest) -> Result<()> {
    let (store, id) = (shelf.store.as_ref(), &manifest.id);
    // A pin takes no lock: it may have come since the store was read.
    records::withdraw(store, id)?;
    for deleted in parallel::map(&manifest.files, |file| store.delete(&file.key)) {
        deleted?;
    }
    store.delete(&Verification::key(id))?;
    store.delete(&DrillRecord::key(id))?;
    if let Some(folder) = &shelf.folder {
        folder.remove_empty_folder(id)?;
    }
    store.discard(&Manifest::key(id))
}

fn log_removal(shelf: &Shelf, manifest: &Manifest, planned: &Planned) {
    let reasons: Vec<String> = planned.decision.reasons.iter().map(ToString::to_string).collect();
    log::info!(
        MESSAGE_ID = event::BACKUP_REMOVED,
        PGCELLAR_DATABASE = manifest.database, PGCELLAR_BACKUP = manifest.id,
        PGCELLAR_STORE = shelf.store.kind().name(), PGCELLAR_BYTES = manifest.stored_bytes();
        "removed {} ({}) from {}: {}",
        printable(&manifest.id),
        HumanBytes(manifest.stored_bytes()),
        shelf.store.location(),
        reasons.join(", "),
    );
}

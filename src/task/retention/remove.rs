//! The removal of backups: the manifest is hidden first, so that a half-removed backup is never listed; then the files are deleted,
//! and the manifest's bytes last, which name what the next run still has to delete.

use indicatif::HumanBytes;

use crate::catalogue::manifest::Manifest;
use crate::catalogue::records::drill::DrillRecord;
use crate::catalogue::records::rehearsal::RehearsalRecord;
use crate::catalogue::records::{self, Verification};
use crate::catalogue::retention_plan::{Planned, StoreBackups};
use crate::error::{Error, Result};
use crate::host::event;
use crate::parallel;
use crate::printable::printable;
use crate::task::retention::run::RetentionRun;

/// Removes the backups of a store that the plan removes. If one cannot be removed, the others still are.
pub fn remove(run: &RetentionRun, store: &mut StoreBackups, planned: &mut [Planned]) -> Result<()> {
    let (mut removals, mut failed) = (0, 0);
    let mut first: Option<Error> = None;
    for (at, planned) in planned.iter_mut().enumerate().filter(|(_, planned)| !planned.decision.keep) {
        if run.stop.requested() {
            return Err(run.stop.error());
        }
        removals += 1;
        match remove_one(store, &store.backups[at].manifest) {
            Ok(()) => {
                planned.removed = true;
                log_removal(store, &store.backups[at].manifest, planned);
            }
            Err(error) => {
                failed += 1;
                planned.error = Some(Error::new(error.kind(), error.to_string()));
                first.get_or_insert(error);
            }
        }
    }
    if let Some(first) = first {
        let context = format!("{failed} of {removals} backups could not be removed from {}", store.store.location());
        store.failure = Some(first.context(context));
    }
    Ok(())
}

fn remove_one(store: &StoreBackups, manifest: &Manifest) -> Result<()> {
    let StoreBackups { store, folder, .. } = store;
    let id = &manifest.id;
    // Pinning takes no lock: the backup may have been pinned since the store was read.
    records::withdraw(store.as_ref(), id)?;
    for deleted in parallel::map(&manifest.files, |file| store.delete(&file.key)) {
        deleted?;
    }
    store.delete(&Verification::key(id))?;
    store.delete(&DrillRecord::key(id))?;
    store.delete(&RehearsalRecord::key(id))?;
    if let Some(folder) = folder {
        folder.remove_empty_folder(id)?;
    }
    store.discard(&Manifest::key(id))
}

fn log_removal(store: &StoreBackups, manifest: &Manifest, planned: &Planned) {
    let reasons: Vec<String> = planned.decision.reasons.iter().map(ToString::to_string).collect();
    log::info!(
        MESSAGE_ID = event::BACKUP_REMOVED,
        PGCELLAR_DATABASE = manifest.database, PGCELLAR_BACKUP = manifest.id,
        PGCELLAR_STORE = store.store.kind().name(), PGCELLAR_BYTES = manifest.stored_bytes();
        "removed {} ({}) from {}: {}",
        printable(&manifest.id),
        HumanBytes(manifest.stored_bytes()),
        store.store.location(),
        reasons.join(", "),
    );
}

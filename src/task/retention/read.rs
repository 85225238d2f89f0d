//! What is kept in the place of others is read before these are removed: the stored bytes of the newest backup of each
//! database, once, as a verify without a private key reads them.
//!
//! In a bucket, what this instance wrote itself counts as read: its bytes were compared with the manifest's hashes on their way, the
//! server compared each part with a digest that was sent along, and its own storage is checked by it. What others put
//! there is read.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use indicatif::HumanBytes;

use super::{RetentionRun, Shelf, plan};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::retention::{Decision, Reason};
use crate::catalogue::{Backup, Status};
use crate::error::Result;
use crate::parallel;
use crate::printable::printable;
use crate::store::Store;
use crate::task::retention::plan::Planned;
use crate::task::verify;

/// Reads what is kept, and decides anew where that is damaged. Where it cannot be read, nothing of its database is removed.
/// A dry run reads nothing, and says what would be read.
///
/// # Errors
/// That of a run that was told to stop.
pub fn before_removal(run: &RetentionRun, shelves: &mut [Shelf], planned: &mut Vec<Vec<Planned>>) -> Result<()> {
    let mut read: HashSet<(usize, String)> = HashSet::new();
    loop {
        let mut damaged = false;
        for (at, (shelf, planned)) in shelves.iter_mut().zip(planned.iter_mut()).enumerate() {
            for newest in unread(shelf, planned) {
                let id = shelf.backups[newest].manifest.id.clone();
                if read.insert((at, id)) {
                    damaged |= read_one(run, shelf, planned, newest)?;
                }
            }
        }
        if !damaged {
            break;
        }
        *planned = plan::plan(run, shelves);
    }
    for (at, (shelf, planned)) in shelves.iter().zip(planned).enumerate() {
        for (backup, planned) in shelf.backups.iter().zip(planned) {
            if planned.decision.keep && is_newest(planned) && read.contains(&(at, backup.manifest.id.clone())) {
                planned.decision.reasons.push(Reason::ReadFirst);
            }
        }
    }
    Ok(())
}

/// The newest backup of each database of which something would be removed, unless it was read before.
fn unread(shelf: &Shelf, planned: &[Planned]) -> Vec<usize> {
    let database = |at: usize| shelf.backups[at].manifest.database.as_str();
    let removed: BTreeSet<&str> = (0..planned.len()).filter(|at| !planned[*at].decision.keep).map(database).collect();
    let is_unread = |at: &usize| {
        let Backup { manifest, verification, .. } = &shelf.backups[*at];
        is_newest(&planned[*at])
            && removed.contains(database(*at))
            && verification.is_none()
            && !is_ours_in_bucket(shelf, manifest)
    };
    (0..planned.len()).filter(is_unread).collect()
}

fn is_newest(planned: &Planned) -> bool {
    planned.decision.reasons.iter().any(|reason| matches!(reason, Reason::NewestGood | Reason::NewestPartial))
}

/// Whether the objects themselves tell that this instance wrote them. Their sizes have been compared.
fn is_ours_in_bucket(shelf: &Shelf, manifest: &Manifest) -> bool {
    let labelled = |store: &Arc<dyn Store>| {
        parallel::map(&manifest.files, |file| store.is_labelled(&file.key))
            .into_iter()
            .all(|told| told.unwrap_or(false))
    };
    shelf.folder.is_none() && labelled(&shelf.store)
}

/// Reads a backup; true if it is damaged.
fn read_one(run: &RetentionRun, shelf: &mut Shelf, planned: &mut [Planned], at: usize) -> Result<bool> {
    let Shelf { store, backups, failure, .. } = shelf;
    let backup = &mut backups[at];
    let (id, location) = (printable(&backup.manifest.id), store.location());
    let bytes = HumanBytes(backup.manifest.stored_bytes());
    if run.dry_run {
        log::info!("{location}: would first read {id} ({bytes}), which stays in the place of others");
        return Ok(false);
    }
    log::info!("{location}: reads {id} ({bytes}), which stays in the place of others");
    match verify::read_stored(store, &backup.manifest, &run.stop) {
        _ if run.stop.requested() => Err(run.stop.error()),
        Ok(record) => {
            let passed = record.passed;
            if !passed {
                log::error!("{id} in {location} is damaged: {}", printable(&record.damage.join(", ")));
                backup.status = Status::Damaged;
            }
            backup.verification = Some(record);
            Ok(!passed)
        }
        Err(error) => {
            let database = backup.manifest.database.clone();
            let error = error.context(format!("nothing of '{}' is removed from {location}", printable(&database)));
            match failure {
                Some(_) => log::error!("{error}"),
                None => *failure = Some(error),
            }
            for (backup, planned) in backups.iter().zip(planned) {
                if !planned.decision.keep && backup.manifest.database == database {
                    planned.decision = Decision { keep: true, reasons: vec![Reason::NewestUnread] };
                }
            }
            Ok(false)
        }
    }
}

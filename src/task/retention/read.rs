//! Before backups are removed, the one that is kept in their place is read: the stored bytes of the newest backup of each database,
//! once, as a verify without a private key reads them.
//!
//! In a bucket, objects that this instance wrote count as read: their bytes were compared with the manifest's hashes during the upload,
//! the server compared each part with a digest of the request, and checks its own storage. Objects of others are read.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use indicatif::HumanBytes;

use crate::catalogue::manifest::Manifest;
use crate::catalogue::retention::{Decision, Reason};
use crate::catalogue::retention_plan::{Planned, StoreBackups};
use crate::catalogue::{Backup, Status};
use crate::error::Result;
use crate::parallel;
use crate::printable::printable;
use crate::restore::verification;
use crate::store::Store;
use crate::task::retention::run::RetentionRun;

/// Reads what is kept, and plans again if that is damaged. If it cannot be read, nothing of its database is removed. A dry run reads
/// nothing, and logs what would be read.
pub fn before_removal(run: &RetentionRun, stores: &mut [StoreBackups], planned: &mut Vec<Vec<Planned>>) -> Result<()> {
    let mut read: HashSet<(usize, String)> = HashSet::new();
    loop {
        let mut damaged = false;
        for (at, (store, planned)) in stores.iter_mut().zip(planned.iter_mut()).enumerate() {
            for newest in unread(store, planned) {
                let id = store.backups[newest].manifest.id.clone();
                if read.insert((at, id)) {
                    damaged |= read_one(run, store, planned, newest)?;
                }
            }
        }
        if !damaged {
            break;
        }
        *planned = run.rules.plan(stores);
    }
    for (at, (store, planned)) in stores.iter().zip(planned).enumerate() {
        for (backup, planned) in store.backups.iter().zip(planned) {
            if planned.decision.keep && is_newest(planned) && read.contains(&(at, backup.manifest.id.clone())) {
                planned.decision.reasons.push(Reason::ReadFirst);
            }
        }
    }
    Ok(())
}

/// The newest backup of each database of which something is to be removed, unless it was read before.
fn unread(store: &StoreBackups, planned: &[Planned]) -> Vec<usize> {
    let database = |at: usize| store.backups[at].manifest.database.as_str();
    let removed: BTreeSet<&str> = (0..planned.len()).filter(|at| !planned[*at].decision.keep).map(database).collect();
    let is_unread = |at: &usize| {
        let Backup { manifest, verification, .. } = &store.backups[*at];
        is_newest(&planned[*at])
            && removed.contains(database(*at))
            && verification.is_none()
            && !is_ours_in_bucket(store, manifest)
    };
    (0..planned.len()).filter(is_unread).collect()
}

fn is_newest(planned: &Planned) -> bool {
    planned.decision.reasons.iter().any(|reason| matches!(reason, Reason::NewestGood | Reason::NewestPartial))
}

/// Whether the objects have this instance's label. Their sizes have been compared.
fn is_ours_in_bucket(store: &StoreBackups, manifest: &Manifest) -> bool {
    let labelled = |store: &Arc<dyn Store>| {
        parallel::map(&manifest.files, |file| store.is_labelled(&file.key))
            .into_iter()
            .all(|labelled| labelled.unwrap_or(false))
    };
    store.folder.is_none() && labelled(&store.store)
}

/// Reads a backup, and returns whether it is damaged.
fn read_one(run: &RetentionRun, store: &mut StoreBackups, planned: &mut [Planned], at: usize) -> Result<bool> {
    let StoreBackups { store, backups, failure, .. } = store;
    let backup = &mut backups[at];
    let (id, location) = (printable(&backup.manifest.id), store.location());
    let bytes = HumanBytes(backup.manifest.stored_bytes());
    if run.dry_run {
        log::info!("{location}: would first read {id} ({bytes}), which is kept in place of others");
        return Ok(false);
    }
    log::info!("{location}: reads {id} ({bytes}), which is kept in place of others");
    match verification::read_stored(store, &backup.manifest, &run.stop) {
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

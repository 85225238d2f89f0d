//! The backups that the next run of retention will remove, and those that it should have removed already.

use std::collections::{HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::blocking;
use crate::catalogue::Backup;
use crate::catalogue::retention_plan;
use crate::config::{Place, RetentionSettings};
use crate::error::Result;
use crate::health::facts::Removal;
use crate::store::StoreKind;
use crate::task::monitor::gather::stores::StoresState;

/// How long retention, which runs daily, may be overdue.
const LATE: SignedDuration = SignedDuration::from_hours(48);

/// The backups that a run now would remove, the oldest first, each with whether a run two days ago would have removed
/// it.
pub async fn foreseen(
    settings: &RetentionSettings,
    place: &Place,
    found: &StoresState,
    now: Timestamp,
) -> Result<Vec<Removal>> {
    let (settings, place, opened) = (settings.clone(), place.clone(), found.opened.clone());
    let backups = found.backups.clone();
    let foresee = move || {
        let mut removed = retention_plan::foresee(&settings, &place, &opened, &backups, now);
        let then = now - LATE;
        let overdue = match removed.is_empty() {
            true => Vec::new(),
            false => retention_plan::foresee(&settings, &place, &opened, &began_until(&backups, then), then),
        };
        let overdue: HashSet<_> = overdue.iter().map(|(store, backup)| (*store, &backup.manifest.id)).collect();
        removed.sort_by_key(|(_, backup)| backup.manifest.started);
        let removal = |(store, backup): &(StoreKind, Backup)| Removal {
            store: store.name(),
            id: backup.manifest.id.clone(),
            bytes: backup.manifest.stored_bytes(),
            overdue: overdue.contains(&(*store, &backup.manifest.id)),
        };
        Ok(removed.iter().map(removal).collect())
    };
    blocking::to_end(foresee).await
}

fn began_until(backups: &HashMap<StoreKind, Vec<Backup>>, then: Timestamp) -> HashMap<StoreKind, Vec<Backup>> {
    let until =
        |backups: &Vec<Backup>| backups.iter().filter(|backup| backup.manifest.started <= then).cloned().collect();
    backups.iter().map(|(store, backups)| (*store, until(backups))).collect()
}

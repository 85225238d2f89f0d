//! `pgcellar monitor acknowledge`: that a database was emptied is on purpose.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::catalogue::acknowledged::Acknowledged;
use crate::catalogue::emptied::{Emptied, Fill, emptied};
use crate::catalogue::newest::is_from_future;
use crate::catalogue::ownership::{Owner, Ownership, Whose};
use crate::catalogue::{Backup, Catalogue, Status};
use crate::cli::AcknowledgeArgs;
use crate::config::Place;
use crate::error::{Error, Kind, Result};
use crate::host::stop::Stop;
use crate::host::thread::joined;
use crate::printable::printable;
use crate::store::{Store, Stores};

/// Acknowledges what the backups of a database show that are there now, in every store. The error is that of a store that
/// could not be asked, or that there is nothing to acknowledge.
pub async fn run(args: &AcknowledgeArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let stores = Stores::open(&place).await?.all();
    let database = args.database.clone();
    let work = tokio::task::spawn_blocking(move || acknowledge(&database, &place, &stores));
    stop.or(async { joined(work.await) }).await
}

fn acknowledge(database: &str, place: &Place, stores: &[Arc<dyn Store>]) -> Result<()> {
    let now = Timestamp::now();
    let (mut readable, mut failure, mut known) = (Vec::new(), None, Acknowledged::default());
    for store in stores {
        match good(database, place, store.as_ref(), now) {
            Ok(backups) => {
                known.merge(Acknowledged::read(store.as_ref(), &place.instance));
                readable.push((store, backups));
            }
            Err(error) => drop(failure.get_or_insert(error)),
        }
    }
    let merged: BTreeMap<_, &Backup> = readable.iter().flat_map(|(_, backups)| backups).map(by_time).collect();
    let stores = readable.iter().map(|(_, backups)| backups.iter().collect::<Vec<_>>());
    let mut all: Vec<Vec<&Backup>> = stores.collect();
    all.push(merged.values().copied().collect());
    let found = all.iter().rev().find_map(|backups| shown(backups, &known));
    let (Some(Emptied { before, .. }), Some(newest)) = (found, merged.values().next_back()) else {
        let message = format!("there is nothing to acknowledge of '{}'", printable(database));
        return Err(failure.unwrap_or_else(|| {
            Error::new(Kind::Missing, message)
                .hint("pgcellar monitor check tells of what was emptied; is the name right?")
        }));
    };
    known.add(&newest.manifest);
    for (store, _) in &readable {
        if let Err(error) = known.write(store.as_ref(), &place.instance) {
            log::error!("{error}");
            failure.get_or_insert(error);
        }
    }
    log::info!(
        "acknowledged: '{}' has {} since, and {} is kept by the rules alone",
        printable(database),
        Fill::of(&newest.manifest).words(),
        printable(&before.manifest.id)
    );
    failure.map_or(Ok(()), |error| Err(error.hint("acknowledge it once more when every store can be reached")))
}

/// The good backups of a database of this instance, the oldest first.
fn good(database: &str, place: &Place, store: &dyn Store, now: Timestamp) -> Result<Vec<Backup>> {
    let catalogue = Catalogue::read(store)?;
    let ownership = Ownership::new(&Owner::of(place), std::iter::once(&catalogue));
    let mut backups = catalogue.backups;
    backups.retain(|backup| {
        let good =
            matches!(backup.status, Status::Good | Status::Verified) && !is_from_future(backup.manifest.started, now);
        good && backup.manifest.database == database && ownership.whose(backup) != Whose::Another
    });
    Ok(backups)
}

fn by_time(backup: &Backup) -> ((Timestamp, &str), &Backup) {
    ((backup.manifest.started, &backup.manifest.id), backup)
}

fn shown<'a>(backups: &[&'a Backup], known: &Acknowledged) -> Option<Emptied<&'a Backup>> {
    emptied(backups.iter().map(|backup| (*backup, Fill::of(&backup.manifest), known.has(&backup.manifest))))
}

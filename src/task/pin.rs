//! `pgcellar pin` and `unpin`: protect a backup from retention.

use std::sync::Arc;

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::inventory::{BackupQuery, Inventory};
use crate::catalogue::ownership::Whose;
use crate::catalogue::records::{self, Pin};
use crate::cli::{PinArgs, PlaceArgs, UnpinArgs};
use crate::config::Place;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::stop::Stop;
use crate::store::{Store, Stores};

/// A backup, and the stores that have it.
struct PinTarget {
    id: String,
    stores: Vec<Arc<dyn Store>>,
    /// Why a store could not be read.
    failure: Option<Error>,
}

/// Pins a backup in every store that has it. A pin in one store keeps the backup in all.
pub async fn pin(args: &PinArgs, stop: &Stop) -> Result<()> {
    let query = BackupQuery { id: &args.id, database: args.database.as_deref(), verb: "pin" };
    let target = find(query, &args.place, stop).await?;
    let pin = Pin { id: target.id.clone(), at: Timestamp::now(), reason: args.reason.clone() };
    let work = move || {
        target.each(|store| records::pin(store, &pin))?;
        log::info!(PGCELLAR_BACKUP = pin.id; "{} is pinned: it stays until it is unpinned", printable(&pin.id));
        target
            .failure
            .map_or(Ok(()), |error| Err(error.hint("it is pinned in the other store, which keeps it in both")))
    };
    blocking::to_end(work).await
}

/// Unpins a backup in every store that has it.
///
/// # Errors
/// That of a store that could not be read or written: a pin there stays.
pub async fn unpin(args: &UnpinArgs, stop: &Stop) -> Result<()> {
    let query = BackupQuery { id: &args.id, database: args.database.as_deref(), verb: "unpin" };
    let target = find(query, &args.place, stop).await?;
    let work = move || {
        target.each(|store| store.delete(&Pin::key(&target.id)))?;
        log::info!(PGCELLAR_BACKUP = target.id; "{} is not pinned any more", printable(&target.id));
        target.failure.map_or(Ok(()), |error| Err(error.hint("if it is pinned there, it stays pinned")))
    };
    blocking::to_end(work).await
}

/// Finds the backup in all stores. Backups of other instances are refused: this instance's retention never removes them.
async fn find(query: BackupQuery<'_>, place: &PlaceArgs, stop: &Stop) -> Result<PinTarget> {
    let place = Place::new(place)?;
    let stores = Stores::open(&place).await?.all();
    let mut inventory = Inventory::read(stores, &place, || None, stop).await?;
    let group = match inventory.resolve(query) {
        Ok(choice) => {
            choice.remarks.iter().for_each(|remark| log::warn!("{}", printable(remark)));
            choice.group
        }
        Err(error) => return Err(inventory.or_unread(error)),
    };
    let id = group.manifest().id.clone();
    if group.whose == Whose::Another {
        let message = format!("{} is not of this instance on this host", printable(&id));
        return Err(Error::new(Kind::Missing, message)
            .hint("only the instance that made a backup removes it, and so only that one pins it"));
    }
    let stores = group.copies().map(|copy| Arc::clone(&copy.store)).collect();
    Ok(PinTarget { id, stores, failure: inventory.unread.pop().map(|unread| unread.error) })
}

impl PinTarget {
    /// Runs `work` for each store, also after one has failed; the error is the first one.
    fn each(&self, work: impl Fn(&dyn Store) -> Result<()>) -> Result<()> {
        let mut done = Ok(());
        for store in &self.stores {
            done = done.and(work(store.as_ref()));
        }
        done
    }
}

//! `pgcellar pin` and `unpin`: what keeps a backup from retention.

use std::sync::Arc;

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::inventory::BackupQuery;
use crate::catalogue::ownership::Whose;
use crate::catalogue::records;
use crate::catalogue::records::pin::Pin;
use crate::cli::{PinArgs, PlaceArgs, UnpinArgs};
use crate::config::Place;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::stop::Stop;
use crate::store::{Store, Stores};
use crate::task::list;

/// The backup, and the stores that have it.
struct Found {
    id: String,
    stores: Vec<Arc<dyn Store>>,
    /// Why a store could not be asked.
    failure: Option<Error>,
}

/// Pins a backup in every store that has it. One store suffices to keep it in all; the error is that of a store that could
/// not be asked.
pub async fn pin(args: &PinArgs, stop: &Stop) -> Result<()> {
    let asked = BackupQuery { id: &args.id, database: args.database.as_deref(), verb: "pin" };
    let found = find(asked, &args.place, stop).await?;
    let pin = Pin { id: found.id.clone(), at: Timestamp::now(), reason: args.reason.clone() };
    let work = move || {
        found.each(|store| records::pin(store, &pin))?;
        log::info!(PGCELLAR_BACKUP = pin.id; "{} is pinned: it stays until it is unpinned", printable(&pin.id));
        found.failure.map_or(Ok(()), |error| Err(error.hint("it is pinned in the other store, which keeps it in both")))
    };
    blocking::to_end(work).await
}

/// Unpins a backup in every store that has it.
pub async fn unpin(args: &UnpinArgs, stop: &Stop) -> Result<()> {
    let asked = BackupQuery { id: &args.id, database: args.database.as_deref(), verb: "unpin" };
    let found = find(asked, &args.place, stop).await?;
    let work = move || {
        found.each(|store| store.delete(&Pin::key(&found.id)))?;
        log::info!(PGCELLAR_BACKUP = found.id; "{} is not pinned any more", printable(&found.id));
        found.failure.map_or(Ok(()), |error| Err(error.hint("if it is pinned there, it stays pinned")))
    };
    blocking::to_end(work).await
}

/// Looks for the backup in all stores. Only one of this instance is found: nobody else's is ever removed by it.
async fn find(asked: BackupQuery<'_>, place: &PlaceArgs, stop: &Stop) -> Result<Found> {
    let place = Place::new(place)?;
    let stores = Stores::open(&place).await?.all();
    let mut merged = list::read(stores, &place, stop).await?;
    let group = match merged.resolve(asked) {
        Ok(choice) => {
            choice.remarks.iter().for_each(|remark| log::warn!("{}", printable(remark)));
            choice.group
        }
        Err(error) => return Err(merged.or_unread(error)),
    };
    let id = group.manifest().id.clone();
    if group.whose == Whose::Another {
        let message = format!("{} is not of this instance on this host", printable(&id));
        return Err(Error::new(Kind::Missing, message).hint("only whoever made a backup removes it, and pins it"));
    }
    let stores = group.copies().map(|copy| Arc::clone(&copy.store)).collect();
    Ok(Found { id, stores, failure: merged.unread.pop().map(|unread| unread.error) })
}

impl Found {
    /// Does the same in each store, as far as it can be done; the error is the first one.
    fn each(&self, work: impl Fn(&dyn Store) -> Result<()>) -> Result<()> {
        let mut done = Ok(());
        for store in &self.stores {
            done = done.and(work(store.as_ref()));
        }
        done
    }
}

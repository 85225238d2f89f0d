//! `pgcellar monitor acknowledge`: records that a database was emptied, or that its tables lost rows, on purpose.

use std::sync::Arc;

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::acknowledged::Acknowledged;
use crate::catalogue::emptied::{Emptied, Fill, emptied};
use crate::catalogue::inventory::Inventory;
use crate::catalogue::shrunk::{RowsById, shrunk};
use crate::catalogue::{Backup, Status, is_from_future};
use crate::cli::AcknowledgeArgs;
use crate::config::{Connection, IdentitySource, Place, max_shrink};
use crate::error::{Error, Kind, Result};
use crate::postgres::identity;
use crate::printable::printable;
use crate::restore::table_rows;
use crate::stop::Stop;
use crate::store::{Store, Stores};

/// Acknowledges the emptied state that the current backups of a database show, in every store. The error is that of a
/// store that could not be read, or that there is nothing to acknowledge.
pub async fn run(args: &AcknowledgeArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let stores = Stores::open(&place).await?.all();
    let merged =
        Inventory::read(stores.clone(), &place, identity::ask_blocking(Connection::new(&args.connection).ok()), stop)
            .await?;
    let (database, percent) = (args.database.clone(), max_shrink(&args.shrink)?);
    let identities = IdentitySource::from(&args.identity);
    blocking::run(stop, move || {
        let mut rows = RowsById::new();
        if percent > 0 {
            let good = good(&database, &merged);
            table_rows::read(good.iter().filter_map(|copies| copies.first()).copied(), &identities, &mut rows);
        }
        let losses = Losses { rows: &rows, percent };
        acknowledge(&database, &place.instance, &stores, merged, &losses)
    })
    .await
}

/// The rows of the backups, and the percentage of them that a table may lose.
struct Losses<'a> {
    rows: &'a RowsById,
    percent: u32,
}

fn acknowledge(
    database: &str,
    instance: &str,
    stores: &[Arc<dyn Store>],
    mut merged: Inventory,
    losses: &Losses<'_>,
) -> Result<()> {
    let mut failure = merged.unread.pop().map(|unread| unread.error);
    let mut known = Acknowledged::default();
    stores.iter().for_each(|store| known.merge(Acknowledged::read(store.as_ref(), instance)));
    let good = good(database, &merged);
    let in_store = |store: &Arc<dyn Store>| -> Vec<&Backup> {
        good.iter().filter_map(|copies| copies.iter().find(|copy| copy.store.kind() == store.kind())).copied().collect()
    };
    let all: Vec<&Backup> = good.iter().filter_map(|copies| copies.first()).copied().collect();
    let found =
        shown(&all, &known, losses).or_else(|| stores.iter().find_map(|store| shown(&in_store(store), &known, losses)));
    let (Some(Emptied { before, .. }), Some(newest)) = (found, all.last()) else {
        let message = format!("there is nothing to acknowledge of '{}'", printable(database));
        return Err(failure.unwrap_or_else(|| {
            Error::new(Kind::Missing, message)
                .hint(
                    "pgcellar monitor check names the databases that were emptied or that lost rows; is the name right, and \
                     is MONITOR_MAX_SHRINK set here as for the monitor?",
                )
        }));
    };
    known.add(&newest.manifest);
    for store in stores {
        if let Err(error) = known.write(store.as_ref(), instance) {
            log::error!("{error}");
            failure.get_or_insert(error);
        }
    }
    log::info!(
        "acknowledged: '{}' has {} since then; {} is kept by the retention rules alone",
        printable(database),
        Fill::of(&newest.manifest).words(),
        printable(&before.manifest.id)
    );
    failure.map_or(Ok(()), |error| Err(error.hint("acknowledge it again when every store can be reached")))
}

/// The good copies of each backup of a database, the oldest backup first.
fn good<'a>(database: &str, merged: &'a Inventory) -> Vec<Vec<&'a Backup>> {
    let now = Timestamp::now();
    let is_good = |copy: &&Backup| {
        matches!(copy.status, Status::Good | Status::Verified) && !is_from_future(copy.manifest.started, now)
    };
    let groups = merged.own(Some(database)).map(|group| group.copies().filter(is_good).collect::<Vec<_>>());
    groups.filter(|copies| !copies.is_empty()).collect()
}

fn shown<'a>(backups: &[&'a Backup], known: &Acknowledged, losses: &Losses<'_>) -> Option<Emptied<&'a Backup>> {
    let fills = backups.iter().map(|backup| (*backup, known.fill(&backup.manifest), known.has(&backup.manifest)));
    let counted = backups.iter().filter_map(|backup| {
        Some((*backup, losses.rows.get(&backup.manifest.id)?.as_ref(), known.has(&backup.manifest)))
    });
    emptied(fills).or_else(|| {
        let lost = shrunk(&counted.collect::<Vec<_>>(), losses.percent);
        lost.into_iter().next().map(|lost| lost.between)
    })
}

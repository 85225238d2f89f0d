//! `pgcellar retention`: removes the backups that no rule keeps, and what killed runs have left.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::blocking;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::ownership::{Doubt, Owner, Ownership, Whose};
use crate::catalogue::sweep;
use crate::catalogue::{Backup, Catalogue};
use crate::cli::RetentionArgs;
use crate::config::variables::{Harm, UnknownVariable, harmful};
use crate::config::{Connection, Place, Policy, RetentionSettings, default_directory};
use crate::error::{Error, Kind, Result};
use crate::host::lock::Lock;
use crate::postgres::identity;
use crate::printable::printable;
use crate::stop::Stop;
use crate::store::local::{LocalStore, usable};
use crate::store::{Store, StoreKind, Stores};

mod clock;
mod plan;
mod read;
mod remove;
mod report;

use plan::Planned;
pub use plan::would_stay;

/// How old what a killed run has left must be to be removed.
const DEBRIS: Duration = Duration::from_secs(24 * 3600);

/// What a run works with.
struct RetentionRun {
    settings: RetentionSettings,
    place: Place,
    /// How the server is reached, if it can be asked who it is, and for the time.
    connection: Option<Connection>,
    database: Option<String>,
    dry_run: bool,
    json: bool,
    now: Timestamp,
    stop: Stop,
}

/// A store with what is ours in it.
struct Shelf {
    store: Arc<dyn Store>,
    /// The store, if it is a folder.
    folder: Option<LocalStore>,
    policy: Policy,
    backups: Vec<Backup>,
    /// Why nothing can be done here.
    failure: Option<Error>,
}

/// Decides, and does it. A store that fails does not keep the other from being cleaned; the error is then the first one's.
pub async fn run(args: &RetentionArgs, stop: &Stop) -> Result<()> {
    let run = RetentionRun {
        settings: RetentionSettings::new(&args.rules)?,
        place: Place::new(&args.place)?,
        connection: Connection::new(&args.connection).inspect_err(|error| log::debug!("{error}")).ok(),
        database: args.database.clone(),
        dry_run: args.dry_run,
        json: args.json,
        now: Timestamp::now(),
        stop: stop.clone(),
    };
    match (rules_are_spelt_right(), run.dry_run) {
        (Err(error), true) => log::warn!("{}", error.message()),
        (rules, _) => rules?,
    }
    let mut stores = Stores::open(&run.place).await?;
    if run.place.directory.as_deref().is_some_and(|folder| is_not_made_yet(folder, &run.place)) {
        log::info!("there is no backup yet, and so nothing to remove from {}", run.place.local()?.display());
        stores.local = None;
    }
    let _lock = match run.dry_run || stores.all().is_empty() {
        true => None,
        false => {
            let patience = Duration::from_secs(args.patience.wait.into());
            Some(Lock::patiently(patience, stop, || lock(&run.place, &stores)).await?)
        }
    };
    blocking::to_end(move || clean(&run, &stores)).await
}

/// Whether the first backup is still to make the directory.
fn is_not_made_yet(folder: &Path, place: &Place) -> bool {
    let is_missing = folder.try_exists().is_ok_and(|is_there| !is_there);
    is_missing && (folder == default_directory(&place.instance) || usable::is_to_be_made(folder))
}

/// A rule that is misspelt keeps nothing, and what it should keep would be removed.
fn rules_are_spelt_right() -> Result<()> {
    let Some(UnknownVariable { name, nearest, .. }) = harmful(Harm::Removal) else { return Ok(()) };
    let rename =
        nearest.map(|meant| format!("rename it to {meant} if that is what you meant, or ")).unwrap_or_default();
    Err(Error::new(Kind::Config, format!("no backup is removed while the unknown variable {name} is set"))
        .hint(format!("{rename}unset it; retention --dry-run shows what would go")))
}

/// Keeps backups and other runs of this away, which would be in the middle of something.
fn lock(place: &Place, stores: &Stores) -> Result<Lock> {
    match (&stores.local, &stores.s3) {
        (None, Some(bucket)) => Lock::take_for_bucket(&place.instance, &bucket.location(), "retention"),
        (local, _) => {
            local.as_ref().map_or(Ok(()), LocalStore::check)?;
            Lock::take(place.local()?, "retention")
        }
    }
}

fn clean(run: &RetentionRun, stores: &Stores) -> Result<()> {
    let (ownership, mut read) = read_all(run, stores);
    let mut shelves = shelves(run, stores, |store| {
        let catalogue = read.remove(&store.kind());
        let unread = || Error::new(Kind::Internal, format!("{} was not read", store.location()));
        own(run, &ownership, catalogue.ok_or_else(unread)??)
    });
    if let (Some(database), true) = (&run.database, shelves.iter().all(|shelf| shelf.backups.is_empty())) {
        log::warn!("there is no backup of '{}'", printable(database));
    }
    let mut planned = plan::plan(run, &mut shelves);
    if let Err(error) = clock::must_be_right(run, stores, &planned) {
        report::print(run, &shelves, &planned)?;
        return outcome([error].into_iter().chain(shelves.into_iter().filter_map(|shelf| shelf.failure)));
    }
    read::before_removal(run, &mut shelves, &mut planned)?;
    if !run.dry_run {
        for (shelf, planned) in shelves.iter_mut().zip(&mut planned) {
            remove::remove(run, shelf, planned)?;
        }
    }
    report::print(run, &shelves, &planned)?;
    for (shelf, planned) in shelves.iter().zip(&planned) {
        report::log(run, shelf, planned);
    }
    let swept: Vec<Error> = match run.dry_run {
        true => Vec::new(),
        false => shelves.iter().filter_map(|shelf| sweep(run, shelf).err()).collect(),
    };
    outcome(shelves.into_iter().filter_map(|shelf| shelf.failure).chain(swept))
}

/// What a run at this moment would remove of these backups, which are all of this instance in each store that could be read:
/// the names of the stores and the backups.
pub fn foresee(
    settings: &RetentionSettings,
    place: &Place,
    stores: &Stores,
    backups: &HashMap<StoreKind, Vec<Backup>>,
    now: Timestamp,
) -> Vec<(StoreKind, Backup)> {
    let (settings, place, stop) = (settings.clone(), place.clone(), Stop::default());
    let run = RetentionRun { settings, place, connection: None, database: None, dry_run: true, json: false, now, stop };
    let known = |store: &dyn Store| {
        let found = backups.get(&store.kind()).cloned();
        found.ok_or_else(|| Error::new(Kind::Unavailable, format!("{} could not be read", store.location())))
    };
    let mut shelves = shelves(&run, stores, known);
    let planned = plan::plan(&run, &mut shelves);
    let removed = shelves.into_iter().zip(planned).flat_map(|(shelf, planned)| {
        let kind = shelf.store.kind();
        let gone = shelf.backups.into_iter().zip(planned).filter(|(_, planned)| !planned.decision.keep);
        gone.map(move |(backup, _)| (kind, backup)).collect::<Vec<_>>()
    });
    removed.collect()
}

/// The stores with what `read` finds in them, the local one first.
fn shelves(run: &RetentionRun, stores: &Stores, mut read: impl FnMut(&dyn Store) -> Result<Vec<Backup>>) -> Vec<Shelf> {
    let mut shelf = |store: Arc<dyn Store>, folder: Option<LocalStore>, policy| {
        let (backups, failure) = match read(store.as_ref()) {
            Ok(backups) => (backups, None),
            Err(error) => (Vec::new(), Some(error.context(format!("{} is not cleaned", store.location())))),
        };
        Shelf { store, folder, policy, backups, failure }
    };
    let mut shelves = Vec::new();
    if let Some(local) = &stores.local {
        shelves.push(shelf(Arc::new(local.clone()), Some(local.clone()), run.settings.local));
    }
    if let Some(s3) = &stores.s3 {
        shelves.push(shelf(Arc::clone(s3) as Arc<dyn Store>, None, run.settings.s3));
    }
    shelves
}

/// Reads all stores, and finds out whose the backups are.
fn read_all(run: &RetentionRun, stores: &Stores) -> (Ownership, HashMap<StoreKind, Result<Catalogue>>) {
    let read: HashMap<_, _> = stores.all().iter().map(|store| (store.kind(), Catalogue::read(store))).collect();
    let ask = || Handle::current().block_on(identity::ask(run.connection.as_ref()?));
    let ownership = Ownership::ask(&Owner::of(&run.place), read.values().filter_map(|read| read.as_ref().ok()), ask);
    ownership.server.iter().for_each(|server| drop(run.place.server.set(server.clone())));
    ownership.doubts.iter().for_each(Doubt::log);
    (ownership, read)
}

/// The backups of this instance's server, the oldest first. Those of others are none of our business. While some of ours
/// cannot be told from those of another server, nothing goes by rules that count them.
///
/// # Errors
/// `Config` where that is so.
fn own(run: &RetentionRun, ownership: &Ownership, catalogue: Catalogue) -> Result<Vec<Backup>> {
    for unusable in &catalogue.unusable {
        log::warn!("{}: it is left alone", printable(&unusable.error.to_string()));
    }
    let mut backups = catalogue.backups;
    backups.retain(|backup| run.database.as_ref().is_none_or(|name| backup.manifest.database == *name));
    let doubtful: Vec<&Backup> =
        backups.iter().filter(|backup| matches!(ownership.whose(backup), Whose::Unclear | Whose::Likely)).collect();
    if let Some(last) = doubtful.last() {
        let (number, Manifest { id, instance, host, .. }) = (doubtful.len(), &last.manifest);
        let message = format!(
            "whether {number} backups are of this instance's server cannot be told, the last {}",
            printable(id)
        );
        let doubt = ownership.doubts.iter().find(|doubt| doubt.is_unclear()).or(ownership.doubts.first());
        let hint = doubt.map_or_else(
            || {
                format!(
                    "retention asks the server where names are new: is it up? pgcellar takeover {}/{} says it for good",
                    printable(host),
                    printable(instance)
                )
            },
            Doubt::hint,
        );
        return Err(Error::new(Kind::Config, message).hint(hint));
    }
    backups.retain(|backup| ownership.owns(backup));
    Ok(backups)
}

fn sweep(run: &RetentionRun, shelf: &Shelf) -> Result<()> {
    if shelf.failure.is_some() {
        return Ok(());
    }
    let swept = match &shelf.folder {
        Some(folder) => sweep::sweep(folder, &run.place.instance, DEBRIS),
        None => sweep::bucket::sweep(shelf.store.as_ref(), &run.place, DEBRIS),
    };
    swept.map_err(|error| error.context(format!("what killed runs have left in {} stays", shelf.store.location())))
}

/// The first error is the run's; the others are told.
fn outcome(failures: impl Iterator<Item = Error>) -> Result<()> {
    let mut failures = failures.collect::<Vec<_>>().into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    failures.for_each(|error| log::error!("{error}"));
    Err(first)
}

/// What is removed of a shelf.
fn removals(planned: &[Planned]) -> impl Iterator<Item = &Planned> {
    planned.iter().filter(|planned| !planned.decision.keep)
}

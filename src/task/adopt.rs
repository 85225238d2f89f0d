//! `pgcellar adopt`: makes backups of the dumps of other scripts. It reads each dump whole, as a restore would, and writes a
//! manifest. The dump itself is never changed.

use std::sync::Arc;
use std::time::Instant;

use indicatif::HumanBytes;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::blocking;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name;
use crate::catalogue::sweep;
use crate::cli::AdoptArgs;
use crate::config::{Place, identities, local_zone};
use crate::error::{Error, Kind, Result};
use crate::format::second;
use crate::host::lock::Lock;
use crate::postgres::foreign::Dump;
use crate::printable::printable;
use crate::restore::foreign::checked;
use crate::stop::Stop;
use crate::store::Stores;
use crate::store::local::LocalStore;

mod candidate;
mod description;
pub mod name_time;
mod record;

use candidate::{Candidate, StoreListings};
use description::NameFacts;

/// What the steps of a run share.
struct AdoptRun<'a> {
    args: &'a AdoptArgs,
    zone: TimeZone,
    place: Place,
    stores: Stores,
    stop: &'a Stop,
}

/// Adopts the dumps one after the other. One that cannot be adopted does not keep the others from it.
///
/// # Errors
/// `Data` if a dump is damaged, or else the kind of the first error.
pub async fn run(args: &AdoptArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let stores = Stores::open_to_write(&place).await?;
    stores.local.as_ref().map_or(Ok(()), LocalStore::check)?;
    let run = AdoptRun { args, zone: name_time::zone(&args.timezone)?, place, stores, stop };
    if let (false, Some(directory)) = (args.dry_run, run.place.directory.as_deref().filter(|path| path.is_dir())) {
        // A lock that another task has is an error before hours of reading. During these a backup may take the lock.
        drop(Lock::take(directory, "adopt")?);
    }
    let mut listings = stop.or(StoreListings::read(args, &run.place, &run.stores)).await?;
    let mut failures = Failures { several: args.files.len() > 1, all: Vec::new() };
    listings.unread.drain(..).for_each(|error| failures.add(error));
    for file in &args.files {
        let candidates = listings.find(file).unwrap_or_else(|error| {
            failures.add(error);
            Vec::new()
        });
        for candidate in candidates {
            match adopt(&run, candidate).await {
                Ok(()) => {}
                Err(error) if stop.requested() || error.kind() == Kind::TryAgain => return Err(error),
                Err(error) => failures.add(error),
            }
        }
    }
    sweep_up(&run).await;
    failures.outcome()
}

/// Removes what killed adoptions have left.
async fn sweep_up(run: &AdoptRun<'_>) {
    let stores = run.stores.all();
    let swept = off_thread(run, move || stores.iter().try_for_each(|store| sweep::records(store.as_ref())));
    if let Err(error) = swept.await {
        log::debug!("{error}");
    }
}

/// The errors so far.
struct Failures {
    several: bool,
    all: Vec<Error>,
}

impl Failures {
    fn add(&mut self, error: Error) {
        if self.several {
            log::error!("{error}");
        }
        self.all.push(error);
    }

    /// The only error, or one of the worst kind for all.
    fn outcome(mut self) -> Result<()> {
        let Some(first) = self.all.first() else { return Ok(()) };
        let kind = if self.all.iter().any(|error| error.kind() == Kind::Data) { Kind::Data } else { first.kind() };
        match (self.all.pop(), self.all.len()) {
            (Some(only), 0) if !self.several => Err(only),
            (last, before) => {
                if !self.several {
                    self.all.iter().chain(&last).for_each(|error| log::error!("{error}"));
                }
                Err(Error::new(kind, format!("{} could not be adopted", before + 1)))
            }
        }
    }
}

async fn adopt(run: &AdoptRun<'_>, candidate: Candidate) -> Result<()> {
    let begun = Instant::now();
    let (key, called) = (candidate.key.clone(), printable(&candidate.called));
    let id = candidate.id()?.to_owned();
    if let Some(manifest) = off_thread(run, candidate.manifest()).await? {
        return record::belongs_to(&manifest, &key, &called).map(|()| log::info!("{called} is a backup already: {id}"));
    }
    let moment = name_time::of_id(&id, &run.zone, Timestamp::now())?;
    let (dump, whole) = checked(read_dump(run, &candidate).await?, run.stop).await?;
    let database = database(run.args.database.as_deref(), &id, &dump)?;
    let named = NameFacts { id, database, started: moment.at };
    let manifest = description::manifest(named, &run.place, dump, whole);
    if let Some(note) = moment.note {
        log::warn!("{called}: {note}");
    }
    if !run.args.dry_run {
        let (place, written) = (run.place.clone(), manifest.clone());
        off_thread(run, move || record::write(&place, &candidate, &written)).await?;
    }
    log_adopted(run, &manifest, &called, begun.elapsed().as_secs_f64());
    Ok(())
}

async fn off_thread<T: Send + 'static>(
    run: &AdoptRun<'_>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    blocking::run(run.stop, work).await
}

async fn read_dump(run: &AdoptRun<'_>, candidate: &Candidate) -> Result<Dump> {
    let (store, key) = (Arc::clone(&candidate.store), candidate.key.clone());
    let (called, identity) = (printable(&candidate.called), run.args.identity.clone());
    off_thread(run, move || Dump::recognize(store, &key, &called, || identities(&identity))).await
}

/// The database of the dump: the requested one, or the one in the name, if the archive names no other.
fn database(requested: Option<&str>, id: &str, dump: &Dump) -> Result<String> {
    if let Some(requested) = requested {
        return Ok(requested.to_owned());
    }
    let by_name = name::database(id);
    match &dump.database {
        Some(by_archive) if *by_archive != by_name => {
            let (one, other) = (printable(by_archive), printable(&by_name));
            let message =
                format!("{} cannot be adopted: it is a dump of '{one}', and named after '{other}'", dump.name);
            Err(Error::new(Kind::Usage, message).hint("say with --database of which of them it is a backup"))
        }
        _ => Ok(by_name),
    }
}

fn log_adopted(run: &AdoptRun<'_>, manifest: &Manifest, called: &str, seconds: f64) {
    let (did, partial) = (
        if run.args.dry_run { "would adopt" } else { "adopted" },
        if manifest.partial { format!(", partial ({})", manifest.dump_options.join(" ")) } else { String::new() },
    );
    log::info!(
        PGCELLAR_DATABASE = manifest.database, PGCELLAR_BACKUP = manifest.id,
        PGCELLAR_BYTES = manifest.stored_bytes();
        "{did} {called} as a backup of '{}' at {}: {} {}, {}, {} read in {seconds:.1} s{partial}",
        manifest.database.escape_debug(),
        second(manifest.started, &local_zone()),
        manifest.format,
        manifest.compression.method,
        manifest.contents.tables_in_words(),
        HumanBytes(manifest.stored_bytes()),
    );
    for warning in &manifest.warnings {
        log::debug!("{called}: {warning}");
    }
}

//! `pgcellar retention`: removes the backups that no rule keeps, and the remains of killed runs.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::ownership::{Doubt, Owner, Ownership, Whose};
use crate::catalogue::retention_plan::{RetentionRules, StoreBackups};
use crate::catalogue::shrunk::RowsById;
use crate::catalogue::sweep;
use crate::catalogue::{Backup, Catalogue};
use crate::cli::RetentionArgs;
use crate::config::variables::{Harm, UnknownVariable, harmful};
use crate::config::{Connection, IdentitySource, Place, RetentionSettings, default_directory};
use crate::error::{Error, Kind, Result};
use crate::host::lock::Lock;
use crate::postgres::identity;
use crate::printable::printable;
use crate::restore::table_rows;
use crate::stop::Stop;
use crate::store::local::{LocalStore, usable};
use crate::store::{Store, StoreKind, Stores};

mod clock;
mod read;
mod remove;
mod report;
mod run;

use run::RetentionRun;

/// The age of a killed run's remains at which they are removed.
const REMAINS: Duration = Duration::from_secs(24 * 3600);

/// Decides which backups to remove, and removes them. If one store fails, the other is still cleaned.
///
/// # Errors
/// Those of the first store that failed.
pub async fn run(args: &RetentionArgs, stop: &Stop) -> Result<()> {
    let run = RetentionRun {
        rules: RetentionRules {
            settings: RetentionSettings::new(&args.rules)?,
            place: Place::new(&args.place)?,
            now: Timestamp::now(),
        },
        identities: IdentitySource::from(&args.identity),
        connection: Connection::new(&args.connection).inspect_err(|error| log::debug!("{error}")).ok(),
        database: args.database.clone(),
        dry_run: args.dry_run,
        json: args.json,
        stop: stop.clone(),
    };
    match (no_misspelt_rules(), run.dry_run) {
        (Err(error), true) => log::warn!("{}", error.message()),
        (rules, _) => rules?,
    }
    let mut stores = Stores::open(&run.rules.place).await?;
    if run.rules.place.directory.as_deref().is_some_and(|folder| is_not_made_yet(folder, &run.rules.place)) {
        log::info!("there is no backup yet, and so nothing to remove from {}", run.rules.place.local()?.display());
        stores.local = None;
    }
    let _lock = match run.dry_run || stores.all().is_empty() {
        true => None,
        false => {
            let patience = Duration::from_secs(args.patience.wait.into());
            Some(Lock::patiently(patience, stop, || lock(&run.rules.place, &stores)).await?)
        }
    };
    blocking::to_end(move || clean(&run, &stores)).await
}

/// Whether the directory does not exist yet, and the first backup creates it.
fn is_not_made_yet(folder: &Path, place: &Place) -> bool {
    let is_missing = folder.try_exists().is_ok_and(|is_there| !is_there);
    is_missing && (folder == default_directory(&place.instance) || usable::is_to_be_made(folder))
}

/// Refuses variables that look like a misspelt rule: the backups that the rule should keep would be removed.
fn no_misspelt_rules() -> Result<()> {
    let Some(UnknownVariable { name, nearest, .. }) = harmful(Harm::Removal) else { return Ok(()) };
    let rename =
        nearest.map(|meant| format!("rename it to {meant} if that is what you meant, or ")).unwrap_or_default();
    Err(Error::new(Kind::Config, format!("no backup is removed while the unknown variable {name} is set"))
        .hint(format!("{rename}unset it; retention --dry-run shows what would go")))
}

/// Locks the stores against backups and other runs of retention.
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
    let mut listed = run.rules.store_backups(stores, |store| {
        let catalogue = read.remove(&store.kind());
        let unread = || Error::new(Kind::Internal, format!("{} was not read", store.location()));
        own(run, &ownership, catalogue.ok_or_else(unread)??)
    });
    if let (Some(database), true) = (&run.database, listed.iter().all(|store| store.backups.is_empty())) {
        log::warn!("there is no backup of '{}'", printable(database));
    }
    count_rows(run, &mut listed);
    let mut planned = run.rules.plan(&mut listed);
    if let Err(error) = clock::must_be_right(run, stores, &planned) {
        report::print(run, &listed, &planned)?;
        return outcome([error].into_iter().chain(listed.into_iter().filter_map(|store| store.failure)));
    }
    read::before_removal(run, &mut listed, &mut planned)?;
    if !run.dry_run {
        for (store, planned) in listed.iter_mut().zip(&mut planned) {
            remove::remove(run, store, planned)?;
        }
    }
    report::print(run, &listed, &planned)?;
    for (store, planned) in listed.iter().zip(&planned) {
        report::log(run, store, planned);
    }
    let swept: Vec<Error> = match run.dry_run {
        true => Vec::new(),
        false => listed.iter().filter_map(|store| sweep(run, store).err()).collect(),
    };
    outcome(listed.into_iter().filter_map(|store| store.failure).chain(swept))
}

/// Counts the rows of the backups, if a rule depends on them.
fn count_rows(run: &RetentionRun, stores: &mut [StoreBackups]) {
    let mut known = RowsById::new();
    for store in stores.iter_mut().filter(|store| store.policy.max_shrink > 0) {
        table_rows::read(&store.backups, &run.identities, &mut known);
        store.rows.clone_from(&known);
    }
}

/// Reads all stores, and decides whose the backups are.
fn read_all(run: &RetentionRun, stores: &Stores) -> (Ownership, HashMap<StoreKind, Result<Catalogue>>) {
    let read: HashMap<_, _> = stores.all().iter().map(|store| (store.kind(), Catalogue::read(store))).collect();
    let ask = identity::ask_blocking(run.connection.clone());
    let ownership =
        Ownership::ask(&Owner::of(&run.rules.place), read.values().filter_map(|read| read.as_ref().ok()), ask);
    ownership.server.iter().for_each(|server| drop(run.rules.place.server.set(server.clone())));
    ownership.doubts.iter().for_each(Doubt::log);
    (ownership, read)
}

/// The backups of this instance's server, the oldest first.
///
/// # Errors
/// `Config` if some backups may be this server's or another's: rules that count backups cannot be applied.
fn own(run: &RetentionRun, ownership: &Ownership, catalogue: Catalogue) -> Result<Vec<Backup>> {
    for unusable in &catalogue.unusable {
        log::warn!("{}: skipping it", printable(&unusable.error.to_string()));
    }
    let mut backups = catalogue.backups;
    backups.retain(|backup| run.database.as_ref().is_none_or(|name| backup.manifest.database == *name));
    let doubtful: Vec<&Backup> =
        backups.iter().filter(|backup| matches!(ownership.whose(backup), Whose::Unclear | Whose::Likely)).collect();
    if let Some(last) = doubtful.last() {
        let (number, Manifest { id, instance, host, .. }) = (doubtful.len(), &last.manifest);
        let message =
            format!("{number} backups may be of this instance's server or of another one, the last {}", printable(id));
        let doubt = ownership.doubts.iter().find(|doubt| doubt.is_unclear()).or(ownership.doubts.first());
        let hint = doubt.map_or_else(
            || {
                format!(
                    "retention queries the server if names are new: is it up? pgcellar takeover {}/{} settles it \
                     permanently",
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

fn sweep(run: &RetentionRun, store: &StoreBackups) -> Result<()> {
    if store.failure.is_some() {
        return Ok(());
    }
    let swept = match &store.folder {
        Some(folder) => sweep::sweep(folder, &run.rules.place.instance, REMAINS),
        None => sweep::bucket::sweep(store.store.as_ref(), &run.rules.place, REMAINS),
    };
    swept.map_err(|error| error.context(format!("what killed runs have left in {} stays", store.store.location())))
}

/// The first error is that of the run; the others are logged.
fn outcome(failures: impl Iterator<Item = Error>) -> Result<()> {
    let mut failures = failures.collect::<Vec<_>>().into_iter();
    let Some(first) = failures.next() else { return Ok(()) };
    failures.for_each(|error| log::error!("{error}"));
    Err(first)
}

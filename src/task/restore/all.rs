//! `restore --all-databases`: makes the missing roles, and restores the newest good backup of every database under its own
//! name. This fills a new server after a disaster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use indicatif::HumanBytes;
use jiff::{SignedDuration, Timestamp};

use crate::blocking;
use crate::catalogue::Status;
use crate::catalogue::backup_table;
use crate::catalogue::emptied::{Fill, emptied};
use crate::catalogue::inventory::{BackupCopies, BackupQuery, Inventory};
use crate::catalogue::manifest::{FileRole, Manifest};
use crate::config::restore::{RestoreAction, RestoreSettings};
use crate::config::{Maker, local_zone};
use crate::error::{Error, Kind, Result};
use crate::format::{count, second, span};
use crate::postgres::client::identifier;
use crate::postgres::identity;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::database::empty::has_nothing;
use crate::restore::details::KnownBackup;
use crate::restore::engine;
use crate::restore::globals::roles_first;
use crate::restore::server::{Needs, TargetServer, session};
use crate::restore::source::{RestoreSource, known};
use crate::stdout;
use crate::stop::Stop;
use crate::store::{Store, Stores};
use crate::table;
use crate::task::restore::plan;

/// How much older than the newest of all backups the newest backup of a database may be without a warning: the backups of one
/// run begin within hours.
const APART: SignedDuration = SignedDuration::from_hours(48);

/// The backup from which a database is restored.
struct Chosen {
    known: KnownBackup,
    store: Arc<dyn Store>,
    /// Why it may not replace a database that is not empty.
    refused: Option<Error>,
    /// Whether it replaces an empty database of this name.
    replaces_empty: bool,
}

/// A database that could not be restored.
struct DatabaseFailure {
    database: String,
    error: Error,
}

impl DatabaseFailure {
    /// Logs the error at once.
    fn logged(database: String, error: Error) -> Self {
        log::error!("{}", printable(&format!("database '{database}': {error}")));
        DatabaseFailure { database, error }
    }
}

/// The result of a restore.
struct Outcome<'a> {
    chosen: &'a Chosen,
    seconds: Option<f64>,
    result: std::result::Result<(), String>,
}

/// Restores the databases one after the other. One that fails does not keep the others from being restored.
///
/// # Errors
/// Of the kind of the first database that fails; what keeps all of them from being restored.
pub async fn run(settings: &RestoreSettings, stop: &Stop) -> Result<()> {
    // Keys that cannot be used would fail each of them.
    settings.identities.read()?;
    let stores = Stores::open(&settings.place).await?.all();
    let server = identity::ask_blocking(Some(settings.connection.clone()));
    let inventory = Inventory::read(stores, &settings.place, server, stop).await?;
    inventory.log_doubts();
    let for_choice = settings.clone();
    let (mut all, mut failures, unread) = blocking::run(stop, move || choose(inventory, &for_choice)).await?;
    let early: Vec<(String, String)> =
        failures.iter().map(|failure| (failure.database.clone(), failure.error.message().to_owned())).collect();
    for chosen in &all {
        chosen.source().check(settings)?;
    }
    warn_old(&all);
    let server = stop.or(TargetServer::open(&settings.connection)).await?;
    let refused = stop.or(check_targets(settings, &mut all, &server)).await;
    if settings.action == RestoreAction::Plan {
        drop(server);
        return show_plans(settings, &all, failures, stop).await;
    }
    refused?;
    stop.or(make_roles(settings, &all, &server, stop)).await?;
    // A session in a database keeps it from being replaced.
    drop(server);
    let outcomes = restore_each(settings, &all, &mut failures, stop).await;
    print(&outcomes, &early)?;
    if stop.requested() {
        return Err(stop.error().hint("databases that are whole stay; restore the others one by one, by their ids"));
    }
    outcome(&failures, "could not be restored")?;
    log::info!("restored {}", count(outcomes.len(), "database"));
    // There may be newer backups, and of other databases too.
    unread.map_or(Ok(()), |error| Err(error.context("backups in the store that cannot be read were not restored")))
}

async fn restore_each<'a>(
    settings: &RestoreSettings,
    all: &'a [Chosen],
    failures: &mut Vec<DatabaseFailure>,
    stop: &Stop,
) -> Vec<Outcome<'a>> {
    let mut outcomes = Vec::new();
    for chosen in all {
        if stop.requested() {
            outcomes.push(Outcome { chosen, seconds: None, result: Err("not begun".to_owned()) });
            continue;
        }
        let begun = Instant::now();
        let database = &chosen.known.manifest.database;
        let restored = engine::restore(&chosen.settings(settings), chosen.source(), database, stop).await;
        let result = restored.map_err(|error| {
            let shown = format!("failed: {}", error.message());
            failures.push(DatabaseFailure::logged(database.clone(), error));
            shown
        });
        outcomes.push(Outcome { chosen, seconds: Some(begun.elapsed().as_secs_f64()), result });
    }
    outcomes
}

/// The newest good backup of each database at `settings.at`, and why a store could not be read. A database without a good
/// backup is among the failures.
fn choose(
    mut inventory: Inventory,
    settings: &RestoreSettings,
) -> Result<(Vec<Chosen>, Vec<DatabaseFailure>, Option<Error>)> {
    let (at, maker) = (settings.at, settings.place.maker());
    let databases = |inventory: &Inventory| -> BTreeSet<String> {
        inventory.own(None).map(|group| group.manifest().database.clone()).collect()
    };
    let known = databases(&inventory);
    if let Some(at) = at {
        inventory = inventory.until(at);
    }
    let mut there = databases(&inventory);
    let earlier = of_the_server_before(&inventory, &maker);
    for name in known.difference(&there) {
        log::warn!("'{}' has no backup of that time: all of its backups are newer", printable(name));
    }
    if there.is_empty() {
        return Err(nothing(inventory, at));
    }
    let (mut all, mut failures) = (Vec::new(), Vec::new());
    for (database, error) in only_before(&inventory, earlier, &maker) {
        there.remove(&database);
        failures.push(DatabaseFailure::logged(database, error));
    }
    for database in there {
        match newest(&inventory, &database, settings) {
            Ok(chosen) => all.push(chosen),
            Err(error) => failures.push(DatabaseFailure::logged(database, error)),
        }
    }
    for unread in &inventory.unread {
        log::warn!("{}: continuing without its backups", printable(&unread.error.to_string()));
    }
    match (all.is_empty(), failures.is_empty()) {
        (true, false) => Err(inventory.or_unread(failures.swap_remove(0).error)),
        _ => Ok((all, failures, inventory.unread.pop().map(|unread| unread.error))),
    }
}

/// The last good backup of each database that another server of the same host or instance has made: after a disaster or an
/// upgrade, the backups of the new server may be nearly empty.
fn of_the_server_before<'a>(inventory: &'a Inventory, maker: &Maker) -> BTreeMap<&'a str, &'a BackupCopies> {
    let near = |group: &&BackupCopies| {
        let manifest = group.manifest();
        let here = manifest.host == maker.host || group.copies().any(|copy| copy.is_local());
        here && manifest.instance == maker.instance && matches!(group.best().status, Status::Good | Status::Verified)
    };
    inventory.others(None).filter(near).map(|group| (group.manifest().database.as_str(), group)).collect()
}

/// Databases of which the previous server has a backup, and this server has none or a nearly empty one.
fn only_before(inventory: &Inventory, earlier: BTreeMap<&str, &BackupCopies>, maker: &Maker) -> Vec<(String, Error)> {
    let lost = |(database, before): (&str, &BackupCopies)| {
        let newest = inventory.own(Some(database)).next_back();
        let fills =
            [Some(before), newest].into_iter().flatten().map(|group| (group, Fill::of(group.manifest()), false));
        let what = match newest {
            None => "this server has no backup of it".to_owned(),
            Some(newest) if emptied(fills).is_some() => {
                format!(
                    "the newest backup of this server, {}, has next to nothing of it",
                    printable(&newest.manifest().id)
                )
            }
            Some(_) => return None,
        };
        let id = printable(&before.manifest().id);
        let message = format!("{what}; the server before it has {id}");
        let hint = format!(
            "pgcellar restore {id} restores that one; pgcellar takeover {}/{} makes all of that server this one's own",
            printable(&maker.host),
            printable(&maker.instance)
        );
        Some((database.to_owned(), Error::new(Kind::Missing, message).hint(hint)))
    };
    earlier.into_iter().filter_map(lost).collect()
}

fn newest(inventory: &Inventory, database: &str, settings: &RestoreSettings) -> Result<Chosen> {
    let choice = inventory.resolve(BackupQuery { id: "latest", database: Some(database), verb: "restore" })?;
    let refused = choice.may_replace().err();
    choice.remarks.iter().for_each(|remark| log::warn!("{}", printable(remark)));
    let store = &choice.copy.store;
    let known = known(store, choice.copy.manifest.clone(), settings)?;
    Ok(Chosen { known, store: Arc::clone(store), refused, replaces_empty: false })
}

/// The error if there is no backup.
fn nothing(inventory: Inventory, at: Option<Timestamp>) -> Error {
    let latest = inventory.resolve(BackupQuery { id: "latest", database: None, verb: "restore" }).err();
    let error = match (at, latest) {
        (None, Some(error)) => error,
        (at, _) => {
            let of = at.map(|at| format!(" of {} or before", second(at, &local_zone()))).unwrap_or_default();
            Error::new(Kind::Missing, format!("there is no backup{of}")).hint("pgcellar list shows the backups")
        }
    };
    inventory.or_unread(error)
}

/// Warns of old backups: a database that was dropped long ago still has a last one.
fn warn_old(all: &[Chosen]) {
    let Some(newest) = all.iter().map(|chosen| chosen.known.manifest.started).max() else { return };
    for Chosen { known: KnownBackup { manifest, .. }, .. } in all {
        let apart = newest.duration_since(manifest.started);
        if apart > APART {
            log::warn!(
                "the newest backup of '{}' is {} older than the newest of all: if the database was dropped since, drop it again",
                printable(&manifest.database),
                span(apart.unsigned_abs())
            );
        }
    }
}

/// Refuses databases that exist and are not empty, unless they are replaced. Empty ones are always replaced: a new server has
/// `postgres`, and a container image makes the first database.
async fn check_targets(settings: &RestoreSettings, all: &mut [Chosen], server: &TargetServer) -> Result<()> {
    let mut full = Vec::new();
    for chosen in all {
        let name = &chosen.known.manifest.database;
        if server.existing(name).await?.is_none() {
            continue;
        }
        chosen.replaces_empty = match session(server.connection(), name).await {
            Ok(client) => has_nothing(&client).await?,
            Err(_) => false,
        };
        if !chosen.replaces_empty {
            if let Some(error) = chosen.refused.take().filter(|_| settings.force) {
                return Err(error);
            }
            full.push(identifier(name));
        }
    }
    if settings.force || full.is_empty() {
        return Ok(());
    }
    let (are, they) = if full.len() == 1 { ("is", "it") } else { ("are", "them") };
    let message = format!("there {are} already: {}; nothing was restored", full.join(", "));
    Err(Error::new(Kind::CannotWrite, message).hint(format!(
        "--force (FORCE_RESTORE=true) replaces {they}, and keeps each as NAME_replaced_TIME; pgcellar restore ID \
         --target-database NAME restores one beside"
    )))
}

/// Makes the roles that the server lacks, as in the newest backup. Further roles of an older backup are made before it is
/// restored.
async fn make_roles(settings: &RestoreSettings, all: &[Chosen], server: &TargetServer, stop: &Stop) -> Result<()> {
    if settings.left_out.owners && settings.left_out.privileges {
        return Ok(());
    }
    let newest = all.iter().filter(|chosen| chosen.has_globals()).max_by_key(|chosen| chosen.known.manifest.started);
    let Some(newest) = newest else {
        log::warn!("no backup has globals: roles that the server lacks must be made by hand");
        return Ok(());
    };
    let archive =
        Archive::of_backup(Arc::clone(&newest.store), newest.known.manifest.clone(), newest.known.identities.clone())?;
    roles_first::make(&Arc::new(archive), server, &Needs::default(), stop).await
}

impl Chosen {
    fn source(&self) -> RestoreSource {
        RestoreSource::Backup(Arc::clone(&self.store), Box::new(self.known.clone()))
    }

    fn has_globals(&self) -> bool {
        self.known.manifest.files(FileRole::Globals).next().is_some()
    }

    /// The settings of its own restore.
    fn settings(&self, settings: &RestoreSettings) -> RestoreSettings {
        RestoreSettings { globals: false, replace_empty: self.replaces_empty, ..settings.clone() }
    }
}

/// Shows what each restore would do; fails as the first that would fail.
async fn show_plans(
    settings: &RestoreSettings,
    all: &[Chosen],
    mut failures: Vec<DatabaseFailure>,
    stop: &Stop,
) -> Result<()> {
    let roles = !(settings.left_out.owners && settings.left_out.privileges);
    for (number, chosen) in all.iter().enumerate() {
        if number > 0 {
            stdout::print("\n")?;
        }
        let settings = RestoreSettings { globals: roles && chosen.has_globals(), ..chosen.settings(settings) };
        let target = &chosen.known.manifest.database;
        let shown = plan::show(&settings, chosen.source(), target, stop).await;
        failures.extend(shown.err().map(|error| DatabaseFailure { database: target.clone(), error }));
    }
    outcome(&failures, "cannot be restored")
}

/// The error of the failures, of the kind of the first.
fn outcome(failures: &[DatabaseFailure], what: &str) -> Result<()> {
    let Some(first) = failures.first() else { return Ok(()) };
    let names: Vec<String> = failures.iter().map(|failure| identifier(&failure.database)).collect();
    let message = format!("{} {what}: {}", count(names.len(), "database"), names.join(", "));
    Err(Error::new(first.error.kind(), message)
        .hint("the messages above say why; pgcellar restore ID restores one of them alone"))
}

/// Prints a line for each database, first those without a backup to restore.
fn print(outcomes: &[Outcome<'_>], early: &[(String, String)]) -> Result<()> {
    let zone = local_zone();
    let made = backup_table::made_heading(&zone, Timestamp::now());
    let header = vec!["DATABASE", "BACKUP", &made, "SIZE", "SECONDS", "RESULT"];
    let rows = outcomes.iter().map(|Outcome { chosen, seconds, result }| {
        let manifest = &chosen.known.manifest;
        vec![
            printable(&manifest.database),
            printable(&manifest.id),
            backup_table::made(manifest, &zone),
            HumanBytes(manifest.stored_bytes()).to_string(),
            seconds.map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1}")),
            match result {
                Ok(()) => restored(manifest),
                Err(why) => printable(why),
            },
        ]
    });
    let dash = || "-".to_owned();
    let without = early.iter().map(|(database, why)| {
        vec![printable(database), dash(), dash(), dash(), dash(), format!("failed: {}", printable(why))]
    });
    stdout::print(table::table(header, without.chain(rows), &[3, 4]))
}

/// `restored`, and what the backup lacks.
fn restored(manifest: &Manifest) -> String {
    let mut words = vec!["restored".to_owned()];
    words.extend(manifest.lacking().map(|lacking| format!("partial: {}", printable(&lacking))));
    let omitted = manifest.omitted.iter().filter(|omission| !omission.is_made_by_extension()).count();
    words.extend((omitted > 0).then(|| format!("without {}", count(omitted, "thing"))));
    words.join(", ")
}

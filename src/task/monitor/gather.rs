//! Gathers the facts about an instance from the stores, the settings, the server and the host.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::blocking;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::product::Product;
use crate::catalogue::shrunk::RowsById;
use crate::catalogue::{Backup, Status, is_from_future, retention_plan};
use crate::cli::HealthArgs;
use crate::config::{Connection, Databases, IdentitySource, MonitorSettings, Place, RetentionSettings, names};
use crate::error::{Error, Kind, Result};
use crate::health::facts::{ClosedFolder, ExpectedDatabase, Facts, Removal, ServerState, StoreFacts, Trouble};
use crate::health::{Finding, Level, checks, missed_drills};
use crate::host::inaccessible::{self, InaccessibleFolder};
use crate::host::scheduler_state::{self, FailedRun};
use crate::host::surroundings::Surroundings;
use crate::host::task_units::{TaskUnits, Unit, UnitTrouble};
use crate::postgres::databases::{self, OnServer};
use crate::restore::table_rows;
use crate::stop::Stop;
use crate::store::StoreKind;
use crate::task::monitor::gather::stores::StoresState;

mod first_seen;
mod keys;
mod schedule;
mod stores;

use first_seen::FirstSeen;
use schedule::Backups;

/// The task that makes backups.
const BACKUP: &str = "backup";

/// Backups of a database that a report compares.
const COMPARED: usize = 2;

/// How long a server may take to list its databases.
const SERVER_LIMIT: Duration = Duration::from_secs(30);

/// The facts about an instance, and the findings.
#[derive(Debug)]
pub struct Gathered {
    /// The facts.
    pub facts: Facts,
    /// The thresholds.
    pub settings: MonitorSettings,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
}

impl Gathered {
    /// The worst level.
    pub fn verdict(&self) -> Level {
        checks::verdict(&self.findings)
    }
}

/// Gathers the facts of an instance and checks them. What cannot be reached or read is a finding; the error is a wrong
/// setting.
pub async fn gather(args: &HealthArgs, stop: &Stop) -> Result<Gathered> {
    let settings = MonitorSettings::new(args)?;
    let facts = stop.or(facts(args, &settings)).await?;
    let findings = checks::findings(&facts, &settings);
    Ok(Gathered { facts, settings, findings })
}

async fn facts(args: &HealthArgs, settings: &MonitorSettings) -> Result<Facts> {
    let now = Timestamp::now();
    let (args, unusable_keys) = keys::check(args);
    let place = Place::new(&args.place)?;
    let retention = RetentionSettings::new(&args.rules)?;
    let selected = match args.databases.dbname {
        Some(_) => Some(Databases::new(&args.databases)?),
        None => None,
    };
    let connection = Connection::new(&args.connection)?;
    let password = unusable_keys.iter().any(|key| key.setting.starts_with("DB_") || key.setting == keys::ALL);
    let on_server = async {
        match selected {
            Some(_) if !password => databases_of(&connection).await,
            _ => Ok(None),
        }
    };
    // In parallel: if both hang, the caller waits only once.
    let (found, on_server) = tokio::join!(stores::read(&place, Some(&connection)), on_server);
    let found = found?;
    let excluded = names("BACKUP_EXCLUDE_DATABASES", args.databases.exclude_databases.as_deref().unwrap_or_default())?;
    let expected = expected(selected.as_ref(), &on_server, &found.stores, &excluded);
    let ServerFacts { server, half_dropped, products } =
        server_facts(on_server, &expected, &excluded, &found.of_others);

    let identities = IdentitySource::from(&args.identity);
    let rows = count_rows(&found, settings, args.counts_rows, identities, now).await?;
    let units = TaskUnits::ask(&place.instance).await;
    let backups = Backups::new(settings, &units, &retention.zone, now).await;
    let schedule = backups.facts(settings, now);
    let backed_up: BTreeSet<&str> =
        found.stores.iter().flat_map(StoreFacts::backups).map(|backup| backup.database.as_str()).collect();
    let seen = first_seen::note(&place, &expected, &backed_up, now);
    let (troubled, failed) = (units.troubled().await, scheduler_state::failed(&place));
    // A database whose first run failed is not waited for any more. Without any backup, every failed run counts as that
    // first run.
    let none_yet = backed_up.is_empty();
    let has_failed = |since: Timestamp, due: &Timestamp| {
        failed.iter().any(|(task, failed)| task == BACKUP && (none_yet || failed.at >= since))
            || ((none_yet || *due <= now) && troubled.iter().any(|unit| unit.is_failed_service_of(BACKUP)))
    };
    let databases = with_first_due(expected, &seen, &backups, now, has_failed).await;
    Ok(Facts {
        now,
        instance: place.instance.clone(),
        host: place.host.clone(),
        removals: Some(foreseen_removals(&retention, &place, (&found, &rows), now).await?),
        rows,
        stores: found.stores,
        mixed: found.mixed,
        databases,
        server,
        half_dropped,
        products,
        zone: retention.zone.clone(),
        surroundings: Surroundings::here(),
        schedule,
        disk: place.directory.as_deref().and_then(crate::host::disk::of),
        closed: closed_folders(&place),
        not_drilled: missed_drills::missed(&place),
        units: troubled.into_iter().chain(failed.into_iter().map(failed_task)).collect(),
        unusable_keys,
    }
    .before_the_first_backup())
}

/// When the first backup of each database is due, if it is waited for.
async fn with_first_due(
    expected: impl IntoIterator<Item = String>,
    seen: &FirstSeen,
    backups: &Backups,
    now: Timestamp,
    has_failed: impl Fn(Timestamp, &Timestamp) -> bool,
) -> Vec<ExpectedDatabase> {
    let mut databases = Vec::new();
    for name in expected {
        let first_due = match seen.since(&name) {
            Some(since) => backups.due(since, now).await.filter(|due| !has_failed(since, due)),
            None => None,
        };
        databases.push(ExpectedDatabase { first_due, name });
    }
    databases
}

/// A failed task of the scheduler, as if it were a unit's service.
fn failed_task((name, failed): (String, FailedRun)) -> Unit {
    Unit { name, trouble: UnitTrouble::Failed(failed.how) }
}

/// Folders that cannot be used. Only in a container, which has one user: elsewhere the monitor may run as another user
/// than the backups.
fn closed_folders(place: &Place) -> Vec<ClosedFolder> {
    if !Surroundings::here().is_container() {
        return Vec::new();
    }
    let found = inaccessible::folders(place.directory.as_deref(), &inaccessible::logs());
    let closed = |InaccessibleFolder { folder, no_backups, message, hint }| ClosedFolder {
        folder,
        no_backups,
        trouble: Trouble { message, hint },
    };
    found.into_iter().map(closed).collect()
}

/// The server's databases; none if the server need not be asked.
async fn databases_of(connection: &Connection) -> Result<Option<OnServer>> {
    match tokio::time::timeout(SERVER_LIMIT, databases::in_use(connection)).await {
        Ok(names) => names.map(Some),
        Err(_) => Err(Error::new(
            Kind::Unavailable,
            format!("{connection} did not answer within {} s", SERVER_LIMIT.as_secs()),
        )
        .hint("does it hang? check the server's log")),
    }
}

/// The databases that should have backups. Where the configuration names none, those that have some.
fn expected(
    selected: Option<&Databases>,
    on_server: &Result<Option<OnServer>>,
    stores: &[StoreFacts],
    excluded: &[String],
) -> BTreeSet<String> {
    let backed_up = || stores.iter().flat_map(StoreFacts::backups).map(|backup| backup.database.clone());
    match (selected, on_server) {
        (Some(Databases::Named(names)), _) => names.iter().cloned().collect(),
        (Some(Databases::AllBut(_)), Ok(Some(found))) => {
            found.whole.iter().filter(|name| !excluded.contains(name)).cloned().collect()
        }
        (Some(Databases::AllBut(_)), _) => backed_up().filter(|name| !excluded.contains(name)).collect(),
        (None, _) => backed_up().collect(),
    }
}

/// The facts about the server.
struct ServerFacts {
    server: ServerState,
    half_dropped: Vec<String>,
    products: Vec<Product>,
}

/// Compares the server's databases with the expected ones.
fn server_facts(
    on_server: Result<Option<OnServer>>,
    expected: &BTreeSet<String>,
    excluded: &[String],
    of_others: &BTreeSet<String>,
) -> ServerFacts {
    let covered = |name: &String| expected.contains(name) || excluded.contains(name) || of_others.contains(name);
    let relevant = |name: &String| !excluded.contains(name) && !of_others.contains(name);
    let nothing = |server| ServerFacts { server, half_dropped: Vec::new(), products: Vec::new() };
    match on_server {
        Ok(None) => nothing(ServerState::NotAsked),
        Ok(Some(OnServer { whole, half_dropped, products, .. })) => ServerFacts {
            server: ServerState::Uncovered(whole.into_iter().filter(|name| !covered(name)).collect()),
            half_dropped: half_dropped.into_iter().filter(relevant).collect(),
            products: products.into_iter().filter(|product| relevant(&product.name)).collect(),
        },
        Err(error) => nothing(ServerState::Unreachable(Trouble::from(&error))),
    }
}

/// How long retention, which runs daily, may be overdue.
const LATE: SignedDuration = SignedDuration::from_hours(48);

/// The backups that a run now would remove, the oldest first, each with whether a run two days ago would have removed
/// it.
async fn foreseen_removals(
    settings: &RetentionSettings,
    place: &Place,
    (found, rows): (&StoresState, &RowsById),
    now: Timestamp,
) -> Result<Vec<Removal>> {
    let (settings, place, opened) = (settings.clone(), place.clone(), found.opened.clone());
    let (backups, rows) = (found.backups.clone(), rows.clone());
    let foresee = move || {
        let mut removed = retention_plan::foresee(&settings, &place, &opened, (&backups, &rows), now);
        let then = now - LATE;
        let overdue = match removed.is_empty() {
            true => Vec::new(),
            false => retention_plan::foresee(&settings, &place, &opened, (&began_until(&backups, then), &rows), then),
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

/// The rows of the good backups: of all for the limit of what a table may lose, and else, for a report, of the last two of each
/// database.
async fn count_rows(
    found: &StoresState,
    settings: &MonitorSettings,
    is_report: bool,
    identities: IdentitySource,
    now: Timestamp,
) -> Result<RowsById> {
    let mut known = RowsById::new();
    if !is_report && settings.max_shrink == 0 {
        return Ok(known);
    }
    let most = if settings.max_shrink > 0 { usize::MAX } else { COMPARED };
    let mut newest: HashMap<String, BTreeMap<(Timestamp, String), Backup>> = HashMap::new();
    let stores = [StoreKind::Local, StoreKind::S3].into_iter().filter_map(|store| found.backups.get(&store));
    for backup in stores.flatten() {
        let Manifest { id, started, database, .. } = &backup.manifest;
        let is_good = matches!(backup.status, Status::Good | Status::Verified) && !is_from_future(*started, now);
        if is_good {
            let of_database = newest.entry(database.clone()).or_default();
            of_database.entry((*started, id.clone())).or_insert_with(|| backup.clone());
        }
    }
    let read = move || {
        let backups = newest.values().flat_map(|backups| backups.values().rev().take(most));
        table_rows::read(backups, &identities, &mut known);
        Ok(known)
    };
    blocking::to_end(read).await
}

fn began_until(backups: &HashMap<StoreKind, Vec<Backup>>, then: Timestamp) -> HashMap<StoreKind, Vec<Backup>> {
    let until =
        |backups: &Vec<Backup>| backups.iter().filter(|backup| backup.manifest.started <= then).cloned().collect();
    backups.iter().map(|(store, backups)| (*store, until(backups))).collect()
}

//! Gathers the facts: what is in the stores, what is configured, what the server and the host tell.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::catalogue::product::Product;
use crate::cli::HealthArgs;
use crate::config::{Connection, Databases, MonitorSettings, Place, RetentionSettings, names};
use crate::error::{Error, Kind, Result};
use crate::health::checks;
use crate::health::facts::{
    ClosedFolder, ExpectedDatabase, Facts, ServerState, StoreFacts, Trouble, Unit, UnitTrouble,
};
use crate::health::missed_drills;
use crate::health::{Finding, Level};
use crate::host::inaccessible;
use crate::host::inaccessible::Closed;
use crate::host::surroundings::Surroundings;
use crate::postgres::databases::{self, OnServer};
use crate::stop::Stop;
use crate::task::schedule::state;
use crate::task::schedule::state::FailedRun;

pub mod disk;
pub mod first_seen;
pub mod in_force;
mod keys;
mod removals;
mod schedule;
mod stores;
pub mod units;

use schedule::Backups;
use units::Units;

/// The task that makes backups.
const BACKUP: &str = "backup";

/// How long a server may take to tell its databases.
const ASKING: Duration = Duration::from_secs(30);

/// What is known of an instance, and what was found in it.
#[derive(Debug)]
pub struct Gathered {
    /// The facts.
    pub facts: Facts,
    /// The thresholds.
    pub settings: MonitorSettings,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

impl Gathered {
    /// The worst level.
    pub fn verdict(&self) -> Level {
        checks::verdict(&self.findings)
    }
}

/// Gathers the facts of an instance and checks them. What cannot be reached or read is a finding; an error is a setting that
/// is wrong.
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
    let wanted = match args.databases.dbname {
        Some(_) => Some(Databases::new(&args.databases)?),
        None => None,
    };
    let connection = Connection::new(&args.connection)?;
    let password = unusable_keys.iter().any(|key| key.setting.starts_with("DB_") || key.setting == keys::ALL);
    let on_server = async {
        match wanted {
            Some(_) if !password => ask(&connection).await,
            _ => Ok(None),
        }
    };
    // At once: where both hang, whoever asks for the verdict would wait for one after the other.
    let (found, on_server) = tokio::join!(stores::read(&place, Some(&connection)), on_server);
    let found = found?;
    let excluded = names("BACKUP_EXCLUDE_DATABASES", args.databases.exclude_databases.as_deref().unwrap_or_default())?;
    let expected = expected(wanted.as_ref(), &on_server, &found.stores, &excluded);
    let OfServer { server, half_dropped, products } = of_server(on_server, &expected, &excluded, &found.of_others);

    let units = Units::ask(&place.instance).await;
    let backups = Backups::new(settings, &units, &retention.zone, now).await;
    let schedule = backups.facts(settings, now);
    let backed_up: BTreeSet<&str> =
        found.stores.iter().flat_map(StoreFacts::backups).map(|backup| backup.database.as_str()).collect();
    let seen = first_seen::note(&place, &expected, &backed_up, now);
    let (troubled, failed) = (units.troubled().await, state::failed(&place));
    // One that has had its turn waits for nothing any more. Where there is no backup at all, that was its turn.
    let none_yet = backed_up.is_empty();
    let has_failed = |since: Timestamp, due: &Timestamp| {
        failed.iter().any(|(task, failed)| task == BACKUP && (none_yet || failed.at >= since))
            || ((none_yet || *due <= now) && troubled.iter().any(|unit| unit.is_failed_service_of(BACKUP)))
    };
    let mut databases = Vec::new();
    for name in expected {
        let first_due = match seen.since(&name) {
            Some(since) => backups.due(since, now).await.filter(|due| !has_failed(since, due)),
            None => None,
        };
        databases.push(ExpectedDatabase { first_due, name });
    }
    Ok(Facts {
        now,
        instance: place.instance.clone(),
        host: place.host.clone(),
        removals: Some(removals::foreseen(&retention, &place, &found, now).await?),
        stores: found.stores,
        mixed: found.mixed,
        databases,
        server,
        half_dropped,
        products,
        zone: retention.zone.clone(),
        surroundings: Surroundings::here(),
        schedule,
        disk: place.directory.as_deref().and_then(disk::of),
        closed: closed_folders(&place),
        not_drilled: missed_drills::missed(&place),
        units: troubled.into_iter().chain(failed.into_iter().map(failed_task)).collect(),
        unusable_keys,
    }
    .before_the_first_backup())
}

/// A task of a scheduler, which stands for the service of a unit.
fn failed_task((name, failed): (String, FailedRun)) -> Unit {
    Unit { name, trouble: UnitTrouble::Failed(failed.how) }
}

/// A container has one user. Elsewhere another one than that of the backups may look.
fn closed_folders(place: &Place) -> Vec<ClosedFolder> {
    if !Surroundings::here().is_container() {
        return Vec::new();
    }
    let found = inaccessible::folders(place.directory.as_deref(), &inaccessible::logs());
    let told = |Closed { folder, no_backups, message, hint }| ClosedFolder {
        folder,
        no_backups,
        trouble: Trouble { message, hint },
    };
    found.into_iter().map(told).collect()
}

/// The databases on the server in which something can be lost; none if no server is to be asked.
async fn ask(connection: &Connection) -> Result<Option<OnServer>> {
    match tokio::time::timeout(ASKING, databases::in_use(connection)).await {
        Ok(names) => names.map(Some),
        Err(_) => {
            Err(Error::new(Kind::Unavailable, format!("{connection} did not answer within {} s", ASKING.as_secs()))
                .hint("does it hang? look at the server's log"))
        }
    }
}

/// The databases that should have backups. Where the configuration names none, those that have some.
fn expected(
    wanted: Option<&Databases>,
    on_server: &Result<Option<OnServer>>,
    stores: &[StoreFacts],
    excluded: &[String],
) -> BTreeSet<String> {
    let backed_up = || stores.iter().flat_map(StoreFacts::backups).map(|backup| backup.database.clone());
    match (wanted, on_server) {
        (Some(Databases::Named(names)), _) => names.iter().cloned().collect(),
        (Some(Databases::AllBut(_)), Ok(Some(found))) => {
            found.whole.iter().filter(|name| !excluded.contains(name)).cloned().collect()
        }
        (Some(Databases::AllBut(_)), _) => backed_up().filter(|name| !excluded.contains(name)).collect(),
        (None, _) => backed_up().collect(),
    }
}

/// What a server tells.
struct OfServer {
    server: ServerState,
    half_dropped: Vec<String>,
    products: Vec<Product>,
}

/// What is said of the server.
fn of_server(
    on_server: Result<Option<OnServer>>,
    expected: &BTreeSet<String>,
    excluded: &[String],
    of_others: &BTreeSet<String>,
) -> OfServer {
    let covered = |name: &String| expected.contains(name) || excluded.contains(name) || of_others.contains(name);
    let told = |name: &String| !excluded.contains(name) && !of_others.contains(name);
    let nothing = |server| OfServer { server, half_dropped: Vec::new(), products: Vec::new() };
    match on_server {
        Ok(None) => nothing(ServerState::NotAsked),
        Ok(Some(OnServer { whole, half_dropped, products, .. })) => OfServer {
            server: ServerState::Uncovered(whole.into_iter().filter(|name| !covered(name)).collect()),
            half_dropped: half_dropped.into_iter().filter(told).collect(),
            products: products.into_iter().filter(|product| told(&product.name)).collect(),
        },
        Err(error) => nothing(ServerState::Unreachable(Trouble::from(&error))),
    }
}

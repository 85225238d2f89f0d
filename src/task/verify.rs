//! `pgcellar verify`: reads a backup's bytes back, checks them, and records the result beside the manifest.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::catalogue::inventory::{BackupCopies, BackupQuery, Inventory};
use crate::catalogue::name::{is_of, leading_id};
use crate::catalogue::records::{Depth, Verification};
use crate::catalogue::select::{NamedPath, Resolved, resolve_or_file};
use crate::catalogue::{Backup, sweep};
use crate::cli::VerifyArgs;
use crate::config::verify::VerifySettings;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::postgres::identity;
use crate::printable::printable;
use crate::restore::verification;
use crate::stop::Stop;
use crate::store::{Store, Stores};
use crate::{blocking, stdout};

mod checks;
mod dump;
mod files;
mod live;
mod report;

use files::{VerifyRun, verify_files};
use report::{VerifyReport, outcome};

/// Verifies the copies one by one, also after damage was found in one.
///
/// # Errors
/// That of the damage, or else of the first copy that could not be verified, or of a store that cannot be read.
pub async fn run(args: &VerifyArgs, stop: &Stop) -> Result<()> {
    let settings = &VerifySettings::new(args)?;
    let place = &settings.place;
    let stores = Stores::open(place).await?.selected(settings.store.as_deref())?;
    if let Some(live) = &settings.live {
        return live::run(settings, live, stop).await;
    }
    let identities = settings.identities.read()?.map(Arc::new);
    let run = VerifyRun { identities, settings, stop };
    if let Some(named) = NamedPath::find(&settings.backup, &settings.s3, place).await? {
        return verify_named(&run, named).await;
    }
    let server = identity::ask_blocking(settings.connection.clone());
    let inventory = Inventory::read(stores.clone(), place, server, stop).await?;
    let groups = match select(&inventory, settings) {
        Ok(Targets::Backups(groups)) => groups,
        Ok(Targets::File(named)) => return verify_named(&run, named).await,
        Err(error) => return Err(inventory.or_unread(error)),
    };
    let copies: Vec<&Backup> = groups.iter().flat_map(|group| group.copies()).collect();
    let log_all = settings.all || copies.len() > 1;
    let mut reports = Vec::new();
    if settings.all {
        reports.extend(unusable(&inventory, settings.database.as_deref()));
    }
    for backup in copies {
        let report = verify(&run, &backup.store, backup).await;
        if stop.requested() {
            return Err(stop.error());
        }
        report.log();
        if log_all || !report.damage.is_empty() {
            report.log_error();
        }
        reports.push(report);
    }
    if settings.json && !inventory.locations.is_empty() {
        print(&reports)?;
    }
    sweep(stores.clone()).await;
    outcome(reports, settings.all, stores.len() > 1, unread(inventory))
}

/// Verifies the backup that a file belongs to, or else the file itself, without a record.
async fn verify_named(run: &VerifyRun<'_>, named: NamedPath) -> Result<()> {
    if run.settings.database.is_some() {
        return Err(Error::new(Kind::Usage, "--database selects among backups, and one file is named")
            .hint("leave --database out"));
    }
    let named = Arc::new(named);
    let other = Arc::clone(&named);
    let report = match blocking::run(run.stop, move || other.backup()).await? {
        Some(backup) => verify(run, &named.store, &backup).await,
        None => dump::verify(&named, &run.settings.identities, run.stop).await,
    };
    if run.stop.requested() {
        return Err(run.stop.error());
    }
    report.log();
    if !report.damage.is_empty() {
        report.log_error();
    }
    let reports = vec![report];
    if run.settings.json {
        print(&reports)?;
    }
    outcome(reports, false, false, None)
}

/// What is verified.
enum Targets<'a> {
    Backups(Vec<&'a BackupCopies>),
    File(NamedPath),
}

/// What the arguments select; with `--all` there may be no backup. Those of other instances are verified by these.
fn select<'a>(inventory: &'a Inventory, settings: &VerifySettings) -> Result<Targets<'a>> {
    let database = settings.database.as_deref();
    if !settings.all {
        let query = BackupQuery { id: &settings.backup, database, verb: "verify" };
        return Ok(match resolve_or_file(inventory, query, &settings.place)? {
            Resolved::Backup(choice) => {
                choice.remarks.iter().for_each(|remark| log::warn!("{}", printable(remark)));
                Targets::Backups(vec![choice.group])
            }
            Resolved::File(named) => Targets::File(named),
        });
    }
    if let others @ 1.. = inventory.others(database).count() {
        log::info!("{others} backups of other instances, hosts or servers are skipped");
    }
    inventory.log_doubts();
    Ok(Targets::Backups(inventory.own(database).collect()))
}

/// The last error of a store that could not be read; the others are logged.
fn unread(mut inventory: Inventory) -> Option<Error> {
    let last = inventory.unread.pop();
    for unread in inventory.unread {
        log::error!("{}", printable(&unread.error.to_string()));
    }
    last.map(|unread| unread.error)
}

/// Reports of manifests that cannot be used: their files cannot be checked.
fn unusable(inventory: &Inventory, database: Option<&str>) -> Vec<VerifyReport> {
    let of_database = |key: &str| database.is_none_or(|name| leading_id(key).is_some_and(|id| is_of(id, name)));
    let mut reports = Vec::new();
    for manifest in inventory.unusable.iter().filter(|manifest| !manifest.others && of_database(&manifest.unusable.key))
    {
        let bad = &manifest.unusable;
        let id = leading_id(&bad.key).unwrap_or(&bad.key);
        let mut report = VerifyReport::new(id, manifest.store);
        match bad.error.kind() {
            Kind::Data => report.damage.push(bad.error.to_string()),
            kind => report.error = Some(Error::new(kind, bad.error.to_string())),
        }
        report.log();
        report.log_error();
        reports.push(report);
    }
    reports
}

async fn verify(run: &VerifyRun<'_>, store: &Arc<dyn Store>, backup: &Backup) -> VerifyReport {
    let manifest = &backup.manifest;
    let mut report = VerifyReport::new(&manifest.id, backup.store.kind());
    report.database.clone_from(&manifest.database);
    report.tables = Some(manifest.contents.tables);
    let unread = |error: &String| format!("the result of the previous verify could not be read: {error}");
    report.notes.extend(backup.verification_error.as_ref().map(unread));
    let started = Instant::now();
    let progress = Progress::begin(&format!("verify {}", manifest.id), Some(manifest.stored_bytes()));
    let result = verify_files(run, store, manifest, &progress).await;
    report.bytes = progress.counter().get();
    drop(progress);
    report.seconds = started.elapsed().as_secs_f64();
    match result {
        Err(error) => report.error = Some(error),
        Ok(files) => {
            report.depth = match (&files.error, files.damage.is_empty()) {
                (None, _) => Some(files.depth),
                (Some(_), false) => Some(Depth::Stored),
                (Some(_), true) => None,
            };
            report.damage = files.damage;
            report.notes.extend(files.notes);
            report.error = files.error;
        }
    }
    match record(store, &report).await {
        // A full disk does not change the result.
        Err(error) if error.kind() == Kind::CannotWrite => report.unrecorded = Some(error),
        Err(error) => drop(report.error.get_or_insert(error)),
        Ok(()) => {}
    }
    report
}

/// Records the result beside the manifest, if the verify came to one.
async fn record(store: &Arc<dyn Store>, report: &VerifyReport) -> Result<()> {
    let Some(depth) = report.depth else { return Ok(()) };
    let record = Verification {
        id: report.id.clone(),
        at: Timestamp::now(),
        passed: report.damage.is_empty(),
        depth,
        damage: report.damage.clone(),
    };
    let store = Arc::clone(store);
    blocking::to_end(move || verification::record(&*store, &record)).await
}

/// Removes the remains of killed verifies. A failure is logged only: it does not concern this verify.
async fn sweep(stores: Vec<Arc<dyn Store>>) {
    let swept = blocking::to_end(move || stores.iter().try_for_each(|store| sweep::records(store.as_ref())));
    if let Err(error) = swept.await {
        log::debug!("{error}");
    }
}

fn print(reports: &[VerifyReport]) -> Result<()> {
    let text = serde_json::to_string_pretty(reports)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the results as JSON: {error}")))?;
    stdout::print(text + "\n")
}

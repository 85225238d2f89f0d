//! `pgcellar drill`: proves a backup by restoring it into a throwaway cluster without pgcellar's rights, and by comparing the restored
//! database with the fingerprints that were recorded when the backup was made.
//!
//! This side reads the backup, and decrypts and checks it. The sandbox ([`crate::task::drill::sandbox`]) restores it, runs the code in
//! it, and sends back the fingerprints of what it finds. It does not get the expected ones.

use std::time::Instant;

use crate::catalogue::inventory::Inventory;
use crate::catalogue::records::drill::DrillRecord;
use crate::cli::DrillArgs;
use crate::config::drill::DrillSettings;
use crate::error::Result;
use crate::health::missed_drills;
use crate::stop::Stop;
use crate::store::Stores;

mod connect;
mod conversation;
mod libraries;
mod protocol;
mod receiver;
mod record;
mod rehearsal;
mod report;
pub mod sandbox;
mod sender;
mod targets;
mod verdict;

use conversation::DrillRun;
use libraries::NamedLibraries;
use report::DrillReport;
use targets::DrillTarget;

/// Drills one backup, or one of each database, also after one has failed.
///
/// # Errors
/// That of the failed drill, or else of the first one that could not be run.
pub async fn run(args: &DrillArgs, stop: &Stop) -> Result<()> {
    let settings = &DrillSettings::new(args)?;
    let libraries = &NamedLibraries::read(settings)?;
    let run = DrillRun { settings, rehearsal: settings.rehearsal, libraries, stop };
    let stores = Stores::open(&settings.place).await?.selected(settings.store.as_deref())?;
    let mut inventory = Inventory::read(stores, &settings.place, || None, stop).await?;
    let targets = match targets::find(&inventory, settings) {
        Ok(targets) => targets,
        Err(error) => return Err(inventory.or_unread(error)),
    };
    let result = match settings.rehearsal {
        Some(server) => rehearse(&run, server, &targets).await,
        None => drill_each(&run, targets).await,
    };
    result?;
    // The newest backup of a database may be in the store that cannot be read.
    match inventory.unread.pop() {
        Some(unread) if settings.each => {
            Err(unread.error.context("backups in the store that cannot be read were not drilled"))
        }
        _ => Ok(()),
    }
}

/// Rehearses an upgrade with each of these backups, as the only task of the run.
async fn rehearse(run: &DrillRun<'_>, server: u32, targets: &[DrillTarget]) -> Result<()> {
    let reports = rehearsal::each(run, server, targets).await?;
    if run.settings.json {
        rehearsal::print(&reports)?;
    }
    rehearsal::outcome(reports)
}

/// Drills each of these backups. Those of `--each` are rehearsed afterwards, which does not change the result of the run: the
/// monitor reports it.
async fn drill_each(run: &DrillRun<'_>, targets: Vec<DrillTarget>) -> Result<()> {
    let DrillRun { settings, stop, .. } = *run;
    let (mut reports, mut turns) = (Vec::new(), Vec::new());
    let several = targets.len() > 1;
    for target in &targets {
        let report = match drill(run, target).await {
            Ok(record) => DrillReport::of(record),
            Err(error) => DrillReport::failed(&target.manifest.id, error),
        };
        if stop.requested() {
            return Err(stop.error());
        }
        report.log(&target.manifest, several);
        turns.push(report.turn(&target.manifest));
        reports.push(report);
    }
    if settings.each {
        missed_drills::record(&settings.place, turns).await;
    }
    if settings.json {
        report::print(&reports)?;
    }
    if let Some(server) = settings.next.filter(|_| settings.each) {
        let run = DrillRun { rehearsal: Some(server), ..*run };
        rehearsal::each(&run, server, &rehearsal::older(targets, server)).await?;
    }
    report::outcome(reports)
}

/// Drills one backup, and records the result.
async fn drill(run: &DrillRun<'_>, target: &DrillTarget) -> Result<DrillRecord> {
    let begun = Instant::now();
    let verdict = conversation::restore(run, target).await?;
    let drill = record::of(&target.manifest, verdict, run.settings.is_isolated(), begun);
    record::write(target, &drill, run.stop).await?;
    Ok(drill)
}

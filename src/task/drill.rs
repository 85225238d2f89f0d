//! `pgcellar drill`: proves a backup by restoring it into a throwaway cluster without pgcellar's rights, and by comparing the restored
//! database with the fingerprints that were recorded when the backup was made.
//!
//! This side reads the backup, and decrypts and checks it. The sandbox ([`crate::task::drill::sandbox`]) restores it, runs the code in
//! it, and sends back the fingerprints of what it finds. It does not get the expected ones.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blocking;
use crate::catalogue::inventory::Inventory;
use crate::catalogue::records::drill::DrillRecord;
use crate::cli::DrillArgs;
use crate::config::{IdentitySource, Place, jobs};
use crate::error::{Cause, Error, Kind, Result};
use crate::health::missed_drills;
use crate::host::progress::Progress;
use crate::restore::archive::{Archive, must_have_definitions};
use crate::restore::compare;
use crate::restore::details::{KnownBackup, reveal};
use crate::stop::Stop;
use crate::store::Stores;

mod connect;
mod libraries;
mod protocol;
mod receiver;
mod record;
mod report;
pub mod sandbox;
mod sender;
mod targets;
mod verdict;

use connect::SandboxLink;
use libraries::NamedLibraries;
use receiver::not_here;
use report::DrillReport;
use sender::Sending;
use targets::DrillTarget;
use verdict::Verdict;

/// The pause before another attempt at a busy sandbox.
const PAUSE: Duration = Duration::from_secs(5);

/// A run of `pgcellar drill`.
struct DrillRun<'a> {
    args: &'a DrillArgs,
    jobs: Option<NonZeroUsize>,
    libraries: NamedLibraries,
    stop: &'a Stop,
}

/// Drills one backup, or one of each database, also after one has failed.
///
/// # Errors
/// That of the failed drill, or else of the first one that could not be run.
pub async fn run(args: &DrillArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let run = DrillRun {
        args,
        jobs: jobs("DRILL_JOBS (--jobs)", args.jobs.as_deref())?,
        libraries: NamedLibraries::read(args)?,
        stop,
    };
    let stores = Stores::open(&place).await?.selected(args.store.as_deref())?;
    let mut inventory = Inventory::read(stores, &place, || None, stop).await?;
    let targets = match targets::find(&inventory, args) {
        Ok(targets) => targets,
        Err(error) => return Err(inventory.or_unread(error)),
    };
    let (mut reports, mut turns) = (Vec::new(), Vec::new());
    let several = targets.len() > 1;
    for target in targets {
        let report = match drill(&run, &target).await {
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
    if args.each {
        missed_drills::record(&place, turns).await;
    }
    if args.json {
        report::print(&reports)?;
    }
    report::outcome(reports)?;
    // The newest backup of a database may be in the store that cannot be read.
    match inventory.unread.pop() {
        Some(unread) if args.each => {
            Err(unread.error.context("backups in the store that cannot be read were not drilled"))
        }
        _ => Ok(()),
    }
}

/// Drills one backup, and records the result.
async fn drill(run: &DrillRun<'_>, target: &DrillTarget) -> Result<DrillRecord> {
    let begun = Instant::now();
    let manifest = &target.manifest;
    must_have_definitions(manifest).map_err(not_here)?;
    let opened = open(run, target).await;
    if run.args.unisolated {
        log::warn!("the restored code runs with the rights of this user: it can read what this user can read");
    }
    let drilled = match opened {
        Ok(archive) => patiently(run, &archive).await,
        Err(error) if error.kind() == Kind::NotPermitted => return Err(not_here(error)),
        Err(error) => Err(error),
    };
    let verdict = match drilled {
        Ok(verdict) => verdict,
        Err(error) if error.kind() == Kind::Data => Verdict::failed(error.message().to_owned()),
        Err(error) => return Err(error),
    };
    let drill = record::of(manifest, verdict, !run.args.unisolated, begun);
    record::write(target, &drill, run.stop).await?;
    Ok(drill)
}

/// Opens the archive.
async fn open(run: &DrillRun<'_>, target: &DrillTarget) -> Result<Arc<Archive>> {
    let (store, manifest) = (Arc::clone(&target.store), target.manifest.clone());
    let identities = IdentitySource::from(&run.args.identity);
    blocking::run(run.stop, move || {
        let KnownBackup { manifest, identities } = reveal(&store, manifest, &identities)?;
        Archive::of_backup(store, manifest, identities)
    })
    .await
    .map(Arc::new)
}

/// Runs the drill as soon as the sandbox is free.
async fn patiently(run: &DrillRun<'_>, archive: &Arc<Archive>) -> Result<Verdict> {
    let (begun, patience) = (Instant::now(), Duration::from_secs(run.args.patience.wait.into()));
    loop {
        let link = SandboxLink::open(run.args)?;
        let result = converse(run, &link, archive).await;
        // A sandbox that this process started ends with the stream.
        drop(link.stream.shutdown(std::net::Shutdown::Both));
        link.close().await;
        match result {
            Err(error) if is_busy(&error) && !run.stop.requested() && begun.elapsed() < patience => {
                log::debug!("{error}");
            }
            result => return result,
        }
        run.stop.sleep(PAUSE).await?;
    }
}

/// Whether the sandbox runs another drill.
fn is_busy(error: &Error) -> bool {
    error.kind() == Kind::TryAgain && error.cause() != Some(Cause::SandboxStopped)
}

/// Sends the backup to the sandbox, and compares what it reports.
async fn converse(run: &DrillRun<'_>, link: &SandboxLink, archive: &Arc<Archive>) -> Result<Verdict> {
    let stop = run.stop;
    let expected = compare::read_fingerprints(archive, stop).await?;
    let Some(manifest) = &archive.manifest else { return Err(Error::new(Kind::Internal, "a manifest was lost")) };
    let order = sender::order(archive, manifest, expected.as_ref(), (run.jobs.map(NonZeroUsize::get), &run.libraries))?;
    let cannot =
        |error: std::io::Error| Error::new(Kind::System, format!("the stream to the sandbox cannot be used: {error}"));
    let stream = || link.stream.try_clone().map_err(cannot);
    let mut receiver = receiver::Receiver::begin(stream()?);
    let bytes = archive.files.iter().map(|file| file.stored_bytes).sum();
    let progress = Progress::begin(&format!("drill {}", archive.name), Some(bytes));
    let mut sending = Sending::begin(stream()?, order, archive, &progress.counter(), stop);
    let postgres = sending.beside(stop, receiver.ready()).await?;
    let begun = Instant::now();
    let restored = sending.beside(stop, receiver.restored()).await?;
    // Archive bytes that were sent while the cluster was made would be part of the restore into an existing server.
    let restore = begun.elapsed() + sending.sent_before(begun);
    drop(progress);
    match restored {
        Err(reason) => {
            receiver.end().await;
            Ok(Verdict { postgres, restore, ..Verdict::failed(reason) })
        }
        Ok(_) if !stop.or(sending.is_whole()).await? => {
            Err(Error::new(Kind::Internal, "the sandbox reports a restored database before it got the whole archive"))
        }
        Ok(restored) => {
            let bytes = expected.as_ref().map(verdict::bytes);
            let progress = Progress::begin(&format!("compare {}", archive.name), bytes);
            let found = stop.or(receiver.contents(expected.as_ref(), &progress.counter())).await?;
            receiver.end().await;
            Ok(verdict::judge(expected.as_ref(), found, restored, (postgres, restore)))
        }
    }
}

//! `pgcellar drill`: proves a backup by restoring it, into a throwaway cluster that has none of our rights, and by comparing
//! what comes back with the fingerprints that were taken when it was made.
//!
//! This side reads the backup, and decrypts and checks it. The sandbox ([`crate::task::drill::sandbox`]) restores it, runs what code
//! is in it, and tells what it finds. It is not told what it should find.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blocking;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::records::drill::{DrillOutcome, DrillRecord};
use crate::cli::DrillArgs;
use crate::config::{Place, jobs};
use crate::error::{Cause, Error, Kind, Result};
use crate::host::event;
use crate::host::progress::Progress;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::definitions::must_have_definitions;
use crate::restore::details::{KnownBackup, reveal};
use crate::restore::fingerprints;
use crate::stop::Stop;
use crate::store::Stores;
use crate::task::list;

mod connect;
mod protocol;
mod receiver;
mod record;
mod report;
pub mod sandbox;
mod sender;
mod targets;
mod verdict;

use connect::SandboxLink;
use report::DrillReport;
use sender::Sending;
use targets::Subject;
use verdict::Verdict;

/// How often a sandbox that is busy is asked again.
const PAUSE: Duration = Duration::from_secs(5);

/// What a run works with.
struct Run<'a> {
    args: &'a DrillArgs,
    jobs: Option<NonZeroUsize>,
    stop: &'a Stop,
}

/// Drills one backup, or one of each database. One that fails does not keep the others from being drilled; the error is
/// then that of the failed drill, or else of the first one that could not be held.
pub async fn run(args: &DrillArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let run = Run { args, jobs: jobs("DRILL_JOBS (--jobs)", args.jobs.as_deref())?, stop };
    let stores = Stores::open(&place).await?.selected(args.store.as_deref())?;
    let mut merged = list::read(stores.clone(), &place, stop).await?;
    let subjects = match targets::find(&merged, args, &stores) {
        Ok(subjects) => subjects,
        Err(error) => return Err(merged.or_unread(error)),
    };
    let (mut reports, mut turns) = (Vec::new(), Vec::new());
    let several = subjects.len() > 1;
    for subject in subjects {
        let report = match hold(&run, &subject).await {
            Ok(drill) => DrillReport::of(drill),
            Err(error) => DrillReport::none(&subject.manifest.id, error),
        };
        if stop.requested() {
            return Err(stop.error());
        }
        report.log(&subject.manifest, several);
        turns.push(report.turn(&subject.manifest));
        reports.push(report);
    }
    if args.each {
        crate::health::missed_drills::note(&place, turns).await;
    }
    if args.json {
        report::print(&reports)?;
    }
    report::outcome(reports)?;
    // The newest backup of a database, or all of another one, may be where nothing could be read.
    match merged.unread.pop() {
        Some(unread) if args.each => Err(unread.error.context("what another store has was not drilled")),
        _ => Ok(()),
    }
}

/// Drills one backup, and records what came of it.
async fn hold(run: &Run<'_>, subject: &Subject) -> Result<DrillRecord> {
    let begun = Instant::now();
    let manifest = &subject.manifest;
    must_have_definitions(manifest).map_err(not_here)?;
    let opened = open(run, subject).await;
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
    record::write(subject, &drill, run.stop).await?;
    Ok(drill)
}

/// The archive, with all that is known of it.
async fn open(run: &Run<'_>, subject: &Subject) -> Result<Arc<Archive>> {
    let (store, manifest) = (Arc::clone(&subject.store), subject.manifest.clone());
    let identity = run.args.identity.clone();
    blocking::run(&run.stop, move || {
        let KnownBackup { manifest, identities } = reveal(&store, manifest, &identity)?;
        Archive::of_backup(store, manifest, identities)
    })
    .await
    .map(Arc::new)
}

/// Holds the drill as soon as the sandbox has time for it.
async fn patiently(run: &Run<'_>, archive: &Arc<Archive>) -> Result<Verdict> {
    let (begun, patience) = (Instant::now(), Duration::from_secs(run.args.patience.wait.into()));
    loop {
        let link = SandboxLink::open(run.args)?;
        let held = talk(run, &link, archive).await;
        // A sandbox of our own ends with the stream.
        drop(link.stream.shutdown(std::net::Shutdown::Both));
        link.close().await;
        match held {
            Err(error) if is_busy(&error) && !run.stop.requested() && begun.elapsed() < patience => {
                log::debug!("{error}");
            }
            held => return held,
        }
        let pause = async {
            tokio::time::sleep(PAUSE).await;
            Ok(())
        };
        run.stop.or(pause).await?;
    }
}

/// Whether the sandbox had no time for a drill.
fn is_busy(error: &Error) -> bool {
    error.kind() == Kind::TryAgain && error.cause() != Some(Cause::SandboxStopped)
}

/// What makes a drill impossible here.
fn not_here(error: Error) -> Error {
    let message = format!("it cannot be drilled here: {}", error.message());
    let hint = error.hint_text().map(str::to_owned);
    let error = Error::new(Kind::NotHere, message);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// Gives the sandbox what it takes, and hears what it tells.
async fn talk(run: &Run<'_>, link: &SandboxLink, archive: &Arc<Archive>) -> Result<Verdict> {
    let stop = run.stop;
    let expected = fingerprints::read(archive, stop).await?;
    let Some(manifest) = &archive.manifest else { return Err(Error::new(Kind::Internal, "a manifest was lost")) };
    let order = sender::order(archive, manifest, expected.as_ref(), run.jobs.map(NonZeroUsize::get))?;
    let cannot =
        |error: std::io::Error| Error::new(Kind::System, format!("the stream to the sandbox cannot be used: {error}"));
    let stream = || link.stream.try_clone().map_err(cannot);
    let mut heard = receiver::Receiver::begin(stream()?);
    let bytes = archive.files.iter().map(|file| file.stored_bytes).sum();
    let progress = Progress::begin(&format!("drill {}", archive.name), Some(bytes));
    let mut sending = Sending::begin(stream()?, order, archive, &progress.counter(), stop);
    let postgres = sending.beside(stop, heard.ready()).await?;
    let begun = Instant::now();
    let restored = sending.beside(stop, heard.restored()).await?;
    // A restore into a cluster that is there has to wait for what was unpacked while this one was made.
    let restore = begun.elapsed() + sending.sent_before(begun);
    drop(progress);
    match restored {
        Err(reason) => {
            heard.end().await;
            Ok(Verdict { postgres, restore, ..Verdict::failed(reason) })
        }
        Ok(_) if !stop.or(sending.is_whole()).await? => {
            Err(Error::new(Kind::Internal, "the sandbox says that it has restored what was not sent"))
        }
        Ok(restored) => {
            let bytes = expected.as_ref().map(verdict::bytes);
            let progress = Progress::begin(&format!("compare {}", archive.name), bytes);
            let found = stop.or(heard.found(expected.as_ref(), &progress.counter())).await?;
            heard.end().await;
            Ok(verdict::judge(expected.as_ref(), found, restored, (postgres, restore)))
        }
    }
}

/// Seconds with three decimals, as people and records take them.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn called(manifest: &Manifest) -> String {
    printable(&manifest.id)
}

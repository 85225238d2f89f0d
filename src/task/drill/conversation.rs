//! A drill's or a rehearsal's way through a sandbox: the backup is opened, sent, restored there, and compared here.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::blocking;
use crate::config::drill::DrillSettings;
use crate::error::{Cause, Error, Kind, Result};
use crate::host::progress::Progress;
use crate::restore::archive::{Archive, must_have_definitions};
use crate::restore::compare;
use crate::restore::details::{KnownBackup, reveal};
use crate::stop::Stop;
use crate::task::drill::connect::SandboxLink;
use crate::task::drill::libraries::NamedLibraries;
use crate::task::drill::receiver::{Receiver, not_here};
use crate::task::drill::sender;
use crate::task::drill::sender::Sending;
use crate::task::drill::targets::DrillTarget;
use crate::task::drill::verdict;
use crate::task::drill::verdict::Verdict;

/// The pause before another attempt at a busy sandbox.
const PAUSE: Duration = Duration::from_secs(5);

/// A run of `pgcellar drill`.
#[derive(Clone, Copy)]
pub struct DrillRun<'a> {
    /// Its settings.
    pub settings: &'a DrillSettings,
    /// The major version of the server to rehearse an upgrade to; none for a drill.
    pub rehearsal: Option<u32>,
    /// What the instance names to preload and to set.
    pub libraries: &'a NamedLibraries,
    /// Whether to stop.
    pub stop: &'a Stop,
}

/// Restores one backup in the sandbox, and compares the result.
pub async fn restore(run: &DrillRun<'_>, target: &DrillTarget) -> Result<Verdict> {
    must_have_definitions(&target.manifest).map_err(not_here)?;
    let opened = open(run, target).await;
    if !run.settings.is_isolated() {
        log::warn!("the restored code runs with the rights of this user: it can read what this user can read");
    }
    let drilled = match opened {
        Ok(archive) => patiently(run, &archive).await,
        Err(error) if error.kind() == Kind::NotPermitted => return Err(not_here(error)),
        Err(error) => Err(error),
    };
    match drilled {
        Err(error) if error.kind() == Kind::Data && run.rehearsal.is_none() => {
            Ok(Verdict::failed(error.message().to_owned()))
        }
        drilled => drilled,
    }
}

/// Opens the archive.
async fn open(run: &DrillRun<'_>, target: &DrillTarget) -> Result<Arc<Archive>> {
    let (store, manifest) = (Arc::clone(&target.store), target.manifest.clone());
    let identities = run.settings.identities.clone();
    blocking::run(run.stop, move || {
        let KnownBackup { manifest, identities } = reveal(&store, manifest, &identities)?;
        Archive::of_backup(store, manifest, identities)
    })
    .await
    .map(Arc::new)
}

/// Runs the drill as soon as the sandbox is free.
async fn patiently(run: &DrillRun<'_>, archive: &Arc<Archive>) -> Result<Verdict> {
    let (begun, patience) = (Instant::now(), run.settings.patience);
    loop {
        let link = SandboxLink::open(&run.settings.sandbox)?;
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
    let order = sender::order(
        archive,
        manifest,
        expected.as_ref(),
        (run.settings.jobs.map(NonZeroUsize::get), run.rehearsal, run.libraries),
    )?;
    let cannot =
        |error: std::io::Error| Error::new(Kind::System, format!("the stream to the sandbox cannot be used: {error}"));
    let stream = || link.stream.try_clone().map_err(cannot);
    let mut receiver = Receiver::begin(stream()?, run.rehearsal.is_some());
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

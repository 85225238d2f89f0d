//! Dumps that come as one stream, and the globals: from a program's standard output into the store.

use std::fs::File;
use std::sync::atomic::Ordering;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::blocking::joined;
use crate::catalogue::manifest::FileRole;
use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::host::progress::{Counter, Progress};
use crate::postgres::child::{Child, Messages};
use crate::postgres::dump::stream::{Recipe, Stored, pump};
use crate::postgres::dump::{DumpCommand, globals};
use crate::postgres::interruptions::Interruptions;
use crate::store::Upload;
use crate::task::backup::attempt::order::{DumpOrder, DumpOutcome, DumpedArchive, LockedFacts, explained};
use crate::task::backup::finished::UnnamedFile;
use crate::task::backup::run::{BackupRun, PROMPT};

/// A running pg_dump, and the thread that stores its output.
pub struct StartedDump {
    /// The program.
    pub child: Child,
    /// Counts the bytes.
    pub moved: Counter,
    pump: JoinHandle<Result<Stored>>,
    key: String,
    _progress: Progress,
}

/// Dumps into one file.
pub async fn dump(order: &DumpOrder<'_>) -> Result<DumpOutcome<DumpedArchive>> {
    let format = order.run.settings.format;
    let (first, begun) = oneshot::channel();
    let started = start(order, move |stdout, recipe, upload, moved| {
        tokio::task::spawn_blocking(move || pump("pg_dump", stdout, format, &recipe, upload, &moved, first))
    });
    match observe(order, started.await?, begun).await? {
        DumpOutcome::Kept((started, locked)) => kept(order, started, locked).await,
        DumpOutcome::Rewritten(tables) => Ok(DumpOutcome::Rewritten(tables)),
    }
}

/// Starts pg_dump, and the thread that stores its output.
pub async fn start(
    order: &DumpOrder<'_>,
    pump: impl FnOnce(File, Recipe, Box<dyn Upload>, Counter) -> JoinHandle<Result<Stored>>,
) -> Result<StartedDump> {
    let DumpOrder { run, call, id, .. } = order;
    let key = run.archive_key(id);
    let upload = run.create(&key, FileRole::Archive).await?;
    let mut child = Child::start("pg_dump", call.stream(run.settings.format))?;
    let stdout = child.stdout()?;
    let progress = match run.local {
        Some(_) => Progress::begin(call.database, None),
        None => Progress::begin_slow(call.database, None, run.pause()),
    };
    let moved = progress.counter();
    let pump = pump(stdout, run.recipe(), upload, moved.clone());
    Ok(StartedDump { child, moved, pump, key, _progress: progress })
}

/// Compares the tables once pg_dump has its locks. A dump that is not kept is ended.
pub async fn observe(
    order: &DumpOrder<'_>,
    started: StartedDump,
    begun: oneshot::Receiver<()>,
) -> Result<DumpOutcome<(StartedDump, LockedFacts)>> {
    // Without a first byte pg_dump has failed, perhaps because a table was dropped under it.
    let observed = async { order.observe(begun.await.is_ok()).await };
    let ended = match order.run.stop.or(observed).await {
        Ok(DumpOutcome::Kept(locked)) => return Ok(DumpOutcome::Kept((started, locked))),
        Ok(DumpOutcome::Rewritten(tables)) => Ok(DumpOutcome::Rewritten(tables)),
        Err(error) => Err(error),
    };
    end(order, started).await;
    ended
}

/// Ends a dump because the process has to stop, and returns the error of that.
pub async fn give_up(order: &DumpOrder<'_>, started: StartedDump) -> Error {
    end(order, started).await;
    order.run.stop.error()
}

/// Ends a dump that is not kept.
pub async fn end(order: &DumpOrder<'_>, mut started: StartedDump) {
    started.child.end().await;
    abandon(order.run, started.pump).await;
}

/// Waits for the end of a dump that is kept.
pub async fn kept(
    order: &DumpOrder<'_>,
    started: StartedDump,
    locked: LockedFacts,
) -> Result<DumpOutcome<DumpedArchive>> {
    let StartedDump { mut child, pump, key, .. } = started;
    let finished = finish(order.run, order.interruptions, &mut child, pump).await;
    let (stored, messages) = finished.map_err(|error| order.broken(error))?;
    let UnnamedFile { upload, file } = UnnamedFile::new(FileRole::Archive, key, stored.finished);
    Ok(DumpOutcome::Kept(DumpedArchive {
        upload: Some(upload),
        folder: None,
        files: vec![file],
        dumped: stored.dumped,
        locked,
        messages,
        recorded: stored.recorded,
        sessions: None,
    }))
}

/// Waits until the store has the whole stream and its program has exited with 0. If several of these fail, the error is that of
/// the first.
async fn finish(
    run: &BackupRun<'_>,
    interruptions: &Interruptions<'_>,
    child: &mut Child,
    mut pump: JoinHandle<Result<Stored>>,
) -> Result<(Stored, Messages)> {
    let pumped = tokio::select! {
        biased;
        () = run.stop.wait() => {
            child.end().await;
            abandon(run, pump).await;
            return Err(run.stop.error());
        }
        pumped = &mut pump => joined(pumped),
    };
    match pumped {
        Err(error) if error.kind() != Kind::Data => {
            child.end().await;
            Err(error)
        }
        pumped => {
            let messages = match child.succeed().await {
                Ok(messages) => messages,
                Err(error) => return explained(run, interruptions, error).await,
            };
            Ok((pumped?, messages))
        }
    }
}

/// Waits for a pump whose program was ended, so that nothing of its file is left. If the bucket does not answer in time, the pump
/// is abandoned: its upload is announced, and retention removes it.
async fn abandon(run: &BackupRun<'_>, pump: JoinHandle<Result<Stored>>) {
    if tokio::time::timeout(PROMPT, pump).await.is_err() {
        run.bucket_fails.store(true, Ordering::Relaxed);
    }
}

/// Dumps the roles and tablespaces into a file beside the archive.
pub async fn dump_globals(
    run: &BackupRun<'_>,
    call: &DumpCommand<'_>,
    interruptions: &Interruptions<'_>,
    id: &str,
    passwords: bool,
) -> Result<(UnnamedFile, Messages)> {
    let key = run.globals_key(id);
    let upload = run.create(&key, FileRole::Globals).await?;
    let mut child = Child::start("pg_dumpall", globals(call, passwords))?;
    let stdout = child.stdout()?;
    let (first, _) = oneshot::channel();
    let recipe = run.recipe();
    let pump = tokio::task::spawn_blocking(move || {
        pump("pg_dumpall", stdout, Format::Plain, &recipe, upload, &Counter::default(), first)
    });
    let finished = finish(run, interruptions, &mut child, pump).await;
    let (stored, messages) = finished.map_err(|error| error.context("the globals"))?;
    Ok((UnnamedFile::new(FileRole::Globals, key, stored.finished), messages))
}

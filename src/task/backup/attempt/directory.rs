//! A dump into a folder, by several jobs of pg_dump.

use crate::blocking;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Progress;
use crate::host::staging::Staging;
use crate::postgres::child::{Child, Messages};
use crate::postgres::dump::directory;
use crate::store::local::LocalFolder;
use crate::task::backup::attempt::order::{DumpOrder, DumpOutcome, DumpedArchive, LockedFacts, explained};

/// Why a dump failed, and whether it failed before pg_dump held its locks.
struct DumpFailure {
    error: Error,
    before_locks: bool,
}

impl From<Error> for DumpFailure {
    fn from(error: Error) -> Self {
        DumpFailure { error, before_locks: false }
    }
}

/// Dumps into the folder of the backup, through a staging folder if the files are to be encrypted.
pub async fn dump(order: &DumpOrder<'_>) -> Result<DumpOutcome<DumpedArchive>> {
    let DumpOrder { run, call, id, .. } = order;
    let settings = &run.settings;
    let folder = match &run.local {
        Some(local) => local.create_folder(id)?,
        None => return Err(Error::new(Kind::Internal, "a bucket has no folders")),
    };
    let staging = match &settings.recipients {
        Some(_) => Some(Staging::create(&settings.staging, "BACKUP_STAGING_DIR")?),
        None => None,
    };
    let target = staging.as_ref().map_or(folder.folder(), Staging::path).to_owned();
    let mut child = Child::start("pg_dump", call.directory(&target, settings.jobs, settings)?)?;
    let filled = tokio::select! {
        biased;
        () = run.stop.wait() => Err(run.stop.error().into()),
        filled = fill(order, &target, &mut child) => filled,
    };
    let (locked, messages) = match filled {
        Ok(DumpOutcome::Kept(filled)) => filled,
        Ok(DumpOutcome::Rewritten(tables)) => {
            child.end().await;
            return Ok(DumpOutcome::Rewritten(tables));
        }
        Err(DumpFailure { error, before_locks }) => {
            child.end().await;
            let rewritten = if before_locks { order.snapshot.rewritten().await? } else { Vec::new() };
            return match rewritten.is_empty() {
                true => {
                    let explained = explained(run, order.interruptions, error).await;
                    explained.map_err(|error| order.broken(error))
                }
                false => Ok(DumpOutcome::Rewritten(rewritten)),
            };
        }
    };
    collect(order, folder, staging, locked, messages).await
}

/// Waits until pg_dump has filled the folder.
async fn fill(
    order: &DumpOrder<'_>,
    target: &std::path::Path,
    child: &mut Child,
) -> std::result::Result<DumpOutcome<(LockedFacts, Messages)>, DumpFailure> {
    let progress = Progress::begin(order.call.database, None);
    // A small database may be dumped before the folder is first read.
    let done = tokio::select! {
        () = directory::begun(target) => None,
        exited = child.succeed() => Some(exited.map_err(|error| DumpFailure { error, before_locks: true })?),
    };
    if done.is_some() && !directory::has_begun(target) {
        return Err(Error::new(Kind::Data, "pg_dump wrote no table of contents").into());
    }
    let locked = match order.observe(true).await? {
        DumpOutcome::Kept(locked) => locked,
        DumpOutcome::Rewritten(tables) => return Ok(DumpOutcome::Rewritten(tables)),
    };
    let messages = match done {
        Some(messages) => messages,
        None => tokio::select! {
            exited = child.succeed() => exited?,
            () = directory::follow(target.to_owned(), progress.counter()) => Messages::default(),
        },
    };
    Ok(DumpOutcome::Kept((locked, messages)))
}

/// Reads the files back for their hashes and fingerprints, and encrypts them into the backup's folder.
async fn collect(
    order: &DumpOrder<'_>,
    folder: LocalFolder,
    staging: Option<Staging>,
    locked: LockedFacts,
    messages: Messages,
) -> Result<DumpOutcome<DumpedArchive>> {
    let DumpOrder { run, call, id, .. } = order;
    let target = staging.as_ref().map_or(folder.folder(), Staging::path).to_owned();
    let progress = Progress::begin(&format!("{} (reading back)", call.database), None);
    let (id, recipients, moved) = ((*id).to_owned(), run.settings.recipients.clone(), progress.counter());
    let stop = run.stop.clone();
    let collected = blocking::to_end(move || {
        let (dumped, recorder) = directory::dumped(&target)?;
        let recipients = recipients.as_deref();
        let collection = directory::Collection { id: &id, staged: &target, folder: &folder, recipients, moved, stop };
        let (files, recorded) = collection.collect(recorder)?;
        folder.seal()?;
        drop(staging);
        Ok((folder, files, dumped, recorded))
    })
    .await;
    if run.stop.requested() {
        return Err(run.stop.error());
    }
    let (folder, files, dumped, recorded) = collected?;
    Ok(DumpOutcome::Kept(DumpedArchive {
        upload: None,
        folder: Some(folder),
        files,
        dumped,
        locked,
        messages,
        recorded,
        sessions: Some(run.settings.jobs.get()).filter(|jobs| *jobs > 1),
    }))
}

//! Making and filling the new database, more than once if other sessions lock the load out.

use std::num::NonZeroUsize;
use std::time::Duration;

use crate::config::Format;
use crate::error::{Error, Kind, Result};
use crate::restore::database::{CreateOptions, NewDatabase, leftover};
use crate::restore::directory::Files;
use crate::restore::fill::fill;
use crate::restore::pg_restore::skipped_errors::SkippedErrors;
use crate::restore::run::{LoadInput, RestoreRun};
use crate::restore::server::TargetServer;
use crate::restore::{directory, parallel, script, selection};

/// How long CREATE DATABASE may run on after a request to stop: before version 15 the server writes a checkpoint for it.
const CREATE_GRACE: Duration = Duration::from_secs(8);

/// How many times a load is tried that deadlocks with other sessions.
const TRIES: u32 = 3;

/// Makes the database and fills it. After a deadlock between the load's jobs, or with other sessions, it does both again.
/// Returns the database and its size in bytes, if the server reports it.
///
/// # Errors
/// What keeps the database from being made or filled; it is dropped then.
pub async fn load(run: &RestoreRun<'_>, server: &mut TargetServer) -> Result<(NewDatabase, Option<u64>)> {
    let mut tries = 1;
    loop {
        let input = input(run, server.is_superuser()).await?;
        let database = create(run, server).await?;
        let error = match fill(run, server, &database, input).await {
            Ok(bytes) => return Ok((database, bytes)),
            Err(error) => error,
        };
        let again = tries < TRIES && !run.stop.requested() && is_conflict(server, &database, &error).await;
        let error = selection::explain(&run.archive, run.part.as_ref(), error);
        let discarded = database.discard(server, error).await;
        if !again {
            return Err(discarded);
        }
        log::warn!("{}: the load begins again", discarded.message());
        run.faults.iter().for_each(SkippedErrors::clear);
        tries += 1;
    }
}

/// How the archive gets to the program that loads it. What must be read whole first is read here.
async fn input(run: &RestoreRun<'_>, superuser: bool) -> Result<LoadInput> {
    let (staging, several) = (run.settings.staging_dir.as_deref(), run.jobs > NonZeroUsize::MIN);
    Ok(match (run.archive.format, run.archive.in_place()?) {
        (Format::Directory, _) => LoadInput::Files(directory::ready(&run.archive, staging, run.stop).await?),
        // pg_restore's own jobs can read a file at once if it has been checked.
        (Format::Custom, Some(path)) if several && run.archive.checked => LoadInput::Files(Files::InPlace(path)),
        (Format::Custom, _) if several => LoadInput::Unpacking(parallel::begin(run)?),
        (Format::Plain, _) => {
            let read = match run.archive.checked {
                true => None,
                false => Some(script::must_be_fit(&run.archive, run.stop).await?),
            };
            let script = read.as_ref().or(run.archive.script.as_ref());
            match run.faults.is_some() || script.is_some_and(|script| script.needs_statements(superuser)) {
                true => LoadInput::Statements,
                false => LoadInput::Stream,
            }
        }
        (Format::Custom | Format::Tar, _) => LoadInput::Stream,
    })
}

/// Whether the load failed by a deadlock. The error's text may be in the server's language; the server also counts
/// deadlocks.
async fn is_conflict(server: &TargetServer, database: &NewDatabase, error: &Error) -> bool {
    match error.kind() {
        Kind::Conflict => true,
        Kind::Data => database.deadlocks(server).await.unwrap_or_default() > 0,
        _ => false,
    }
}

/// Makes the empty database. A request to stop does not end it at once: the server would go on without us.
async fn create(run: &RestoreRun<'_>, server: &mut TargetServer) -> Result<NewDatabase> {
    let grace_is_over = async {
        run.stop.wait().await;
        tokio::time::sleep(CREATE_GRACE).await;
    };
    let options = CreateOptions {
        left_out: run.settings.left_out,
        faults: run.faults.clone(),
        in_place: run.in_place,
        timescaledb: run.timescaledb,
    };
    let creation = async {
        leftover::clear(server, &run.target).await?;
        NewDatabase::create(server, &run.target, &run.archive.properties, options).await
    };
    let database = tokio::select! {
        database = creation => database?,
        () = grace_is_over => {
            let message = format!("interrupted while the server made a database for '{}'", run.target);
            return Err(Error::new(Kind::TryAgain, message)
                .hint(format!("an empty database {}_restoring_… may be left: drop it", run.target)));
        }
    };
    match run.stop.requested() {
        true => Err(database.discard(server, run.stop.error()).await),
        false => Ok(database),
    }
}

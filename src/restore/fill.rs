//! Fills the new database: loads the archive, and compares the result with the backup before anything else runs in the
//! database.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::error::Result;
use crate::fingerprint::compare::ObservedRows;
use crate::host::progress::Progress;
use crate::pipeline::Digests;
use crate::postgres::child::Messages;
use crate::restore::database::NewDatabase;
use crate::restore::deferred::Deferred;
use crate::restore::pg_restore::load::{Load, LoadFailure};
use crate::restore::pg_restore::passes::Passes;
use crate::restore::pg_restore::refused_owners::RefusedOwners;
use crate::restore::refresh::{cannot_refresh, refresh_all};
use crate::restore::run::{LoadInput, RestoreRun};
use crate::restore::selection::{Selection, UseList};
use crate::restore::server::{TargetServer, session_in_loaded};
use crate::restore::{analyze, archive, compare, completeness, early_rows, parallel, public_schema, timescaledb};

/// How many of a program's warnings are logged.
const SHOWN: usize = 20;

/// How long to retry to open a session once the data are loaded and compared.
const SESSION: Duration = Duration::from_secs(60);

/// The time between two tries.
const AGAIN: Duration = Duration::from_secs(2);

/// Loads the archive, checks the result, and gathers statistics. Returns the database's size in bytes, if the server reports
/// it.
///
/// # Errors
/// What makes the data incomplete or different. Once the data are compared, missing statistics are only a warning: the
/// database is slow without them, but complete.
pub async fn fill(
    run: &RestoreRun<'_>,
    server: &TargetServer,
    database: &NewDatabase,
    input: LoadInput,
) -> Result<Option<u64>> {
    let (connection, name) = (&run.sessions.connection, database.name());
    let deferred =
        run.stop.or(Deferred::of(&run.archive, run.part.as_ref(), run.settings.left_out, server.client())).await?;
    let part = deferred.rest.as_ref().or(run.part.as_ref());
    if run.part.is_none() {
        public_schema::narrow(&run.archive.pg_dump, run.settings.left_out, server.major, (connection, name)).await?;
    }
    if let (true, Some(version)) = (run.timescaledb, &run.archive.expected.timescaledb) {
        run.stop.or(timescaledb::make_version(connection, name, version)).await?;
    }
    let list = public_schema::list(&run.archive, part, run.settings.left_out, (connection, name)).await?;
    let owners = RefusedOwners::default();
    let load = Load {
        programs: &run.programs,
        connection,
        server: server.major,
        database: name,
        format: run.archive.format,
        no_tablespaces: run.no_tablespaces,
        left_out: run.settings.left_out,
        superuser: server.is_superuser(),
        owners: &owners,
        list: list.as_ref().map(UseList::path),
        going_on: run.faults.as_ref(),
        stop: run.stop,
    };
    let mut last = Vec::new();
    let rows = load_all(run, server, &load, (part, input, &mut last)).await?;
    if run.timescaledb {
        run.keep_going(run.stop.or(timescaledb::check_loaded(connection, name)).await)?;
    }
    run.keep_going(compare::with_backup(run, name, rows).await)?;
    run.stop.or(refresh_views(run, &deferred, name)).await?;
    or_not_analyzed(run, run.stop.or(analyze::analyze(&run.sessions.computing, name, run.jobs, server.major)).await)?;
    run.stop.or(make_event_triggers(run, &deferred, &last, name)).await?;
    match run.stop.or(database.bytes(server)).await {
        Err(error) if !run.stop.requested() => {
            log::debug!("{error}");
            Ok(None)
        }
        bytes => bytes.map(Some),
    }
}

/// Loads the archive, and checks that all objects exist. With several jobs the rows are read meanwhile and returned.
async fn load_all(
    run: &RestoreRun<'_>,
    server: &TargetServer,
    load: &Load<'_>,
    (part, input, last): (Option<&Selection>, LoadInput, &mut Vec<String>),
) -> Result<Option<Vec<ObservedRows>>> {
    let (messages, after) = load_input(run, load, part, (input, last)).await?;
    warn_of(&messages);
    let unlocked = CancellationToken::new();
    let early = match &after {
        Some(after) => early_rows::prepare(run, server, (&after.passes, load.database), &unlocked).await,
        None => None,
    };
    let finishing = async {
        if let Some(after) = after {
            warn_of(&after.load(run, load).await?);
        }
        run.stop.or(give_to_owners(run, load.owners, load.database)).await?;
        unlocked.cancel();
        let scope = (part, run.part.is_none());
        let there = completeness::all_there(&run.archive, scope, load.connection, load.database);
        run.keep_going(run.stop.or(there).await)
    };
    early_rows::read(run, early, finishing).await
}

/// Statistics that cannot be gathered are a warning, except after a request to stop.
fn or_not_analyzed(run: &RestoreRun<'_>, analyzed: Result<()>) -> Result<()> {
    match analyzed {
        Err(error) if !run.stop.requested() => {
            let target = run.target.escape_debug();
            log::warn!(
                "'{target}' is restored whole, and not analyzed: {error}: run ANALYZE in it, it is slow without"
            );
            Ok(())
        }
        analyzed => analyzed,
    }
}

/// A session in the loaded database. It is tried again for a while: all connections may be in use, or the server may be
/// restarting.
async fn session_in_compared(run: &RestoreRun<'_>, database: &str) -> Result<Client> {
    let begun = Instant::now();
    loop {
        match session_in_loaded(&run.sessions.computing, database).await {
            Err(error) if begun.elapsed() < SESSION => {
                log::warn!("{error}: trying again");
                tokio::time::sleep(AGAIN).await;
            }
            session => return session,
        }
    }
}

/// What of an archive is loaded after its rows.
struct AfterRows {
    passes: Passes,
    path: PathBuf,
    /// Keeps the files.
    _input: LoadInput,
}

impl AfterRows {
    async fn load(self, run: &RestoreRun<'_>, load: &Load<'_>) -> Result<Messages> {
        self.passes.after_rows(&run.archive, load, &self.path, run.jobs).await
    }
}

/// Loads the archive: all of it, or with several jobs up to the rows. The statements of a script that make event triggers are put
/// into `last`.
async fn load_input(
    run: &RestoreRun<'_>,
    load: &Load<'_>,
    part: Option<&Selection>,
    (mut input, last): (LoadInput, &mut Vec<String>),
) -> Result<(Messages, Option<AfterRows>)> {
    let (all, passes, path) = match &mut input {
        LoadInput::Stream => return Ok((stream(run, load, None).await?, None)),
        LoadInput::Statements => return Ok((stream(run, load, Some(last)).await?, None)),
        LoadInput::Files(files) if run.jobs == NonZeroUsize::MIN => return Ok((load.file(files.path()).await?, None)),
        LoadInput::Files(files) => {
            let passes = Passes::plan(&run.archive, part, false).await?;
            let mut all = load.before_data(files.path()).await?;
            all.append(passes.rows(load, files.path(), run.jobs).await?);
            (all, passes, files.path().to_owned())
        }
        LoadInput::Unpacking(unpacking) => {
            let all = parallel::load(load, run.jobs, unpacking).await?;
            (all, Passes::plan(&run.archive, part, true).await?, unpacking.path().to_owned())
        }
    };
    Ok((all, Some(AfterRows { passes, path, _input: input })))
}

/// Runs the changes of owners that were refused before all privileges were granted.
async fn give_to_owners(run: &RestoreRun<'_>, owners: &RefusedOwners, database: &str) -> Result<()> {
    if owners.is_empty() {
        return Ok(());
    }
    let client = session_in_loaded(&run.sessions.connection, database).await?;
    owners.run(&client, run.faults.as_ref()).await
}

/// Logs the warnings, without pg_restore's number of ignored errors: without --keep-going these are known and harmless.
fn warn_of(messages: &Messages) {
    let warnings = messages.warnings();
    for warning in warnings.iter().filter(|warning| !warning.starts_with("errors ignored")).take(SHOWN) {
        log::warn!("{warning}");
    }
}

async fn stream(run: &RestoreRun<'_>, load: &Load<'_>, last: Option<&mut Vec<String>>) -> Result<Messages> {
    let archive = &run.archive;
    let file = archive.file()?.clone();
    let progress = Progress::begin(&run.target, Some(file.stored_bytes));
    let (opened, stored, moved) = (Arc::clone(archive), file.clone(), progress.counter());
    let source = blocking::run(run.stop, move || opened.open(&stored, &moved)).await?;
    let whole = |digests: &Digests| archive::whole(&file, digests);
    let loaded = match last {
        Some(last) => load.statements(source, whole, last).await,
        None => load.stream(source, whole).await,
    };
    match loaded {
        Ok(messages) => Ok(messages),
        Err(LoadFailure::Stream(error)) => Err(archive.unreadable(&file.key, &error)),
        Err(LoadFailure::Other(error)) => Err(error),
    }
}

/// Refreshes the materialized views, after the comparison: a refresh may change tables and sequences.
async fn refresh_views(run: &RestoreRun<'_>, deferred: &Deferred, database: &str) -> Result<()> {
    if deferred.refreshes.is_empty() {
        return Ok(());
    }
    let client = session_in_compared(run, database).await?;
    deferred.prepare(&client).await?;
    let outcome = refresh_all(&client, &deferred.refreshes).await?;
    for (view, tables) in &outcome.with_tables {
        log::warn!(
            "materialized view {view} writes rows into {tables} tables when it is refreshed: they are in the new database"
        );
    }
    for (view, error) in &outcome.failed {
        run.skip(cannot_refresh(view, error))?;
    }
    if outcome.refreshed > 0 {
        log_how_computed(run, outcome.refreshed);
    }
    Ok(())
}

/// Logs how the views were computed. A dump has no rows of materialized views: they are computed from the restored rows with
/// the session's parameters. The backup's rows of a view could not be compared: they are as old as its last refresh.
fn log_how_computed(run: &RestoreRun<'_>, views: usize) {
    let views = if views == 1 { "1 materialized view".to_owned() } else { format!("{views} materialized views") };
    let unlike = &run.sessions.unlike;
    if !unlike.is_empty() {
        let named: Vec<String> = unlike.iter().map(|(name, value)| format!("{name} = '{value}'")).collect();
        log::warn!(
            "{views}: not compared: computed without {}, which this server does not take and the backup's had",
            named.join(", ").escape_debug()
        );
    } else if run.archive.properties.session_parameters.is_empty() {
        log::warn!(
            "{views}: not compared: it is not known with which TimeZone and other parameters they were computed where the \
             backup was made; refresh them again if this server's differ"
        );
    } else {
        log::info!("{views} computed from these rows, with the parameters of the database that was backed up");
    }
}

/// Makes the event triggers, in the last session of the new database.
async fn make_event_triggers(run: &RestoreRun<'_>, deferred: &Deferred, last: &[String], database: &str) -> Result<()> {
    if deferred.event_triggers.is_empty() && last.is_empty() {
        return Ok(());
    }
    let client = session_in_compared(run, database).await?;
    deferred.prepare(&client).await?;
    let (errors, missing) = deferred.make_event_triggers(last, &run.archive, &client).await?;
    let made_all = errors.is_empty();
    for error in errors {
        run.skip(error)?;
    }
    if made_all {
        run.keep_going(completeness::must_be_none(&missing))?;
    }
    Ok(())
}

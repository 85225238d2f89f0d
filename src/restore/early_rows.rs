//! Reads the rows back as soon as all are loaded, while indexes, constraints and the rest are made: one processor is often idle
//! then, and rows that were just written are still in memory.
//!
//! A reader holds ACCESS SHARE on one table at a time, and gives up after a tenth of a second without it, sooner than the server
//! looks for deadlocks. So pg_restore waits for a reader no longer than it takes to read one piece of a table, a reader goes on
//! with another table while one is locked, and the two cannot deadlock.

use std::future::Future;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};

use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::config::Connection;
use crate::error::Result;
use crate::fingerprint::compare::ObservedRows;
use crate::host::progress::Progress;
use crate::postgres::client::failed;
use crate::postgres::columns::get;
use crate::postgres::live::RowReader;
use crate::restore::compare;
use crate::restore::pg_restore::passes::Passes;
use crate::restore::run::RestoreRun;
use crate::restore::server::{TargetServer, session_in_loaded};

/// Connections of a restore besides those of pg_restore's jobs and of the readers: pg_restore's own, ours that lists databases, and
/// one that looks for missing objects.
const OTHERS: i64 = 3;

/// How many connections the server and the role have to spare. Those of the server's own processes are counted, too.
const FREE: &str = "SELECT CASE WHEN r.rolconnlimit < 0 OR r.rolsuper THEN \
     current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8 \
     - coalesce(current_setting('reserved_connections', true)::int8, 0) - (SELECT count(*) FROM pg_stat_activity) ELSE 0 END \
     FROM pg_roles r WHERE r.rolname = session_user";

/// Sessions that read the rows of the new database.
pub struct EarlyRows {
    reader: RowReader,
    _progress: Progress,
}

/// Whether nothing that is made after the rows can change any: it runs no functions of the backup, and an extension has made no
/// event triggers, which could keep a table of what is made.
pub async fn may_begin(passes: &Passes, connection: &Connection, database: &str) -> Result<bool> {
    if passes.may_change_rows() {
        return Ok(false);
    }
    let client = session_in_loaded(connection, database).await?;
    let row = client.query_one("SELECT NOT EXISTS (SELECT FROM pg_event_trigger)", &[]).await;
    get(&row.map_err(failed("the event triggers cannot be listed"))?, 0)
}

/// Runs both at the same time until the first one has succeeded. It may be the cause of an error of the second one, which is
/// dropped if the first one fails. Returns the result of the second one if there is one already.
pub async fn meanwhile<T, E, R>(
    finishing: impl Future<Output = std::result::Result<T, E>>,
    mut reading: Pin<&mut impl Future<Output = R>>,
) -> std::result::Result<(T, Option<R>), E> {
    let (mut finishing, mut rows) = (pin!(finishing), None);
    loop {
        tokio::select! {
            finished = &mut finishing => return finished.map(|finished| (finished, rows)),
            read = &mut reading, if rows.is_none() => rows = Some(read),
        }
    }
}

/// Prepares to read the rows early, if nothing is against it. Large tables that can only be read whole wait for `unlocked`. An
/// error keeps nothing from being restored: the rows are then read when all is made.
pub async fn prepare(
    run: &RestoreRun<'_>,
    server: &TargetServer,
    (passes, database): (&Passes, &str),
    unlocked: &CancellationToken,
) -> Option<EarlyRows> {
    let expected = run.expected.as_ref().filter(|_| !run.settings.quick)?;
    let begun = async {
        let jobs = spare(server.client(), run.jobs).await?;
        let may_begin = may_begin(passes, &run.sessions.connection, database).await?;
        let Some(jobs) = jobs.filter(|_| may_begin) else { return Ok(None) };
        let progress = compare::progress(run, expected);
        let moved = progress.counter();
        let query = compare::query(run, database, (jobs, &moved));
        let reader = RowReader::prepare(&query, expected, (None, unlocked)).await?;
        Ok(Some(EarlyRows { reader, _progress: progress }))
    };
    run.stop.or(begun).await.unwrap_or_else(|error| {
        log::debug!("the rows are not read before all is made: {error}");
        None
    })
}

/// Reads the rows while `finishing` makes the rest. None if they are still to be read.
///
/// # Errors
/// Those of `finishing`.
pub async fn read(
    run: &RestoreRun<'_>,
    early: Option<EarlyRows>,
    finishing: impl Future<Output = Result<()>>,
) -> Result<Option<Vec<ObservedRows>>> {
    let Some(EarlyRows { reader, _progress }) = early else { return finishing.await.map(|()| None) };
    let mut reading = pin!(reader.read());
    let rows = match meanwhile(finishing, reading.as_mut()).await? {
        ((), Some(rows)) => rows,
        ((), None) => run.stop.or(async { Ok(reading.await) }).await?,
    };
    Ok(rows.inspect_err(|error| log::debug!("the rows are read again: {error}")).ok())
}

/// How many sessions may read without taking a connection that pg_restore needs.
async fn spare(client: &Client, jobs: NonZeroUsize) -> Result<Option<NonZeroUsize>> {
    let row = client.query_one(FREE, &[]).await.map_err(failed("the free connections cannot be counted"))?;
    let spare = get::<i64>(&row, 0)? - OTHERS - i64::try_from(jobs.get()).unwrap_or(i64::MAX);
    Ok(usize::try_from(spare).ok().and_then(NonZeroUsize::new).map(|spare| spare.min(jobs)))
}

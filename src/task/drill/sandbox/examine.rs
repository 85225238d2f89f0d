//! Examines the restored database: the sums of its rows, the values of its sequences, its large objects, and the number of objects of
//! each kind.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::blocking;
use crate::config::Connection;
use crate::config::dump_options::{STATISTICS, without_data};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::compare::{Objects, ObservedRows};
use crate::host::progress::Counter;
use crate::postgres::archive::read_toc;
use crate::postgres::child::Child;
use crate::postgres::live;
use crate::postgres::live::{Query, RowReader};
use crate::task::drill::protocol::{BATCH, FoundTable, Message, Position};
use crate::task::drill::sandbox::failure::DrillFailure;
use crate::task::drill::sandbox::ground::SandboxRun;

/// The interval of progress messages.
const BEAT: Duration = Duration::from_secs(1);

/// Sessions that read the rows of every table in the order, if any is. Large tables that can only be read whole wait for `unlocked`.
pub async fn reader(
    run: &SandboxRun<'_>,
    connection: &Connection,
    database: &str,
    (moved, unlocked): (&Counter, &CancellationToken),
) -> std::result::Result<Option<RowReader>, DrillFailure> {
    let Some(expected) = &run.order.look_at else { return Ok(None) };
    let query = query(run, connection, database, moved);
    let prepared = RowReader::prepare(&query, expected, (Some(&run.ground.spool), unlocked));
    run.stop.or(prepared).await.map(Some).map_err(unreadable)
}

/// Sums the rows.
pub async fn rows(
    run: &SandboxRun<'_>,
    reader: Option<RowReader>,
) -> std::result::Result<Vec<ObservedRows>, DrillFailure> {
    let Some(reader) = reader else { return Ok(Vec::new()) };
    run.stop.or(reader.read()).await.map_err(unreadable)
}

/// Sends the sums of the rows, and examines and sends everything else in the order.
pub async fn report(
    run: &SandboxRun<'_>,
    connection: &Connection,
    database: &str,
    tables: &[ObservedRows],
) -> std::result::Result<(), DrillFailure> {
    let Some(expected) = &run.order.look_at else { return Ok(()) };
    for tables in tables.chunks(BATCH) {
        run.outbox.send(Message::Tables { found: tables.iter().map(FoundTable::from).collect() }).await?;
    }
    let moved = Counter::default();
    let query = query(run, connection, database, &moved);
    let examining = async { run.stop.or(live::observe_others(&query, expected)).await.map_err(unreadable) };
    let (sequences, large_objects) = with_progress(run, &moved, examining).await?;
    for sequences in sequences.chunks(BATCH) {
        let found = sequences.iter().map(|value| value.as_ref().map(Position::from)).collect();
        run.outbox.send(Message::Sequences { found }).await?;
    }
    if let Objects::All(found) = large_objects {
        run.outbox.send(Message::LargeObjects { found }).await?;
    }
    Ok(())
}

fn query<'a>(run: &SandboxRun<'a>, connection: &'a Connection, database: &'a str, moved: &'a Counter) -> Query<'a> {
    let jobs = run.ground.jobs;
    let large_objects = !without_data(&run.order.dump_options);
    Query { connection, database, jobs, count: false, large_objects, loaded: true, moved }
}

fn unreadable(error: Error) -> DrillFailure {
    match error.kind() {
        Kind::TryAgain | Kind::Internal | Kind::System | Kind::CannotWrite => DrillFailure::Other(error),
        _ => DrillFailure::Backup(format!("what was restored cannot be read: {}", error.message())),
    }
}

/// Runs an examination, and sends its progress meanwhile.
pub async fn with_progress<T>(
    run: &SandboxRun<'_>,
    moved: &Counter,
    examining: impl Future<Output = std::result::Result<T, DrillFailure>>,
) -> std::result::Result<T, DrillFailure> {
    let beat = async {
        loop {
            tokio::time::sleep(BEAT).await;
            if let Err(error) = run.outbox.send(Message::Looked { bytes: moved.get() }).await {
                break error;
            }
        }
    };
    tokio::select! {
        found = examining => found,
        broken = beat => Err(DrillFailure::Other(broken)),
    }
}

/// Sends the number of objects of each kind in the database.
pub async fn objects(run: &SandboxRun<'_>, connection: &Connection) -> std::result::Result<(), DrillFailure> {
    if run.order.look_at.is_none() {
        return Ok(());
    }
    let found = contents(run, connection, &run.order.database).await?;
    Ok(run.outbox.send(Message::Objects { found }).await?)
}

/// The number of entries of each kind in the table of contents that pg_dump writes of the database, before any row.
async fn contents(run: &SandboxRun<'_>, connection: &Connection, database: &str) -> Result<BTreeMap<String, u64>> {
    let programs = &run.ground.clients;
    let mut command = programs.client("pg_dump", connection, database);
    command.env("PGOPTIONS", connection.options());
    // Statistics are not compared, and servers older than their option have no use for them.
    let options = run.order.dump_options.iter().filter(|option| option.as_str() != STATISTICS);
    command.args(["--format=custom", "--compress=0", "--no-password"]).args(options);
    let mut child = Child::start("pg_dump", command)?;
    let output = child.stdout()?;
    let reading = blocking::to_end(move || {
        let mut found = BTreeMap::new();
        let contents = read_toc(output, |entry| {
            *found.entry(entry.desc.to_string()).or_insert(0) += 1;
        });
        let cannot = |error| Error::new(Kind::Internal, format!("the restored objects cannot be listed: {error}"));
        contents.map(|_| found).map_err(cannot)
    });
    let found = run.stop.or(reading).await;
    child.kill().await;
    found
}

//! What is in the restored database: the sums of its rows, the values of its sequences, its large objects, and how many
//! objects of each kind it has.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Connection;
use crate::config::dump_options::without_data;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::compare::{Objects, ObservedRows};
use crate::host::progress::Counter;
use crate::postgres::archive::read_toc;
use crate::postgres::child::Child;
use crate::postgres::live;
use crate::postgres::live::Query;
use crate::task::drill::protocol::{BATCH, FoundTable, Message, Position};
use crate::task::drill::sandbox::restore::{DrillFailure, Restore};

/// How often the drill is told that something moves.
const BEAT: Duration = Duration::from_secs(1);

/// Looks at the rows of every table that the order names.
pub async fn rows(
    restore: &Restore<'_>,
    connection: &Connection,
    database: &str,
    moved: &Counter,
) -> std::result::Result<Vec<ObservedRows>, DrillFailure> {
    let Some(wanted) = &restore.order.look_at else { return Ok(Vec::new()) };
    let ask = ask(restore, connection, database, moved);
    restore.stop.or(live::observe_rows(&ask, wanted, &restore.ground.spool)).await.map_err(unreadable)
}

/// Tells what rows there are, and what there is of everything else that the order names.
pub async fn report(
    restore: &Restore<'_>,
    connection: &Connection,
    database: &str,
    tables: &[ObservedRows],
) -> std::result::Result<(), DrillFailure> {
    let Some(wanted) = &restore.order.look_at else { return Ok(()) };
    for tables in tables.chunks(BATCH) {
        restore.outbox.send(Message::Tables { found: tables.iter().map(FoundTable::from).collect() }).await?;
    }
    let moved = Counter::default();
    let ask = ask(restore, connection, database, &moved);
    let looking = async { restore.stop.or(live::observe_others(&ask, wanted)).await.map_err(unreadable) };
    let (sequences, large_objects) = still_listening(restore, &moved, looking).await?;
    for sequences in sequences.chunks(BATCH) {
        let found = sequences.iter().map(|value| value.as_ref().map(Position::from)).collect();
        restore.outbox.send(Message::Sequences { found }).await?;
    }
    if let Objects::All(found) = large_objects {
        restore.outbox.send(Message::LargeObjects { found }).await?;
    }
    Ok(())
}

fn ask<'a>(restore: &Restore<'a>, connection: &'a Connection, database: &'a str, moved: &'a Counter) -> Query<'a> {
    let jobs = restore.ground.jobs;
    let large_objects = !without_data(&restore.order.dump_options);
    Query { connection, database, jobs, count: false, large_objects, loaded: true, moved }
}

fn unreadable(error: Error) -> DrillFailure {
    match error.kind() {
        Kind::TryAgain | Kind::Internal | Kind::System | Kind::CannotWrite => DrillFailure::Other(error),
        _ => DrillFailure::Backup(format!("what was restored cannot be read: {}", error.message())),
    }
}

/// Looks, and tells meanwhile how far that is.
pub async fn still_listening<T>(
    restore: &Restore<'_>,
    moved: &Counter,
    looking: impl Future<Output = std::result::Result<T, DrillFailure>>,
) -> std::result::Result<T, DrillFailure> {
    let beat = async {
        loop {
            tokio::time::sleep(BEAT).await;
            if let Err(error) = restore.outbox.send(Message::Looked { bytes: moved.get() }).await {
                break error;
            }
        }
    };
    tokio::select! {
        found = looking => found,
        broken = beat => Err(DrillFailure::Other(broken)),
    }
}

/// Tells how many objects of each kind the database has now.
pub async fn objects(restore: &Restore<'_>, connection: &Connection) -> std::result::Result<(), DrillFailure> {
    if restore.order.look_at.is_none() {
        return Ok(());
    }
    let found = contents(restore, connection, &restore.order.database).await?;
    Ok(restore.outbox.send(Message::Objects { found }).await?)
}

/// Entries by their kind in the table of contents that pg_dump would write now, which it writes before any row.
async fn contents(restore: &Restore<'_>, connection: &Connection, database: &str) -> Result<BTreeMap<String, u64>> {
    let programs = &restore.ground.programs;
    let mut command = programs.client("pg_dump", connection, database);
    command.env("PGOPTIONS", connection.options());
    command.args(["--format=custom", "--compress=0", "--no-password"]).args(&restore.order.dump_options);
    let mut child = Child::start("pg_dump", command)?;
    let output = child.stdout()?;
    let reading = tokio::task::spawn_blocking(move || {
        let mut found = BTreeMap::new();
        let contents = read_toc(output, |entry| {
            *found.entry(entry.desc.to_string()).or_insert(0) += 1;
        });
        contents.map(|_| found)
    });
    let found = restore.stop.or(async { Ok(reading.await) }).await;
    child.kill().await;
    let found = found?.map_err(|error| Error::new(Kind::Internal, format!("a thread broke down: {error}")))?;
    found.map_err(|error| Error::new(Kind::Internal, format!("the restored objects cannot be listed: {error}")))
}

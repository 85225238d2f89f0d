//! What a living database holds: the same sums as a backup's fingerprints, of the same tables, by the same bytes.
//!
//! pg_dump writes a table by `COPY table (columns) TO stdout`. So it is done here, with the settings of the dump, so that the
//! rows have the same text as in the dump; a large table comes in pieces, each a `COPY (SELECT columns FROM ONLY table WHERE …)`.
//! No row is kept: it is hashed as it passes.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_postgres::Client;

use crate::blocking::joined;
use crate::error::Result;
use crate::fingerprint::Fingerprints;
use crate::fingerprint::compare::{Objects, Observed, ObservedRows, Value};

mod large_objects;
mod names;
pub mod object_numbers;
mod pipe;
pub mod queue;
mod rows;
mod sequences;
mod session;
mod targets;

use names::Names;
pub use object_numbers::Printer;
use pipe::Pipe;
use queue::{ReadQueue, Transport};
pub use sequences::Positions;
pub use session::Query;
use session::Sessions;

/// Asks a database for everything that the fingerprints are of, in one snapshot. The task can be dropped at any time.
///
/// # Errors
/// `NotPermitted` where our role may not read a table, and `Unavailable` where the server does not answer.
pub async fn observe(ask: &Query<'_>, expected: &Fingerprints) -> Result<Observed> {
    let mut sessions = Sessions::in_one_snapshot(ask, &expected.settings).await?;
    let names = Names::new(&expected.settings);
    let work = Arc::new(ReadQueue::plan(sessions.first(), &names, ask, expected).await?);
    sessions.grow(work.left().min(ask.jobs.get())).await?;
    let ways = sessions.all().map(|client| (Arc::clone(client), Transport::Messages)).collect();
    let tables = all_rows(&work, ways).await?;
    let (sequences, large_objects) = others(sessions.first(), &names, ask, expected).await?;
    Ok(Observed { tables, sequences, large_objects })
}

/// Asks a server of this host, which may write into the folder, for the rows of a database in which no row changes. What
/// comes with constraints and indexes may still be on its way: a table that is locked for that is read when it is not.
pub async fn observe_rows(ask: &Query<'_>, expected: &Fingerprints, folder: &Path) -> Result<Vec<ObservedRows>> {
    let mut sessions = Sessions::apart(ask.connection, ask.database, &expected.settings).await?;
    let names = Names::new(&expected.settings);
    let work = Arc::new(ReadQueue::plan(sessions.first(), &names, ask, expected).await?);
    sessions.grow(work.left().min(ask.jobs.get())).await?;
    sessions.be_impatient().await?;
    let way = |(number, client)| Ok((Arc::clone(client), Transport::Pipe(Pipe::make(folder, number)?)));
    let ways = sessions.all().enumerate().map(way).collect::<Result<Vec<_>>>()?;
    all_rows(&work, ways).await
}

/// Asks for everything but rows.
pub async fn observe_others(ask: &Query<'_>, expected: &Fingerprints) -> Result<(Vec<Option<Value>>, Objects)> {
    let sessions = Sessions::in_one_snapshot(ask, &expected.settings).await?;
    others(sessions.first(), &Names::new(&expected.settings), ask, expected).await
}

async fn all_rows(work: &Arc<ReadQueue>, ways: Vec<(Arc<Client>, Transport)>) -> Result<Vec<ObservedRows>> {
    let mut at_work = JoinSet::new();
    for (client, way) in ways {
        at_work.spawn(Arc::clone(work).run(client, way));
    }
    while let Some(ended) = at_work.join_next().await {
        joined(ended)?;
    }
    Ok(work.found())
}

async fn others(
    client: &Client,
    names: &Names,
    ask: &Query<'_>,
    expected: &Fingerprints,
) -> Result<(Vec<Option<Value>>, Objects)> {
    let large_objects = match (ask.large_objects, ask.count) {
        (false, _) => Objects::Ignored,
        (true, true) => Objects::Counted(large_objects::count(client).await?),
        (true, false) => Objects::All(large_objects::read(client, ask.moved).await?),
    };
    Ok((sequences::read(client, names, &expected.sequences).await?, large_objects))
}

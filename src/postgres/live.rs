//! Computes the sums of a backup's fingerprints over the rows of a live database.
//!
//! Tables are read as pg_dump reads them, by `COPY table (columns) TO stdout` with the settings of the dump, so that the
//! rows have the same text as in the dump. A large table is read in pieces by `COPY (SELECT columns FROM ONLY table WHERE
//! …)`. Rows are hashed while they are read, and not kept.

use std::path::Path;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

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
pub mod text_changes;

use names::Names;
pub use object_numbers::Printer;
use pipe::Pipe;
use queue::{ReadQueue, Transport};
pub use sequences::Positions;
pub use session::{Query, set_up_exactly};
use session::{RowSession, Sessions};

/// Reads everything in a database that the fingerprints cover, in one snapshot. The future can be dropped at any time.
///
/// # Errors
/// `NotPermitted` if our role may not read a table, and `Unavailable` if the server does not answer.
pub async fn observe(query: &Query<'_>, expected: &Fingerprints) -> Result<Observed> {
    let mut sessions = Sessions::in_one_snapshot(query, &expected.settings).await?;
    let names = Names::new(&expected.settings);
    let unlocked = CancellationToken::new();
    unlocked.cancel();
    let queue = Arc::new(ReadQueue::plan(sessions.first(), &names, query, (expected, unlocked)).await?);
    sessions.grow(queue.remaining().min(query.jobs.get())).await?;
    let transports = sessions.all().map(|session| (Arc::clone(session), Transport::InSnapshot)).collect();
    let tables = all_rows(&queue, transports).await?;
    let (sequences, large_objects) = others(sessions.first(), &names, query, expected).await?;
    Ok(Observed { tables, sequences, large_objects })
}

/// Sessions that read the rows of a database in which no row changes, while others make its constraints and indexes. A table
/// that is locked for them is read later.
#[derive(Debug)]
pub struct RowReader {
    queue: Arc<ReadQueue>,
    transports: Vec<(Arc<RowSession>, Transport)>,
}

impl RowReader {
    /// Connects, and looks up the tables, which waits for locks on them. A server of this host that may write into `folder`
    /// sends the rows through pipes there. Tables that can only be read whole wait for `unlocked` if they are large: nothing
    /// that needs a lock on them should wait so long.
    ///
    /// # Errors
    /// `System` for a failure of the server itself if there is a folder; those of [`observe`].
    pub async fn prepare(
        query: &Query<'_>,
        expected: &Fingerprints,
        (folder, unlocked): (Option<&Path>, &CancellationToken),
    ) -> Result<Self> {
        let mut sessions = Sessions::independent(query.connection, query.database, &expected.settings).await?;
        let names = Names::new(&expected.settings);
        let plan = ReadQueue::plan(sessions.first(), &names, query, (expected, unlocked.clone()));
        let queue = Arc::new(plan.await?);
        sessions.grow(queue.remaining().min(query.jobs.get())).await?;
        sessions.limit_lock_waits().await?;
        let transport = |(number, session)| {
            let transport = match folder {
                Some(folder) => Transport::Pipe(Pipe::make(folder, number)?),
                None => Transport::Messages,
            };
            Ok((Arc::clone(session), transport))
        };
        let transports = sessions.all().enumerate().map(transport).collect::<Result<Vec<_>>>()?;
        Ok(RowReader { queue, transports })
    }

    /// Reads the rows. The future can be dropped at any time.
    ///
    /// # Errors
    /// Those of [`RowReader::prepare`].
    pub async fn read(self) -> Result<Vec<ObservedRows>> {
        all_rows(&self.queue, self.transports).await
    }
}

/// Reads sequences and large objects.
pub async fn observe_others(query: &Query<'_>, expected: &Fingerprints) -> Result<(Vec<Option<Value>>, Objects)> {
    let sessions = Sessions::in_one_snapshot(query, &expected.settings).await?;
    others(sessions.first(), &Names::new(&expected.settings), query, expected).await
}

async fn all_rows(queue: &Arc<ReadQueue>, transports: Vec<(Arc<RowSession>, Transport)>) -> Result<Vec<ObservedRows>> {
    let mut readers = JoinSet::new();
    for (session, transport) in transports {
        readers.spawn(Arc::clone(queue).run(session, transport));
    }
    while let Some(ended) = readers.join_next().await {
        joined(ended)?;
    }
    Ok(queue.take_results())
}

async fn others(
    client: &Client,
    names: &Names,
    query: &Query<'_>,
    expected: &Fingerprints,
) -> Result<(Vec<Option<Value>>, Objects)> {
    let large_objects = match (query.large_objects, query.count) {
        (false, _) => Objects::Ignored,
        (true, true) => Objects::Counted(large_objects::count(client).await?),
        (true, false) => Objects::All(large_objects::read(client, query.moved).await?),
    };
    Ok((sequences::read(client, names, &expected.sequences).await?, large_objects))
}

//! What a living database holds: the same sums as a backup's fingerprints, of the same tables, by the same bytes.
//!
//! pg_dump writes a table by `COPY table (columns) TO stdout`. So it is done here, with the settings of the dump, and all in
//! one snapshot, so that the rows have the same text as in the dump; a large table comes in pieces, each a
//! `COPY (SELECT columns FROM ONLY table WHERE …) TO STDOUT`. No row is kept: it is hashed as it passes.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{TryStreamExt, pin_mut};
use tokio::task::JoinSet;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalogue::comparison::{Held, Objects, Rows};
use crate::catalogue::fingerprint::{Fingerprints, Sum};
use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Counter;
use crate::host::thread::joined;
use crate::postgres::client::failed;
use crate::postgres::snapshot::get;

mod large_objects;
mod names;
mod rows;
mod sequences;
mod session;
mod targets;

use names::Names;
use rows::Passing;
use session::Sessions;
use targets::Statement;

/// What a database is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The server.
    pub connection: &'a Connection,
    /// The database.
    pub database: &'a str,
    /// How many tables, or pieces of a large one, are read at once.
    pub jobs: NonZeroUsize,
    /// Whether rows and large objects are counted and not read.
    pub count: bool,
    /// Whether large objects are asked for.
    pub large_objects: bool,
    /// Grows by the bytes that are read.
    pub moved: &'a Counter,
}

/// One statement that a session is to run, and the table whose rows it answers with.
#[derive(Debug)]
struct Piece {
    table: usize,
    statement: Statement,
}

/// What the sessions share.
#[derive(Debug)]
struct Work {
    pieces: Mutex<std::vec::IntoIter<Piece>>,
    found: Mutex<Vec<Rows>>,
    names: Vec<String>,
    count: bool,
    moved: Counter,
}

/// Asks a database for everything that the fingerprints are of. The task can be dropped at any time.
///
/// # Errors
/// `NotPermitted` where our role may not read a table, and `Unavailable` where the server does not answer.
pub async fn look(ask: &Ask<'_>, expected: &Fingerprints) -> Result<Held> {
    let mut sessions = Sessions::open(ask.connection, ask.database, &expected.settings).await?;
    let names = Names::new(&expected.settings);
    let work = Arc::new(work(sessions.first(), &names, ask, expected).await?);
    let wanted = lock(&work.pieces).len().min(ask.jobs.get());
    sessions.grow(ask.connection, ask.database, &expected.settings, wanted).await?;
    let mut at_work = JoinSet::new();
    for client in sessions.all() {
        at_work.spawn(Arc::clone(&work).run(Arc::clone(client)));
    }
    while let Some(ended) = at_work.join_next().await {
        joined(ended)?;
    }
    let first = sessions.first();
    let large_objects = match (ask.large_objects, ask.count) {
        (false, _) => Objects::Ignored,
        (true, true) => Objects::Counted(large_objects::count(first).await?),
        (true, false) => Objects::All(large_objects::read(first, ask.moved).await?),
    };
    let sequences = sequences::read(first, &names, &expected.sequences).await?;
    let tables = std::mem::take(&mut *lock(&work.found));
    Ok(Held { tables, sequences, large_objects })
}

/// Everything that is to be read, the largest pieces first.
async fn work(client: &Client, names: &Names, ask: &Ask<'_>, expected: &Fingerprints) -> Result<Work> {
    let (mut pieces, mut found) = (Vec::new(), Vec::with_capacity(expected.tables.len()));
    for (table, target) in targets::find(client, names, &expected.tables).await?.into_iter().enumerate() {
        match target {
            Err(instead) => found.push(instead),
            Ok(target) => {
                found.push(if ask.count { Rows::Counted(0) } else { Rows::All(Sum::default()) });
                let statements = target.statements(names, ask.count).into_iter();
                pieces.extend(statements.map(|statement| Piece { table, statement }));
            }
        }
    }
    pieces.sort_by_key(|piece| std::cmp::Reverse(piece.statement.bytes));
    Ok(Work {
        pieces: Mutex::new(pieces.into_iter()),
        found: Mutex::new(found),
        names: expected.tables.iter().map(|table| table.target.to_string()).collect(),
        count: ask.count,
        moved: ask.moved.clone(),
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Work {
    /// Does pieces of the work until none is left.
    async fn run(self: Arc<Self>, client: Arc<Client>) -> Result<()> {
        loop {
            let Some(piece) = lock(&self.pieces).next() else { return Ok(()) };
            let answer = match self.count {
                true => count(&client, &piece.statement, &self.moved).await,
                false => copy(&client, &piece.statement.sql, &self.moved).await,
            };
            match answer {
                Ok(rows) => self.add(piece.table, &rows),
                Err(error) => {
                    let instead = self.explain(piece.table, error)?;
                    client.batch_execute(session::BACK).await.map_err(failed("a transaction cannot go on"))?;
                    self.replace(piece.table, instead);
                }
            }
        }
    }

    fn add(&self, table: usize, rows: &Sum) {
        match lock(&self.found).get_mut(table) {
            Some(Rows::All(sum)) => sum.merge(rows),
            Some(Rows::Counted(number)) => *number += rows.rows,
            _ => {}
        }
    }

    fn replace(&self, table: usize, instead: Rows) {
        if let Some(found) = lock(&self.found).get_mut(table) {
            *found = instead;
        }
    }

    /// What an error says of the table; most are those of the whole look.
    fn explain(&self, table: usize, error: Failure) -> Result<Rows> {
        let name = self.names.get(table).map(String::as_str).unwrap_or_default();
        match error {
            Failure::Server(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => Ok(Rows::OtherColumns),
            Failure::Server(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Rows::Absent),
            Failure::Server(error) => Err(failed(&format!("the table {name} cannot be read"))(error)),
            Failure::CutShort => {
                Err(Error::new(Kind::Unavailable, format!("the rows of {name} ended in the middle of a row")))
            }
        }
    }
}

/// Why a statement has no answer.
enum Failure {
    Server(tokio_postgres::Error),
    CutShort,
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Failure::Server(error)
    }
}

async fn copy(client: &Client, sql: &str, moved: &Counter) -> std::result::Result<Sum, Failure> {
    let stream = client.copy_out(sql).await?;
    pin_mut!(stream);
    let mut rows = Passing::default();
    while let Some(piece) = stream.try_next().await? {
        rows.take(&piece);
        moved.add(piece.len() as u64);
    }
    rows.finish().ok_or(Failure::CutShort)
}

/// Counts, or, where the table cannot be asked in a query, reads.
async fn count(client: &Client, statement: &Statement, moved: &Counter) -> std::result::Result<Sum, Failure> {
    let row = match (client.query_one(&statement.sql, &[]).await, &statement.instead) {
        (Err(_), Some(sql)) => {
            client.batch_execute(session::BACK).await?;
            return copy(client, sql, moved).await;
        }
        (answer, _) => answer?,
    };
    let number: i64 = get(&row, 0).map_err(|_| Failure::CutShort)?;
    Ok(Sum { rows: u64::try_from(number).unwrap_or_default(), ..Sum::default() })
}

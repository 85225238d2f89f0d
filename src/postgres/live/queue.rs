//! The queue of pieces that the sessions read, and their results.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{TryStreamExt, pin_mut};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind, Result};
use crate::fingerprint::compare::ObservedRows;
use crate::fingerprint::{Fingerprints, Sum};
use crate::host::progress::Counter;
use crate::postgres::client::{failed, literal, reason};
use crate::postgres::columns::get;
use crate::postgres::live::names::Names;
use crate::postgres::live::pipe::Pipe;
use crate::postgres::live::rows::{CopyRows, QueryFailure};
use crate::postgres::live::session::{self, Query};
use crate::postgres::live::targets::{self, PIECE, TableQuery};

/// Number of pieces after which the locks on their tables are released. A session holds only a few locks at a time: the
/// server's lock table may not have room for all tables (PostgreSQL documentation, `max_locks_per_transaction`).
const LOCKED: usize = 8;

/// Most bytes that a statement reads while other sessions lock tables: a piece of a divided heap has less than two times the
/// usual size.
const LONGEST: i64 = 2 * PIECE;

/// How rows are transferred.
#[derive(Debug)]
pub enum Transport {
    /// By the protocol, in a transaction that must continue after an error.
    InSnapshot,
    /// By the protocol, outside of a transaction.
    Messages,
    /// By a named pipe that the server writes, outside of a transaction.
    Pipe(Pipe),
}

impl Transport {
    fn is_in_snapshot(&self) -> bool {
        matches!(self, Transport::InSnapshot)
    }
}

/// A statement that a session runs, and the table whose rows it returns.
#[derive(Debug)]
struct Piece {
    table: usize,
    statement: TableQuery,
}

/// The queue that the sessions share.
#[derive(Debug)]
pub struct ReadQueue {
    pieces: Mutex<VecDeque<Piece>>,
    results: Mutex<Vec<ObservedRows>>,
    names: Vec<String>,
    encoding: String,
    count: bool,
    moved: Counter,
    unlocked: CancellationToken,
}

impl ReadQueue {
    /// Everything to read, the largest pieces first. Those that take long wait until `unlocked` is set: a session that waits
    /// for a lock on their table would wait as long.
    pub async fn plan(
        client: &Client,
        names: &Names,
        query: &Query<'_>,
        (expected, unlocked): (&Fingerprints, CancellationToken),
    ) -> Result<Self> {
        let (mut pieces, mut results) = (Vec::new(), Vec::with_capacity(expected.tables.len()));
        let targets = targets::find(client, names, &expected.tables, query.loaded).await?;
        for (table, target) in targets.into_iter().enumerate() {
            match target {
                Err(instead) => results.push(instead),
                Ok(target) => {
                    results.push(if query.count {
                        ObservedRows::Counted(0)
                    } else {
                        ObservedRows::All(Sum::default())
                    });
                    let statements = target.statements(query.count).into_iter();
                    pieces.extend(statements.map(|statement| Piece { table, statement }));
                }
            }
        }
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.statement.bytes));
        Ok(ReadQueue {
            pieces: Mutex::new(pieces.into()),
            results: Mutex::new(results),
            names: expected.tables.iter().map(|table| table.target.to_string()).collect(),
            encoding: names.encoding.clone(),
            count: query.count,
            moved: query.moved.clone(),
            unlocked,
        })
    }

    /// Number of pieces that no session has started.
    pub fn remaining(&self) -> usize {
        lock(&self.pieces).len()
    }

    /// Takes the results, in the order of the fingerprints.
    pub fn take_results(&self) -> Vec<ObservedRows> {
        std::mem::take(&mut *lock(&self.results))
    }

    /// Reads pieces until none is left.
    pub async fn run(self: Arc<Self>, client: Arc<Client>, transport: Transport) -> Result<()> {
        for number in 1_usize.. {
            let Some(piece) = self.next().await else { return Ok(()) };
            if transport.is_in_snapshot() && number.is_multiple_of(LOCKED) {
                client.batch_execute(session::ROLL_BACK).await.map_err(failed("a transaction cannot be continued"))?;
            }
            let error = match self.answer(&client, &transport, &piece.statement).await {
                Ok(rows) => {
                    self.add(piece.table, &rows);
                    continue;
                }
                // A transaction would be aborted by the error.
                Err(QueryFailure::Server(error))
                    if !transport.is_in_snapshot() && error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) =>
                {
                    lock(&self.pieces).push_back(piece);
                    continue;
                }
                Err(error) => error,
            };
            let instead = match (&transport, error) {
                (Transport::Pipe(_), QueryFailure::Server(error)) if !is_of_rows(&error) => {
                    let name = self.name(piece.table);
                    return Err(Error::new(
                        Kind::System,
                        format!("the table {name} cannot be read: {}", reason(&error)),
                    ));
                }
                (_, error) => self.explain(piece.table, error)?,
            };
            if transport.is_in_snapshot() {
                client.batch_execute(session::ROLL_BACK).await.map_err(failed("a transaction cannot be continued"))?;
            }
            self.replace(piece.table, instead);
        }
        Ok(())
    }

    /// The next piece that may be read.
    async fn next(&self) -> Option<Piece> {
        let is_next = |piece: &Piece| piece.statement.bytes <= LONGEST || self.unlocked.is_cancelled();
        let next = {
            let mut pieces = lock(&self.pieces);
            let at = pieces.iter().position(is_next);
            if at.is_none() && pieces.is_empty() {
                return None;
            }
            at.and_then(|at| pieces.remove(at))
        };
        if next.is_none() {
            self.unlocked.cancelled().await;
        }
        next.or_else(|| lock(&self.pieces).pop_front())
    }

    async fn answer(
        &self,
        client: &Client,
        transport: &Transport,
        statement: &TableQuery,
    ) -> std::result::Result<Sum, QueryFailure> {
        let copy = |what: &str, to: &str| format!("COPY {what} TO {to} WITH (ENCODING '{}')", self.encoding);
        match (transport, &statement.instead) {
            (Transport::InSnapshot, Some(instead)) if self.count => match count(client, &statement.sql).await {
                Err(_) => {
                    client.batch_execute(session::ROLL_BACK).await?;
                    messages(client, &copy(instead, "STDOUT"), &self.moved).await
                }
                counted => counted,
            },
            _ if self.count => count(client, &statement.sql).await,
            (Transport::InSnapshot | Transport::Messages, _) => {
                messages(client, &copy(&statement.sql, "STDOUT"), &self.moved).await
            }
            (Transport::Pipe(pipe), _) => {
                let sql = copy(&statement.sql, &literal(&pipe.path().to_string_lossy()));
                pipe.read(client.batch_execute(&sql), &self.moved).await
            }
        }
    }

    fn add(&self, table: usize, rows: &Sum) {
        match lock(&self.results).get_mut(table) {
            Some(ObservedRows::All(sum)) => sum.merge(rows),
            Some(ObservedRows::Counted(number)) => *number += rows.rows,
            _ => {}
        }
    }

    fn replace(&self, table: usize, instead: ObservedRows) {
        if let Some(result) = lock(&self.results).get_mut(table) {
            *result = instead;
        }
    }

    fn name(&self, table: usize) -> &str {
        self.names.get(table).map(String::as_str).unwrap_or_default()
    }

    /// What an error says of the table. Most errors end the whole comparison.
    fn explain(&self, table: usize, error: QueryFailure) -> Result<ObservedRows> {
        let name = self.name(table);
        match error {
            // COPY refuses a column that is generated now, and pg_dump would not have written it.
            QueryFailure::Server(error)
                if matches!(error.code(), Some(&SqlState::UNDEFINED_COLUMN | &SqlState::INVALID_COLUMN_REFERENCE)) =>
            {
                Ok(ObservedRows::OtherColumns)
            }
            QueryFailure::Server(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(ObservedRows::Absent),
            QueryFailure::Server(error) => Err(failed(&format!("the table {name} cannot be read"))(error)),
            QueryFailure::CutShort => {
                Err(Error::new(Kind::Unavailable, format!("the rows of {name} end within a row")))
            }
            QueryFailure::Other(error) => Err(error),
        }
    }
}

/// Whether an error of a private server is about the rows that it reads, not about its connection, memory, disk, shutdown or
/// operating system (PostgreSQL documentation, "PostgreSQL Error Codes", classes 08, 53, 57 and 58).
fn is_of_rows(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| !["08", "53", "57", "58"].iter().any(|class| code.code().starts_with(class)))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn messages(client: &Client, sql: &str, moved: &Counter) -> std::result::Result<Sum, QueryFailure> {
    let stream = client.copy_out(sql).await?;
    pin_mut!(stream);
    let mut rows = CopyRows::default();
    while let Some(piece) = stream.try_next().await? {
        rows.take(&piece);
        moved.add(piece.len() as u64);
    }
    rows.finish().ok_or(QueryFailure::CutShort)
}

async fn count(client: &Client, sql: &str) -> std::result::Result<Sum, QueryFailure> {
    let row = client.query_one(sql, &[]).await?;
    let number: i64 = get(&row, 0).map_err(|_| QueryFailure::CutShort)?;
    Ok(Sum { rows: u64::try_from(number).unwrap_or_default(), ..Sum::default() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn long_statements_wait_for_those_that_lock() {
        let piece = |bytes| Piece { table: 0, statement: TableQuery { sql: String::new(), bytes, instead: None } };
        let pieces = VecDeque::from([LONGEST + 1, LONGEST, 1].map(piece));
        let unlocked = CancellationToken::new();
        let queue = ReadQueue {
            pieces: Mutex::new(pieces),
            results: Mutex::default(),
            names: Vec::new(),
            encoding: String::new(),
            count: false,
            moved: Counter::default(),
            unlocked: unlocked.clone(),
        };
        let next = async || queue.next().await.map(|piece| piece.statement.bytes);
        assert_eq!((next().await, next().await), (Some(LONGEST), Some(1)));
        assert!(tokio::time::timeout(Duration::from_millis(20), next()).await.is_err());
        unlocked.cancel();
        assert_eq!((next().await, next().await), (Some(LONGEST + 1), None));
    }
}

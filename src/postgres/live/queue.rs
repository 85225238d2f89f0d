//! What there is to read, piece by piece, and what each session found.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::{TryStreamExt, pin_mut};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::{Error, Kind, Result};
use crate::fingerprint::compare::ObservedRows;
use crate::fingerprint::{Fingerprints, Sum};
use crate::host::progress::Counter;
use crate::postgres::client::{failed, literal, reason};
use crate::postgres::live::names::Names;
use crate::postgres::live::pipe::Pipe;
use crate::postgres::live::rows::{CopyRows, QueryFailure};
use crate::postgres::live::session::{self, Query};
use crate::postgres::live::targets::{self, TableQuery};
use crate::postgres::snapshot::get;

/// How many pieces are read before the locks on their tables are given back. A session holds few locks at a time, as a load
/// does: the server's table of locks may have no room for all tables (PostgreSQL documentation, `max_locks_per_transaction`).
const LOCKED: usize = 8;

/// How rows get here.
#[derive(Debug)]
pub enum Transport {
    /// By the protocol, in a transaction that must go on after an error.
    Messages,
    /// By a pipe that the server writes into, and in no transaction.
    Pipe(Pipe),
}

/// One statement that a session is to run, and the table whose rows it answers with.
#[derive(Debug)]
struct Piece {
    table: usize,
    statement: TableQuery,
}

/// What the sessions share.
#[derive(Debug)]
pub struct ReadQueue {
    pieces: Mutex<VecDeque<Piece>>,
    found: Mutex<Vec<ObservedRows>>,
    names: Vec<String>,
    encoding: String,
    count: bool,
    moved: Counter,
}

impl ReadQueue {
    /// Everything that is to be read, the largest pieces first.
    pub async fn plan(client: &Client, names: &Names, ask: &Query<'_>, expected: &Fingerprints) -> Result<Self> {
        let (mut pieces, mut found) = (Vec::new(), Vec::with_capacity(expected.tables.len()));
        let targets = targets::find(client, names, &expected.tables, ask.loaded).await?;
        for (table, target) in targets.into_iter().enumerate() {
            match target {
                Err(instead) => found.push(instead),
                Ok(target) => {
                    found.push(if ask.count { ObservedRows::Counted(0) } else { ObservedRows::All(Sum::default()) });
                    let statements = target.statements(ask.count).into_iter();
                    pieces.extend(statements.map(|statement| Piece { table, statement }));
                }
            }
        }
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.statement.bytes));
        Ok(ReadQueue {
            pieces: Mutex::new(pieces.into()),
            found: Mutex::new(found),
            names: expected.tables.iter().map(|table| table.target.to_string()).collect(),
            encoding: names.encoding.clone(),
            count: ask.count,
            moved: ask.moved.clone(),
        })
    }

    /// How many pieces nobody has begun with.
    pub fn left(&self) -> usize {
        lock(&self.pieces).len()
    }

    /// Takes what was found.
    pub fn found(&self) -> Vec<ObservedRows> {
        std::mem::take(&mut *lock(&self.found))
    }

    /// Does pieces of the work until none is left.
    pub async fn run(self: Arc<Self>, client: Arc<Client>, way: Transport) -> Result<()> {
        for number in 1_usize.. {
            let Some(piece) = lock(&self.pieces).pop_front() else { return Ok(()) };
            if matches!(way, Transport::Messages) && number.is_multiple_of(LOCKED) {
                client.batch_execute(session::BACK).await.map_err(failed("a transaction cannot go on"))?;
            }
            let error = match self.answer(&client, &way, &piece.statement).await {
                Ok(rows) => {
                    self.add(piece.table, &rows);
                    continue;
                }
                // In a transaction nothing more would be answered.
                Err(QueryFailure::Server(error))
                    if matches!(way, Transport::Pipe(_)) && error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) =>
                {
                    lock(&self.pieces).push_back(piece);
                    continue;
                }
                Err(error) => error,
            };
            let instead = match (&way, error) {
                (Transport::Pipe(_), QueryFailure::Server(error)) if !is_of_rows(&error) => {
                    let name = self.name(piece.table);
                    return Err(Error::new(
                        Kind::System,
                        format!("the table {name} cannot be read: {}", reason(&error)),
                    ));
                }
                (_, error) => self.explain(piece.table, error)?,
            };
            if matches!(way, Transport::Messages) {
                client.batch_execute(session::BACK).await.map_err(failed("a transaction cannot go on"))?;
            }
            self.replace(piece.table, instead);
        }
        Ok(())
    }

    async fn answer(
        &self,
        client: &Client,
        way: &Transport,
        statement: &TableQuery,
    ) -> std::result::Result<Sum, QueryFailure> {
        let copy = |what: &str, to: &str| format!("COPY {what} TO {to} WITH (ENCODING '{}')", self.encoding);
        match (way, &statement.instead) {
            (_, None) if self.count => count(client, &statement.sql).await,
            (_, Some(instead)) if self.count => match count(client, &statement.sql).await {
                Err(_) => {
                    client.batch_execute(session::BACK).await?;
                    messages(client, &copy(instead, "STDOUT"), &self.moved).await
                }
                counted => counted,
            },
            (Transport::Messages, _) => messages(client, &copy(&statement.sql, "STDOUT"), &self.moved).await,
            (Transport::Pipe(pipe), _) => {
                let sql = copy(&statement.sql, &literal(&pipe.path().to_string_lossy()));
                pipe.read(client.batch_execute(&sql), &self.moved).await
            }
        }
    }

    fn add(&self, table: usize, rows: &Sum) {
        match lock(&self.found).get_mut(table) {
            Some(ObservedRows::All(sum)) => sum.merge(rows),
            Some(ObservedRows::Counted(number)) => *number += rows.rows,
            _ => {}
        }
    }

    fn replace(&self, table: usize, instead: ObservedRows) {
        if let Some(found) = lock(&self.found).get_mut(table) {
            *found = instead;
        }
    }

    fn name(&self, table: usize) -> &str {
        self.names.get(table).map(String::as_str).unwrap_or_default()
    }

    /// What an error says of the table; most are those of the whole look.
    fn explain(&self, table: usize, error: QueryFailure) -> Result<ObservedRows> {
        let name = self.name(table);
        match error {
            // COPY of a column that is generated now is refused, and pg_dump would not have written it.
            QueryFailure::Server(error)
                if matches!(error.code(), Some(&SqlState::UNDEFINED_COLUMN | &SqlState::INVALID_COLUMN_REFERENCE)) =>
            {
                Ok(ObservedRows::OtherColumns)
            }
            QueryFailure::Server(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(ObservedRows::Absent),
            QueryFailure::Server(error) => Err(failed(&format!("the table {name} cannot be read"))(error)),
            QueryFailure::CutShort => {
                Err(Error::new(Kind::Unavailable, format!("the rows of {name} ended in the middle of a row")))
            }
            QueryFailure::Other(error) => Err(error),
        }
    }
}

/// Whether a server that is ours alone speaks of what it reads, and not of its connection, its memory and disk, of being
/// stopped or of the operating system (PostgreSQL documentation, "PostgreSQL Error Codes", classes 08, 53, 57 and 58).
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

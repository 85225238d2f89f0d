//! The queue of pieces that the sessions read, and their results.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
use crate::postgres::live::object_numbers::with_numbers;
use crate::postgres::live::pipe::Pipe;
use crate::postgres::live::rows::{CopyRows, QueryFailure};
use crate::postgres::live::session::{self, Query, RowSession};
use crate::postgres::live::targets::{self, PIECE, TableQuery};

/// Number of pieces after which the locks on their tables are released. A session holds only a few locks at a time: the
/// server's lock table may not have room for all tables (PostgreSQL documentation, `max_locks_per_transaction`).
const LOCKED: usize = 8;

/// Most bytes that a statement reads while other sessions lock tables: a piece of a divided heap has less than two times the
/// usual size.
const LONGEST: i64 = 2 * PIECE;

/// How long a list of locked tables is used.
const FRESH: Duration = Duration::from_millis(50);

/// The tables of this database on which a session has or awaits the only lock that keeps others from reading.
const LOCKED_TABLES: &str = "SELECT l.relation FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_database d ON d.oid = l.database \
     WHERE d.datname = pg_catalog.current_database() AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'";

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
    /// Whether the text of its rows depends on objects that may not exist yet.
    late: bool,
}

impl Piece {
    /// Whether it can be read while others make objects: its rows have their final text, no session waits for long meanwhile, and
    /// none keeps it from reading.
    fn may_be_early(&self, locked: &HashSet<u32>) -> bool {
        !self.late && self.statement.bytes <= LONGEST && !locked.contains(&self.statement.relation)
    }
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
    /// Locked tables, and when they were listed.
    locked: Mutex<Option<(Instant, Arc<HashSet<u32>>)>>,
}

impl ReadQueue {
    /// Everything to read, the largest pieces first. Some wait until `unlocked` is set: those that take long, because a session that
    /// waits for a lock on their table would wait as long, and those of tables with object numbers, which print as names as soon as
    /// there is such an object.
    pub async fn plan(
        client: &Client,
        names: &Names,
        query: &Query<'_>,
        (expected, unlocked): (&Fingerprints, CancellationToken),
    ) -> Result<Self> {
        let (mut pieces, mut results): (Vec<Piece>, _) = (Vec::new(), Vec::with_capacity(expected.tables.len()));
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
                    // The end of a table first: it was written last, and is in the server's memory where not all of it is. From
                    // the beginning, each page that is read would displace one that is read later.
                    let statements = target.statements(query.count).into_iter().rev();
                    pieces.extend(statements.map(|statement| Piece { table, statement, late: false }));
                }
            }
        }
        if !unlocked.is_cancelled() {
            let relations: Vec<u32> = pieces.iter().map(|piece| piece.statement.relation).collect();
            let late = with_numbers(client, &relations).await?;
            pieces.iter_mut().for_each(|piece| piece.late = late.contains(&piece.statement.relation));
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
            locked: Mutex::default(),
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
    pub async fn run(self: Arc<Self>, session: Arc<RowSession>, transport: Transport) -> Result<()> {
        let client = &session.client;
        for number in 1_usize.. {
            let Some(piece) = self.next(client).await? else { return Ok(()) };
            if transport.is_in_snapshot() && number.is_multiple_of(LOCKED) {
                client.batch_execute(session::ROLL_BACK).await.map_err(failed("a transaction cannot be continued"))?;
            }
            let error = match self.answer(&session, &transport, &piece.statement).await {
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
    async fn next(&self, client: &Client) -> Result<Option<Piece>> {
        loop {
            let unlocked = self.unlocked.is_cancelled();
            let locked = if unlocked { Arc::default() } else { self.locked(client).await? };
            let is_next = |piece: &Piece| unlocked || piece.may_be_early(&locked);
            {
                let mut pieces = lock(&self.pieces);
                let at = pieces.iter().position(is_next);
                if at.is_some() || pieces.is_empty() {
                    return Ok(at.and_then(|at| pieces.remove(at)));
                }
            }
            tokio::time::sleep(FRESH).await;
        }
    }

    /// The tables that other sessions lock or are about to lock, so that nothing can be read from them. The server logs each
    /// statement that waits for them in vain.
    async fn locked(&self, client: &Client) -> Result<Arc<HashSet<u32>>> {
        let known = lock(&self.locked).clone();
        if let Some((_, tables)) = known.filter(|(since, _)| since.elapsed() < FRESH) {
            return Ok(tables);
        }
        let rows = client.query(LOCKED_TABLES, &[]).await.map_err(failed("the locks cannot be listed"))?;
        let tables = Arc::new(rows.iter().map(|row| get(row, 0)).collect::<Result<HashSet<u32>>>()?);
        *lock(&self.locked) = Some((Instant::now(), Arc::clone(&tables)));
        Ok(tables)
    }

    async fn answer(
        &self,
        session: &RowSession,
        transport: &Transport,
        statement: &TableQuery,
    ) -> std::result::Result<Sum, QueryFailure> {
        let client = &session.client;
        let copy = |what: &str, to: &str| format!("COPY {what} TO {to} WITH (ENCODING '{}')", self.encoding);
        match (transport, &statement.instead) {
            (Transport::InSnapshot, Some(instead)) if self.count => match count(client, &statement.sql).await {
                Err(_) => {
                    client.batch_execute(session::ROLL_BACK).await?;
                    messages(session, &copy(instead, "STDOUT"), &self.moved).await
                }
                counted => counted,
            },
            _ if self.count => count(client, &statement.sql).await,
            (Transport::InSnapshot | Transport::Messages, _) => {
                messages(session, &copy(&statement.sql, "STDOUT"), &self.moved).await
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

async fn messages(session: &RowSession, sql: &str, moved: &Counter) -> std::result::Result<Sum, QueryFailure> {
    let mut rows = CopyRows::default();
    let take = |piece: &[u8]| {
        rows.take(piece);
        moved.add(piece.len() as u64);
    };
    session.copy(sql, take).await?;
    rows.finish().ok_or(QueryFailure::CutShort)
}

async fn count(client: &Client, sql: &str) -> std::result::Result<Sum, QueryFailure> {
    let row = client.query_one(sql, &[]).await?;
    let number: i64 = get(&row, 0).map_err(|_| QueryFailure::CutShort)?;
    Ok(Sum { rows: u64::try_from(number).unwrap_or_default(), ..Sum::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_statements_locked_tables_and_object_numbers_wait() {
        let locked = HashSet::from([2]);
        let may_begin = |relation, bytes, late| {
            let statement = TableQuery { relation, sql: String::new(), bytes, instead: None };
            Piece { table: 0, statement, late }.may_be_early(&locked)
        };
        assert!(may_begin(1, LONGEST, false));
        assert!(!may_begin(1, LONGEST + 1, false) && !may_begin(2, 1, false) && !may_begin(1, 1, true));
    }
}

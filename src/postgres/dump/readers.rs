//! Sessions that read the rows of large tables in ranges, in the snapshot of a dump.
//!
//! Each of them holds its own locks on all tables that it may read. They are taken before pg_dump's are given up, and without
//! waiting: another session that waits for a table behind pg_dump would wait for a reader behind itself, while pg_dump waits for us
//! to read its output, and no server detects that.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_postgres::Client;

use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::postgres::archive::DataEntry;
use crate::postgres::client::{connect_for_copy, failed, literal};
use crate::postgres::columns::get;
use crate::postgres::copy_output::{CopyMessage, CopyOutput};
use crate::postgres::dump::candidates;
use crate::postgres::dump::split_table::{SplitTable, range_size};
use crate::postgres::live::set_up_exactly;
use crate::stop::Stop;

/// Bytes that a session may have read before they are written.
const AHEAD: usize = 12 << 20;

/// Locks that all sessions together may take beside pg_dump's. The server's lock table has room for 64 times the number of its
/// connections (`max_locks_per_transaction`).
const LOCKS: usize = 1024;

/// How often a session that was ended is replaced, and the pause before: the server may have to end the old one first.
const REPLACEMENTS: usize = 3;
const PAUSE: Duration = Duration::from_secs(1);

/// Parameters beside those of a dump: a range of pages is read as such, by one process, and without compiling anything. The size of
/// a table cannot be read while another session waits for it or changes it.
const BY_RANGE: &str = "SET enable_tidscan = on; SET enable_seqscan = off; SET jit = off; \
     SET max_parallel_workers_per_gather = 0; SET lock_timeout = '2s'";

/// Has the server end the session soon after this process has ended, also while it waits for a lock.
const CHECK_CLIENT: &str = "SET client_connection_check_interval = '1s'";

/// Number of the tables with the OIDs of `$1` that still have the file and the name of the snapshot. `TRUNCATE` and statements that
/// rewrite a table give it another file, which lacks rows of the snapshot or has them elsewhere.
const KEPT: &str = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.oid = ANY ($1) AND c.relfilenode = pg_catalog.pg_relation_filenode(c.oid) \
     AND pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, c.relname)) = c.oid";

/// How sessions are made that read like pg_dump.
#[derive(Clone, Debug)]
pub struct ReaderAccess {
    /// The server.
    pub connection: Connection,
    /// The database.
    pub database: String,
    /// Name of the exported snapshot.
    pub snapshot: String,
    /// The settings of the dump.
    pub settings: BTreeMap<String, String>,
    /// The encoding of the dump.
    pub encoding: String,
}

/// Sessions with their locks, before they read.
#[derive(Debug)]
pub struct RangeReaders {
    access: ReaderAccess,
    tables: Arc<[SplitTable]>,
    sessions: Vec<(Client, CopyOutput)>,
    deliveries: Vec<UnboundedReceiver<CopyMessage>>,
}

/// What the sessions deliver, for the thread that writes it.
#[derive(Debug)]
pub struct Deliveries {
    /// The dump id of the table of the next range and the session that reads it, in the order of the ranges.
    pub order: UnboundedReceiver<(u32, usize)>,
    /// What each session delivers.
    pub sessions: Vec<UnboundedReceiver<CopyMessage>>,
    /// Number of ranges by the dump ids of the tables.
    pub ranges: HashMap<u32, u64>,
}

/// Ends the sessions when it is dropped.
#[derive(Debug)]
pub struct Reading(Vec<CopyOutput>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.iter().for_each(CopyOutput::close);
    }
}

impl RangeReaders {
    /// Opens up to `jobs` sessions for the tables of at least `least` bytes, and locks these; none if there are no such tables.
    ///
    /// # Errors
    /// Those of [`connect_for_copy`]; `NotPermitted` or `Unavailable` if a table cannot be locked at once.
    pub async fn open(access: ReaderAccess, entries: &[DataEntry], least: u64, jobs: usize) -> Result<Option<Self>> {
        let (output, deliveries) = CopyOutput::new(AHEAD);
        let first = access.open(&output).await?;
        let most = (LOCKS / jobs).max(1);
        let range = range_size(least);
        let tables = candidates::find(&first, entries, &access.encoding, least, range, most).await?;
        if tables.is_empty() {
            return Ok(None);
        }
        let ranges: u64 = tables.iter().map(SplitTable::ranges).sum();
        let others = 1..jobs.min(usize::try_from(ranges).unwrap_or(usize::MAX));
        lock(&first, &tables).await?;
        let open = others.map(|_| async {
            let (output, deliveries) = CopyOutput::new(AHEAD);
            let client = access.open(&output).await?;
            lock(&client, &tables).await?;
            Ok::<_, Error>((client, output, deliveries))
        });
        let others: Vec<_> = try_join_all(open).await?;
        // What changed before the locks is left to pg_dump.
        let chosen: Vec<DataEntry> =
            entries.iter().filter(|entry| tables.iter().any(|table| table.dump_id == entry.dump_id)).cloned().collect();
        let tables = candidates::find(&first, &chosen, &access.encoding, 0, range, most).await?;
        let sessions = std::iter::once((first, output, deliveries)).chain(others);
        let (sessions, deliveries) = sessions.map(|(client, output, from)| ((client, output), from)).unzip();
        Ok((!tables.is_empty()).then_some(RangeReaders { access, tables: tables.into(), sessions, deliveries }))
    }

    /// Number of sessions.
    pub fn number(&self) -> usize {
        self.sessions.len()
    }

    /// The dump ids of the tables.
    pub fn dump_ids(&self) -> impl Iterator<Item = u32> {
        self.tables.iter().map(|table| table.dump_id)
    }

    /// Starts to read.
    pub fn start(self, stop: &Stop) -> (Deliveries, Reading) {
        let ranges = self.tables.iter().map(|table| (table.dump_id, table.ranges())).collect();
        let (next, order) = unbounded_channel();
        let queue = Arc::new(RangeQueue {
            access: self.access,
            tables: self.tables,
            next: Mutex::new((0, 0)),
            order: next,
            stop: stop.clone(),
        });
        let outputs = self.sessions.iter().map(|(_, output)| output.clone()).collect();
        for (number, (client, output)) in self.sessions.into_iter().enumerate() {
            tokio::spawn(Arc::clone(&queue).run(number, client, output));
        }
        (Deliveries { order, sessions: self.deliveries, ranges }, Reading(outputs))
    }
}

impl ReaderAccess {
    /// Opens a session in the snapshot.
    async fn open(&self, output: &CopyOutput) -> Result<Client> {
        let client = connect_for_copy(&self.connection, &self.database, output).await?;
        let client = set_up_exactly(client, &self.settings).await?;
        // Not every system of a server can tell that a client is gone.
        drop(client.batch_execute(CHECK_CLIENT).await);
        let begin = format!(
            "{BY_RANGE}; BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SET TRANSACTION SNAPSHOT {}",
            literal(&self.snapshot)
        );
        client.batch_execute(&begin).await.map_err(failed("the snapshot cannot be shared"))?;
        Ok(client)
    }
}

async fn lock(client: &Client, tables: &[SplitTable]) -> Result<()> {
    let names: Vec<String> = tables.iter().map(|table| format!("ONLY {}", table.name)).collect();
    // With its locks, a session has as much time to read as pg_dump.
    let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE NOWAIT; SET lock_timeout = 0", names.join(", "));
    client.batch_execute(&lock).await.map_err(failed("a table cannot be locked at once"))
}

/// Fails if one of the tables, which are locked, was emptied or rewritten when no session had a lock.
async fn must_be_kept(client: &Client, tables: &[SplitTable]) -> Result<()> {
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let row = client.query_one(KEPT, &[&oids]).await.map_err(failed("the tables cannot be looked up"))?;
    if usize::try_from(get::<i64>(&row, 0)?) == Ok(tables.len()) {
        return Ok(());
    }
    let message = "a table was emptied or rewritten while the sessions that read it were replaced";
    Err(Error::new(Kind::Unavailable, message).transient())
}

/// The ranges of all tables, in the order in which they are written.
#[derive(Debug)]
struct RangeQueue {
    access: ReaderAccess,
    tables: Arc<[SplitTable]>,
    /// The table and the range that no session has taken.
    next: Mutex<(usize, u64)>,
    order: UnboundedSender<(u32, usize)>,
    stop: Stop,
}

impl RangeQueue {
    /// Reads ranges until none is left.
    async fn run(self: Arc<Self>, number: usize, mut client: Client, output: CopyOutput) {
        while let Some((table, range)) = self.take(number) {
            let read = self.stop.or(self.read(&mut client, &output, table, range)).await;
            let failed = read.is_err();
            output.send(read.map_or_else(CopyMessage::Failed, |()| CopyMessage::Ended));
            if failed {
                return;
            }
        }
    }

    /// Takes the next range for a session.
    fn take(&self, number: usize) -> Option<(&SplitTable, u64)> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, range) = *next;
        let table = self.tables.get(at)?;
        *next = if range + 1 < table.ranges() { (at, range + 1) } else { (at + 1, 0) };
        // In the order of the ranges, because the lock is held.
        self.order.send((table.dump_id, number)).ok()?;
        Some((table, range))
    }

    /// Reads a range, from its beginning in another session of the same snapshot if the server ends this one.
    async fn read(&self, client: &mut Client, output: &CopyOutput, table: &SplitTable, range: u64) -> Result<()> {
        let sql = table.copy(range, &self.access.encoding);
        let what = format!("the rows of {} cannot be read", table.name);
        for left in (0..REPLACEMENTS).rev() {
            match client.batch_execute(&sql).await.map_err(failed(&what)) {
                Ok(()) => return Ok(()),
                Err(error) if left == 0 || !error.is_transient() || output.is_closed() => return Err(error),
                Err(_) => log::info!("a session that reads rows was ended by the server, and is replaced"),
            }
            tokio::time::sleep(PAUSE).await;
            *client = self.access.open(output).await?;
            lock(client, &self.tables).await?;
            must_be_kept(client, &self.tables).await?;
            output.send(CopyMessage::Restarted);
        }
        Ok(())
    }
}

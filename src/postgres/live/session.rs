//! Sessions with the settings of a dump, so that values have the same text.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_postgres::Client;

use crate::config::Connection;
use crate::error::{Error, Result};
use crate::host::progress::Counter;
use crate::postgres::client::{connect, connect_for_copy, failed, literal, patiently};
use crate::postgres::columns::text;
use crate::postgres::copy_output::{CopyMessage, CopyOutput};
use crate::postgres::live::names::ENCODING;

/// The settings of pg_dump (`setup_connection` in `src/bin/pg_dump/pg_dump.c`), those that our dumps pin, and the timeouts that
/// not every version has. A query must not read a view or a foreign table that has replaced the table since it was looked up,
/// and one that reads a range of a table must not evaluate the table's constraints: their code would run with our privileges.
const AS_PG_DUMP: &str = "SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 3; \
     SET synchronize_seqscans = off; SET row_security = off; SET TimeZone = 'UTC'; SET bytea_output = hex; \
     SET constraint_exclusion = off; \
     SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
     WHERE name IN ('idle_session_timeout', 'transaction_timeout'); \
     SELECT pg_catalog.set_config(name, 'view, foreign-table', false) FROM pg_catalog.pg_settings \
     WHERE name = 'restrict_nonsystem_relation_kind'; \
     SELECT pg_catalog.set_config('search_path', '', false)";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// The savepoint to which a transaction returns after a failed statement.
const START: &str = "SAVEPOINT start";

/// Undoes a failed statement, or releases the locks of successful ones: the transaction continues with its snapshot.
pub const ROLL_BACK: &str = "ROLLBACK TO SAVEPOINT start";

/// How long a statement of independent sessions waits for a lock: other tables can be read in the meantime.
const LOCK_TIMEOUT: &str = "SET lock_timeout = '100ms'";

/// What to read of a database.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The server.
    pub connection: &'a Connection,
    /// The database.
    pub database: &'a str,
    /// Number of tables, or pieces of a large one, that are read at once.
    pub jobs: NonZeroUsize,
    /// Whether rows and large objects are only counted.
    pub count: bool,
    /// Whether large objects are included.
    pub large_objects: bool,
    /// Whether everything in the database was loaded from the backup.
    pub loaded: bool,
    /// Counts the bytes that are read.
    pub moved: &'a Counter,
}

/// Bytes of rows that a session may have read before they are hashed.
const AHEAD: usize = 1 << 20;

/// A session that reads rows.
#[derive(Debug)]
pub struct RowSession {
    /// For statements that return no rows by COPY.
    pub client: Client,
    copied: Mutex<UnboundedReceiver<CopyMessage>>,
}

impl RowSession {
    /// Connects with the settings of a dump.
    async fn open(connection: &Connection, database: &str, settings: &BTreeMap<String, String>) -> Result<Self> {
        let (output, copied) = CopyOutput::new(AHEAD);
        let client = connect_for_copy(connection, database, &output).await?;
        set_up(&client, settings).await?;
        Ok(RowSession { client, copied: Mutex::new(copied) })
    }

    /// Runs a COPY statement, and passes its rows in pieces of any size.
    ///
    /// # Errors
    /// Those of the statement; pieces that were passed before are then not all.
    pub async fn copy(&self, sql: &str, mut take: impl FnMut(&[u8])) -> std::result::Result<(), tokio_postgres::Error> {
        let mut copied = self.copied.lock().await;
        let mut statement = pin!(self.client.batch_execute(sql));
        let ended = loop {
            tokio::select! {
                biased;
                Some(message) = copied.recv() => pass(message, &mut take),
                ended = &mut statement => break ended,
            }
        };
        // A statement ends after all that it has delivered.
        while let Ok(message) = copied.try_recv() {
            pass(message, &mut take);
        }
        ended
    }
}

fn pass(message: CopyMessage, take: &mut impl FnMut(&[u8])) {
    if let CopyMessage::Data(piece) = message {
        take(&piece.bytes);
    }
}

/// One or more sessions.
#[derive(Debug)]
pub struct Sessions<'a> {
    connection: &'a Connection,
    database: &'a str,
    settings: &'a BTreeMap<String, String>,
    /// Whether all of them use the snapshot of the first one.
    in_one_snapshot: bool,
    first: Arc<RowSession>,
    others: Vec<Arc<RowSession>>,
}

impl<'a> Sessions<'a> {
    /// Connects, with retries if the database was just loaded, and takes a snapshot. `settings` are those of the dump.
    pub async fn in_one_snapshot(query: &Query<'a>, settings: &'a BTreeMap<String, String>) -> Result<Self> {
        let (connection, database) = (query.connection, query.database);
        let open = || RowSession::open(connection, database, settings);
        let first = match query.loaded {
            true => patiently(open).await?,
            false => open().await?,
        };
        let sql = format!("{BEGIN}; SELECT 1; {START}");
        first.client.batch_execute(&sql).await.map_err(failed("a transaction cannot be started"))?;
        let first = Arc::new(first);
        Ok(Sessions { connection, database, settings, in_one_snapshot: true, first, others: Vec::new() })
    }

    /// Connects. Each statement has its own snapshot, and its locks end with it.
    pub async fn independent(
        connection: &'a Connection,
        database: &'a str,
        settings: &'a BTreeMap<String, String>,
    ) -> Result<Self> {
        let first = Arc::new(RowSession::open(connection, database, settings).await?);
        Ok(Sessions { connection, database, settings, in_one_snapshot: false, first, others: Vec::new() })
    }

    /// Opens further sessions up to this number, or fewer if the server has no free connections.
    pub async fn grow(&mut self, number: usize) -> Result<()> {
        if number < 2 {
            return Ok(());
        }
        let snapshot = match self.in_one_snapshot {
            true => Some(export(&self.first.client).await?),
            false => None,
        };
        for _ in 1..number {
            let other = match RowSession::open(self.connection, self.database, self.settings).await {
                Ok(other) => other,
                Err(error) => {
                    log::warn!("{error}: continuing with fewer connections");
                    return Ok(());
                }
            };
            if let Some(snapshot) = &snapshot {
                let sql = format!("{BEGIN}; SET TRANSACTION SNAPSHOT {}; {START}", literal(snapshot));
                other.client.batch_execute(&sql).await.map_err(failed("the snapshot cannot be shared"))?;
            }
            self.others.push(Arc::new(other));
        }
        Ok(())
    }

    /// Limits how long the following statements wait for a lock. Those that look up tables before have to wait.
    pub async fn limit_lock_waits(&self) -> Result<()> {
        for session in self.all() {
            session.client.batch_execute(LOCK_TIMEOUT).await.map_err(failed("the session cannot be set up"))?;
        }
        Ok(())
    }

    /// The first session.
    pub fn first(&self) -> &Client {
        &self.first.client
    }

    /// All sessions.
    pub fn all(&self) -> impl Iterator<Item = &Arc<RowSession>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// The name of a session's snapshot.
async fn export(client: &Client) -> Result<String> {
    let what = "a snapshot cannot be exported";
    // A subtransaction cannot export a snapshot.
    client.batch_execute("RELEASE SAVEPOINT start").await.map_err(failed(what))?;
    let row = client.query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
    let snapshot = text(&row.map_err(failed(what))?, 0)?;
    client.batch_execute(START).await.map_err(failed(what))?;
    Ok(snapshot)
}

/// Connects with the settings of a dump.
pub async fn session(connection: &Connection, database: &str, settings: &BTreeMap<String, String>) -> Result<Client> {
    let client = connect(connection, database).await?;
    set_up(&client, settings).await?;
    Ok(client)
}

/// Gives a session the settings of a dump. One that the server refuses is a warning, because a comparison shows what it changed.
async fn set_up(client: &Client, settings: &BTreeMap<String, String>) -> Result<()> {
    for error in set(client, settings).await? {
        // A locale that this server does not have, which only affects values of the type `money`.
        log::warn!("{error}");
    }
    Ok(())
}

/// The same for a session whose rows are stored.
///
/// # Errors
/// The first setting that the server refuses.
pub async fn set_up_exactly(client: Client, settings: &BTreeMap<String, String>) -> Result<Client> {
    set(&client, settings).await?.into_iter().next().map_or(Ok(client), Err)
}

/// Sets what a dump sets, and returns the errors of the settings that are refused.
async fn set(client: &Client, settings: &BTreeMap<String, String>) -> Result<Vec<Error>> {
    client.batch_execute(AS_PG_DUMP).await.map_err(failed("the session cannot be set up as pg_dump's"))?;
    let mut refused = Vec::new();
    for (name, value) in settings.iter().filter(|(name, _)| *name != ENCODING) {
        let set = format!("SELECT pg_catalog.set_config({}, {}, false)", literal(name), literal(value));
        let what = format!("{name} cannot be set to '{}' as in the dump", value.escape_debug());
        refused.extend(client.batch_execute(&set).await.map_err(failed(&what)).err());
    }
    Ok(refused)
}

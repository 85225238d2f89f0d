//! Sessions that write the values of a database as pg_dump did.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio_postgres::Client;

use crate::config::Connection;
use crate::error::Result;
use crate::host::progress::Counter;
use crate::postgres::client::{connect, connect_patiently, failed, literal, reason};
use crate::postgres::live::names::ENCODING;
use crate::postgres::snapshot::text;

/// What pg_dump sets before it copies (`setup_connection` in `src/bin/pg_dump/pg_dump.c`), and what our dumps pin; of the
/// time limits those that not every version knows. No query may read what was a table when it was looked up and is a view or
/// a foreign table now, and none that reads a range of a table may evaluate the table's constraints: their code would run
/// with our rights.
const AS_PG_DUMP: &str = "SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 3; \
     SET synchronize_seqscans = off; SET row_security = off; SET TimeZone = 'UTC'; SET bytea_output = hex; \
     SET constraint_exclusion = off; \
     SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings \
     WHERE name IN ('idle_session_timeout', 'transaction_timeout'); \
     SELECT pg_catalog.set_config(name, 'view, foreign-table', false) FROM pg_catalog.pg_settings \
     WHERE name = 'restrict_nonsystem_relation_kind'; \
     SELECT pg_catalog.set_config('search_path', '', false)";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";

/// Where a transaction goes back to after a statement that failed.
const START: &str = "SAVEPOINT start";

/// Undoes a statement that failed, or gives back the locks of those that did not: the transaction goes on with its snapshot.
pub const BACK: &str = "ROLLBACK TO SAVEPOINT start";

/// How long a statement waits for a lock where sessions are apart: there is something else to read meanwhile.
const PATIENCE: &str = "SET lock_timeout = '100ms'";

/// What a database is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
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
    /// Whether all that it holds was loaded from the backup.
    pub loaded: bool,
    /// Grows by the bytes that are read.
    pub moved: &'a Counter,
}

/// One session or more.
#[derive(Debug)]
pub struct Sessions<'a> {
    connection: &'a Connection,
    database: &'a str,
    settings: &'a BTreeMap<String, String>,
    /// Whether all of them see the same moment. The first one holds the snapshot then.
    in_one_snapshot: bool,
    first: Arc<Client>,
    others: Vec<Arc<Client>>,
}

impl<'a> Sessions<'a> {
    /// Connects, patiently if the database has been loaded just now, and takes a snapshot. `settings` are those that the rows
    /// were dumped with.
    pub async fn in_one_snapshot(ask: &Query<'a>, settings: &'a BTreeMap<String, String>) -> Result<Self> {
        let (connection, database) = (ask.connection, ask.database);
        let client = match ask.loaded {
            true => connect_patiently(connection, database).await?,
            false => connect(connection, database).await?,
        };
        let first = set_up(client, settings).await?;
        let sql = format!("{BEGIN}; SELECT 1; {START}");
        first.batch_execute(&sql).await.map_err(failed("a transaction cannot be begun"))?;
        let first = Arc::new(first);
        Ok(Sessions { connection, database, settings, in_one_snapshot: true, first, others: Vec::new() })
    }

    /// Connects. Each statement sees its own moment, and its locks end with it.
    pub async fn apart(
        connection: &'a Connection,
        database: &'a str,
        settings: &'a BTreeMap<String, String>,
    ) -> Result<Self> {
        let first = Arc::new(session(connection, database, settings).await?);
        Ok(Sessions { connection, database, settings, in_one_snapshot: false, first, others: Vec::new() })
    }

    /// Connects until there are so many sessions. Where the server has no more connections to give, there are fewer.
    pub async fn grow(&mut self, wanted: usize) -> Result<()> {
        if wanted < 2 {
            return Ok(());
        }
        let snapshot = match self.in_one_snapshot {
            true => Some(export(&self.first).await?),
            false => None,
        };
        for _ in 1..wanted {
            let client = match session(self.connection, self.database, self.settings).await {
                Ok(client) => client,
                Err(error) => {
                    log::warn!("{error}: going on with fewer connections");
                    return Ok(());
                }
            };
            if let Some(snapshot) = &snapshot {
                let sql = format!("{BEGIN}; SET TRANSACTION SNAPSHOT {}; {START}", literal(snapshot));
                client.batch_execute(&sql).await.map_err(failed("the snapshot cannot be shared"))?;
            }
            self.others.push(Arc::new(client));
        }
        Ok(())
    }

    /// From here on no statement waits long for a lock. Those that look something up have to wait.
    pub async fn be_impatient(&self) -> Result<()> {
        for client in self.all() {
            client.batch_execute(PATIENCE).await.map_err(failed("the session cannot be set up"))?;
        }
        Ok(())
    }

    /// The first one.
    pub fn first(&self) -> &Arc<Client> {
        &self.first
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Client>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// The name of a session's snapshot.
async fn export(client: &Client) -> Result<String> {
    let what = "a snapshot cannot be exported";
    // No snapshot can be exported by a subtransaction.
    client.batch_execute("RELEASE SAVEPOINT start").await.map_err(failed(what))?;
    let row = client.query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
    let snapshot = text(&row.map_err(failed(what))?, 0)?;
    client.batch_execute(START).await.map_err(failed(what))?;
    Ok(snapshot)
}

pub async fn session(connection: &Connection, database: &str, settings: &BTreeMap<String, String>) -> Result<Client> {
    set_up(connect(connection, database).await?, settings).await
}

async fn set_up(client: Client, settings: &BTreeMap<String, String>) -> Result<Client> {
    client.batch_execute(AS_PG_DUMP).await.map_err(failed("the session cannot be set up as pg_dump's"))?;
    for (name, value) in settings.iter().filter(|(name, _)| *name != ENCODING) {
        let set = format!("SELECT pg_catalog.set_config({}, {}, false)", literal(name), literal(value));
        if let Err(error) = client.batch_execute(&set).await {
            // A locale that this server lacks: it matters to amounts of money alone.
            log::warn!("{name} cannot be set to '{}' as in the dump: {}", value.escape_debug(), reason(&error));
        }
    }
    Ok(client)
}

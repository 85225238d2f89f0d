//! Sessions that all see the same moment of a database, and write its values as pg_dump did.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_postgres::Client;

use crate::config::Connection;
use crate::error::Result;
use crate::postgres::client::{connect, failed, literal, reason};
use crate::postgres::living::names::ENCODING;
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

/// Undoes a statement that failed: the transaction goes on.
pub const BACK: &str = "ROLLBACK TO SAVEPOINT start";

/// One session or more in one snapshot. The first one holds it.
#[derive(Debug)]
pub struct Sessions {
    first: Arc<Client>,
    others: Vec<Arc<Client>>,
}

impl Sessions {
    /// Connects, and takes the snapshot. `settings` are those that the rows were dumped with.
    pub async fn open(connection: &Connection, database: &str, settings: &BTreeMap<String, String>) -> Result<Self> {
        let first = session(connection, database, settings).await?;
        let sql = format!("{BEGIN}; SELECT 1; {START}");
        first.batch_execute(&sql).await.map_err(failed("a transaction cannot be begun"))?;
        Ok(Sessions { first: Arc::new(first), others: Vec::new() })
    }

    /// Connects until there are so many sessions. Where the server has no more connections to give, there are fewer.
    pub async fn grow(
        &mut self,
        connection: &Connection,
        database: &str,
        settings: &BTreeMap<String, String>,
        wanted: usize,
    ) -> Result<()> {
        if wanted < 2 {
            return Ok(());
        }
        // No snapshot can be exported by a subtransaction.
        let sql = "RELEASE SAVEPOINT start";
        self.first.batch_execute(sql).await.map_err(failed("a snapshot cannot be exported"))?;
        let row = self.first.query_one("SELECT pg_catalog.pg_export_snapshot()", &[]).await;
        let snapshot = text(&row.map_err(failed("a snapshot cannot be exported"))?, 0)?;
        self.first.batch_execute(START).await.map_err(failed("a snapshot cannot be exported"))?;
        for _ in 1..wanted {
            let client = match session(connection, database, settings).await {
                Ok(client) => client,
                Err(error) => {
                    log::warn!("{error}: going on with fewer connections");
                    return Ok(());
                }
            };
            let sql = format!("{BEGIN}; SET TRANSACTION SNAPSHOT {}; {START}", literal(&snapshot));
            client.batch_execute(&sql).await.map_err(failed("the snapshot cannot be shared"))?;
            self.others.push(Arc::new(client));
        }
        Ok(())
    }

    /// The session that holds the snapshot.
    pub fn first(&self) -> &Arc<Client> {
        &self.first
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Client>> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

async fn session(connection: &Connection, database: &str, settings: &BTreeMap<String, String>) -> Result<Client> {
    let client = connect(connection, database).await?;
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

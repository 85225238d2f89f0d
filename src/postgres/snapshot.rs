//! One snapshot for a dump and for the facts in its manifest.

use tokio_postgres::{Client, Row};

use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::postgres::client::{connect, failed};
use crate::postgres::columns::{get, in_bytes, number, text};
use crate::postgres::connection_limit;

/// Ordinary tables whose file or name is another one than in the snapshot, or that are missing.
///
/// `relfilenode` is read in the snapshot, `pg_relation_filenode()` from the committed state (`src/backend/utils/adt/
/// dbsize.c`). TRUNCATE and rewrites give a table a new file, and are not MVCC-safe: a dump by this snapshot would see
/// an empty table (PostgreSQL documentation, "Concurrency Control: Caveats"). `regclass` too is written from the committed
/// state: pg_dump locks and reads tables by the names of the snapshot, which may be those of other tables by then.
const REWRITTEN: &str = "pg_relation_filenode(c.oid) IS NULL OR w.renamed FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     CROSS JOIN LATERAL (SELECT c.oid::regclass::text NOT IN (format('%I.%I', n.nspname, c.relname), \
     quote_ident(c.relname)) AS renamed OFFSET 0) w \
     WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relfilenode <> 0 AND n.nspname <> 'information_schema' \
     AND n.nspname !~ '^pg_' AND (c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid) OR w.renamed) \
     ORDER BY n.nspname, c.relname";

/// Schemas whose name is another one's. Renaming a schema does not wait for the locks of its tables.
const REPLACED_SCHEMAS: &str = "SELECT count(*) FROM pg_namespace n \
     WHERE n.nspname !~ '^pg_' AND to_regnamespace(quote_ident(n.nspname)) <> n.oid";

/// A table whose file or name is another one than in the snapshot, or that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Its OID in the snapshot.
    pub oid: u32,
    /// Schema and name, quoted if necessary.
    pub name: String,
    /// Whether it was dropped or renamed. Another table may have its name by then, which `LOCK TABLE` of pg_dump locks instead.
    pub dropped: bool,
}

/// A session whose transaction has exported a snapshot. It must stay open until pg_dump has exited.
#[derive(Debug)]
pub struct Snapshot {
    client: Client,
    /// Its name, for `pg_dump --snapshot`.
    pub name: String,
    /// `server_version_num`.
    pub version_num: u32,
}

/// Further timeouts that could end a session, by the server's major version.
pub fn later_timeouts(major: u32) -> impl Iterator<Item = &'static str> {
    [(14, "idle_session_timeout"), (17, "transaction_timeout")]
        .into_iter()
        .filter(move |(since, _)| major >= *since)
        .map(|(_, timeout)| timeout)
}

/// A session before its snapshot is taken.
#[derive(Debug)]
pub struct ServerInfo {
    client: Client,
    /// `server_version_num`.
    pub version_num: u32,
}

impl ServerInfo {
    /// Connects, and disables the timeouts that would end the session.
    ///
    /// # Errors
    /// `Unavailable` for a server older than version 13; those of [`connect`].
    pub async fn open(connection: &Connection, database: &str) -> Result<Self> {
        let client = connect(connection, database).await?;
        let what = "the server's version cannot be read";
        let row =
            client.query_one("SELECT current_setting('server_version_num')::int4", &[]).await.map_err(failed(what))?;
        let version_num = u32::try_from(number(&row, 0)?).unwrap_or_default();
        if version_num < 130_000 {
            let version = version_num / 10_000;
            return Err(Error::new(
                Kind::Unavailable,
                format!("the server has version {version}, and pgcellar needs 13 or newer"),
            )
            .hint("use pg_dump to move its databases to a supported version"));
        }
        for timeout in later_timeouts(version_num / 10_000) {
            let set = format!("SET {timeout} = 0");
            client.batch_execute(&set).await.map_err(failed("timeouts cannot be disabled"))?;
        }
        Ok(ServerInfo { client, version_num })
    }

    /// The session, before its transaction begins.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// Checks that the limits of the database and of our role allow this many sessions, including this one.
    pub async fn must_allow(&self, sessions: usize) -> Result<()> {
        connection_limit::must_allow(&self.client, sessions).await
    }

    /// Begins the transaction and exports its snapshot. Start pg_dump immediately afterwards.
    pub async fn export(self) -> Result<Snapshot> {
        let what = "a snapshot cannot be exported";
        self.client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await.map_err(failed(what))?;
        let row = self.client.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(failed(what))?;
        Ok(Snapshot { name: text(&row, 0)?, client: self.client, version_num: self.version_num })
    }
}

impl Snapshot {
    /// The session, for queries in the snapshot.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Tables that were truncated, rewritten, renamed or dropped since the snapshot was taken. Call this once pg_dump holds its
    /// locks, after which there can be no further ones.
    pub async fn rewritten(&self) -> Result<Vec<Rewritten>> {
        let query = format!("SELECT c.oid, {}, {REWRITTEN}", in_bytes("format('%I.%I', n.nspname, c.relname)"));
        let rows = self.client.query(&query, &[]).await;
        let rows = rows.map_err(failed("tables cannot be compared with the snapshot"))?;
        let table = |row: &Row| Ok(Rewritten { oid: get(row, 0)?, name: text(row, 1)?, dropped: get(row, 2)? });
        rows.iter().map(table).collect()
    }

    /// Checks that no schema was replaced while pg_dump read tables by their names.
    ///
    /// # Errors
    /// `Unavailable`, transient, if one was.
    pub async fn must_have_its_schemas(&self) -> Result<()> {
        let what = "schemas cannot be compared with the snapshot";
        let row = self.client.query_one(REPLACED_SCHEMAS, &[]).await.map_err(failed(what))?;
        match get::<i64>(&row, 0)? {
            0 => Ok(()),
            _ => Err(Error::new(Kind::Unavailable, "a schema was replaced by another of its name during the dump")
                .transient()),
        }
    }
}

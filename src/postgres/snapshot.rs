//! One snapshot for a dump and for the facts that its manifest tells.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Row};

use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::postgres::client::{connect, failed};

/// Ordinary tables with the file they had in the snapshot and another one, or none, now.
///
/// `relfilenode` comes from the snapshot, `pg_relation_filenode()` looks at what is committed (`src/backend/utils/adt/
/// dbsize.c`). TRUNCATE and rewrites give a table a new file, and are not MVCC-safe: a dump by this snapshot would see
/// an empty table (PostgreSQL documentation, "Concurrency Control: Caveats").
const REWRITTEN: &str = "SELECT c.oid, format('%I.%I', n.nspname, c.relname), pg_relation_filenode(c.oid) IS NULL FROM pg_class c \
     JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND c.relfilenode <> 0 AND n.nspname <> 'information_schema' \
     AND n.nspname !~ '^pg_' AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid) ORDER BY 2";

/// How long a session that ends may be counted among those of its database and role, and how often the server is asked.
const ENDING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Connection limits of the database and of the role, which superusers do not have, with the sessions that count.
const ROOM: &str = "SELECT CASE WHEN r.rolsuper THEN -1 ELSE d.datconnlimit END, \
     (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid AND a.backend_type = 'client backend'), \
     CASE WHEN r.rolsuper THEN -1 ELSE r.rolconnlimit END, \
     (SELECT count(*) FROM pg_stat_activity a WHERE a.usesysid = r.oid AND a.backend_type = 'client backend') \
     FROM pg_database d, pg_roles r WHERE d.datname = current_database() AND r.rolname = session_user";

/// A table that has another file than in the snapshot, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewritten {
    /// Its OID in the snapshot.
    pub oid: u32,
    /// Schema and name, quoted where they have to be.
    pub name: String,
    /// Whether it was dropped. Another one may have its name: `LOCK TABLE` of pg_dump, which goes by the name, finds that one.
    pub dropped: bool,
}

/// A session whose transaction holds an exported snapshot. It must live until pg_dump has exited.
#[derive(Debug)]
pub struct Snapshot {
    client: Client,
    /// What `pg_dump --snapshot` takes.
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

/// What is known of a server before a snapshot is taken.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// `server_version_num`.
    pub version_num: u32,
}

impl Session {
    /// Connects, and makes the session last.
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
            .hint("use pg_dump by hand to move to a supported version"));
        }
        for timeout in later_timeouts(version_num / 10_000) {
            let set = format!("SET {timeout} = 0");
            client.batch_execute(&set).await.map_err(failed("timeouts cannot be switched off"))?;
        }
        Ok(Session { client, version_num })
    }

    /// The session, before its transaction begins.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The server's major version.
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// Whether the database and the role may have so many more sessions. Only superusers may exceed these limits
    /// (`src/backend/utils/init/postinit.c`).
    ///
    /// # Errors
    /// `Unavailable` if they may not: pg_dump would fail then, and not say why in words of a program.
    pub async fn has_room(&self, more: usize) -> Result<()> {
        let begun = Instant::now();
        while let Some(error) = self.lacks_room(more).await? {
            // A session of ours that has just ended may still be counted.
            if begun.elapsed() > ENDING {
                return Err(error);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    async fn lacks_room(&self, more: usize) -> Result<Option<Error>> {
        let row = self.client.query_one(ROOM, &[]).await.map_err(failed("the connection limits cannot be read"))?;
        for (column, whose) in [(0, "database"), (2, "role")] {
            let (limit, used): (i32, i64) = (get(&row, column)?, get(&row, column + 1)?);
            let (Ok(limit), Ok(used)) = (u64::try_from(limit), u64::try_from(used)) else { continue };
            if used + more as u64 > limit {
                let message = format!(
                    "the CONNECTION LIMIT {limit} of the {whose} leaves no room for pg_dump: {used} of its sessions are there, and \
                     pg_dump takes {more} more"
                );
                let name = whose.to_uppercase();
                return Ok(Some(
                    Error::new(Kind::Unavailable, message)
                        .hint(format!("raise it (ALTER {name} … CONNECTION LIMIT …), or let a superuser back up")),
                ));
            }
        }
        Ok(None)
    }

    /// Begins the transaction and exports its snapshot. pg_dump has to be started right after.
    pub async fn export(self) -> Result<Snapshot> {
        let what = "a snapshot cannot be exported";
        self.client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").await.map_err(failed(what))?;
        let row = self.client.query_one("SELECT pg_export_snapshot()", &[]).await.map_err(failed(what))?;
        Ok(Snapshot { name: text(&row, 0)?, client: self.client, version_num: self.version_num })
    }
}

impl Snapshot {
    /// The session, for questions in the snapshot.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Tables that were truncated, rewritten or dropped since the snapshot was taken. Asked once pg_dump holds its locks, so
    /// that no more can come.
    pub async fn rewritten(&self) -> Result<Vec<Rewritten>> {
        let rows =
            self.client.query(REWRITTEN, &[]).await.map_err(failed("tables cannot be compared with the snapshot"))?;
        let table = |row: &Row| Ok(Rewritten { oid: get(row, 0)?, name: text(row, 1)?, dropped: get(row, 2)? });
        rows.iter().map(table).collect()
    }
}

/// A column that is a text.
pub fn text(row: &Row, column: usize) -> Result<String> {
    get(row, column)
}

/// A column that is an int4.
pub fn number(row: &Row, column: usize) -> Result<i32> {
    get(row, column)
}

/// A column of any type that the client knows.
pub fn get<'a, T: tokio_postgres::types::FromSql<'a>>(row: &'a Row, column: usize) -> Result<T> {
    row.try_get(column)
        .map_err(|error| Error::new(Kind::Internal, format!("the server's answer cannot be read: {error}")))
}

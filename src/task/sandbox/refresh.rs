//! Materialized views, refreshed after everything else and one by one: one that needs another server cannot be refreshed
//! where there is no network, and that is no fault of the backup.

use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

use crate::error::Result;
use crate::host::thread::joined;
use crate::postgres::client::reason;
use crate::postgres::restore::complaints::is_not_preloaded;
use crate::task::restore::archive::Archive;
use crate::task::restore::part::Part;
use crate::task::sandbox::restore::Failed;

/// Classes of errors that speak of what is outside of the database: connections, foreign data, files
/// (PostgreSQL documentation, "PostgreSQL Error Codes").
const OUTSIDE: &[&str] = &["08", "HV", "58"];

/// How many rows of tables the transaction has written. The table that a materialized view is made of is gone by then.
const WRITTEN: &str = "SELECT COALESCE(pg_catalog.sum(s.n_tup_ins + s.n_tup_upd + s.n_tup_del), 0)::pg_catalog.int8 \
     FROM pg_catalog.pg_stat_xact_user_tables s JOIN pg_catalog.pg_class c ON c.oid = s.relid WHERE c.relkind = 'r'";

/// An archive without its REFRESH statements, and these.
#[derive(Debug, Default)]
pub struct Refreshes {
    /// All else; none if the archive has no such statement.
    pub rest: Option<Part>,
    /// In the order of the archive, in which each comes behind those that it reads.
    pub statements: Vec<String>,
}

/// What came of refreshing.
#[derive(Debug, Default)]
pub struct Refreshed {
    /// What was not refreshed, and why.
    pub notes: Vec<String>,
}

impl Refreshes {
    /// Reads them from the table of contents. Those of a script are its own, and so are those that are no UTF-8.
    pub async fn of(archive: &Arc<Archive>) -> Result<Self> {
        let archive = Arc::clone(archive);
        let work = tokio::task::spawn_blocking(move || {
            let mut statements = Vec::new();
            archive.contents(|entry| {
                if entry.desc.bytes == b"MATERIALIZED VIEW DATA"
                    && let Ok(statement) = std::str::from_utf8(entry.defn.bytes)
                {
                    statements.push(statement.to_owned());
                }
            })?;
            let rest = match statements.is_empty() {
                true => None,
                false => Some(Part::without(&archive, |entry| {
                    entry.desc.bytes == b"MATERIALIZED VIEW DATA" && std::str::from_utf8(entry.defn.bytes).is_ok()
                })?),
            };
            Ok(Refreshes { rest, statements })
        });
        joined(work.await)
    }

    /// Runs them. The rows of tables are being compared meanwhile, and one that changes them would change the backup in a
    /// restore too.
    pub async fn run(&self, client: &Client) -> std::result::Result<Refreshed, Failed> {
        let mut refreshed = Refreshed::default();
        for statement in &self.statements {
            let what = statement.trim().trim_start_matches("REFRESH MATERIALIZED VIEW ").trim_end_matches(';');
            let error = match refresh(client, statement).await {
                Ok(0) => continue,
                Ok(rows) => {
                    let why = "which are no longer those that were backed up";
                    return Err(Failed::Backup(format!(
                        "materialized view {what} writes {rows} rows of tables, {why}"
                    )));
                }
                Err(error) => error,
            };
            let code = error.code().map_or("", SqlState::code);
            // One that reads another that was not refreshed cannot be, either.
            let follows = code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE.code() && !refreshed.notes.is_empty();
            let said = error.as_db_error().map_or("", DbError::message);
            let outside = OUTSIDE.iter().any(|class| code.starts_with(class)) || is_not_preloaded(said);
            if !follows && !outside {
                return Err(Failed::Backup(format!("materialized view {what}: {}", reason(&error))));
            }
            refreshed.notes.push(format!("materialized view {what} is not refreshed: {}", reason(&error)));
        }
        Ok(refreshed)
    }
}

/// Runs one in a transaction of its own: how many rows of tables it has written.
async fn refresh(client: &Client, statement: &str) -> std::result::Result<i64, tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    let written = match client.batch_execute(statement).await {
        Ok(()) => client.query_one(WRITTEN, &[]).await.and_then(|row| row.try_get(0)),
        Err(error) => Err(error),
    };
    client.batch_execute(if written.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    written
}

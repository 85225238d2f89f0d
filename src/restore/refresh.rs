//! Refreshes materialized views one by one, and undoes what their functions write into tables and sequences.

use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error as ServerError};

use crate::error::{Error, Kind, Result};
use crate::postgres::client::reason;
use crate::postgres::live::Positions;

/// Ordinary tables whose rows the transaction has written. TRUNCATE is not counted among writes, and gives a table a new file,
/// which its row in pg_class shows (`ExecuteTruncateGuts` in `src/backend/commands/tablecmds.c`). A row of the transaction has the age
/// 0, and one of its subtransactions, which a block with an EXCEPTION clause is, a negative one (`xid_age` in
/// `src/backend/utils/adt/xid.c`).
const WRITTEN: &str = "SELECT c.oid FROM pg_catalog.pg_class c \
     LEFT JOIN pg_catalog.pg_stat_xact_user_tables s ON s.relid = c.oid \
     WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND (s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0 \
       OR pg_catalog.age(c.xmin) <= 0)";

/// A schema for the rows to put back, which exists only in the transaction.
const SCHEMA: &str = "pgcellar_refresh";

/// For each of the tables `$1` the statement that keeps its rows, and the one that puts them back. Values of generated columns
/// are computed again.
const KEEPING: &str = "SELECT pg_catalog.format('CREATE TABLE %I.%I AS SELECT %s FROM ONLY %I.%I', $2::text, c.oid::text, a.names, \
       n.nspname, c.relname), \
     pg_catalog.format('DELETE FROM ONLY %4$I.%5$I; INSERT INTO %4$I.%5$I (%3$s) OVERRIDING SYSTEM VALUE SELECT %3$s FROM %1$I.%2$I', \
       $2::text, c.oid::text, a.names, n.nspname, c.relname) \
     FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace, \
     LATERAL (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ' ORDER BY attnum) FROM pg_catalog.pg_attribute \
       WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '') a (names) \
     WHERE c.oid = ANY ($1::pg_catalog.oid[])";

/// Switches on the counters of what a transaction writes, which only a superuser can.
const COUNT: &str = "SELECT pg_catalog.set_config('track_counts', 'on', false) \
     WHERE pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on'";

/// A REFRESH of a materialized view.
#[derive(Clone, Debug)]
pub struct Refresh {
    /// The view, as the archive quotes it.
    pub view: String,
    /// The statement.
    pub sql: String,
}

/// The result of refreshing several views.
#[derive(Debug, Default)]
pub struct RefreshOutcome {
    /// Number of refreshed views.
    pub refreshed: usize,
    /// Views that also wrote rows of tables which could not be put back, with the number of these tables.
    pub with_tables: Vec<(String, usize)>,
    /// Views that failed, with the server's error.
    pub failed: Vec<(String, ServerError)>,
}

/// How a materialized view was refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// It has changed nothing else.
    Alone,
    /// It has written rows of this number of tables, which could not be put back.
    WithTables(usize),
}

/// Refreshes materialized views in their order. A view that reads a later one through a function is refreshed after it.
/// Sequences keep their values.
///
/// # Errors
/// `Unavailable` if the server does not answer any more.
pub async fn refresh_all(client: &Client, all: &[Refresh]) -> Result<RefreshOutcome> {
    let positions = Positions::read(client).await?;
    client.batch_execute(COUNT).await.map_err(crate::postgres::client::failed("the session cannot be set up"))?;
    let mut outcome = RefreshOutcome::default();
    let mut waiting: Vec<&Refresh> = all.iter().collect();
    loop {
        let before = waiting.len();
        let mut again = Vec::new();
        outcome.failed.clear();
        for one in waiting {
            match refresh(client, &one.sql).await {
                Ok(Refreshed::Alone) => outcome.refreshed += 1,
                Ok(Refreshed::WithTables(tables)) => {
                    outcome.refreshed += 1;
                    outcome.with_tables.push((one.view.clone(), tables));
                }
                Err(error) if error.is_closed() => {
                    return Err(crate::postgres::client::failed("materialized views cannot be refreshed")(error));
                }
                Err(error) => {
                    outcome.failed.push((one.view.clone(), error));
                    again.push(one);
                }
            }
        }
        let waits =
            |(_, error): &(String, ServerError)| error.code() == Some(&SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE);
        if again.len() == before || !outcome.failed.iter().any(waits) {
            break;
        }
        waiting = again;
    }
    positions.restore(client).await?;
    Ok(outcome)
}

/// Refreshes a materialized view in a transaction of its own. If functions of the view write rows of tables, it is refreshed
/// again, and the tables get their rows back.
pub async fn refresh(client: &Client, sql: &str) -> std::result::Result<Refreshed, ServerError> {
    client.batch_execute("BEGIN").await?;
    let written = written_by(client, sql).await;
    if matches!(&written, Ok(tables) if tables.is_empty()) {
        client.batch_execute("COMMIT").await?;
        return Ok(Refreshed::Alone);
    }
    client.batch_execute("ROLLBACK").await?;
    let tables = written?;
    client.batch_execute("BEGIN").await?;
    match alone(client, sql, &tables).await {
        Ok(true) => {
            client.batch_execute("COMMIT").await?;
            return Ok(Refreshed::Alone);
        }
        Ok(false) => log::debug!("a refresh has written other tables than before"),
        Err(error) if error.is_closed() => return Err(error),
        Err(error) => log::debug!("what a refresh has written cannot be put back: {}", reason(&error)),
    }
    client.batch_execute("ROLLBACK").await?;
    client.batch_execute(sql).await?;
    Ok(Refreshed::WithTables(tables.len()))
}

async fn written_by(client: &Client, sql: &str) -> std::result::Result<Vec<u32>, ServerError> {
    client.batch_execute(sql).await?;
    written(client).await
}

async fn written(client: &Client) -> std::result::Result<Vec<u32>, ServerError> {
    client.query(WRITTEN, &[]).await?.iter().map(|row| row.try_get(0)).collect()
}

/// Whether the tables that it writes have their rows back.
async fn alone(client: &Client, sql: &str, tables: &[u32]) -> std::result::Result<bool, ServerError> {
    client.batch_execute(&format!("CREATE SCHEMA {SCHEMA}")).await?;
    let statements = client.query(KEEPING, &[&tables, &SCHEMA]).await?;
    for row in &statements {
        client.batch_execute(row.try_get(0)?).await?;
    }
    client.batch_execute(sql).await?;
    let kept = |table: &u32| tables.contains(table);
    let is_ours =
        format!("SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relnamespace = '{SCHEMA}'::pg_catalog.regnamespace");
    let ours: Vec<u32> =
        client.query(&is_ours, &[]).await?.iter().map(|row| row.try_get(0)).collect::<std::result::Result<_, _>>()?;
    if !written(client).await?.iter().all(|table| kept(table) || ours.contains(table)) {
        return Ok(false);
    }
    // Triggers, rules and foreign keys must not act: the rows are the same as before.
    client.batch_execute("SET LOCAL session_replication_role = replica").await?;
    for row in &statements {
        client.batch_execute(row.try_get(1)?).await?;
    }
    client.batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE")).await?;
    Ok(true)
}

/// The error of a REFRESH: of kind `Data` if the archive's statement is refused, but not if a privilege is missing.
pub fn cannot_refresh(view: &str, error: &ServerError) -> Error {
    let message = format!("materialized view {view} cannot be refreshed: {}", reason(error));
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Error::new(Kind::NotPermitted, message),
        None => Error::new(Kind::Unavailable, message).hint("see the server's log"),
        Some(_) => Error::new(Kind::Data, message),
    }
}

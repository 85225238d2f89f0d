//! One REFRESH, of which nothing is left but the materialized view.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::error::{Error, Kind};

/// Tables that the transaction has written rows of. The one that a materialized view is made of is gone by then.
const WRITTEN: &str = "SELECT c.oid FROM pg_catalog.pg_stat_xact_user_tables s \
     JOIN pg_catalog.pg_class c ON c.oid = s.relid WHERE c.relkind = 'r' AND c.relpersistence <> 't' \
     AND s.n_tup_ins + s.n_tup_upd + s.n_tup_del > 0";

/// A schema for what keeps rows out; it does not outlive its transaction.
const SCHEMA: &str = "pgcellar_refresh";

/// Makes the triggers of the tables `$1`. Triggers of one kind fire in the order of their names, and where one answers with
/// no row, none fires behind it (PostgreSQL documentation, "Overview of Trigger Behavior").
const TRIGGERS: &str = "SELECT pg_catalog.format('CREATE TRIGGER %4$I BEFORE INSERT OR UPDATE OR DELETE ON %1$I.%2$I \
     FOR EACH ROW EXECUTE FUNCTION %3$I.nothing(); ALTER TABLE %1$I.%2$I ENABLE ALWAYS TRIGGER %4$I', \
     n.nspname, c.relname, $2::text, ' pgcellar') FROM pg_catalog.pg_class c \
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1::oid[])";

/// How a materialized view was refreshed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// Nothing else has changed.
    Alone,
    /// It has written rows of tables, so many of them, which could not be kept out.
    WithTables(usize),
}

/// Refreshes a materialized view in a transaction of its own. Where functions that it calls write rows of tables, it is
/// done again with triggers that keep those rows out.
///
/// # Errors
/// The server's own error of the statement.
pub async fn refresh(client: &Client, sql: &str) -> std::result::Result<Refreshed, tokio_postgres::Error> {
    client.batch_execute("BEGIN").await?;
    let written = written_by(client, sql).await;
    match &written {
        Ok(tables) if tables.is_empty() => {
            client.batch_execute("COMMIT").await?;
            return Ok(Refreshed::Alone);
        }
        _ => client.batch_execute("ROLLBACK").await?,
    }
    let tables = written?;
    client.batch_execute("BEGIN").await?;
    match alone(client, sql, &tables).await {
        Ok(()) => {
            client.batch_execute("COMMIT").await?;
            return Ok(Refreshed::Alone);
        }
        Err(error) if error.is_closed() => return Err(error),
        Err(error) => log::debug!("what a refresh writes cannot be kept out: {error}"),
    }
    client.batch_execute("ROLLBACK").await?;
    client.batch_execute(sql).await?;
    Ok(Refreshed::WithTables(tables.len()))
}

async fn written_by(client: &Client, sql: &str) -> std::result::Result<Vec<u32>, tokio_postgres::Error> {
    client.batch_execute(sql).await?;
    client.query(WRITTEN, &[]).await?.iter().map(|row| row.try_get(0)).collect()
}

async fn alone(client: &Client, sql: &str, tables: &[u32]) -> std::result::Result<(), tokio_postgres::Error> {
    let function = format!(
        "CREATE SCHEMA {SCHEMA}; CREATE FUNCTION {SCHEMA}.nothing() RETURNS trigger LANGUAGE plpgsql \
         AS 'BEGIN RETURN NULL; END'"
    );
    client.batch_execute(&function).await?;
    for row in client.query(TRIGGERS, &[&tables, &SCHEMA]).await? {
        client.batch_execute(row.try_get(0)?).await?;
    }
    client.batch_execute(sql).await?;
    client.batch_execute(&format!("DROP SCHEMA {SCHEMA} CASCADE")).await
}

/// The error of a REFRESH: an unfit statement is the archive's, and a lock or a deadlock is not.
pub fn cannot_refresh(view: &str, error: &tokio_postgres::Error) -> Error {
    let message = format!("materialized view {view} cannot be refreshed: {}", crate::postgres::client::reason(error));
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Error::new(Kind::NotPermitted, message),
        None => Error::new(Kind::Unavailable, message).hint("look at the server's log"),
        Some(_) => Error::new(Kind::Data, message),
    }
}

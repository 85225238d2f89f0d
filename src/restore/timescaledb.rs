//! TimescaleDB's restoring mode: its hooks leave tables, triggers and rows as they are loaded, and its jobs do not run
//! (`timescaledb_pre_restore()` and `timescaledb_post_restore()` in its `sql/restoring.sql`).
//!
//! The mode is a parameter of the database. Here it is set before the archive makes the extension, whose schedulers then end at once,
//! and reset in the transaction that gives the database its name: no job runs before, and no database with its name is left in the
//! mode. What computes from the rows, such as a materialized view, runs in sessions that have left it.

use crate::catalogue::manifest::Extension;
use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::postgres::client::{failed, identifier, literal};
use crate::postgres::columns::{get, text};
use crate::restore::server::{TargetServer, session, session_in_loaded};

/// The extension's name.
const EXTENSION: &str = "timescaledb";

/// The parameter that is on in the mode.
pub const RESTORING: &str = "timescaledb.restoring";

/// Whether it is among these extensions.
pub fn is_among(extensions: &[String]) -> bool {
    extensions.iter().any(|name| name == EXTENSION)
}

/// The version of it, if it is among these extensions and known.
pub fn version(extensions: &[Extension]) -> Option<String> {
    let found = extensions.iter().find(|extension| extension.name == EXTENSION && !extension.version.is_empty());
    found.map(|extension| extension.version.clone())
}

/// The schema of it, if it is among these extensions and known.
pub fn schema(extensions: &[Extension]) -> Option<&str> {
    let found = extensions.iter().find(|extension| extension.name == EXTENSION && !extension.schema.is_empty());
    found.map(|extension| extension.schema.as_str())
}

/// The same sessions outside of the mode.
pub fn outside(connection: &Connection) -> Connection {
    let mut connection = connection.clone();
    connection.parameters.push((RESTORING.to_owned(), "off".to_owned()));
    connection
}

/// Checks that the server has the version that was backed up, if it is known and TimescaleDB is among these extensions: the rows of
/// its catalog fit no other one.
///
/// # Errors
/// `Missing` if it has other versions only.
pub async fn check_version(server: &TargetServer, extensions: &[String], version: Option<&str>) -> Result<()> {
    let Some(version) = version.filter(|_| is_among(extensions)) else { return Ok(()) };
    let query = "SELECT coalesce(bool_or(version = $2), true), string_agg(version, ', ') \
         FROM pg_available_extension_versions WHERE name = $1";
    let row = server.client().query_one(query, &[&EXTENSION, &version]).await;
    let row = row.map_err(failed("the versions of TimescaleDB cannot be listed"))?;
    if get(&row, 0)? {
        return Ok(());
    }
    let message = format!("the backup has TimescaleDB {version}, and the server has only {}", text(&row, 1)?);
    Err(Error::new(Kind::Missing, message).hint(format!(
        "install version {version} on the server's host, restore, and then ALTER EXTENSION {EXTENSION} UPDATE"
    )))
}

/// Makes the extension in the new database if its version is not the one that the archive's `CREATE EXTENSION` would make.
pub async fn make_version(connection: &Connection, database: &str, version: &str) -> Result<()> {
    let client = session(connection, database).await?;
    let query = "SELECT default_version <> $2 AND EXISTS (SELECT FROM pg_available_extension_versions v \
         WHERE v.name = $1 AND v.version = $2) FROM pg_available_extensions WHERE name = $1";
    let row = client.query_opt(query, &[&EXTENSION, &version]).await;
    let row = row.map_err(failed("the versions of TimescaleDB cannot be listed"))?;
    if row.map(|row| get::<bool>(&row, 0)).transpose()? != Some(true) {
        return Ok(());
    }
    let sql = format!("CREATE EXTENSION {EXTENSION} WITH SCHEMA public VERSION {}", literal(version));
    client.batch_execute(&sql).await.map_err(failed("TimescaleDB cannot be made"))
}

/// Has the extension check that its loaded catalog fits its version, and stop its workers.
///
/// # Errors
/// `Data` if it refuses.
pub async fn check_loaded(connection: &Connection, database: &str) -> Result<()> {
    call("pre_restore", connection, database).await
}

/// Has the extension leave the mode for good, and start its workers.
pub async fn leave(connection: &Connection, database: &str) -> Result<()> {
    call("post_restore", connection, database).await
}

async fn call(function: &str, connection: &Connection, database: &str) -> Result<()> {
    let client = session_in_loaded(connection, database).await?;
    let query =
        "SELECT n.nspname::text FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = $1";
    let row = client.query_opt(query, &[&EXTENSION]).await.map_err(failed("the extensions cannot be listed"))?;
    let Some(row) = row else { return Ok(()) };
    let function = format!("{EXTENSION}_{function}");
    let sql = format!("SELECT {}.{function}()", identifier(&text(&row, 0)?));
    client.batch_execute(&sql).await.map_err(|error| match error.as_db_error() {
        Some(refused) => Error::new(Kind::Data, format!("{function}() failed: {}", refused.message())),
        None => failed(&format!("{function}() failed"))(error),
    })
}

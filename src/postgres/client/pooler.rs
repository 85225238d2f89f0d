//! Detects a connection pooler between us and the server.
//!
//! A pooler may ignore the options with which a session starts (`ignore_startup_parameters` of pgbouncer). pg_dump would then
//! write values by other settings than its own. If a pooler uses another backend for each transaction, the settings of pg_dump
//! stay in force for sessions of other clients, which then have no `search_path`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::errors::failed;
use crate::config::Connection;
use crate::error::{Error, Kind, Result};

/// The parameter that marks a session (PostgreSQL documentation, "Customized Options").
const MARK: &str = "pgcellar.session";

/// Hint for a connection through a pooler.
pub const HINT: &str =
    "set DB_HOST and DB_PORT to the PostgreSQL server itself, not to the connection pooler in front of it";

/// Sets the language of the server's messages to that of ours, which include them. Only a superuser may set it.
const ENGLISH: &str = "SELECT pg_catalog.set_config('lc_messages', 'C', false) \
     WHERE pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on'";

/// A value that is unique to a session.
pub fn mark() -> String {
    static SESSIONS: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{}", std::process::id(), now.as_nanos(), SESSIONS.fetch_add(1, Ordering::Relaxed))
}

/// The option that marks a session.
pub fn option(mark: &str) -> String {
    format!("-c {MARK}={mark}")
}

/// Refuses a session without the mark that its options set: the options did not reach the server, or the backend was started
/// for another session.
///
/// # Errors
/// `Config` for such a session.
pub async fn refuse(connection: &Connection, client: &Client, mark: &str) -> Result<()> {
    // Not a prepared statement, which another backend would not have.
    let query = format!("SELECT pg_catalog.current_setting('{MARK}', true); {ENGLISH}");
    let answer = client.simple_query(&query).await.map_err(failed("the session's options cannot be read"))?;
    let in_force = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    if in_force == Some(mark) {
        return Ok(());
    }
    let message = format!(
        "the options of a session at {connection} are not in force: the connection goes to a connection pooler, which does not \
         pass them to the server or shares its sessions among clients"
    );
    Err(Error::new(Kind::Config, message).hint(HINT))
}

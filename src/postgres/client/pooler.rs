//! A connection pooler between us and the server.
//!
//! The options of a session's start are lost where a pooler ignores them (`ignore_startup_parameters` of pgbouncer), for
//! pg_dump as for us: it would write values as other settings say. Where a pooler gives each transaction another backend, what
//! pg_dump sets stays in force for the sessions of others, which then have no `search_path`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::errors::failed;
use crate::config::Connection;
use crate::error::{Error, Kind, Result};

/// Parameter that marks a session (PostgreSQL documentation, "Customized Options").
const MARK: &str = "pgcellar.session";

/// What to do about a pooler.
pub const WAY_OUT: &str =
    "let DB_HOST and DB_PORT name the PostgreSQL server itself, and not the connection pooler before it";

/// What the server says is shown with what we say. Only a superuser may choose its language.
const ENGLISH: &str = "SELECT pg_catalog.set_config('lc_messages', 'C', false) \
     WHERE pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on'";

/// A value that no other session has.
pub fn mark() -> String {
    static SESSIONS: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}-{}-{}", std::process::id(), now.as_nanos(), SESSIONS.fetch_add(1, Ordering::Relaxed))
}

/// The option that marks a session.
pub fn option(mark: &str) -> String {
    format!("-c {MARK}={mark}")
}

/// Refuses a session that has not the mark which its options set: they did not reach the server, or the backend that answers
/// was started for another session.
///
/// # Errors
/// `Config` for such a session.
pub async fn refuse(connection: &Connection, client: &Client, mark: &str) -> Result<()> {
    // Not as a prepared statement, which another backend would not know.
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
        "the options of a session at {connection} are not in force: a connection pooler answers there, which does not hand \
         them on to the server, or has other clients share its sessions"
    );
    Err(Error::new(Kind::Config, message).hint(WAY_OUT))
}

//! Ends sessions in a database that gets another name.

use std::time::Duration;

use tokio_postgres::Client;

use crate::error::{Error, Result};
use crate::postgres::client::failed;
use crate::postgres::columns::{get, text};

/// How often sessions are terminated while RENAME waits for their end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Waits for RENAME of these databases, and terminates their sessions until it is done. Also returns why a session could not be
/// terminated, which may end by itself.
pub async fn rename_ending(
    renaming: impl Future<Output = std::result::Result<(), tokio_postgres::Error>>,
    ender: &Client,
    databases: &[u32],
) -> (std::result::Result<(), tokio_postgres::Error>, Option<Error>) {
    tokio::pin!(renaming);
    loop {
        tokio::select! {
            biased;
            renamed = &mut renaming => return (renamed, None),
            ended = end_sessions(ender, databases) => match ended {
                Ok(()) => {}
                Err(refused) => return (renaming.await, Some(refused)),
            }
        }
    }
}

/// Terminates the sessions of these databases, and waits a moment.
async fn end_sessions(ender: &Client, databases: &[u32]) -> Result<()> {
    // A session without a role is autovacuum's, which RENAME terminates itself.
    let query = "SELECT pid, usename::text FROM pg_stat_activity WHERE datid = ANY ($1::oid[]) AND usename IS NOT NULL";
    let rows = ender.query(query, &[&databases]).await.map_err(failed("sessions cannot be listed"))?;
    for row in rows {
        let (pid, who): (i32, String) = (get(&row, 0)?, text(&row, 1)?);
        let ended = ender.query("SELECT pg_terminate_backend($1)", &[&pid]).await;
        ended.map_err(|error| {
            failed(&format!("the session of '{}' (process {pid}) cannot be ended", who.escape_debug()))(error)
                .hint("name a superuser with --username")
        })?;
    }
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}

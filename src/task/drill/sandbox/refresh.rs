//! Materialized views of a drill. One that needs another server cannot be refreshed without a network, which is no fault of the
//! backup.

use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

use crate::postgres::client::reason;
use crate::restore::deferred::Deferred;
use crate::restore::pg_restore::errors::is_not_preloaded;
use crate::restore::refresh;
use crate::task::drill::sandbox::failure::{DrillFailure, of_backup};

/// Classes of errors about things outside of the database: connections, foreign data, files
/// (PostgreSQL documentation, "PostgreSQL Error Codes").
const OUTSIDE: &[&str] = &["08", "HV", "58"];

/// The result of refreshing materialized views.
#[derive(Debug, Default)]
pub struct RefreshNotes {
    /// Notes for the record.
    pub notes: Vec<String>,
    /// How many could not be refreshed.
    pub missing: u64,
}

/// Refreshes the materialized views.
pub async fn refresh_all(deferred: &Deferred, client: &Client) -> std::result::Result<RefreshNotes, DrillFailure> {
    let mut refreshed = RefreshNotes::default();
    if deferred.refreshes.is_empty() {
        return Ok(refreshed);
    }
    deferred.prepare(client).await?;
    let outcome = refresh::refresh_all(client, &deferred.refreshes).await?;
    for (view, tables) in outcome.with_tables {
        refreshed.notes.push(format!("materialized view {view} writes rows into {tables} tables when it is refreshed"));
    }
    for (view, error) in &outcome.failed {
        let code = error.code().map_or("", SqlState::code);
        // A view on one that was not refreshed cannot be refreshed either.
        let follows = code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE.code() && refreshed.missing > 0;
        let said = error.as_db_error().map_or("", DbError::message);
        let outside = OUTSIDE.iter().any(|class| code.starts_with(class)) || is_not_preloaded(said);
        if !follows && !outside {
            return Err(of_backup(refresh::cannot_refresh(view, error)));
        }
        refreshed.notes.push(format!("materialized view {view} is not refreshed: {}", reason(error)));
        refreshed.missing += 1;
    }
    Ok(refreshed)
}

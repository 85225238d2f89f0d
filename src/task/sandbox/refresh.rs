//! Materialized views of a drill, refreshed one by one: one that needs another server cannot be refreshed where there is no
//! network, and that is no fault of the backup.

use tokio_postgres::Client;
use tokio_postgres::error::{DbError, SqlState};

use crate::postgres::client::reason;
use crate::postgres::living::Positions;
use crate::postgres::restore::complaints::is_not_preloaded;
use crate::postgres::restore::refresh::{Refreshed, cannot_refresh, refresh};
use crate::task::restore::deferred::Deferred;
use crate::task::sandbox::restore::{Failed, of_backup};

/// Classes of errors that speak of what is outside of the database: connections, foreign data, files
/// (PostgreSQL documentation, "PostgreSQL Error Codes").
const OUTSIDE: &[&str] = &["08", "HV", "58"];

/// Refreshes them: what was not refreshed, and why.
pub async fn refresh_all(deferred: &Deferred, client: &Client) -> std::result::Result<Vec<String>, Failed> {
    let mut notes = Vec::new();
    if deferred.refreshes.is_empty() {
        return Ok(notes);
    }
    deferred.prepare(client).await?;
    let positions = Positions::remember(client).await?;
    for one in &deferred.refreshes {
        let error = match refresh(client, &one.sql).await {
            Ok(Refreshed::Alone) => continue,
            Ok(Refreshed::WithTables(tables)) => {
                notes.push(format!(
                    "materialized view {} writes rows into {tables} tables when it is refreshed",
                    one.view
                ));
                continue;
            }
            Err(error) => error,
        };
        let code = error.code().map_or("", SqlState::code);
        // One that reads another that was not refreshed cannot be, either.
        let follows = code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE.code() && !notes.is_empty();
        let said = error.as_db_error().map_or("", DbError::message);
        let outside = OUTSIDE.iter().any(|class| code.starts_with(class)) || is_not_preloaded(said);
        if !follows && !outside {
            return Err(of_backup(cannot_refresh(&one.view, &error)));
        }
        notes.push(format!("materialized view {} is not refreshed: {}", one.view, reason(&error)));
    }
    positions.put_back(client).await?;
    Ok(notes)
}

//! Materialized views, refreshed after everything else and one by one: one that needs another server cannot be refreshed
//! where there is no network, and that is no fault of the backup.

use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

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

    /// Runs them.
    pub async fn run(&self, client: &Client) -> std::result::Result<Refreshed, Failed> {
        let mut refreshed = Refreshed::default();
        for statement in &self.statements {
            let Err(error) = client.batch_execute(statement).await else { continue };
            let code = error.code().map_or("", SqlState::code);
            // One that reads another that was not refreshed cannot be, either.
            let follows = code == SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE.code() && !refreshed.notes.is_empty();
            let what = statement.trim().trim_start_matches("REFRESH MATERIALIZED VIEW ").trim_end_matches(';');
            let outside = OUTSIDE.iter().any(|class| code.starts_with(class)) || is_not_preloaded(&reason(&error));
            if !follows && !outside {
                return Err(Failed::Backup(format!("materialized view {what}: {}", reason(&error))));
            }
            refreshed.notes.push(format!("materialized view {what} is not refreshed: {}", reason(&error)));
        }
        Ok(refreshed)
    }
}

//! Whether and why sessions of a database were ended, by the server's statistics.
//!
//! The messages of pg_dump have no SQLSTATE from which a program could tell why it failed. The server counts the sessions that
//! it ended (PostgreSQL documentation, "The Cumulative Statistics System"); the counts are read before a dump, and again after
//! one that failed.

use std::time::{Duration, Instant};

use crate::config::Connection;
use crate::error::{Error, Result};
use crate::postgres::client::{OF_STANDBY, failed};
use crate::postgres::columns::{get, text};
use crate::postgres::snapshot::ServerInfo;

/// How long it may take until an ended session is counted, and how often the counts are read.
const COUNTED: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// `pg_stat_database` has the sessions that were not ended by their clients since version 14.
const COUNTS: &str = "SELECT pg_postmaster_start_time()::text, pg_is_in_recovery(), s.conflicts, \
     concat_ws(' ', d ->> 'sessions_abandoned', d ->> 'sessions_fatal', d ->> 'sessions_killed') \
     FROM pg_stat_database s, to_jsonb(s) d WHERE s.datname = current_database()";

/// The counts of a server.
#[derive(Debug, PartialEq, Eq)]
struct Counts {
    started: String,
    standby: bool,
    conflicts: i64,
    ended: String,
}

/// Why sessions were ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Recovery on a standby.
    Recovery,
    /// A broken connection, a restart, or an administrator.
    Other,
}

/// The counts of a database when a dump of it began.
#[derive(Debug)]
pub struct Interruptions<'a> {
    connection: &'a Connection,
    database: &'a str,
    before: Counts,
}

impl<'a> Interruptions<'a> {
    /// Reads the counts, before the session's transaction begins.
    pub async fn before(session: &ServerInfo, connection: &'a Connection, database: &'a str) -> Result<Self> {
        Ok(Interruptions { connection, database, before: counts(session).await? })
    }

    /// The database.
    pub fn database(&self) -> &'a str {
        self.database
    }

    /// The error of a dump, marked as transient and with a hint if the server has ended sessions since.
    pub async fn explain(&self, error: Error) -> Error {
        // The error of our own session is clear, unless the recovery of a standby may have ended it.
        if error.is_transient() && !self.before.standby {
            return error;
        }
        match self.cause().await {
            Ok(Some(Cause::Recovery)) => error.transient().hint(OF_STANDBY),
            Ok(Some(Cause::Other)) => error.transient(),
            Ok(None) => error,
            Err(later) if later.is_transient() => error.transient(),
            Err(_) => error,
        }
    }

    /// A session may be counted only a moment after its end.
    async fn cause(&self) -> Result<Option<Cause>> {
        let begun = Instant::now();
        let session = ServerInfo::open(self.connection, self.database).await?;
        loop {
            let counts = counts(&session).await?;
            if counts.standby && counts.conflicts != self.before.conflicts {
                return Ok(Some(Cause::Recovery));
            }
            let changed = counts != self.before;
            if (changed && !counts.standby) || begun.elapsed() > COUNTED {
                return Ok(changed.then_some(Cause::Other));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn counts(session: &ServerInfo) -> Result<Counts> {
    let row =
        session.client().query_one(COUNTS, &[]).await.map_err(failed("the server's statistics cannot be read"))?;
    Ok(Counts { started: text(&row, 0)?, standby: get(&row, 1)?, conflicts: get(&row, 2)?, ended: text(&row, 3)? })
}

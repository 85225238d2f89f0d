//! Reads what a restore would change on the server, without changing it.

use std::fmt;

use indicatif::HumanBytes;

use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::columns::{get, text};
use crate::restore::server::TargetServer;

/// A database that exists.
#[derive(Clone, Copy, Debug)]
pub struct Existing {
    /// `pg_database_size()` in bytes; none if our role may not read it.
    pub bytes: Option<i64>,
    /// Sessions of clients in it.
    pub sessions: i64,
}

impl fmt::Display for Existing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = self.bytes {
            write!(f, "{}, ", HumanBytes(u64::try_from(bytes).unwrap_or_default()))?;
        }
        write!(f, "{} session{}", self.sessions, if self.sessions == 1 { "" } else { "s" })
    }
}

impl TargetServer {
    /// The database of this name, if there is one.
    pub async fn existing(&self, name: &str) -> Result<Option<Existing>> {
        let query = "SELECT CASE WHEN has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'MEMBER') \
             THEN pg_database_size(oid) END, (SELECT count(*) FROM pg_stat_activity WHERE datid = d.oid \
             AND usename IS NOT NULL AND coalesce(backend_type, '') IN ('client backend', '')) FROM pg_database d WHERE datname = $1::text";
        let row = self.client().query_opt(query, &[&name]).await.map_err(failed("the databases cannot be listed"))?;
        row.map(|row| Ok(Existing { bytes: get(&row, 0)?, sessions: get(&row, 1)? })).transpose()
    }

    /// `server_version`.
    pub async fn version(&self) -> Result<String> {
        let row = self.client().query_one("SHOW server_version", &[]).await;
        text(&row.map_err(failed("the server's version cannot be read"))?, 0)
    }

    /// The roles among these that the server lacks.
    pub async fn lacks_roles(&self, roles: &[String]) -> Result<Vec<String>> {
        let query =
            "SELECT r FROM unnest($1::text[]) r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) ORDER BY 1";
        let rows = self.client().query(query, &[&roles]).await.map_err(failed("the roles cannot be listed"))?;
        rows.iter().map(|row| text(row, 0)).collect()
    }
}

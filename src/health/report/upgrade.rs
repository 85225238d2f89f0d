//! Whether each database is ready for a newer major version, by the last rehearsal of its upgrade.

use serde::Serialize;

use crate::health::facts::RehearsalFacts;
use crate::health::report::Overview;

/// A database's readiness.
#[derive(Debug, Serialize)]
pub struct Upgrade<'a> {
    /// Database.
    #[serde(skip)]
    pub database: &'a str,
    /// Major version of the server.
    pub server: u32,
    /// `yes`, or `no, because …`, or `not rehearsed yet`.
    pub ready: &'a str,
    /// The backup that was restored.
    pub backup: Option<&'a str>,
    /// The rehearsal.
    #[serde(flatten)]
    pub rehearsal: Option<&'a RehearsalFacts>,
}

/// What a database without a rehearsal says.
const NOT_YET: &str = "not rehearsed yet";

/// The readiness of every database, by name: for the configured version, or else for that of the last rehearsal.
pub fn all<'a>(overview: &Overview<'a>) -> Vec<Upgrade<'a>> {
    let server = overview.settings.next_server;
    let of = |protection: &crate::health::coverage::Coverage<'a>| {
        let database = protection.database;
        match (protection.last_rehearsal(server), server) {
            (Some((backup, rehearsal)), _) => Some(Upgrade {
                database,
                server: rehearsal.server,
                ready: &rehearsal.verdict,
                backup: Some(&backup.id),
                rehearsal: Some(rehearsal),
            }),
            (None, Some(server)) if protection.expected.is_some() => {
                Some(Upgrade { database, server, ready: NOT_YET, backup: None, rehearsal: None })
            }
            (None, _) => None,
        }
    };
    overview.protections.iter().filter_map(of).collect()
}

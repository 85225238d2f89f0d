//! A run of `pgcellar retention`: its rules and options.

use crate::catalogue::retention_plan::RetentionRules;
use crate::config::{Connection, IdentitySource};
use crate::stop::Stop;

/// A run of `pgcellar retention`.
pub struct RetentionRun {
    /// The rules, and when they are applied.
    pub rules: RetentionRules,
    /// Where the private keys are.
    pub identities: IdentitySource,
    /// The server, whose identity and clock are queried; none if its settings are wrong.
    pub connection: Option<Connection>,
    /// Only backups of this database.
    pub database: Option<String>,
    /// Whether nothing is removed.
    pub dry_run: bool,
    /// Whether the result is printed as JSON.
    pub json: bool,
    /// When to stop.
    pub stop: Stop,
}

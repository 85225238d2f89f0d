//! The health of an instance: findings, which are pure functions of facts and thresholds.

use serde::{Deserialize, Serialize};

pub mod notified;

pub mod checks;
pub mod coverage;
pub mod facts;
pub mod missed_drills;
pub mod products;
pub mod report;
#[cfg(test)]
mod sample;

/// How bad a finding is, in the order and with the exit codes of the Monitoring Plugins
/// (<https://www.monitoring-plugins.org/doc/guidelines.html>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Nothing to do.
    Ok,
    /// It could not be found out.
    Unknown,
    /// Something should be looked at.
    Warning,
    /// Data are in danger.
    Critical,
}

impl Level {
    /// The word in reports.
    pub fn name(self) -> &'static str {
        match self {
            Level::Ok => "OK",
            Level::Warning => "WARNING",
            Level::Unknown => "UNKNOWN",
            Level::Critical => "CRITICAL",
        }
    }

    /// Exit status of a plugin.
    pub fn exit_status(self) -> u8 {
        match self {
            Level::Ok => 0,
            Level::Warning => 1,
            Level::Critical => 2,
            Level::Unknown => 3,
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Name of the check, the same in every version: `no_backup`, `storage_full` …
    pub check: &'static str,
    /// What it is about: a database, a store, a unit; empty for the instance. With `check` it tells whether a finding
    /// is the one of the last run.
    pub subject: String,
    /// What is so, in one sentence without a full stop.
    pub message: String,
    /// What to do.
    pub hint: String,
}

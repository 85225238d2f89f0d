//! The health of an instance: findings, which are pure functions of facts and thresholds.

use serde::{Deserialize, Serialize};

pub mod notified;

pub mod changes;
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
    /// It could not be determined.
    Unknown,
    /// Something needs attention.
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

/// A finding of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// Name of the check, the same in every version: `no_backup`, `storage_full` …
    pub check: &'static str,
    /// Its subject: a database, a store, a unit; empty for the instance. With `check` it identifies a finding across runs.
    pub subject: String,
    /// The finding in one sentence without a full stop.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Finding {
    /// A finding of its parts.
    pub fn new(
        level: Level,
        check: &'static str,
        subject: impl Into<String>,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Finding { level, check, subject: subject.into(), message: message.into(), hint: hint.into() }
    }
}

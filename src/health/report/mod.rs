//! Reports of one state: as text, HTML and JSON, as a plugin's output, and for Prometheus.

use std::time::Duration;

use jiff::SignedDuration;

use crate::config::MonitorSettings;
use crate::format::{count, span};
use crate::health::checks::verdict;
use crate::health::coverage::Coverage;
use crate::health::facts::Facts;
use crate::health::{Finding, Level};

mod elements;
mod history;
pub mod html;
pub mod json;
mod plot;
pub mod plugin;
pub mod prometheus;
pub mod text;
mod upgrade;

/// The contents of every report.
#[derive(Debug)]
pub struct Overview<'a> {
    /// The facts.
    pub facts: &'a Facts,
    /// The thresholds.
    pub settings: &'a MonitorSettings,
    /// The findings, the worst first.
    pub findings: &'a [Finding],
    /// Each database and its backups.
    pub protections: Vec<Coverage<'a>>,
    /// The worst level.
    pub level: Level,
}

impl<'a> Overview<'a> {
    /// The overview of facts and findings.
    pub fn new(facts: &'a Facts, settings: &'a MonitorSettings, findings: &'a [Finding]) -> Self {
        Overview { facts, settings, findings, protections: Coverage::all(facts), level: verdict(findings) }
    }

    /// The state in one sentence: the worst finding, or how recent the backups are.
    pub fn summary(&self) -> String {
        let wrong: Vec<&Finding> = self.findings.iter().filter(|finding| finding.level > Level::Ok).collect();
        match wrong.as_slice() {
            [] => self.all_well(),
            [one] => one.message.clone(),
            [first, others @ ..] => format!("{} (and {})", first.message, count(others.len(), "further finding")),
        }
    }

    fn all_well(&self) -> String {
        let expected: Vec<_> = self.protections.iter().filter(|protection| protection.expected.is_some()).collect();
        let newest = expected.iter().filter_map(|protection| protection.newest(self.facts.now));
        let oldest = newest.map(|backup| backup.started).min();
        let waiting = expected.iter().filter(|protection| protection.newest(self.facts.now).is_none()).count();
        let mut summary = count(expected.len(), "database");
        if let Some(oldest) = oldest {
            summary += &format!(", backed up {} ago or later", span(positive(self.facts.now.duration_since(oldest))));
        }
        if waiting > 0 {
            summary += &format!(", {waiting} waiting for the first backup");
        }
        summary
    }
}

fn positive(span: SignedDuration) -> Duration {
    Duration::try_from(span).unwrap_or_default()
}

#[cfg(test)]
mod tests;

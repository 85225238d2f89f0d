//! The checks: pure functions from facts and thresholds to findings.

use crate::config::MonitorSettings;
use crate::health::coverage::Coverage;
use crate::health::facts::Facts;
use crate::health::{Finding, Level};

mod databases;
mod drills;
mod host;
mod learned;
mod stores;

pub use host::unit;
pub use stores::least_free;

/// The order of findings of one level: those that explain others first, then those nearest to a loss of data.
const ORDER: &[&str] = &[
    "closed_folder",
    "store_unreadable",
    "mixed_servers",
    "no_backup",
    "emptied",
    "shrunk",
    "damaged",
    "drill_failed",
    "not_recent",
    "incomplete",
    "storage_full",
    "next_backup_fits",
    "timer",
    "key",
];

/// All findings, the worst first.
pub fn findings(facts: &Facts, settings: &MonitorSettings) -> Vec<Finding> {
    let protections = Coverage::all(facts);
    let mut findings = stores::findings(facts, settings);
    findings.extend(databases::findings(facts, &protections, settings));
    findings.extend(drills::findings(facts, &protections, settings));
    findings.extend(databases::emptied(facts, &protections));
    findings.extend(databases::shrunk(facts, &protections, settings));
    findings.extend(learned::findings(facts, &protections, settings));
    findings.extend(host::findings(facts));
    let place = |finding: &Finding| ORDER.iter().position(|check| *check == finding.check).unwrap_or(ORDER.len());
    findings.sort_by(|a, b| b.level.cmp(&a.level).then(place(a).cmp(&place(b))).then(a.subject.cmp(&b.subject)));
    findings
}

/// The worst level of some findings.
pub fn verdict(findings: &[Finding]) -> Level {
    findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

#[cfg(test)]
mod tests;

//! Verdict and report as JSON.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::catalogue::records::drill::DrillOutcome;
use crate::error::{Error, Kind, Result};
use crate::health::changes::BackupChanges;
use crate::health::coverage::{Coverage, CoveredBackup};
use crate::health::facts::{BackupFacts, Removal, ServerState};
use crate::health::report::Overview;
use crate::health::report::upgrade;
use crate::health::report::upgrade::Upgrade;
use crate::health::{Finding, Level};

/// What `monitor check --json` prints.
#[derive(Serialize)]
struct Verdict<'a> {
    level: Level,
    summary: String,
    instance: &'a str,
    host: &'a str,
    at: Timestamp,
    findings: &'a [Finding],
}

/// What `monitor report --format json` prints.
#[derive(Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    verdict: Verdict<'a>,
    schedule: &'a str,
    next_backup: Option<Timestamp>,
    longest_age_seconds: u64,
    server: &'a ServerState,
    databases: Vec<Database<'a>>,
    stores: Vec<Store<'a>>,
    removals: Option<&'a [Removal]>,
    backups: Vec<Stored<'a>>,
}

#[derive(Serialize)]
struct Database<'a> {
    database: &'a str,
    configured: bool,
    first_due: Option<Timestamp>,
    protected_since: Option<Timestamp>,
    protected_until: Option<Timestamp>,
    newest_good: Option<&'a str>,
    newest_proven: Option<&'a str>,
    recovery_seconds: Option<f64>,
    last_drill: Option<Timestamp>,
    last_drill_result: Option<DrillOutcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upgrade: Option<Upgrade<'a>>,
    good_backups: usize,
    backups: usize,
    /// What the newest good backup changed against the one before; null if the rows of one of them are not known.
    changes: Option<BackupChanges<'a>>,
}

#[derive(Serialize)]
struct Store<'a> {
    store: &'static str,
    location: &'a str,
    error: Option<&'a str>,
    backups: usize,
    bytes: u64,
    capacity_bytes: Option<u64>,
    free_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Stored<'a> {
    #[serde(flatten)]
    backup: &'a BackupFacts,
    seconds: f64,
    stores: &'a [&'static str],
    proven: bool,
}

/// The verdict.
pub fn verdict(overview: &Overview<'_>) -> Result<String> {
    write(&short(overview))
}

/// The verdict if the facts could not be gathered.
pub fn unknown(error: &Error) -> Result<String> {
    write(&serde_json::json!({ "level": Level::Unknown, "summary": error.to_string(), "findings": [] }))
}

/// The report.
pub fn render(overview: &Overview<'_>) -> Result<String> {
    let facts = overview.facts;
    let mut upgrades: BTreeMap<&str, Upgrade<'_>> =
        upgrade::all(overview).into_iter().map(|upgrade| (upgrade.database, upgrade)).collect();
    write(&Report {
        verdict: short(overview),
        schedule: &facts.schedule.text,
        next_backup: facts.schedule.next,
        longest_age_seconds: facts.schedule.recent.as_secs(),
        server: &facts.server,
        databases: overview
            .protections
            .iter()
            .map(|protection| database(overview, protection, upgrades.remove(protection.database)))
            .collect(),
        stores: stores(overview),
        removals: facts.removals.as_deref(),
        backups: overview.protections.iter().flat_map(|protection| &protection.backups).map(stored).collect(),
    })
}

fn short<'a>(overview: &'a Overview<'_>) -> Verdict<'a> {
    Verdict {
        level: overview.level,
        summary: overview.summary(),
        instance: &overview.facts.instance,
        host: &overview.facts.host,
        at: overview.facts.now,
        findings: overview.findings,
    }
}

fn database<'a>(overview: &Overview<'a>, protection: &Coverage<'a>, upgrade: Option<Upgrade<'a>>) -> Database<'a> {
    let now = overview.facts.now;
    let newest = protection.newest(now);
    Database {
        database: protection.database,
        configured: protection.expected.is_some(),
        first_due: protection.expected.and_then(|expected| expected.first_due).filter(|_| newest.is_none()),
        protected_since: protection.oldest(now).map(|backup| backup.started),
        protected_until: newest.map(|backup| backup.started),
        newest_good: newest.map(|backup| backup.id.as_str()),
        newest_proven: protection.proven().map(|(backup, _)| backup.id.as_str()),
        recovery_seconds: protection.proven().map(|(_, drill)| drill.restore_seconds),
        last_drill: protection.last_drill().map(|(_, drill)| drill.at),
        last_drill_result: protection.last_drill().map(|(_, drill)| drill.result),
        upgrade,
        good_backups: protection.good(now).count(),
        backups: protection.backups.len(),
        changes: protection.changes(overview.facts),
    }
}

fn stores<'a>(overview: &'a Overview<'_>) -> Vec<Store<'a>> {
    let each = overview.facts.stores.iter().map(|store| {
        let disk = overview.facts.disk.filter(|_| store.name == "local");
        Store {
            store: store.name,
            location: &store.location,
            error: store.contents.as_ref().err().map(|trouble| trouble.message.as_str()),
            backups: store.backups().len(),
            bytes: store.bytes(),
            capacity_bytes: disk.map(|disk| disk.bytes),
            free_bytes: disk.map(|disk| disk.free_bytes),
        }
    });
    each.collect()
}

fn stored<'a>(kept: &'a CoveredBackup<'_>) -> Stored<'a> {
    let seconds = kept.backup.duration().as_secs_f64();
    Stored { backup: kept.backup, seconds, stores: &kept.stores, proven: kept.is_proven() }
}

fn write(document: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(document)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the report as JSON: {error}")))?;
    Ok(text + "\n")
}

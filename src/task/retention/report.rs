//! The report of a retention run.

use indicatif::HumanBytes;
use jiff::Timestamp;
use serde::Serialize;

use crate::catalogue::backup_table::age;
use crate::catalogue::retention::Reason;
use crate::catalogue::retention_plan::{Planned, StoreBackups, removals};
use crate::catalogue::{Backup, Status};
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::stdout;
use crate::store::StoreKind;
use crate::table;
use crate::task::retention::run::RetentionRun;

/// The number of ids in a message.
const NAMED: usize = 5;

/// A backup in the JSON.
#[derive(Serialize)]
struct DecisionJson<'a> {
    id: &'a str,
    database: &'a str,
    store: StoreKind,
    started: Timestamp,
    stored_bytes: u64,
    status: Status,
    decision: &'static str,
    reasons: Vec<String>,
    removed: bool,
    error: Option<String>,
    /// What a partial backup lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking: Option<String>,
}

/// Prints every backup with its decision: as JSON with `--json`, and else a table in a dry run.
pub fn print(run: &RetentionRun, stores: &[StoreBackups], planned: &[Vec<Planned>]) -> Result<()> {
    let all = || stores.iter().zip(planned).flat_map(|(store, planned)| store.backups.iter().zip(planned));
    let text = match (run.json, run.dry_run) {
        (true, _) => {
            let lines: Vec<DecisionJson<'_>> = all().map(|(backup, planned)| line(backup, planned)).collect();
            serde_json::to_string_pretty(&lines)
                .map_err(|error| Error::new(Kind::Internal, format!("cannot write the backups as JSON: {error}")))?
                + "\n"
        }
        (false, true) if all().next().is_some() => {
            let header = vec!["ID", "AGE", "SIZE", "STATUS", "STORE", "DECISION", "REASONS"];
            table::table(header, all().map(|(backup, planned)| row(run, backup, planned)), &[1, 2])
        }
        (false, _) => return Ok(()),
    };
    stdout::print(text)
}

fn decision(planned: &Planned) -> &'static str {
    if planned.decision.keep { "keep" } else { "remove" }
}

fn reasons(planned: &Planned) -> Vec<String> {
    planned.decision.reasons.iter().map(ToString::to_string).collect()
}

fn line<'a>(backup: &'a Backup, planned: &Planned) -> DecisionJson<'a> {
    let manifest = &backup.manifest;
    DecisionJson {
        id: &manifest.id,
        database: &manifest.database,
        store: backup.store.kind(),
        started: manifest.started,
        stored_bytes: manifest.stored_bytes(),
        status: backup.status,
        decision: decision(planned),
        reasons: reasons(planned),
        removed: planned.removed,
        error: planned.error.as_ref().map(ToString::to_string),
        lacking: manifest.lacking(),
    }
}

fn row(run: &RetentionRun, backup: &Backup, planned: &Planned) -> Vec<String> {
    let lacking = backup.manifest.lacking().map(|lacking| printable(&lacking));
    let reasons: Vec<String> = reasons(planned).into_iter().chain(lacking).collect();
    vec![
        printable(&backup.manifest.id),
        age(backup.manifest.started, run.rules.now),
        HumanBytes(backup.manifest.stored_bytes()).to_string(),
        backup.status.name().to_owned(),
        backup.store.kind().to_string(),
        decision(planned).to_owned(),
        reasons.join(", "),
    ]
}

/// Logs a store's sums, and the expired backups that stay.
pub fn log(run: &RetentionRun, store: &StoreBackups, planned: &[Planned]) {
    let both = || store.backups.iter().zip(planned);
    let failed = both().filter_map(|(backup, planned)| Some((backup, planned.error.as_ref()?)));
    for (backup, error) in failed.take(2 * NAMED) {
        log::error!("{} could not be removed: {error}", printable(&backup.manifest.id));
    }
    log_those(
        store,
        planned,
        |reason| *reason == Reason::Awaited,
        "not in the bucket yet: copy them soon, they stay only for twice as long",
    );
    log_those(store, planned, |reason| matches!(reason, Reason::Locked(_)), "locked by the store");
    log_those(
        store,
        planned,
        |reason| matches!(reason, Reason::BeforeGap(_)),
        "kept, because a long time passed before the backups after it, and these are still too few",
    );
    log_those(
        store,
        planned,
        |reason| matches!(reason, Reason::BeforeEmptied | Reason::FirstEmptied),
        "kept, because the database was emptied since (pgcellar monitor acknowledge lets it go if that was on purpose)",
    );
    if store.failure.is_some() && planned.is_empty() {
        return;
    }
    if run.dry_run {
        log::info!("{}: the rules keep {}", store.store.location(), store.policy);
    }
    let gone = |planned: &&Planned| run.dry_run || planned.removed;
    let removed = removals(planned).filter(gone).count();
    let bytes: u64 = both()
        .filter(|(_, planned)| !planned.decision.keep && gone(planned))
        .map(|(backup, _)| backup.manifest.stored_bytes())
        .fold(0, u64::saturating_add);
    let kept = planned.len() - removed;
    log::info!(
        PGCELLAR_STORE = store.store.kind().name(), PGCELLAR_REMOVED = removed,
        PGCELLAR_KEPT = kept, PGCELLAR_BYTES = bytes;
        "{}: {} {removed} backup{} ({}), {} {kept}",
        store.store.location(),
        if run.dry_run { "would remove" } else { "removed" },
        if removed == 1 { "" } else { "s" },
        HumanBytes(bytes),
        if run.dry_run { "keep" } else { "kept" },
    );
}

/// Warns of expired backups that stay only for such reasons.
fn log_those(store: &StoreBackups, planned: &[Planned], is: impl Fn(&Reason) -> bool, why: &str) {
    let only = |planned: &Planned| planned.decision.keep && planned.decision.reasons.iter().all(&is);
    let ids: Vec<String> = store
        .backups
        .iter()
        .zip(planned)
        .filter(|(_, planned)| only(planned))
        .map(|(backup, _)| printable(&backup.manifest.id))
        .collect();
    if !ids.is_empty() {
        let named = ids[..ids.len().min(NAMED)].join(", ");
        let more = if ids.len() > NAMED { format!(" and {} more", ids.len() - NAMED) } else { String::new() };
        log::warn!("{}: expired and {why}: {named}{more}", store.store.location());
    }
}

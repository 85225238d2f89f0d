//! What is said of a cleaning.

use indicatif::HumanBytes;
use jiff::Timestamp;
use serde::Serialize;

use super::{Planned, RetentionRun, Shelf, removals};
use crate::catalogue::retention::Reason;
use crate::catalogue::{Backup, Status};
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::stdout;
use crate::store::StoreKind;
use crate::table;
use crate::task::list;

/// How many ids of a kind stand in a message.
const NAMED: usize = 5;

/// A backup in the JSON.
#[derive(Serialize)]
struct Line<'a> {
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
    /// What a partial one lacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    lacking: Option<String>,
}

/// Prints every backup with what becomes of it: as JSON if that is asked for, and else as a table before a dry run's end.
pub fn print(run: &RetentionRun, shelves: &[Shelf], planned: &[Vec<Planned>]) -> Result<()> {
    let all = || shelves.iter().zip(planned).flat_map(|(shelf, planned)| shelf.backups.iter().zip(planned));
    let text = match (run.json, run.dry_run) {
        (true, _) => {
            let lines: Vec<Line<'_>> = all().map(|(backup, planned)| line(backup, planned)).collect();
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

fn line<'a>(backup: &'a Backup, planned: &Planned) -> Line<'a> {
    let manifest = &backup.manifest;
    Line {
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
        list::age(backup.manifest.started, run.now),
        HumanBytes(backup.manifest.stored_bytes()).to_string(),
        backup.status.name().to_owned(),
        backup.store.kind().to_string(),
        decision(planned).to_owned(),
        reasons.join(", "),
    ]
}

/// Sums a shelf up, with what stays against the rules.
pub fn log(run: &RetentionRun, shelf: &Shelf, planned: &[Planned]) {
    let both = || shelf.backups.iter().zip(planned);
    let failed = both().filter_map(|(backup, planned)| Some((backup, planned.error.as_ref()?)));
    for (backup, error) in failed.take(2 * NAMED) {
        log::error!("{} could not be removed: {error}", printable(&backup.manifest.id));
    }
    log_those(
        shelf,
        planned,
        |reason| *reason == Reason::Awaited,
        "not in the bucket yet: copy them soon, they stay only for twice as long",
    );
    log_those(shelf, planned, |reason| matches!(reason, Reason::Locked(_)), "locked by the store");
    log_those(
        shelf,
        planned,
        |reason| matches!(reason, Reason::BeforeGap(_)),
        "kept, for a long time passed before the backups after it, and these are too few yet",
    );
    log_those(
        shelf,
        planned,
        |reason| matches!(reason, Reason::BeforeEmptied | Reason::FirstEmptied),
        "kept, for the database was emptied since (pgcellar monitor acknowledge lets it go if that was on purpose)",
    );
    if shelf.failure.is_some() && planned.is_empty() {
        return;
    }
    if run.dry_run {
        log::info!("{}: the rules keep {}", shelf.store.location(), shelf.policy);
    }
    let gone = |planned: &&Planned| run.dry_run || planned.removed;
    let removed = removals(planned).filter(gone).count();
    let bytes: u64 = both()
        .filter(|(_, planned)| !planned.decision.keep && gone(planned))
        .map(|(backup, _)| backup.manifest.stored_bytes())
        .fold(0, u64::saturating_add);
    let kept = planned.len() - removed;
    log::info!(
        PGCELLAR_STORE = shelf.store.kind().name(), PGCELLAR_REMOVED = removed,
        PGCELLAR_KEPT = kept, PGCELLAR_BYTES = bytes;
        "{}: {} {removed} backup{} ({}), {} {kept}",
        shelf.store.location(),
        if run.dry_run { "would remove" } else { "removed" },
        if removed == 1 { "" } else { "s" },
        HumanBytes(bytes),
        if run.dry_run { "keep" } else { "kept" },
    );
}

/// Backups that stay for such a reason alone.
fn log_those(shelf: &Shelf, planned: &[Planned], is: impl Fn(&Reason) -> bool, why: &str) {
    let only = |planned: &Planned| planned.decision.keep && planned.decision.reasons.iter().all(&is);
    let ids: Vec<String> = shelf
        .backups
        .iter()
        .zip(planned)
        .filter(|(_, planned)| only(planned))
        .map(|(backup, _)| printable(&backup.manifest.id))
        .collect();
    if !ids.is_empty() {
        let named = ids[..ids.len().min(NAMED)].join(", ");
        let more = if ids.len() > NAMED { format!(" and {} more", ids.len() - NAMED) } else { String::new() };
        log::warn!("{}: expired and {why}: {named}{more}", shelf.store.location());
    }
}

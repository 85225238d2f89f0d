//! The rehearsal of an upgrade: a drill's restore into the server of a newer major version. Its result is recorded beside the
//! manifest, and counts as no drill of the backup.

use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::catalogue::manifest::Manifest;
use crate::catalogue::records::drill::{DrillOutcome, archive_sha256};
use crate::catalogue::records::rehearsal::{RehearsalOutcome, RehearsalRecord, VERSION};
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::stdout;
use crate::task::drill::conversation::{DrillRun, restore};
use crate::task::drill::record::{seconds, write_record};
use crate::task::drill::report::{called, counted, in_words, several};
use crate::task::drill::sender::server_of;
use crate::task::drill::targets::DrillTarget;
use crate::task::drill::verdict::Verdict;

/// The result of one backup's rehearsal.
#[derive(Debug, Serialize)]
pub struct RehearsalReport {
    /// Id of a backup without a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The record; none without a rehearsal.
    #[serde(flatten)]
    record: Option<RehearsalRecord>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_words")]
    error: Option<Error>,
}

/// Rehearses the upgrade of each of these to the major version of `run`, and logs the results.
pub async fn each(run: &DrillRun<'_>, server: u32, targets: &[DrillTarget]) -> Result<Vec<RehearsalReport>> {
    let mut reports = Vec::new();
    for target in targets {
        let report = match rehearse(run, server, target).await {
            Ok(record) => RehearsalReport { id: None, record: Some(record), error: None },
            Err(error) => RehearsalReport { id: Some(target.manifest.id.clone()), record: None, error: Some(error) },
        };
        if run.stop.requested() {
            return Err(run.stop.error());
        }
        report.log(&target.manifest);
        reports.push(report);
    }
    Ok(reports)
}

/// Those of these that an upgrade to the major version is for.
pub fn older(targets: Vec<DrillTarget>, server: u32) -> Vec<DrillTarget> {
    targets.into_iter().filter(|target| server_of(&target.manifest) < server).collect()
}

async fn rehearse(run: &DrillRun<'_>, server: u32, target: &DrillTarget) -> Result<RehearsalRecord> {
    let (begun, manifest) = (Instant::now(), &target.manifest);
    let from = server_of(manifest);
    if from >= server {
        let message =
            format!("the upgrade to PostgreSQL {server} cannot be rehearsed: the backup is of version {from}");
        return Err(Error::new(Kind::Usage, message).hint("without --server it is drilled"));
    }
    let verdict = restore(run, target).await?;
    let record = of(manifest, (from, server), verdict, (run.settings.is_isolated(), begun)).shortened();
    let stored = match manifest.encryption {
        None => record.clone(),
        Some(_) => record.clone().without_names(),
    };
    write_record(target, RehearsalRecord::key(&manifest.id), stored.to_json()?, record.verdict(), run.stop).await?;
    Ok(record)
}

/// The record of a rehearsal.
fn of(
    manifest: &Manifest,
    (from, server): (u32, u32),
    verdict: Verdict,
    (isolated, begun): (bool, Instant),
) -> RehearsalRecord {
    let Verdict { outcome, postgres, restore, database_bytes, at, compared, differences, notes, refused } = verdict;
    let (refused, more_refused) = refused;
    RehearsalRecord {
        rehearsal_version: VERSION,
        id: manifest.id.clone(),
        at: Timestamp::now(),
        result: match outcome {
            DrillOutcome::Passed => RehearsalOutcome::Ready,
            DrillOutcome::Restored => RehearsalOutcome::Restored,
            DrillOutcome::Failed => RehearsalOutcome::Unready,
        },
        archive_sha256: archive_sha256(manifest),
        from,
        server,
        postgres,
        isolated,
        restore_seconds: seconds(restore),
        seconds: seconds(at.saturating_duration_since(begun)),
        database_bytes,
        compared,
        refused,
        more_refused,
        differences,
        more_differences: 0,
        notes,
    }
}

impl RehearsalReport {
    fn log(&self, manifest: &Manifest) {
        let id = called(manifest);
        if let Some(error) = &self.error {
            log::warn!("{id}: the upgrade could not be rehearsed: {}", printable(&error.to_string()));
        }
        let Some(record) = &self.record else { return };
        for note in &record.notes {
            log::warn!("{id}: {}", printable(note));
        }
        for refused in &record.refused {
            let follows = refused.follows.iter().map(|cause| format!(" (it depends on {cause})")).collect::<String>();
            let words = printable(&format!("{}{follows}", refused.in_words()));
            log::warn!("{id}: PostgreSQL {} refuses {words}", record.server);
        }
        for difference in &record.differences {
            log::warn!("{id}: in PostgreSQL {}: {}", record.server, printable(difference));
        }
        let more = record.more_refused + record.more_differences;
        if more > 0 {
            log::warn!("{id}: and {more} more");
        }
        log::info!("{id}: {}", words(record));
    }
}

fn words(record: &RehearsalRecord) -> String {
    let restored =
        format!("restored into PostgreSQL {} in {:.1} s", printable(&record.postgres), record.restore_seconds);
    match record.result {
        RehearsalOutcome::Ready => format!(
            "ready for PostgreSQL {}: {restored}, and {} and {} are what was backed up",
            record.server,
            counted(record.compared.tables, "table"),
            counted(record.compared.rows, "row")
        ),
        RehearsalOutcome::Restored => {
            format!("{restored}, without fingerprints to compare with: not known to be ready for {}", record.server)
        }
        RehearsalOutcome::Unready => {
            format!("not ready for PostgreSQL {}: {restored}, {}", record.server, reasons(record))
        }
    }
}

fn reasons(record: &RehearsalRecord) -> String {
    let refused = match record.refusals() {
        1 => "1 object is refused".to_owned(),
        number => format!("{number} objects are refused"),
    };
    match (record.refusals(), record.deviations()) {
        (0, differences) => counted(differences, "difference"),
        (_, 0) => refused,
        (_, differences) => format!("{refused}, and {}", counted(differences, "difference")),
    }
}

/// Prints all results as JSON.
pub fn print(reports: &[RehearsalReport]) -> Result<()> {
    let text = serde_json::to_string_pretty(reports)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the results as JSON: {error}")))?;
    stdout::print(text + "\n")
}

/// The result of a run of rehearsals alone.
pub fn outcome(reports: Vec<RehearsalReport>) -> Result<()> {
    let total = reports.len();
    let is_unready = |record: &&RehearsalRecord| record.result == RehearsalOutcome::Unready;
    let unready: Vec<&RehearsalRecord> =
        reports.iter().filter_map(|report| report.record.as_ref()).filter(is_unready).collect();
    if let [first, ..] = unready.as_slice() {
        let which = match total {
            1 => format!("{} is not ready for PostgreSQL {}: {}", printable(&first.id), first.server, reasons(first)),
            _ => format!("{} of {total} backups are not ready for PostgreSQL {}", unready.len(), first.server),
        };
        return Err(Error::new(Kind::Data, which)
            .hint("change the objects that are named before the upgrade; the backup itself is not in question"));
    }
    let failed = reports.iter().filter(|report| report.error.is_some()).count();
    match reports.into_iter().find_map(|RehearsalReport { id, error, .. }| Some((id.unwrap_or_default(), error?))) {
        None => Ok(()),
        Some((id, error)) if total == 1 => Err(error.context(printable(&id))),
        Some((_, first)) => Err(several((failed, total), "rehearsals", &first)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = include_str!("../../../tests/golden/rehearsal.json");

    #[test]
    fn results_in_words() {
        let record: RehearsalRecord = serde_json::from_str(RECORD).unwrap();
        assert_eq!(
            words(&record),
            "not ready for PostgreSQL 19: restored into PostgreSQL 19.0 in 61.5 s, 2 objects are refused, and 1 difference"
        );
        let ready = RehearsalRecord { result: RehearsalOutcome::Ready, ..record };
        let expected = "ready for PostgreSQL 19: restored into PostgreSQL 19.0 in 61.5 s, and 12 tables and 1,048,576 rows \
            are what was backed up";
        assert_eq!(words(&ready), expected);
    }
}

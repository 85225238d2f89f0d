//! What a run tells of its drills: to people line by line, to machines as JSON, and at last as the run's own result.

use indicatif::HumanCount;
use serde::{Serialize, Serializer};

use super::{DrillOutcome, called, event};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::records::drill::DrillRecord;
use crate::error::{Error, Kind, Result};
use crate::health::facts::Trouble;
use crate::health::missed_drills::{DrillAttempt, DueDrill};
use crate::printable::printable;
use crate::stdout;

/// What came of one backup.
#[derive(Debug, Serialize)]
pub struct DrillReport {
    /// Id of a backup of which there is no record.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The record; none if there was no drill.
    #[serde(flatten)]
    drill: Option<DrillRecord>,
    /// Why there was none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_words")]
    error: Option<Error>,
}

fn in_words<S: Serializer>(error: &Option<Error>, to: S) -> std::result::Result<S::Ok, S::Error> {
    match error {
        Some(error) => to.collect_str(error),
        None => to.serialize_none(),
    }
}

impl DrillReport {
    /// Of a drill that was held.
    pub fn of(drill: DrillRecord) -> Self {
        DrillReport { id: None, drill: Some(drill), error: None }
    }

    /// Of one that was not.
    pub fn none(id: &str, error: Error) -> Self {
        DrillReport { id: Some(id.to_owned()), drill: None, error: Some(error) }
    }

    /// Whether it was held when it was due.
    pub fn turn(&self, manifest: &Manifest) -> DueDrill {
        let held = match &self.error {
            None => DrillAttempt::Yes,
            // A sandbox that hangs up is one that is busy, or that does not work: twice in a row is no chance.
            Some(error) if matches!(error.kind(), Kind::NotHere | Kind::TryAgain) => {
                DrillAttempt::No(Trouble::from(error))
            }
            Some(_) => DrillAttempt::Unknown,
        };
        DueDrill { database: manifest.database.clone(), held }
    }

    /// Tells people and the journal. Where there is no other backup, its error is the run's own.
    pub fn log(&self, manifest: &Manifest, several: bool) {
        if let (Some(error), true) = (&self.error, several) {
            log::error!("{}: {}", called(manifest), printable(&error.to_string()));
        }
        let Some(drill) = &self.drill else { return };
        for note in &drill.notes {
            log::warn!("{}: {}", called(manifest), printable(note));
        }
        for difference in &drill.differences {
            log::error!(PGCELLAR_BACKUP = drill.id; "{}: {}", called(manifest), printable(difference));
        }
        if drill.more_differences > 0 {
            log::error!("{}: and {} more differences", called(manifest), drill.more_differences);
        }
        if drill.result == DrillOutcome::Failed {
            return;
        }
        log::info!(
            MESSAGE_ID = event::BACKUP_DRILLED,
            PGCELLAR_DATABASE = manifest.database, PGCELLAR_BACKUP = drill.id,
            PGCELLAR_RESTORE_SECONDS = drill.restore_seconds;
            "{}", words(manifest, drill)
        );
    }
}

fn words(manifest: &Manifest, drill: &DrillRecord) -> String {
    let id = called(manifest);
    let restored = format!("restored into PostgreSQL {} in {:.1} s", printable(&drill.postgres), drill.restore_seconds);
    let compared = &drill.compared;
    match drill.result {
        DrillOutcome::Passed => {
            let counted = |number: u64, what: &str| {
                format!("{} {what}{}", HumanCount(number), if number == 1 { "" } else { "s" })
            };
            format!(
                "{id} is proven: {restored}, and {}, {}, {} and {} are what was backed up",
                counted(compared.tables, "table"),
                counted(compared.rows, "row"),
                counted(compared.sequences, "sequence"),
                counted(compared.large_objects, "large object")
            )
        }
        DrillOutcome::Restored | DrillOutcome::Failed => {
            format!("{id} comes back, and is not proven: {restored}, without fingerprints to compare with")
        }
    }
}

/// Prints all results for machines.
pub fn print(reports: &[DrillReport]) -> Result<()> {
    let text = serde_json::to_string_pretty(reports)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the results as JSON: {error}")))?;
    stdout::print(text + "\n")
}

/// What to do about a backup that did not come back in a drill.
fn differing(id: &str) -> String {
    let id = printable(id);
    format!(
        "keep the backup; pgcellar verify {id} tells whether its bytes are damaged. If they are not, pgcellar restore {id} \
         --keep-going --target-database NAME shows on a server of yours what does not come back; report what nothing of yours \
         explains"
    )
}

/// The run's own result.
pub fn outcome(reports: Vec<DrillReport>) -> Result<()> {
    let total = reports.len();
    let failed: Vec<&DrillRecord> = reports
        .iter()
        .filter_map(|report| report.drill.as_ref())
        .filter(|drill| drill.result == DrillOutcome::Failed)
        .collect();
    if let [first, ..] = failed.as_slice() {
        let which = match total {
            1 => format!("the drill of {} has failed", printable(&first.id)),
            _ => format!("{} of {total} drills have failed", failed.len()),
        };
        // What differs was told.
        return Err(Error::new(Kind::Data, which).hint(differing(&first.id)));
    }
    let not_held = reports.iter().filter(|report| report.error.is_some()).count();
    match reports.into_iter().find_map(|DrillReport { id, error, .. }| Some((id.unwrap_or_default(), error?))) {
        None => Ok(()),
        Some((id, error)) if total == 1 => Err(error.context(printable(&id))),
        Some((_, first)) => Err(several(not_held, total, &first)),
    }
}

/// The error of several, each of which was told: of the kind of the first one.
fn several(not_held: usize, total: usize, first: &Error) -> Error {
    let mut error = Error::new(first.kind(), format!("{not_held} of {total} drills could not be held"));
    if let Some(hint) = first.hint_text() {
        error = error.hint(hint);
    }
    match first.cause() {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

//! The results of a run's drills: in the log, as JSON, and as the result of the run.

use indicatif::HumanCount;
use serde::{Serialize, Serializer};

use crate::catalogue::manifest::Manifest;
use crate::catalogue::records::drill::{DrillOutcome, DrillRecord};
use crate::error::{Error, Kind, Result};
use crate::health::facts::Trouble;
use crate::health::missed_drills::{DrillAttempt, DueDrill};
use crate::host::event;
use crate::printable::printable;
use crate::stdout;

/// The result of one backup's drill.
#[derive(Debug, Serialize)]
pub struct DrillReport {
    /// Id of a backup without a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The record; none without a drill.
    #[serde(flatten)]
    drill: Option<DrillRecord>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "in_words")]
    error: Option<Error>,
}

/// An error as a text, for JSON.
pub fn in_words<S: Serializer>(error: &Option<Error>, to: S) -> std::result::Result<S::Ok, S::Error> {
    match error {
        Some(error) => to.collect_str(error),
        None => to.serialize_none(),
    }
}

impl DrillReport {
    /// The report of a completed drill.
    pub fn of(drill: DrillRecord) -> Self {
        DrillReport { id: None, drill: Some(drill), error: None }
    }

    /// The report of a drill that could not be run.
    pub fn failed(id: &str, error: Error) -> Self {
        DrillReport { id: Some(id.to_owned()), drill: None, error: Some(error) }
    }

    /// Whether the drill that was due could be run.
    pub fn turn(&self, manifest: &Manifest) -> DueDrill {
        let attempt = match &self.error {
            None => DrillAttempt::Completed,
            // A sandbox that closes the connection is busy or broken: the monitor warns when it happens twice in a row.
            Some(error) if matches!(error.kind(), Kind::NotHere | Kind::TryAgain) => {
                DrillAttempt::Impossible(Trouble::from(error))
            }
            Some(_) => DrillAttempt::Failed,
        };
        DueDrill { database: manifest.database.clone(), attempt }
    }

    /// Logs the result. If there is no other backup, the error is that of the run.
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

/// How messages call a backup.
pub fn called(manifest: &Manifest) -> String {
    printable(&manifest.id)
}

/// A number of things.
pub fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", HumanCount(number), if number == 1 { "" } else { "s" })
}

fn words(manifest: &Manifest, drill: &DrillRecord) -> String {
    let id = called(manifest);
    let restored = format!("restored into PostgreSQL {} in {:.1} s", printable(&drill.postgres), drill.restore_seconds);
    let compared = &drill.compared;
    match drill.result {
        DrillOutcome::Passed => {
            format!(
                "{id} is proven: {restored}, and {}, {}, {} and {} are what was backed up",
                counted(compared.tables, "table"),
                counted(compared.rows, "row"),
                counted(compared.sequences, "sequence"),
                counted(compared.large_objects, "large object")
            )
        }
        DrillOutcome::Restored | DrillOutcome::Failed => {
            format!("{id} can be restored, but is not proven: {restored}, without fingerprints to compare with")
        }
    }
}

/// Prints all results as JSON.
pub fn print(reports: &[DrillReport]) -> Result<()> {
    let text = serde_json::to_string_pretty(reports)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write the results as JSON: {error}")))?;
    stdout::print(text + "\n")
}

/// The hint for a backup whose drill failed.
fn failed_hint(id: &str) -> String {
    let id = printable(id);
    format!(
        "keep the backup; pgcellar verify {id} checks whether its bytes are damaged. If not, pgcellar restore {id} \
         --keep-going --target-database NAME shows on a server of your own what cannot be restored; report a \
         difference that nothing of your own explains"
    )
}

/// The result of the run.
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
        // The differences were logged.
        return Err(Error::new(Kind::Data, which).hint(failed_hint(&first.id)));
    }
    let not_held = reports.iter().filter(|report| report.error.is_some()).count();
    match reports.into_iter().find_map(|DrillReport { id, error, .. }| Some((id.unwrap_or_default(), error?))) {
        None => Ok(()),
        Some((id, error)) if total == 1 => Err(error.context(printable(&id))),
        Some((_, first)) => Err(several((not_held, total), "drills", &first)),
    }
}

/// The error of several drills or rehearsals, each of which was logged: of the kind of the first one.
pub fn several((not_held, total): (usize, usize), what: &str, first: &Error) -> Error {
    let mut error = Error::new(first.kind(), format!("{not_held} of {total} {what} could not be run"));
    if let Some(hint) = first.hint_text() {
        error = error.hint(hint);
    }
    match first.cause() {
        Some(cause) => error.caused_by(cause),
        None => error,
    }
}

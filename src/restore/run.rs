//! What the steps of a restore share: the settings, the archive, the programs and the errors skipped so far.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::config::restore::RestoreSettings;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprints;
use crate::postgres::programs::Programs;
use crate::restore::archive::Archive;
use crate::restore::directory::Files;
use crate::restore::parallel::unpack::Unpacking;
use crate::restore::parameters::LoadSessions;
use crate::restore::pg_restore::skipped_errors::SkippedErrors;
use crate::restore::selection::Selection;
use crate::stop::Stop;

/// What the steps of a restore share.
pub struct RestoreRun<'a> {
    /// The settings.
    pub settings: &'a RestoreSettings,
    /// The archive that is restored.
    pub archive: Arc<Archive>,
    /// The part of it that is restored; none for all of it.
    pub part: Option<Selection>,
    /// The fingerprints that the new database must have, if known.
    pub expected: Option<Fingerprints>,
    /// How many jobs load it.
    pub jobs: NonZeroUsize,
    /// Name of the database that it becomes.
    pub target: String,
    /// Programs that can read the archive.
    pub programs: Programs,
    /// Whether the server lacks a tablespace of the archive.
    pub no_tablespaces: bool,
    /// Whether the new database has the target's name from its beginning.
    pub in_place: bool,
    /// Whether the backup has TimescaleDB.
    pub timescaledb: bool,
    /// How sessions in the new database begin.
    pub sessions: LoadSessions,
    /// Errors skipped because of `--keep-going`; none without that option.
    pub faults: Option<SkippedErrors>,
    /// Whether to stop.
    pub stop: &'a Stop,
}

impl RestoreRun<'_> {
    /// With `--keep-going`, adds a failed check of the new database to the skipped errors.
    ///
    /// # Errors
    /// Any other error; every error without `--keep-going`.
    pub fn keep_going(&self, checked: Result<()>) -> Result<()> {
        match (checked, &self.faults) {
            (Err(error), Some(faults)) if error.kind() == Kind::Data => {
                let message = match faults.first_and_count() {
                    (_, 0) => error.message().to_owned(),
                    // The archive was not loaded without an error.
                    _ => error.message().replacen("the archive was loaded without an error, and yet ", "", 1),
                };
                faults.add(message);
                Ok(())
            }
            (checked, _) => checked,
        }
    }

    /// With `--keep-going`, adds the error of a statement to the skipped errors, as long as the server answers.
    ///
    /// # Errors
    /// Any other error; every error without `--keep-going`.
    pub fn skip(&self, error: Error) -> Result<()> {
        match &self.faults {
            Some(faults) if error.kind() != Kind::Unavailable => {
                faults.add(error.message().to_owned());
                Ok(())
            }
            _ => Err(error),
        }
    }
}

/// How the archive gets to the programs that load it.
pub enum LoadInput {
    /// As a stream.
    Stream,
    /// As a stream of single statements.
    Statements,
    /// As files that are ready.
    Files(Files),
    /// As a file that is being unpacked.
    Unpacking(Unpacking),
}

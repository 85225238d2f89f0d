//! What a restore works with.

use std::num::NonZeroUsize;
use std::sync::Arc;

use crate::cli::RestoreArgs;
use crate::fingerprint::Fingerprints;
use crate::postgres::programs::Programs;
use crate::restore::archive::Archive;
use crate::restore::directory::Files;
use crate::restore::parallel::Unpacking;
use crate::restore::parameters::LoadSessions;
use crate::restore::pg_restore::skipped_errors::SkippedErrors;
use crate::restore::selection::Selection;
use crate::stop::Stop;

/// What a run works with.
pub struct RestoreRun<'a> {
    /// The options of the restore.
    pub args: &'a RestoreArgs,
    /// What is restored.
    pub archive: Arc<Archive>,
    /// What of it is restored, if not all.
    pub part: Option<Selection>,
    /// What the new database must hold, if known.
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
    /// How sessions in the new database begin.
    pub sessions: LoadSessions,
    /// Errors skipped because of `--keep-going`.
    pub faults: Option<SkippedErrors>,
    /// Whether to stop.
    pub stop: &'a Stop,
}

/// How the archive gets to the programs that load it.
pub enum LoadInput {
    /// As it is read.
    Stream,
    /// As it is read, statement by statement.
    Statements,
    /// As files that are ready.
    Files(Files),
    /// As a file that is being made.
    Unpacking(Unpacking),
}

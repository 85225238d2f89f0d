//! A dump and its outcome, whatever its format.

use crate::catalogue::manifest::StoredFile;
use crate::error::{Error, Kind, Result};
use crate::postgres::archive::Record;
use crate::postgres::child::Messages;
use crate::postgres::dump::{DumpCommand, Dumped};
use crate::postgres::facts::DatabaseFacts;
use crate::postgres::interruptions::Interruptions;
use crate::postgres::snapshot::{Rewritten, Snapshot};
use crate::store::Upload;
use crate::store::local::LocalFolder;
use crate::task::backup::run::BackupRun;

/// A dump to be made.
pub struct DumpOrder<'a> {
    /// The run.
    pub run: &'a BackupRun<'a>,
    /// The arguments of pg_dump.
    pub call: &'a DumpCommand<'a>,
    /// The snapshot that is dumped.
    pub snapshot: &'a Snapshot,
    /// Explains a connection that breaks.
    pub interruptions: &'a Interruptions<'a>,
    /// Id of the backup.
    pub id: &'a str,
    /// Whether to keep a dump that does not see the rows of some tables.
    pub keep: bool,
}

/// The result of a dump or of one of its steps, or why the dump must begin again.
pub enum DumpOutcome<T> {
    /// The result.
    Kept(T),
    /// These tables were rewritten, renamed or dropped before pg_dump held its locks.
    Rewritten(Vec<Rewritten>),
}

/// An archive that is durable under its temporary name.
pub struct DumpedArchive {
    /// The upload; none of a folder.
    pub upload: Option<Box<dyn Upload>>,
    /// The folder of a directory archive.
    pub folder: Option<LocalFolder>,
    /// Its files.
    pub files: Vec<StoredFile>,
    /// Its contents.
    pub dumped: Dumped,
    /// The database.
    pub locked: LockedFacts,
    /// Messages of pg_dump.
    pub messages: Messages,
    /// Its rows, for the fingerprints.
    pub recorded: Record,
    /// Number of sessions that read rows in parallel; none if one session of pg_dump read everything.
    pub sessions: Option<usize>,
}

/// The state of the database once pg_dump held its locks.
pub struct LockedFacts {
    /// What the manifest says of the database.
    pub facts: DatabaseFacts,
    /// Tables that were rewritten before.
    pub rewritten: Vec<Rewritten>,
}

impl DumpOrder<'_> {
    /// The error of a dump, transient if the session of the snapshot ended too: a server that crashes ends every session, and
    /// loses its statistics.
    pub fn broken(&self, error: Error) -> Error {
        match error.kind() == Kind::Unavailable && self.snapshot.client().is_closed() {
            true => error.transient(),
            false => error,
        }
    }

    /// Compares the tables once pg_dump holds its locks, and then reads the facts. Without locks, because pg_dump failed, no dump
    /// is kept.
    pub async fn observe(&self, has_locks: bool) -> Result<DumpOutcome<LockedFacts>> {
        match self.compare(has_locks).await? {
            DumpOutcome::Kept(rewritten) => {
                Ok(DumpOutcome::Kept(LockedFacts { facts: self.snapshot.facts().await?, rewritten }))
            }
            DumpOutcome::Rewritten(rewritten) => Ok(DumpOutcome::Rewritten(rewritten)),
        }
    }

    /// Compares the tables once pg_dump holds its locks.
    pub async fn compare(&self, has_locks: bool) -> Result<DumpOutcome<Vec<Rewritten>>> {
        let rewritten = self.snapshot.rewritten().await?;
        Ok(match rewritten.is_empty() || (self.keep && has_locks) {
            true => DumpOutcome::Kept(rewritten),
            false => DumpOutcome::Rewritten(rewritten),
        })
    }
}

/// The error of a dump, explained by the server if a program's connection broke.
pub async fn explained<T>(run: &BackupRun<'_>, interruptions: &Interruptions<'_>, error: Error) -> Result<T> {
    match error.kind() {
        Kind::Unavailable => run.stop.or(async { Err(interruptions.explain(error).await) }).await,
        _ => Err(error),
    }
}

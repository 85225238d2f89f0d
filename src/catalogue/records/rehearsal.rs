//! The result of the last rehearsal of an upgrade with a backup, in `ID.rehearsal.json` beside its manifest. `doc/manifest.md`
//! describes each field.
//!
//! It is no drill of the backup: it proves nothing, and retention, coverage and the monitor's findings do not use it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::REHEARSAL;
use crate::catalogue::records::drill::{Compared, NAMED, archive_sha256};
use crate::document;
use crate::error::Result;

/// Version of the record that this pgcellar writes. A record with a newer version is ignored.
pub const VERSION: u32 = 1;

/// The note in place of names.
const UNNAMED: &str = "the backup is encrypted: what the server refuses is in the log of the rehearsal alone";

/// The record of a completed rehearsal. One that was not possible on this host leaves none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RehearsalRecord {
    /// Version of this document.
    pub rehearsal_version: u32,
    /// Id of the backup.
    pub id: String,
    /// When it ended, UTC.
    pub at: Timestamp,
    /// Its result.
    pub result: RehearsalOutcome,
    /// The archive that was restored: see [`archive_sha256`].
    pub archive_sha256: String,
    /// The major version of the server that was backed up.
    pub from: u32,
    /// The major version of the server that the backup was restored into.
    pub server: u32,
    /// Version of that server; empty if it had none.
    pub postgres: String,
    /// Whether the restored code ran without the permissions of pgcellar.
    pub isolated: bool,
    /// How long the restore took, in seconds, from the empty cluster to the last index.
    pub restore_seconds: f64,
    /// How long it took, in seconds, until all was restored and compared.
    pub seconds: f64,
    /// `pg_database_size()` of what was restored, in bytes; none if it is unknown.
    pub database_bytes: Option<u64>,
    /// What was compared with the fingerprints of the backup.
    pub compared: Compared,
    /// The first [`NAMED`] objects that the server refuses.
    pub refused: Vec<RefusedObject>,
    /// How many further objects it refuses.
    pub more_refused: u64,
    /// The first [`NAMED`] differences of what was restored.
    pub differences: Vec<String>,
    /// How many further differences there are.
    pub more_differences: u64,
    /// What an upgrade should consider, and what could not be compared.
    pub notes: Vec<String>,
}

/// The result of a rehearsal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RehearsalOutcome {
    /// The server takes everything, and its contents are what was backed up.
    Ready,
    /// The server takes everything, and there are no fingerprints to compare its rows with.
    Restored,
    /// The server refuses objects, or their contents differ.
    Unready,
}

/// An object that the server refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedObject {
    /// Its kind and name, such as `view public.loads`.
    pub object: String,
    /// The error's SQLSTATE; empty if it is unknown.
    pub sqlstate: String,
    /// The server's words.
    pub message: String,
    /// The refused object that it depends on, if there is one: it needs no change of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<String>,
}

impl RefusedObject {
    /// `view public.loads (42703): column "checkpoints_timed" does not exist`.
    pub fn in_words(&self) -> String {
        let RefusedObject { object, sqlstate, message, .. } = self;
        match sqlstate.as_str() {
            "" => format!("{object}: {message}"),
            state => format!("{object} ({state}): {message}"),
        }
    }
}

impl RehearsalRecord {
    /// Key of the record for the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{REHEARSAL}")
    }

    /// Reads a record; none if it is not one of this archive.
    pub fn of(manifest: &Manifest, bytes: &[u8]) -> Option<Self> {
        let record: RehearsalRecord = document::parse(bytes).ok()?;
        let same = record.id == manifest.id && record.archive_sha256 == archive_sha256(manifest);
        (same && record.rehearsal_version <= VERSION).then_some(record)
    }

    /// With at most [`NAMED`] objects and differences; the others are counted.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        self.more_refused += self.refused.len().saturating_sub(NAMED) as u64;
        self.refused.truncate(NAMED);
        self.more_differences += self.differences.len().saturating_sub(NAMED) as u64;
        self.differences.truncate(NAMED);
        self
    }

    /// The same without names: objects and differences are counted, and notes left out.
    #[must_use]
    pub fn without_names(mut self) -> Self {
        self.more_refused += self.refused.len() as u64;
        self.refused.clear();
        self.more_differences += self.differences.len() as u64;
        self.differences.clear();
        if self.more_refused + self.more_differences > 0 || !self.notes.is_empty() {
            self.notes = vec![UNNAMED.to_owned()];
        }
        self
    }

    /// The number of objects that the server refuses.
    pub fn refusals(&self) -> u64 {
        self.more_refused + self.refused.len() as u64
    }

    /// The number of differences.
    pub fn deviations(&self) -> u64 {
        self.more_differences + self.differences.len() as u64
    }

    /// `yes`, or `no, because …`, for reports.
    pub fn verdict(&self) -> String {
        match self.result {
            RehearsalOutcome::Ready => "yes".to_owned(),
            RehearsalOutcome::Restored => {
                "not known, because there are no fingerprints to compare the restored rows with".to_owned()
            }
            RehearsalOutcome::Unready => format!("no, because {}", self.because()),
        }
    }

    /// The first reason, and the number of the others.
    fn because(&self) -> String {
        let cause = self.refused.iter().find(|object| object.follows.is_none()).or(self.refused.first());
        let first = cause.map(RefusedObject::in_words).or_else(|| self.differences.first().cloned());
        let all = self.refusals() + self.deviations();
        match (first, all) {
            (Some(first), ..=1) => first,
            (Some(first), all) => format!("{first}; and {} more", all - 1),
            (None, 1) => "1 object is refused or differs".to_owned(),
            (None, all) => format!("{all} objects are refused or differ"),
        }
    }

    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        document::to_json(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = include_str!("../../../tests/golden/manifest.json");
    const RECORD: &str = include_str!("../../../tests/golden/rehearsal.json");

    #[test]
    fn a_record_is_of_its_own_archive_only() {
        let manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        let record = RehearsalRecord::of(&manifest, RECORD.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(record.to_json().unwrap()).unwrap(), RECORD);
        let mut other = manifest.clone();
        other.files[0].plain_sha256 = "0".repeat(64);
        assert_eq!(RehearsalRecord::of(&other, RECORD.as_bytes()), None);
        let newer = RehearsalRecord { rehearsal_version: VERSION + 1, ..record };
        assert_eq!(RehearsalRecord::of(&manifest, &newer.to_json().unwrap()), None);
    }

    #[test]
    fn verdicts() {
        let manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        let record = RehearsalRecord::of(&manifest, RECORD.as_bytes()).unwrap();
        assert_eq!(
            record.verdict(),
            "no, because view public.loads (42703): column \"checkpoints_timed\" does not exist; and 2 more"
        );
        let hidden = record.clone().without_names();
        assert_eq!(hidden.verdict(), "no, because 3 objects are refused or differ");
        assert!(!String::from_utf8(hidden.to_json().unwrap()).unwrap().contains("loads"));
        let ready = RehearsalRecord { result: RehearsalOutcome::Ready, ..record };
        assert_eq!(ready.verdict(), "yes");
    }
}

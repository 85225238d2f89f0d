//! The result of the last drill of a backup, in `ID.drill.json` beside its manifest. `doc/manifest.md` describes each field.

use jiff::Timestamp;
use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::{FileRole, Manifest};
use crate::catalogue::name::DRILL;
use crate::document;
use crate::error::Result;

/// Version of the record that this pgcellar writes. A record with a newer version is ignored.
pub const VERSION: u32 = 1;

/// How many differences a record lists; the others are counted.
pub const NAMED: usize = 100;

/// The note in place of names.
const UNNAMED: &str = "the backup is encrypted: what differs and what is to be noted is in the log of the drill alone";

/// The record of a completed drill. A drill that was not possible on this host leaves none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrillRecord {
    /// Version of this document.
    pub drill_version: u32,
    /// Id of the backup.
    pub id: String,
    /// When it ended, UTC.
    pub at: Timestamp,
    /// Its result.
    pub result: DrillOutcome,
    /// The archive that was restored: see [`archive_sha256`].
    pub archive_sha256: String,
    /// Version of the PostgreSQL in which it was restored.
    pub postgres: String,
    /// Whether the restored code ran without the permissions of pgcellar.
    pub isolated: bool,
    /// How long the restore took, in seconds, from the empty cluster to the last index: the measured recovery time.
    pub restore_seconds: f64,
    /// How long it took, in seconds, until all was restored and compared.
    pub seconds: f64,
    /// `pg_database_size()` of what was restored, in bytes; none if the restore failed, and in records of 0.1.0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_bytes: Option<u64>,
    /// What was compared with the fingerprints of the backup.
    pub compared: Compared,
    /// The first [`NAMED`] differences; empty if there are none.
    pub differences: Vec<String>,
    /// How many further differences there are.
    pub more_differences: u64,
    /// What the drill could not do or compare, and why that does not matter.
    pub notes: Vec<String>,
}

/// The result of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DrillOutcome {
    /// It was restored, and its contents are what was backed up: the backup is proven.
    Passed,
    /// It was restored without an error, and has no fingerprints to compare its rows with.
    Restored,
    /// It could not be restored, or its contents differ.
    Failed,
}

impl DrillOutcome {
    /// The word in lists and messages.
    pub fn name(self) -> &'static str {
        match self {
            DrillOutcome::Passed => "passed",
            DrillOutcome::Restored => "restored",
            DrillOutcome::Failed => "failed",
        }
    }
}

/// What was compared with the fingerprints of a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compared {
    /// Tables.
    pub tables: u64,
    /// Rows of these.
    pub rows: u64,
    /// Bytes of these rows, in COPY's text format.
    pub bytes: u64,
    /// Sequences.
    pub sequences: u64,
    /// Large objects.
    pub large_objects: u64,
    /// Objects of the table of contents.
    pub objects: u64,
}

impl DrillRecord {
    /// Key of the record for the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{DRILL}")
    }

    /// Reads a record; none if it is not one of this archive.
    pub fn of(manifest: &Manifest, bytes: &[u8]) -> Option<Self> {
        let drill: DrillRecord = document::parse(bytes).ok()?;
        let same = drill.id == manifest.id && drill.archive_sha256 == archive_sha256(manifest);
        (same && drill.drill_version <= VERSION).then_some(drill)
    }

    /// The same without names: differences are counted, and notes left out.
    #[must_use]
    pub fn without_names(mut self) -> Self {
        self.more_differences += self.differences.len() as u64;
        self.differences.clear();
        if self.more_differences > 0 || !self.notes.is_empty() {
            self.notes = vec![UNNAMED.to_owned()];
        }
        self
    }

    /// Whether it proves the backup.
    pub fn is_proof(&self) -> bool {
        self.result == DrillOutcome::Passed
    }

    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        document::to_json(self)
    }
}

/// A digest that identifies an archive: its `plain_sha256` of the manifest, or for a directory archive, which has several
/// files, the SHA-256 of the lines that `sha256sum` prints for them, in the manifest's order.
pub fn archive_sha256(manifest: &Manifest) -> String {
    let files: Vec<_> = manifest.files(FileRole::Archive).collect();
    if let [only] = files.as_slice() {
        return only.plain_sha256.clone();
    }
    let mut context = Context::new(&SHA256);
    for file in files {
        context.update(format!("{}  {}\n", file.plain_sha256, file.key).as_bytes());
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = include_str!("../../../tests/golden/manifest.json");
    const RECORD: &str = include_str!("../../../tests/golden/drill.json");

    #[test]
    fn a_record_is_of_its_own_archive_only() {
        let manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        let drill = DrillRecord::of(&manifest, RECORD.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(drill.to_json().unwrap()).unwrap(), RECORD);
        let older = RECORD.lines().filter(|line| !line.contains("database_bytes")).collect::<Vec<_>>().join("\n");
        let older = DrillRecord::of(&manifest, older.as_bytes()).unwrap();
        assert_eq!(older, DrillRecord { database_bytes: None, ..drill.clone() });
        let mut other = manifest.clone();
        other.files[0].plain_sha256 = "0".repeat(64);
        assert_eq!(DrillRecord::of(&other, RECORD.as_bytes()), None);
        let mut other = manifest.clone();
        other.id.push('0');
        assert_eq!(DrillRecord::of(&other, RECORD.as_bytes()), None);
        let newer = DrillRecord { drill_version: VERSION + 1, ..drill };
        assert_eq!(DrillRecord::of(&manifest, &newer.to_json().unwrap()), None);
        assert_eq!(DrillRecord::of(&manifest, b"{"), None);
    }

    #[test]
    fn without_names_differences_are_counted() {
        let manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        let drill = DrillRecord::of(&manifest, RECORD.as_bytes()).unwrap();
        let of = |differences: &[&str], more: u64, notes: &[&str]| {
            let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
            let drill = drill.clone();
            let named = DrillRecord {
                differences: texts(differences),
                more_differences: more,
                notes: texts(notes),
                ..drill.clone()
            };
            let open = named.without_names();
            assert_eq!((&open.id, open.result, &open.archive_sha256), (&drill.id, drill.result, &drill.archive_sha256));
            (open.differences.len(), open.more_differences, open.notes)
        };
        assert_eq!(of(&["table wine"], 3, &[]), (0, 4, vec![UNNAMED.to_owned()]));
        assert_eq!(of(&[], 0, &["table wine"]), (0, 0, vec![UNNAMED.to_owned()]));
        assert_eq!(of(&[], 0, &[]), (0, 0, Vec::new()));
    }

    #[test]
    fn the_digest_covers_all_files_of_a_directory_archive() {
        let mut manifest: Manifest = serde_json::from_str(MANIFEST).unwrap();
        let mut second = manifest.files[0].clone();
        second.key.push('2');
        manifest.files.insert(1, second);
        let sum = archive_sha256(&manifest);
        assert_eq!(sum.len(), 64);
        manifest.files[1].plain_sha256 = "0".repeat(64);
        assert_ne!(archive_sha256(&manifest), sum);
    }
}

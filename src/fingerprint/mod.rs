//! Fingerprints: what the rows of a backup are, so that a restored or a living database can be compared with it.
//!
//! They are taken from the dump while it passes. A row is one line of COPY's text format without its line feed. Each row is
//! hashed by itself, and the hashes are added: the same rows in another order have the same sum, and a row that is
//! changed, lost or doubled has not.
//!
//! The hash is XXH3 with 128 bits and seed 0 (<https://github.com/Cyan4973/xxHash>, `XXH3_128bits`): its output is fixed since
//! xxHash 0.8, it is faster than the rows come, and chance makes two sums alike once in 2^128. It finds damage and
//! mistakes. It is no proof against somebody who makes up rows for the purpose, which the SHA-256 of the files is.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::document::versioned;

pub mod compare;
mod large_objects;
mod quoted;
mod sum;

pub use large_objects::{Differing, LargeObjects};
pub use quoted::Quoted;
pub use sum::{LongRow, Sum};

/// Version of the fingerprints that this pgcellar writes. A reader refuses newer ones.
pub const VERSION: u32 = 1;

/// What follows a backup's id in the name of its fingerprints, before what compression and encryption add.
pub const FINGERPRINTS: &str = ".fingerprints.json";

/// The fingerprints of a backup, in `ID.fingerprints.json`. `doc/manifest.md` describes each field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprints {
    /// Version of this document.
    pub fingerprints_version: u32,
    /// Parameters of the session that pg_dump read the rows in, as far as COPY's text depends on them: name and value. Who
    /// compares with other rows sets all of them first.
    pub settings: BTreeMap<String, String>,
    /// Tables whose rows are in the archive, by the name that COPY loads them into.
    pub tables: Vec<TableFingerprint>,
    /// Sequences whose values are in the archive.
    pub sequences: Vec<SequenceFingerprint>,
    /// Large objects whose contents are in the archive.
    pub large_objects: LargeObjects,
    /// Entries of the archive's table of contents by their kind, such as `INDEX`; empty for a script, which has none.
    pub objects: BTreeMap<String, u64>,
}

/// The rows that are loaded into one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFingerprint {
    /// The table as the archive's COPY statements quote it, such as `public."My Table"`.
    pub target: Quoted,
    /// Its columns as those statements list them, such as `(id, "Name")`; empty for a table without columns. Generated
    /// columns are not among them.
    pub columns: Quoted,
    /// The partitions whose rows these are, where pg_dump loads them through their root, which `target` is then: schema and
    /// name, all quoted. Empty for every other table, whose rows `SELECT … FROM ONLY target` gives.
    ///
    /// The rows are to be read from these partitions one by one (`FROM ONLY`) and their sums merged: other partitions of the
    /// same root may be targets of their own, or lie on other servers. All are hashed in the order of `columns`, also one
    /// whose own order is another. A restore may put a row into another partition than it came from, where an enum's value decides
    /// by its hash; it stays among these, unless one of them was left out of the dump.
    #[serde(default)]
    pub partitions: Vec<Quoted>,
    /// Whether it is a foreign table (`--include-foreign-data`).
    #[serde(default)]
    pub foreign: bool,
    /// The rows.
    #[serde(flatten)]
    pub sum: Sum,
}

impl TableFingerprint {
    /// The relations whose rows these are: the partitions of a root, or the table itself.
    pub fn relations(&self) -> &[Quoted] {
        match self.partitions.as_slice() {
            [] => std::slice::from_ref(&self.target),
            partitions => partitions,
        }
    }
}

/// Value of a sequence, as `setval` of the archive sets it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceFingerprint {
    /// The sequence as the archive quotes it, such as `public.orders_id_seq`.
    pub name: Quoted,
    /// `last_value`.
    pub last_value: String,
    /// `is_called`.
    pub is_called: bool,
}

/// Only the field that says whether the rest can be read.
#[derive(Deserialize)]
struct Header {
    fingerprints_version: u32,
}

impl Fingerprints {
    /// The locale that amounts of money were written in.
    pub fn lc_monetary(&self) -> Option<&str> {
        self.settings.get("lc_monetary").map(String::as_str)
    }

    /// The document, as it is stored before compression and encryption.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn to_json(&self, to: impl Write) -> io::Result<()> {
        versioned::write(to, self)
    }

    /// Reads a document to its end.
    ///
    /// # Errors
    /// `InvalidData` for what is no such document, or is of a newer pgcellar; those of the reader.
    pub fn from_json(from: impl Read) -> io::Result<Self> {
        versioned::read(from, "fingerprints", VERSION, |header: &Header| header.fingerprints_version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_read_back() {
        let mut sum = Sum::default();
        ["1", "2"].iter().for_each(|row| sum.add(row.as_bytes()));
        let table = TableFingerprint {
            target: Quoted::from(&b"public.\"My Table\""[..]),
            columns: Quoted::from(&b"(id, \"\xe4\")"[..]),
            sum,
            ..TableFingerprint::default()
        };
        let mut document =
            Fingerprints { fingerprints_version: VERSION, tables: vec![table], ..Fingerprints::default() };
        document.large_objects.add(7, &LongRow::default());
        let text = serde_json::to_string(&document).unwrap();
        assert!(text.contains(r#""target":"public.\"My Table\"""#), "{text}");
        assert_eq!(serde_json::from_str::<Fingerprints>(&text).unwrap(), document);
    }
}

//! Fingerprints: sums over the rows of a backup, with which a restored or live database can be compared.
//!
//! They are taken from the dump while it is read. A row is one line of COPY's text format without its line feed. Each row is
//! hashed by itself, and the hashes are added: the same rows in another order have the same sum, and a
//! changed, lost or duplicated row changes it.
//!
//! The hash is XXH3 with 128 bits and seed 0 (<https://github.com/Cyan4973/xxHash>, `XXH3_128bits`): its output is fixed since
//! xxHash 0.8, it is faster than pg_dump, and two different sums are equal by chance once in 2^128. It finds damage and
//! mistakes. It does not protect against rows that were forged to match, as the SHA-256 of the files does.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::document;

pub mod compare;
mod large_objects;
mod quoted;
mod sum;

pub use large_objects::{Differing, LargeObjects};
pub use quoted::Quoted;
pub use sum::{LongRow, Sum};

/// Version of the fingerprints that this pgcellar writes. A reader refuses newer ones.
pub const VERSION: u32 = 1;

/// Suffix of the name of a backup's fingerprints, before the suffixes of compression and encryption.
pub const FINGERPRINTS: &str = ".fingerprints.json";

/// The fingerprints of a backup, in `ID.fingerprints.json`. `doc/manifest.md` describes each field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprints {
    /// Version of this document.
    pub fingerprints_version: u32,
    /// Parameters of pg_dump's session on which COPY's text depends: name and value. A session whose rows are compared must
    /// set all of them first.
    pub settings: BTreeMap<String, String>,
    /// Tables whose rows are in the archive, by the name in their COPY statement.
    pub tables: Vec<TableFingerprint>,
    /// Sequences whose values are in the archive.
    pub sequences: Vec<SequenceFingerprint>,
    /// Large objects whose contents are in the archive.
    pub large_objects: LargeObjects,
    /// Entries of the archive's table of contents by their kind, such as `INDEX`; empty for a script, which has none.
    pub objects: BTreeMap<String, u64>,
}

/// Numbers of rows by table, as the archive quotes its name.
pub type TableRows = BTreeMap<String, u64>;

/// The rows that are loaded into one table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableFingerprint {
    /// The table as the archive's COPY statements quote it, such as `public."My Table"`.
    pub target: Quoted,
    /// Its columns as those statements list them, such as `(id, "Name")`, without generated columns; empty for a table without
    /// columns.
    pub columns: Quoted,
    /// The partitions whose rows these are, where pg_dump loads them through their root, which `target` is then: schema and
    /// name, all quoted. Empty for every other table, whose rows `SELECT … FROM ONLY target` gives.
    ///
    /// Read the rows from each of these partitions (`FROM ONLY`) and merge the sums: other partitions of the same root may be
    /// targets of their own, or be on other servers. All are hashed in the order of `columns`, whatever their own order. A
    /// restore may put a row into another partition, where the hash of an enum's value decides; it is still one of these,
    /// unless one of them was left out of the dump.
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

/// The field that says whether the rest can be read.
#[derive(Deserialize)]
struct Header {
    fingerprints_version: u32,
}

impl Fingerprints {
    /// The locale in which values of the type `money` were written.
    pub fn lc_monetary(&self) -> Option<&str> {
        self.settings.get("lc_monetary").map(String::as_str)
    }

    /// The number of rows of each table; of a partitioned one that is loaded through its root, those of all its partitions.
    pub fn table_rows(&self) -> TableRows {
        let mut rows = TableRows::new();
        for table in &self.tables {
            *rows.entry(table.target.to_string()).or_default() += table.sum.rows;
        }
        rows
    }

    /// Writes the document as it is before compression and encryption.
    pub fn to_json(&self, to: impl Write) -> io::Result<()> {
        document::write(to, self)
    }

    /// Reads a document to its end.
    ///
    /// # Errors
    /// `InvalidData` for anything but such a document, and for one of a newer pgcellar; those of the reader.
    pub fn from_json(from: impl Read) -> io::Result<Self> {
        document::read(from, "fingerprints", VERSION, |header: &Header| header.fingerprints_version)
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

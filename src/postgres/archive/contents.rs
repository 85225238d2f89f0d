//! What an archive contains, by its table of contents and its blocks.

use std::collections::{BTreeMap, BTreeSet};

use super::header::{ArchiveCompression, ArchiveFormat, Header, Version};
use super::toc_entry::{TocEntry, TocString};

/// No database has more distinct names than this; the limit keeps a forged archive from filling the memory.
const NAMES: usize = 100_000;
/// PostgreSQL 18 knows about 70 descriptions.
const DESCS: usize = 1_000;

/// A set of OIDs: four bytes each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Oids(Vec<u32>);

impl Oids {
    /// Whether `oid` is in the set.
    #[must_use]
    pub fn contains(&self, oid: u32) -> bool {
        self.0.binary_search(&oid).is_ok()
    }

    /// Their number.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, smallest first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    fn seal(&mut self) {
        self.0.sort_unstable();
        self.0.dedup();
        self.0.shrink_to_fit();
    }
}

/// What an archive contains.
///
/// Names are in the dump's encoding; bytes that are not UTF-8 appear as U+FFFD (a [`TocEntry`] has the bytes
/// themselves).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// Version of the archive format.
    pub version: Version,
    /// Custom, or the `toc.dat` of tar and directory.
    pub format: ArchiveFormat,
    /// How pg_dump compressed the data.
    pub compression: ArchiveCompression,
    /// The database that was dumped.
    pub dbname: String,
    /// Version of the server that was dumped, as in `15.18 (Debian 15.18-0+deb12u1)`.
    pub server_version: String,
    /// Version of the pg_dump that dumped it, in the same form.
    pub dump_version: String,
    /// The encoding of all strings, from the ENCODING entry.
    pub encoding: Option<String>,
    /// Entries of the table of contents.
    pub entries: u32,
    /// Entries of the table of contents by description.
    pub counts: BTreeMap<String, u64>,
    /// pg_class OIDs of the tables whose rows the archive holds.
    pub table_data: Oids,
    /// Large objects that the table of contents names: a BLOB entry each up to PostgreSQL 16, lines of BLOB METADATA
    /// entries since.
    pub large_objects: u64,
    /// Large objects in the data; 0 if only the table of contents was read.
    pub large_objects_with_data: u64,
    /// Extensions.
    pub extensions: BTreeSet<String>,
    /// Owners of objects: the roles that a restore needs, without those that only a GRANT or a policy names.
    pub owners: BTreeSet<String>,
    /// Tablespaces of objects.
    pub tablespaces: BTreeSet<String>,
    /// Bytes of table rows and large objects as stored in the archive; 0 if only the table of contents was read.
    pub data_bytes: u64,
}

impl Contents {
    pub(super) fn set_header(&mut self, header: &mut Header) {
        self.version = header.version;
        self.format = header.format;
        self.compression = header.compression;
        self.dbname = std::mem::take(&mut header.dbname);
        self.server_version = std::mem::take(&mut header.server_version);
        self.dump_version = std::mem::take(&mut header.dump_version);
    }

    pub(super) fn add(&mut self, entry: &TocEntry<'_>) -> Result<(), String> {
        self.entries += 1;
        self.count(entry.desc)?;
        add_name(&mut self.owners, entry.owner, "owners")?;
        add_name(&mut self.tablespaces, entry.tablespace, "tablespaces")?;
        match entry.desc.bytes {
            b"TABLE DATA" if entry.has_data => self.table_data.0.push(entry.oid),
            b"BLOB" => self.large_objects += 1,
            b"BLOB METADATA" => self.large_objects += entry.defn_lines,
            b"EXTENSION" => add_name(&mut self.extensions, entry.tag, "extensions")?,
            b"ENCODING" => self.encoding = quoted(entry.defn.bytes),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn seal(&mut self) {
        self.table_data.seal();
    }

    fn count(&mut self, desc: TocString<'_>) -> Result<(), String> {
        let desc = String::from_utf8_lossy(desc.bytes);
        if let Some(count) = self.counts.get_mut(desc.as_ref()) {
            *count += 1;
            return Ok(());
        }
        if self.counts.len() >= DESCS {
            return Err(format!("more than {DESCS} kinds of objects"));
        }
        self.counts.insert(desc.into_owned(), 1);
        Ok(())
    }

    /// Entries of this description, such as `INDEX`.
    #[must_use]
    pub fn count_of(&self, desc: &str) -> u64 {
        self.counts.get(desc).copied().unwrap_or_default()
    }

    /// Number of tables, including partitioned tables and partitions, without foreign tables.
    #[must_use]
    pub fn tables(&self) -> u64 {
        self.count_of("TABLE")
    }
}

fn add_name(names: &mut BTreeSet<String>, name: TocString<'_>, what: &str) -> Result<(), String> {
    let text = String::from_utf8_lossy(name.bytes);
    if text.is_empty() || names.contains(text.as_ref()) {
        return Ok(());
    }
    if names.len() >= NAMES {
        return Err(format!("more than {NAMES} {what}"));
    }
    names.insert(text.into_owned());
    Ok(())
}

/// The name in quotes in `SET client_encoding = 'UTF8';`.
fn quoted(defn: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(defn);
    let (_, rest) = text.split_once('\'')?;
    let (name, _) = rest.split_once('\'')?;
    Some(name.to_owned())
}

//! The objects of an archive by its table of contents, with hashes of their definitions.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::fingerprint::LongRow;
use crate::postgres::archive::{TocEntry, read_toc};
use crate::postgres::table_definition::{ColumnDefinition, RelationName, primary_key, table};
use crate::restore::archive::{Archive, encoding_of};
use crate::restore::contents::{NO_OBJECTS, headings};
use crate::stop::Stop;

/// An object's kind, such as `FUNCTION`, its schema, empty for none, and its name.
pub type ObjectKey = (Vec<u8>, Vec<u8>, Vec<u8>);

/// The objects of an archive.
#[derive(Debug, Default)]
pub struct ContentsIndex {
    /// Tables.
    pub tables: BTreeMap<RelationName, DefinedTable>,
    /// The hashes of the other objects' definitions; several operators may have one name.
    pub objects: BTreeMap<ObjectKey, Vec<u128>>,
    /// Whether definitions are known: of a script only names are.
    pub has_definitions: bool,
    /// The encoding of the archive; empty if unknown.
    pub encoding: String,
    /// Primary keys by table.
    keys: Vec<(RelationName, Vec<Vec<u8>>)>,
}

/// A table in the table of contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DefinedTable {
    /// Whether it is a foreign table.
    pub foreign: bool,
    /// Hash of its definition, owner and tablespace.
    pub hash: u128,
    /// Its own columns, without inherited ones.
    pub columns: Vec<ColumnDefinition>,
    /// The columns of its primary key; empty if it has none.
    pub key: Vec<Vec<u8>>,
}

impl ContentsIndex {
    /// Reads the table of contents, or the headings of a script to its end. Blocks.
    pub fn read(archive: &Archive, stop: &Stop) -> Result<Self> {
        let mut index = ContentsIndex::default();
        match archive.contents(|entry| index.add(entry))? {
            Some(_) => index.has_definitions = true,
            None => headings::read(archive, stop, |kind, schema, name| index.add_name(kind, schema, name))?,
        }
        index.add_keys();
        Ok(index)
    }

    /// Reads the table of contents at the beginning of a custom archive.
    ///
    /// # Errors
    /// Those of the reader, and a malformed table of contents.
    pub fn of_stream(from: impl std::io::Read) -> std::io::Result<Self> {
        let mut index = ContentsIndex { has_definitions: true, ..ContentsIndex::default() };
        read_toc(from, |entry| index.add(entry))?;
        index.add_keys();
        Ok(index)
    }

    /// A primary key follows its table in the table of contents.
    fn add_keys(&mut self) {
        for (table, key) in std::mem::take(&mut self.keys) {
            if let Some(table) = self.tables.get_mut(&table) {
                table.key = key;
            }
        }
    }

    fn add(&mut self, entry: &TocEntry<'_>) {
        if let Some(encoding) = encoding_of(entry) {
            self.encoding = encoding;
        }
        if entry.desc.bytes == b"CONSTRAINT" {
            self.keys.extend(primary_key(entry.defn.bytes));
        }
        let (schema, name) = (entry.namespace.bytes.to_vec(), entry.tag.bytes.to_vec());
        if let Some(foreign) = is_foreign(entry.desc.bytes) {
            let columns = table(entry.defn.bytes).map(|(_, table)| table.columns).unwrap_or_default();
            let table = DefinedTable { foreign, hash: hash(entry), columns, key: Vec::new() };
            self.tables.insert((schema, name), table);
        } else if is_object(entry.desc.bytes) {
            self.objects.entry((entry.desc.bytes.to_vec(), schema, name)).or_default().push(hash(entry));
        }
    }

    fn add_name(&mut self, kind: &str, schema: &str, name: &str) {
        let names = (schema.as_bytes().to_vec(), name.as_bytes().to_vec());
        if let Some(foreign) = is_foreign(kind.as_bytes()) {
            self.tables.insert(names, DefinedTable { foreign, ..DefinedTable::default() });
        } else if is_object(kind.as_bytes()) {
            self.objects.entry((kind.as_bytes().to_vec(), names.0, names.1)).or_default().push(0);
        }
    }
}

fn is_foreign(kind: &[u8]) -> Option<bool> {
    match kind {
        b"TABLE" => Some(false),
        b"FOREIGN TABLE" => Some(true),
        _ => None,
    }
}

fn hash(entry: &TocEntry<'_>) -> u128 {
    let mut all = LongRow::default();
    all.push(&entry.defn_hash.to_le_bytes());
    all.push(entry.owner.bytes);
    all.push(b"\0");
    all.push(entry.tablespace.bytes);
    all.digest()
}

/// Whether entries of this kind are compared by their definitions.
fn is_object(kind: &[u8]) -> bool {
    !NO_OBJECTS.contains(&kind) && kind != b"STATISTICS DATA"
}

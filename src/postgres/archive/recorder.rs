//! Takes the fingerprints of an archive's rows while it is read.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use super::blocks::{BlockSink, LARGE_OBJECTS};
use super::toc_entry::{TocEntry, TocString};
use crate::fingerprint::{LargeObjects, LongRow, Quoted, SequenceFingerprint, Sum, TableFingerprint};
use crate::postgres::script::identifier;

mod lines;
mod tap;

use lines::Lines;
use tap::Tapping;
pub use tap::{Tap, Tapped};

/// How pg_dump names the file of a large object (`_StartLO` of pg_backup_directory.c and pg_backup_tar.c).
const OBJECT: (&str, &str) = ("blob_", ".dat");

/// The fingerprints of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Tables by the name and the columns that COPY loads them into.
    pub tables: Vec<TableFingerprint>,
    /// Sequences.
    pub sequences: Vec<SequenceFingerprint>,
    /// Large objects.
    pub large_objects: LargeObjects,
}

impl Recorded {
    /// Rows of all tables.
    pub fn rows(&self) -> u64 {
        self.tables.iter().fold(0, |sum, table| sum.saturating_add(table.sum.rows))
    }
}

/// The name of a column, without quotes.
type Name = Vec<u8>;

/// The fingerprints, or the reason why there are none.
pub type Record = Result<Recorded, String>;

/// Takes the entries of the table of contents, then the data in pieces of any size.
///
/// Memory: names and columns of the tables, and the ranges of the large objects.
#[derive(Debug)]
pub struct Recorder {
    tables: Vec<TableFingerprint>,
    /// The table of an entry, by its dump id.
    by_id: HashMap<u32, usize>,
    /// The table whose rows a data file has; for `toc.dat` only.
    by_file: HashMap<String, usize>,
    /// The order of columns in which the rows of a partition root are hashed, by the root's name and its sorted columns.
    roots: HashMap<(Quoted, Vec<Name>), (Quoted, Vec<Name>)>,
    /// The permutation from the columns of a partition to those of its root, if their order differs.
    orders: HashMap<usize, Arc<[usize]>>,
    foreign: HashSet<u32>,
    sequences: Vec<SequenceFingerprint>,
    large_objects: LargeObjects,
    standard_strings: bool,
    passing: PassingData,
    tap: Option<Tap>,
    /// The part that could not be parsed, without which the fingerprints would be wrong.
    failure: Option<String>,
}

/// The data of one table or large object that is being read.
#[derive(Debug, Default)]
pub struct PassingData {
    of: DataOf,
    lines: Lines,
    rows: Sum,
    object: LongRow,
    tapping: Option<Tapping>,
}

/// DataOf the data belongs to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum DataOf {
    #[default]
    Nothing,
    Table(usize),
    Object(u32),
}

impl PassingData {
    /// Whether these rows are also sent to a receiver.
    pub fn is_tapped(&self) -> bool {
        self.tapping.is_some()
    }

    fn new(of: DataOf, order: Option<Arc<[usize]>>) -> Self {
        Self { of, lines: Lines::in_order(order), ..Self::default() }
    }

    /// The next piece.
    #[inline]
    pub fn push(&mut self, piece: &[u8]) {
        match self.of {
            DataOf::Table(_) => {
                self.lines.push(piece, &mut self.rows);
                if let Some(tapping) = &mut self.tapping {
                    tapping.push(piece);
                }
            }
            DataOf::Object(_) => self.object.push(piece),
            DataOf::Nothing => {}
        }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            tables: Vec::new(),
            by_id: HashMap::new(),
            by_file: HashMap::new(),
            roots: HashMap::new(),
            orders: HashMap::new(),
            foreign: HashSet::new(),
            sequences: Vec::new(),
            large_objects: LargeObjects::default(),
            standard_strings: true,
            passing: PassingData::default(),
            tap: None,
            failure: None,
        }
    }
}

impl Recorder {
    /// A recorder that also sends the rows of some tables to a receiver.
    pub fn tapped(tap: Tap) -> Self {
        Self { tap: Some(tap), ..Self::default() }
    }

    /// Whether only the rows of some tables matter.
    pub fn is_selective(&self) -> bool {
        self.tap.is_some()
    }

    /// Takes an entry of the table of contents.
    pub fn entry(&mut self, entry: &TocEntry<'_>) {
        match entry.desc.bytes {
            b"TABLE DATA" if entry.has_data => self.table(entry),
            b"FOREIGN TABLE" => drop(self.foreign.insert(entry.dump_id)),
            b"SEQUENCE SET" => match sequence(entry.defn, self.standard_strings) {
                Some(sequence) => self.sequences.push(sequence),
                None => self.fail(&format!("the value of the sequence {}", entry.tag)),
            },
            b"STDSTRINGS" => self.standard_strings = !entry.defn.bytes.ends_with(b"= 'off';\n"),
            _ => {}
        }
    }

    fn table(&mut self, entry: &TocEntry<'_>) {
        let Some((target, columns)) = copy(entry.copy_statement.bytes) else {
            return self.fail(&format!("the COPY statement of the table {}", entry.tag));
        };
        let mut table = TableFingerprint {
            target: target.into(),
            columns: columns.into(),
            foreign: entry.dependencies.iter().any(|id| self.foreign.contains(id)),
            ..TableFingerprint::default()
        };
        if names(target) != Some((entry.namespace.bytes.to_owned(), entry.tag.bytes.to_owned())) {
            table.partitions.push(quoted(entry.namespace.bytes, entry.tag.bytes));
            self.put_in_order(&mut table);
        }
        self.by_id.insert(entry.dump_id, self.tables.len());
        if !entry.file.bytes.is_empty() {
            self.by_file.insert(entry.file.to_string(), self.tables.len());
        }
        self.tables.push(table);
    }

    /// The partitions of a root are hashed in the order of columns of the first one: a restore may put a row into another
    /// partition.
    fn put_in_order(&mut self, table: &mut TableFingerprint) {
        let Some(own) = column_names(table.columns.bytes()) else { return };
        let mut sorted = own.clone();
        sorted.sort_unstable();
        let first = self.roots.entry((table.target.clone(), sorted)).or_insert((table.columns.clone(), own.clone()));
        if first.1 != own {
            let order = first.1.iter().filter_map(|name| own.iter().position(|column| column == name)).collect();
            self.orders.insert(self.tables.len(), order);
            table.columns = first.0.clone();
        }
    }

    fn passing(&self, of: DataOf) -> PassingData {
        let order = match of {
            DataOf::Table(table) => self.orders.get(&table).cloned(),
            DataOf::Object(_) | DataOf::Nothing => None,
        };
        let tapping = match of {
            DataOf::Table(table) => {
                self.tap.as_ref().zip(self.tables.get(table)).and_then(|(tap, table)| tap.of(table))
            }
            DataOf::Object(_) | DataOf::Nothing => None,
        };
        PassingData { tapping, ..PassingData::new(of, order) }
    }

    /// Records that a part of the archive could not be parsed: there will be no fingerprints.
    pub(super) fn fail(&mut self, what: &str) {
        self.failure.get_or_insert_with(|| format!("{what} is not in the form that pg_dump writes"));
    }

    /// Begins a file of a directory or tar archive; `name` is without the suffix of compression. The caller pushes the
    /// contents and calls [`Recorder::take`]. Files without rows that are no large objects are not recorded.
    pub fn file(&self, name: &str) -> PassingData {
        let object = name.strip_prefix(OBJECT.0).and_then(|rest| rest.strip_suffix(OBJECT.1));
        self.passing(match (self.by_file.get(name), object.and_then(|oid| oid.parse().ok())) {
            (Some(table), _) => DataOf::Table(*table),
            (None, Some(oid)) => DataOf::Object(oid),
            (None, None) => DataOf::Nothing,
        })
    }

    /// Adds data that was read to its end.
    pub fn take(&mut self, passed: &mut PassingData) {
        if let Some(tapping) = passed.tapping.take() {
            tapping.finish();
        }
        match passed.of {
            DataOf::Object(oid) => self.large_objects.add(oid, &passed.object),
            DataOf::Table(table) => match self.tables.get_mut(table) {
                Some(table) if passed.lines.are_whole() => table.sum.merge(&passed.rows),
                table => {
                    let target = table.map(|table| table.target.to_string()).unwrap_or_default();
                    self.fail(&format!("the rows of {target}, or their end,"));
                }
            },
            DataOf::Nothing => {}
        }
    }

    /// The fingerprints.
    ///
    /// # Errors
    /// The part of the archive that could not be parsed.
    pub fn finish(self) -> Record {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        let mut targets: BTreeMap<(Quoted, Quoted), TableFingerprint> = BTreeMap::new();
        for table in self.tables {
            let key = (table.target.clone(), table.columns.clone());
            match targets.entry(key) {
                std::collections::btree_map::Entry::Vacant(free) => drop(free.insert(table)),
                std::collections::btree_map::Entry::Occupied(mut same) => {
                    let same = same.get_mut();
                    same.sum.merge(&table.sum);
                    same.partitions.extend(table.partitions);
                }
            }
        }
        Ok(Recorded {
            tables: targets.into_values().collect(),
            sequences: self.sequences,
            large_objects: self.large_objects,
        })
    }
}

impl BlockSink for Recorder {
    fn block(&mut self, kind: u8, dump_id: i64) -> io::Result<()> {
        let table = u32::try_from(dump_id).ok().and_then(|id| self.by_id.get(&id)).copied();
        self.passing = self.passing(match table {
            Some(table) if kind != LARGE_OBJECTS => DataOf::Table(table),
            _ => DataOf::Nothing,
        });
        Ok(())
    }

    fn large_object(&mut self, oid: i64) -> io::Result<()> {
        // pg_dump writes OIDs as signed integers.
        let signed = i32::try_from(oid).map(i32::cast_unsigned);
        self.passing = self.passing(match signed.or_else(|_| u32::try_from(oid)) {
            Ok(oid @ 1..) => DataOf::Object(oid),
            _ => DataOf::Nothing,
        });
        Ok(())
    }

    #[inline]
    fn data(&mut self, piece: &[u8]) -> io::Result<()> {
        self.passing.push(piece);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        let mut passed = std::mem::take(&mut self.passing);
        self.take(&mut passed);
        Ok(())
    }
}

/// The table and the columns of `COPY table (columns) FROM stdin;` (`dumpTableData` of pg_dump.c). Without columns there are
/// no parentheses.
pub(super) fn copy(statement: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = statement.strip_prefix(b"COPY ")?.strip_suffix(b" FROM stdin;\n")?;
    let (_, after) = identifier(rest)?;
    let (_, after) = identifier(after.strip_prefix(b".")?)?;
    let (target, columns) = rest.split_at(rest.len() - after.len());
    let columns = columns.strip_prefix(b" ")?;
    (columns.is_empty() || columns.starts_with(b"(") && columns.ends_with(b")")).then_some((target, columns))
}

/// The names in a list of columns, such as `(id, "Name")`.
pub fn column_names(list: &[u8]) -> Option<Vec<Name>> {
    let mut rest = list.strip_prefix(b"(")?;
    let mut names = Vec::new();
    loop {
        let (name, after) = identifier(rest)?;
        names.push(name);
        rest = match after {
            b")" => return Some(names),
            _ => after.strip_prefix(b", ")?,
        };
    }
}

/// Schema and name of a table, by its quoted name.
pub fn table_names(quoted: &Quoted) -> Option<(Vec<u8>, Vec<u8>)> {
    names(quoted.bytes())
}

fn names(target: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (schema, rest) = identifier(target)?;
    let (name, _) = identifier(rest.strip_prefix(b".")?)?;
    Some((schema, name))
}

/// A table's name, all of it quoted.
fn quoted(schema: &[u8], name: &[u8]) -> Quoted {
    let mut text = Vec::new();
    for (before, name) in [(&b"\""[..], schema), (b"\".\"", name)] {
        text.extend_from_slice(before);
        name.iter().for_each(|byte| text.extend(std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 })));
    }
    text.push(b'"');
    Quoted::from(text.as_slice())
}

/// The value in `SELECT pg_catalog.setval('name', value, is_called);` (`dumpSequenceData` of pg_dump.c).
fn sequence(definition: TocString<'_>, standard_strings: bool) -> Option<SequenceFingerprint> {
    let rest = definition.bytes.strip_prefix(b"SELECT pg_catalog.setval('")?.strip_suffix(b");\n")?;
    // Neither a number nor a boolean has a quote.
    let end = memchr::memrchr(b'\'', rest)?;
    let (name, rest) = rest.split_at(end);
    let rest = std::str::from_utf8(rest.strip_prefix(b"', ")?).ok()?;
    let (value, called) = rest.split_once(", ")?;
    let digits = value.strip_prefix('-').unwrap_or(value);
    let is_called = [("true", true), ("false", false)].into_iter().find(|(word, _)| *word == called)?.1;
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(())?;
    let mut text = Vec::with_capacity(name.len());
    let mut bytes = name.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        // `appendStringLiteral` doubles them.
        if byte == b'\'' || byte == b'\\' && !standard_strings {
            bytes.next_if_eq(&byte)?;
        }
        text.push(byte);
    }
    Some(SequenceFingerprint { name: text.as_slice().into(), last_value: value.to_owned(), is_called })
}

#[cfg(test)]
mod tests;

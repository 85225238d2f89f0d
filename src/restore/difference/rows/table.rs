//! One table in two archives: which of its columns are compared, by which its rows are paired, and the rows that differ.

use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use serde::Serialize;

use crate::error::{Error, Kind, Result};
use crate::format::some;
use crate::host::progress::Counter;
use crate::postgres::text_encoding::TextEncoding;
use crate::restore::archive::Archive;
use crate::restore::difference::kind::DiffKind;
use crate::restore::difference::rows::key::KeyColumn;
use crate::restore::difference::rows::matcher::RowMatcher;
use crate::restore::difference::rows::pairs::RowChange;
use crate::restore::difference::rows::run::SpillFolder;
use crate::restore::difference::tables::ColumnDifference;
use crate::restore::rows::{ArchivedColumn, ArchivedTable, RowSplitter, TablePart, TableSink, find, read};
use crate::stop::Stop;

/// Bytes of rows that are handed on at once, unless a row is longer.
const BATCH: usize = 256 << 10;

/// Batches that may wait, of each side.
const WAITING: usize = 2;

/// What to compare.
#[derive(Clone, Debug)]
pub struct RowRequest {
    /// The table, as the command line names it.
    pub table: String,
    /// The columns by which rows are paired, if they are given.
    pub key: Option<String>,
    /// Folder for rows that have to be sorted.
    pub folder: PathBuf,
}

/// A table that is compared.
#[derive(Debug)]
pub struct ComparedTable {
    /// The table in the first and in the second archive; none where there is no such table.
    sides: [Option<ArchivedTable>; 2],
    /// The columns that both have with one type.
    pub columns: Vec<ArchivedColumn>,
    /// The places among `columns` by which rows are paired; empty if they are compared as multisets.
    pub key: Vec<usize>,
    /// The columns that are not compared.
    pub differing: Vec<ColumnDifference>,
}

/// The numbers of rows that differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RowNumbers {
    /// Rows that only the second has.
    pub inserted: u64,
    /// Rows that only the first has.
    pub deleted: u64,
    /// Rows that differ.
    pub updated: u64,
}

impl RowNumbers {
    /// Counts a change.
    pub fn add(&mut self, change: &RowChange) {
        match change {
            RowChange::Deleted(_) => self.deleted += 1,
            RowChange::Inserted(_) => self.inserted += 1,
            RowChange::Updated(..) => self.updated += 1,
        }
    }

    /// Whether none differs.
    pub fn are_none(self) -> bool {
        self == RowNumbers::default()
    }
}

impl ComparedTable {
    /// Finds the table in both archives. A table that only one of them has is compared with an empty one. Blocks.
    ///
    /// # Errors
    /// `Missing` with the nearest names if neither has it; `Usage` for an ambiguous name, and for a key that is not there.
    pub fn find(archives: [&Archive; 2], request: &RowRequest, stop: &Stop) -> Result<Self> {
        let [before, after] = archives.map(|archive| find(archive, &request.table, stop));
        let sides = match (before, after) {
            (Ok(before), Ok(after)) => [Some(before), Some(after)],
            (Ok(before), Err(error)) if error.kind() == Kind::Missing => [Some(before), None],
            (Err(error), Ok(after)) if error.kind() == Kind::Missing => [None, Some(after)],
            (Err(error), _) | (_, Err(error)) => return Err(error),
        };
        for (_, archive) in sides.iter().zip(archives).filter(|(side, _)| side.is_none()) {
            log::warn!("{} has no table {}, or no rows of it", archive.name, request.table.escape_debug());
        }
        let (columns, differing) = common(&sides);
        let mut table = ComparedTable { sides, columns, key: Vec::new(), differing };
        table.key = match &request.key {
            Some(names) => table.given_key(names)?,
            None => table.primary_key(),
        };
        Ok(table)
    }

    /// The table, as one of the archives has it.
    pub fn archived(&self) -> Option<&ArchivedTable> {
        self.sides.iter().flatten().next_back()
    }

    /// Its name for messages.
    pub fn name(&self) -> &str {
        self.archived().map_or("", |table| table.name.as_str())
    }

    fn given_key(&self, names: &str) -> Result<Vec<usize>> {
        let place = |name: &str| {
            let at = |name: &str| self.columns.iter().position(|column| column.name == name);
            at(name).or_else(|| at(&name.to_lowercase())).ok_or_else(|| {
                let known: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
                let message = format!("--key: {} has no column '{}' that both have", self.name(), name.escape_debug());
                Error::new(Kind::Usage, message).hint(format!("both have {}", some(&known, 50)))
            })
        };
        names.split(',').map(|name| place(name.trim())).collect()
    }

    /// The primary key, if both have the same one, of columns that are compared.
    fn primary_key(&self) -> Vec<usize> {
        let names = |table: &ArchivedTable| -> Vec<String> {
            table.key.iter().filter_map(|at| table.columns.get(*at)).map(|column| column.name.clone()).collect()
        };
        let mut keys: Vec<Vec<String>> = self.sides.iter().flatten().map(names).collect();
        keys.dedup();
        let [key] = keys.as_slice() else { return Vec::new() };
        let place = |name: &String| self.columns.iter().position(|column| column.name == *name);
        key.iter().map(place).collect::<Option<_>>().unwrap_or_default()
    }

    /// Calls `visit` with each row that differs, sorted by the key. Blocks.
    ///
    /// # Errors
    /// `Data` for an archive that is damaged before the end of the table, `CannotWrite` without space for sorted rows; those of
    /// `visit`.
    pub fn read(
        &self,
        archives: [&Archive; 2],
        request: &RowRequest,
        (moved, stop): (&Counter, &Stop),
        mut visit: impl FnMut(RowChange) -> io::Result<()>,
    ) -> Result<()> {
        let secret = archives.iter().any(|archive| archive.is_encrypted());
        let key = self.key.iter().map(|place| self.key_column(*place)).collect();
        let mut matcher = RowMatcher::new(key, SpillFolder::new(request.folder.clone(), secret));
        std::thread::scope(|scope| {
            let (mut incoming, mut readers) = (Vec::new(), Vec::new());
            for (side, archive) in self.sides.iter().zip(archives) {
                let (to, rows) = sync_channel(WAITING);
                incoming.push(IncomingRows { rows, batch: Vec::new(), at: 0, end: None });
                let Some(table) = side else { continue };
                let mut sink = self.sink(table, to);
                readers.push(scope.spawn(move || {
                    read(archive, table, moved, stop, &mut sink)?;
                    sink.flush();
                    Ok(())
                }));
            }
            let matched = match incoming.as_mut_slice() {
                [before, after] => pair(&mut matcher, before, after),
                _ => Ok(()),
            };
            // A reader that waits for room ends when there is no receiver any more.
            drop(incoming);
            let read: Vec<Result<()>> = readers
                .into_iter()
                .map(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect();
            matched.and(read.into_iter().collect::<Result<()>>())
        })?;
        matcher.finish(|change| match stop.requested() {
            true => Err(stop.error().into()),
            false => visit(change),
        })
    }

    fn key_column(&self, place: usize) -> KeyColumn {
        KeyColumn { place, kind: self.columns.get(place).map(|column| column.kind).unwrap_or_default() }
    }

    /// Receives the rows of one side.
    fn sink(&self, table: &ArchivedTable, to: SyncSender<Vec<u8>>) -> OutgoingRows {
        let place = |column: &ArchivedColumn| table.columns.iter().position(|own| own.name == column.name);
        let places: Vec<usize> = self.columns.iter().filter_map(place).collect();
        let is_whole = places.len() == table.columns.len() && places.is_sorted();
        let is_utf8 = matches!(table.encoding, TextEncoding::Utf8 | TextEncoding::Bytes);
        OutgoingRows {
            splitter: RowSplitter::new(table),
            places,
            as_it_is: is_whole && is_utf8,
            in_order: true,
            batch: Vec::new(),
            to,
        }
    }
}

/// The columns that both sides have with one type, and the others.
fn common(sides: &[Option<ArchivedTable>; 2]) -> (Vec<ArchivedColumn>, Vec<ColumnDifference>) {
    let [Some(before), Some(after)] = sides else {
        let columns = sides.iter().flatten().flat_map(|table| table.columns.clone()).collect();
        return (columns, Vec::new());
    };
    let find = |table: &ArchivedTable, name: &str| table.columns.iter().find(|column| column.name == name).cloned();
    let (mut both, mut differing) = (Vec::new(), Vec::new());
    for column in &before.columns {
        let other = find(after, &column.name);
        let types = (column.type_name.as_ref(), other.as_ref().and_then(|other| other.type_name.as_ref()));
        match (&other, types) {
            (Some(_), (Some(one), Some(two))) if one != two => {
                differing.push(column_difference(Some(column), other.as_ref()))
            }
            (Some(other), _) => both.push(other.clone()),
            (None, _) => differing.push(column_difference(Some(column), None)),
        }
    }
    let added = after.columns.iter().filter(|column| find(before, &column.name).is_none());
    differing.extend(added.map(|column| column_difference(None, Some(column))));
    (both, differing)
}

fn column_difference(before: Option<&ArchivedColumn>, after: Option<&ArchivedColumn>) -> ColumnDifference {
    ColumnDifference {
        name: before.or(after).map(|column| column.name.clone()).unwrap_or_default(),
        change: match (before, after) {
            (_, None) => DiffKind::Removed,
            (None, _) => DiffKind::Added,
            _ => DiffKind::Changed,
        },
        type_before: before.and_then(|column| column.type_name.clone()),
        type_after: after.and_then(|column| column.type_name.clone()),
    }
}

/// Hands on the compared columns of each row, in UTF-8 where the encoding is known.
struct OutgoingRows {
    splitter: RowSplitter,
    /// Where the compared columns are in the table.
    places: Vec<usize>,
    /// Whether a line need not be changed, if its part has the columns in the table's order.
    as_it_is: bool,
    in_order: bool,
    batch: Vec<u8>,
    to: SyncSender<Vec<u8>>,
}

impl OutgoingRows {
    /// False if there is no receiver any more.
    fn flush(&mut self) -> bool {
        self.batch.is_empty() || self.to.send(std::mem::take(&mut self.batch)).is_ok()
    }
}

impl TableSink for OutgoingRows {
    fn part(&mut self, part: &TablePart) -> io::Result<()> {
        self.splitter.part(part);
        self.in_order = part.is_in_order();
        Ok(())
    }

    fn lines(&mut self, lines: &[u8]) -> io::Result<bool> {
        if self.as_it_is && self.in_order {
            self.batch.extend_from_slice(lines);
        } else {
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                let row = self.splitter.split(line.strip_suffix(b"\n").unwrap_or(line))?;
                for (at, place) in self.places.iter().enumerate() {
                    if at > 0 {
                        self.batch.push(b'\t');
                    }
                    self.batch.extend_from_slice(row.raw(*place));
                }
                self.batch.push(b'\n');
            }
        }
        Ok(self.batch.len() < BATCH || self.flush())
    }
}

/// The rows of one side, line by line.
struct IncomingRows {
    rows: Receiver<Vec<u8>>,
    batch: Vec<u8>,
    at: usize,
    /// Where the current line ends; none if it was not looked for yet.
    end: Option<usize>,
}

impl IncomingRows {
    /// Finds the next line; false at the end.
    fn fill(&mut self) -> bool {
        while self.end.is_none() {
            let rest = self.batch.get(self.at..).unwrap_or_default();
            self.end = memchr::memchr(b'\n', rest).map(|end| self.at + end);
            if self.end.is_none() {
                let Ok(batch) = self.rows.recv() else { return false };
                (self.batch, self.at) = (batch, 0);
            }
        }
        true
    }

    fn line(&self) -> &[u8] {
        self.end.and_then(|end| self.batch.get(self.at..end)).unwrap_or_default()
    }

    fn advance(&mut self) {
        if let Some(end) = self.end.take() {
            self.at = end + 1;
        }
    }
}

/// Gives the rows of both sides to the matcher, until both have ended.
fn pair(matcher: &mut RowMatcher, before: &mut IncomingRows, after: &mut IncomingRows) -> Result<()> {
    loop {
        let (one, two) = match (before.fill(), after.fill()) {
            (true, true) => matcher.take_both(before.line(), after.line())?,
            (true, false) => matcher.take_one(true, before.line()).map(|()| (true, false))?,
            (false, true) => matcher.take_one(false, after.line()).map(|()| (false, true))?,
            (false, false) => return Ok(()),
        };
        if one {
            before.advance();
        }
        if two {
            after.advance();
        }
    }
}

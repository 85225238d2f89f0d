//! The versions that rows had in the backups of a database.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::io::{self, Write};

use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fingerprints, Quoted, Sum};
use crate::postgres::archive::table_names;
use crate::postgres::values::ValueKind;
use crate::restore::rows::print::{RowFormat, RowPrinter};
use crate::restore::rows::select::{RowOutput, RowSelection};
use crate::restore::rows::table::{ArchivedColumn, ArchivedTable, ColumnValue, RowView};

/// Most bytes of rows that are kept: the versions of a row are compared across all backups.
const KEPT: usize = 256 << 20;

/// Columns that each line of the output begins with.
const FROM: &str = "from_backup";
const UNTIL: &str = "until_backup";

/// What a fingerprint says of a table: its target, its columns and its rows.
type Print = (Quoted, Quoted, Sum);

/// The fingerprints of a table, by which one backup is known to have the rows of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablePrints(Vec<Print>);

impl TablePrints {
    /// Those of a table and its partitions in a backup; none if it has none.
    pub fn of(prints: Option<&Fingerprints>, table: &ArchivedTable) -> Option<Self> {
        let is_meant = |quoted: &Quoted| {
            let name = table_names(quoted);
            name.is_some_and(|name| name == table.relation || table.parts.iter().any(|part| part.relation == name))
        };
        let of_table =
            prints?.tables.iter().filter(|print| is_meant(&print.target) || print.relations().iter().any(is_meant));
        let mut found: Vec<Print> =
            of_table.map(|print| (print.target.clone(), print.columns.clone(), print.sum)).collect();
        found.sort_by(|one, other| (&one.0, &one.1).cmp(&(&other.0, &other.1)));
        (!found.is_empty()).then_some(TablePrints(found))
    }
}

/// A version of a row.
#[derive(Debug)]
struct RowVersion {
    /// Values by the positions of columns in [`History::columns`]; those that its backup did not have are none.
    values: Vec<Option<Vec<u8>>>,
    /// The first and the last backup that has it, as positions in [`History::backups`].
    from: usize,
    until: usize,
}

/// The versions of rows, in memory.
#[derive(Debug, Default)]
pub struct History {
    /// Ids of the backups, the oldest first.
    backups: Vec<String>,
    /// The columns of all backups.
    columns: Vec<ArchivedColumn>,
    /// Positions of the columns of the newest primary key.
    key: Vec<usize>,
    versions: Vec<RowVersion>,
    /// The versions that the last backup has, by their values.
    current: HashMap<Vec<u8>, usize>,
    bytes: usize,
}

impl History {
    /// Begins a backup that has the same rows as the one before.
    pub fn unchanged(&mut self, id: &str) {
        self.backups.push(id.to_owned());
        let last = self.backups.len() - 1;
        for at in self.current.values() {
            if let Some(version) = self.versions.get_mut(*at) {
                version.until = last;
            }
        }
    }

    /// Begins a backup, whose rows are given to the output.
    pub fn backup(&mut self, id: &str, table: &ArchivedTable, selection: &RowSelection) -> BackupRows<'_> {
        self.backups.push(id.to_owned());
        let positions = selection.positions(table);
        let mut columns = Vec::new();
        for column in positions.iter().filter_map(|at| table.columns.get(*at)) {
            let known = self.columns.iter().position(|known| known.name == column.name);
            columns.push(known.unwrap_or(self.columns.len()));
            match known.and_then(|at| self.columns.get_mut(at)) {
                Some(known) => known.clone_from(column),
                None => self.columns.push(column.clone()),
            }
        }
        let key = table.key.iter().filter_map(|of_key| positions.iter().position(|at| at == of_key));
        self.key = key.filter_map(|at| columns.get(at).copied()).collect();
        BackupRows { next: HashMap::new(), positions, columns, history: self }
    }

    /// Begins a backup without the table.
    pub fn without_table(&mut self, id: &str) {
        self.backups.push(id.to_owned());
        self.current.clear();
    }

    /// Writes the versions, those of a row one after the other, and returns their number.
    ///
    /// # Errors
    /// Those of the output.
    pub fn print(mut self, format: RowFormat, table: &ArchivedTable, out: impl Write) -> io::Result<u64> {
        let name = |name: &str| ArchivedColumn {
            name: name.to_owned(),
            type_name: Some("text".to_owned()),
            kind: ValueKind::Text,
            always_identity: false,
        };
        let columns = [FROM, UNTIL].map(name).into_iter().chain(self.columns.iter().cloned()).collect();
        let mut printer = RowPrinter::new(format, table, columns, out)?;
        let mut versions = std::mem::take(&mut self.versions);
        versions.sort_by(|one, other| self.order(one, other));
        for version in &versions {
            let id = |at: usize| self.backups.get(at).map(|id| id.as_bytes().into());
            let mut values: Vec<ColumnValue<'_>> = vec![id(version.from), id(version.until)];
            let at = |at: usize| version.values.get(at).and_then(Option::as_deref).map(Into::into);
            values.extend((0..self.columns.len()).map(at));
            printer.row(&values)?;
        }
        printer.finish()?;
        Ok(versions.len() as u64)
    }

    fn order(&self, one: &RowVersion, other: &RowVersion) -> Ordering {
        let by_column = |at: &usize| {
            let kind = self.columns.get(*at).map(|column| column.kind).unwrap_or_default();
            let value = |version: &RowVersion| version.values.get(*at).cloned().flatten();
            match (value(one), value(other)) {
                (Some(one), Some(other)) => kind.compare(&one, &other),
                (one, other) => one.is_none().cmp(&other.is_none()),
            }
        };
        let by_key = self.key.iter().map(by_column).find(|order| order.is_ne());
        by_key.unwrap_or(Ordering::Equal).then(one.from.cmp(&other.from)).then(one.until.cmp(&other.until))
    }
}

/// The rows of one backup that are being read. [`BackupRows::finish`] must be called once all were.
pub struct BackupRows<'a> {
    history: &'a mut History,
    /// Positions of the columns in the table, and in the history.
    positions: Vec<usize>,
    columns: Vec<usize>,
    next: HashMap<Vec<u8>, usize>,
}

impl BackupRows<'_> {
    /// Ends the versions that this backup does not have.
    pub fn finish(self) {
        self.history.current = self.next;
    }

    /// Ends no version: the backup was not read to the end of the table.
    pub fn leave_unfinished(self) {
        self.history.current.extend(self.next);
    }
}

impl RowOutput for BackupRows<'_> {
    fn row(&mut self, _line: &[u8], row: &RowView<'_>) -> io::Result<()> {
        let last = self.history.backups.len() - 1;
        let mut key = Vec::new();
        let mut places: Vec<(usize, usize)> =
            self.columns.iter().copied().zip(self.positions.iter().copied()).collect();
        places.sort_unstable();
        for (column, position) in &places {
            key.extend_from_slice(&column.to_be_bytes());
            key.extend_from_slice(row.raw(*position));
            key.push(b'\t');
        }
        let known = self.next.get(&key).or_else(|| self.history.current.get(&key)).copied();
        let at = match known {
            Some(at) => at,
            None => {
                self.history.bytes += 2 * key.len();
                if self.history.bytes > KEPT {
                    let message = format!("more than {} MiB of rows have versions in the backups", KEPT >> 20);
                    return Err(Error::new(Kind::Usage, message).hint("narrow them with --where, or --columns").into());
                }
                let mut values = vec![None; self.history.columns.len()];
                for (column, position) in &places {
                    if let Some(value) = values.get_mut(*column) {
                        *value = row.value(*position).map(std::borrow::Cow::into_owned);
                    }
                }
                self.history.versions.push(RowVersion { values, from: last, until: last });
                self.history.versions.len() - 1
            }
        };
        if let Some(version) = self.history.versions.get_mut(at) {
            version.until = last;
        }
        self.next.insert(key, at);
        Ok(())
    }
}

/// Refuses a format that has no room for the backups of a version.
///
/// # Errors
/// `Usage`.
pub fn fits(format: RowFormat) -> Result<()> {
    match format {
        RowFormat::Copy | RowFormat::Insert => {
            Err(Error::new(Kind::Usage, "the versions of rows cannot be printed as COPY or INSERT statements")
                .hint("--format can be table, csv or json-lines with --all"))
        }
        RowFormat::Table | RowFormat::Csv | RowFormat::JsonLines => Ok(()),
    }
}

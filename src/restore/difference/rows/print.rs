//! Rows that differ, as text.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;

use crate::postgres::client::identifier;
use crate::postgres::copy_text::{decode, fields};
use crate::postgres::values::ValueKind;
use crate::restore::difference::rows::pairs::RowChange;
use crate::restore::difference::rows::sql::ChangeStatements;
use crate::restore::difference::rows::table::ComparedTable;
use crate::restore::rows::print::{RowFormat, RowPrinter, json_lines};
use crate::restore::rows::{ArchivedColumn, ColumnValue};

/// What stands between the old and the new value of a column.
const BECAME: &str = " → ";

/// Writes changes in a format. [`ChangePrinter::finish`] must be called.
///
/// | format | a change |
/// | --- | --- |
/// | table | a line; a value that was changed as `old → new` |
/// | csv | a line of a deleted or inserted row, and two lines, `before` and `after`, of an updated one; `changed` names the columns |
/// | json-lines | an object with `change`, `changed`, `before` and `after` |
/// | copy | as csv, in COPY's text format |
/// | insert | an INSERT, UPDATE or DELETE statement that makes the earlier row the later one |
pub struct ChangePrinter<W: Write> {
    columns: Vec<ArchivedColumn>,
    layout: ChangeLayout<W>,
}

enum ChangeLayout<W: Write> {
    Table(RowPrinter<W>),
    Csv(RowPrinter<W>),
    JsonLines(W),
    /// Elements of an array; whether one was written.
    JsonArray(W, bool),
    Copy(W),
    Statements(ChangeStatements, W),
}

/// The parts of a change that every format has.
#[derive(Serialize)]
struct Head<'a> {
    change: &'static str,
    /// The columns that an update changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Vec<&'a str>>,
}

impl<W: Write> ChangePrinter<W> {
    /// Begins with the names of the columns, where the format has a line for them.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(format: RowFormat, table: &ComparedTable, out: W) -> io::Result<Self> {
        let columns = table.columns.clone();
        let with = |names: &[&str]| -> Vec<ArchivedColumn> {
            names.iter().map(|name| text_column(name)).chain(columns.iter().cloned()).collect()
        };
        let layout = match (format, table.archived()) {
            // Numbers with an arrow are no numbers: all columns are aligned left.
            (RowFormat::Table, Some(archived)) => {
                let columns = with(&["change"]).iter().map(|column| text_column(&column.name)).collect();
                ChangeLayout::Table(RowPrinter::new(format, archived, columns, out)?)
            }
            (RowFormat::Csv, Some(archived)) => {
                ChangeLayout::Csv(RowPrinter::new(format, archived, with(&["change", "changed"]), out)?)
            }
            (RowFormat::Insert, Some(archived)) => {
                ChangeLayout::Statements(ChangeStatements::new(archived, &table.columns, &table.key), out)
            }
            (RowFormat::JsonLines, _) => ChangeLayout::JsonLines(out),
            _ => ChangeLayout::Copy(out),
        };
        Ok(ChangePrinter { columns, layout })
    }

    /// The changes as elements of a JSON array, without its brackets.
    pub fn json_array(table: &ComparedTable, out: W) -> Self {
        ChangePrinter { columns: table.columns.clone(), layout: ChangeLayout::JsonArray(out, false) }
    }

    /// Writes a change.
    ///
    /// # Errors
    /// Those of the output; `Data` for bytes that are not UTF-8 where the format needs letters.
    pub fn change(&mut self, change: &RowChange) -> io::Result<()> {
        let (before, after) = match change {
            RowChange::Deleted(row) => (Some(row.as_slice()), None),
            RowChange::Inserted(row) => (None, Some(row.as_slice())),
            RowChange::Updated(before, after) => (Some(before.as_slice()), Some(after.as_slice())),
        };
        let columns = &self.columns;
        match &mut self.layout {
            ChangeLayout::Table(printer) => {
                let cells = side_by_side(columns.len(), before, after);
                let name = Some(Cow::Borrowed(change.name().as_bytes()));
                printer.row(&std::iter::once(name).chain(cells).collect::<Vec<_>>())
            }
            ChangeLayout::Csv(printer) => lines(columns, change).into_iter().try_for_each(|(name, changed, row)| {
                let head = [Some(Cow::Borrowed(name.as_bytes())), changed.map(|names| Cow::Owned(names.into_bytes()))];
                printer.row(&head.into_iter().chain(values(columns.len(), row)).collect::<Vec<_>>())
            }),
            ChangeLayout::JsonLines(out) => {
                object(columns, change, [before, after], out)?;
                out.write_all(b"\n")
            }
            ChangeLayout::JsonArray(out, has_one) => {
                out.write_all(if std::mem::replace(has_one, true) { b",\n" } else { b"\n" })?;
                object(columns, change, [before, after], out)
            }
            ChangeLayout::Copy(out) => lines(columns, change).into_iter().try_for_each(|(name, changed, row)| {
                write!(out, "{name}\t{}", changed.as_deref().unwrap_or("\\N"))?;
                out.write_all(if columns.is_empty() { b"" } else { b"\t" })?;
                out.write_all(row)?;
                out.write_all(b"\n")
            }),
            ChangeLayout::Statements(statements, out) => {
                let [before, after] = [before, after].map(|row| row.map(|row| values(columns.len(), row)));
                statements.write(before.as_deref(), after.as_deref(), out)
            }
        }
    }

    /// Writes what was kept, flushes the output and returns it.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<W> {
        match self.layout {
            ChangeLayout::Table(printer) | ChangeLayout::Csv(printer) => printer.finish(),
            ChangeLayout::JsonLines(mut out)
            | ChangeLayout::JsonArray(mut out, _)
            | ChangeLayout::Copy(mut out)
            | ChangeLayout::Statements(_, mut out) => out.flush().map(|()| out),
        }
    }
}

fn text_column(name: &str) -> ArchivedColumn {
    ArchivedColumn { name: name.to_owned(), type_name: None, kind: ValueKind::Text, always_identity: false }
}

/// The values of a row; a table may have no columns.
pub fn values(columns: usize, row: &[u8]) -> Vec<ColumnValue<'_>> {
    fields(row).take(columns).map(decode).collect()
}

/// The places of the columns that differ.
fn changed(before: &[u8], after: &[u8]) -> impl Iterator<Item = usize> {
    let pairs = fields(before).zip(fields(after)).enumerate();
    pairs.filter(|(_, (one, two))| one != two).map(|(place, _)| place)
}

fn changed_names<'a>(columns: &'a [ArchivedColumn], before: &[u8], after: &[u8]) -> Vec<&'a str> {
    changed(before, after).filter_map(|place| columns.get(place)).map(|column| column.name.as_str()).collect()
}

/// The lines of a change: what they are, the names of the columns that were changed, and the row.
fn lines<'a>(columns: &[ArchivedColumn], change: &'a RowChange) -> Vec<(&'static str, Option<String>, &'a [u8])> {
    match change {
        RowChange::Deleted(row) | RowChange::Inserted(row) => vec![(change.name(), None, row.as_slice())],
        RowChange::Updated(before, after) => {
            let names: Vec<String> = changed_names(columns, before, after).into_iter().map(plain_identifier).collect();
            let names = names.join(",");
            vec![("before", Some(names.clone()), before.as_slice()), ("after", Some(names), after.as_slice())]
        }
    }
}

/// A name that is quoted only if it has more than letters, digits and underscores.
fn plain_identifier(name: &str) -> String {
    match name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        true => name.to_owned(),
        false => identifier(name),
    }
}

/// The values of a row, with both values of a column that was changed.
fn side_by_side<'a>(columns: usize, before: Option<&'a [u8]>, after: Option<&'a [u8]>) -> Vec<ColumnValue<'a>> {
    let (Some(before), Some(after)) = (before, after) else {
        return before.or(after).map(|row| values(columns, row)).unwrap_or_default();
    };
    let cell = |(one, two): (&'a [u8], &'a [u8])| {
        if one == two {
            return decode(one);
        }
        let text = |field: &'a [u8]| decode(field).unwrap_or(Cow::Borrowed(b"NULL"));
        Some(Cow::Owned([&text(one), BECAME.as_bytes(), &text(two)].concat()))
    };
    fields(before).zip(fields(after)).take(columns).map(cell).collect()
}

/// Writes a change as a JSON object.
fn object(
    columns: &[ArchivedColumn],
    change: &RowChange,
    [before, after]: [Option<&[u8]>; 2],
    out: &mut impl Write,
) -> io::Result<()> {
    let both = before.zip(after);
    let head =
        Head { change: change.name(), changed: both.map(|(before, after)| changed_names(columns, before, after)) };
    let mut text = serde_json::to_vec(&head)?;
    text.pop();
    for (name, row) in [("before", before), ("after", after)] {
        write!(text, ",\"{name}\":")?;
        match row {
            Some(row) => {
                json_lines::line(columns, &values(columns.len(), row), &mut text)?;
                text.pop();
            }
            None => text.extend_from_slice(b"null"),
        }
    }
    text.push(b'}');
    out.write_all(&text)
}

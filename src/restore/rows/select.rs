//! The rows of a table for which conditions hold.

use std::borrow::Cow;
use std::io::{self, Write};

use crate::error::{Error, Kind};
use crate::postgres::client::identifier;
use crate::postgres::table_definition::copied;
use crate::postgres::text_encoding::TextEncoding;
use crate::restore::rows::filter::RowFilter;
use crate::restore::rows::print::{RowFormat, RowPrinter};
use crate::restore::rows::table::{
    ArchivedColumn, ArchivedTable, ColumnValue, RowSplitter, RowView, TablePart, TableSink,
};

/// Which rows and columns of a table.
#[derive(Debug)]
pub struct RowSelection {
    /// Conditions that must hold.
    pub filter: RowFilter,
    /// Positions of the columns, in the order of the output; none for all as they are.
    pub columns: Option<Vec<usize>>,
    /// Most rows; none for all.
    pub limit: Option<u64>,
}

impl RowSelection {
    /// The positions of the columns.
    pub fn positions(&self, table: &ArchivedTable) -> Vec<usize> {
        self.columns.clone().unwrap_or_else(|| (0..table.columns.len()).collect())
    }

    /// The columns.
    pub fn columns_of(&self, table: &ArchivedTable) -> Vec<ArchivedColumn> {
        self.positions(table).iter().filter_map(|at| table.columns.get(*at).cloned()).collect()
    }

    fn is_everything(&self) -> bool {
        self.filter.is_empty() && self.limit.is_none()
    }
}

/// Takes the rows of a selection.
pub trait RowOutput {
    /// Rows of this part follow.
    ///
    /// # Errors
    /// Those of the output.
    fn part(&mut self, _part: &TablePart) -> io::Result<()> {
        Ok(())
    }

    /// A row: its line in the archive without its line feed, and what is in it.
    ///
    /// # Errors
    /// Those of the output.
    fn row(&mut self, line: &[u8], row: &RowView<'_>) -> io::Result<()>;

    /// Takes lines as they are, if the output can. Called where all rows are selected; false if it needs them one by one.
    ///
    /// # Errors
    /// Those of the output.
    fn lines(&mut self, _lines: &[u8]) -> io::Result<bool> {
        Ok(false)
    }
}

/// Gives the rows of a selection to an output.
pub struct SelectedRows<'a, O> {
    selection: &'a RowSelection,
    splitter: RowSplitter,
    /// The output.
    pub output: O,
    /// Rows that were given.
    pub rows: u64,
}

impl<'a, O: RowOutput> SelectedRows<'a, O> {
    /// A sink for the rows of this table.
    pub fn new(table: &ArchivedTable, selection: &'a RowSelection, output: O) -> Self {
        SelectedRows { selection, splitter: RowSplitter::new(table), output, rows: 0 }
    }
}

impl<O: RowOutput> TableSink for SelectedRows<'_, O> {
    fn part(&mut self, part: &TablePart) -> io::Result<()> {
        self.splitter.part(part);
        self.output.part(part)
    }

    fn lines(&mut self, lines: &[u8]) -> io::Result<bool> {
        let SelectedRows { selection, splitter, output, rows } = self;
        if selection.is_everything() && output.lines(lines)? {
            *rows += memchr::memchr_iter(b'\n', lines).count() as u64;
            return Ok(true);
        }
        let is_full = |rows: u64| selection.limit.is_some_and(|limit| rows >= limit);
        if is_full(*rows) {
            return Ok(false);
        }
        selection.filter.candidates(lines, |line| {
            let row = splitter.split(line)?;
            if selection.filter.holds(&row) {
                output.row(line, &row)?;
                *rows += 1;
            }
            Ok(!is_full(*rows))
        })
    }
}

/// Writes rows in any format.
pub enum WrittenRows<'a, W: Write> {
    /// COPY statements and rows as the archive has them.
    Copy(CopyWriter<'a, W>),
    /// Another format, and the positions of its columns.
    Printed(Vec<usize>, Box<RowPrinter<W>>),
}

/// Rows as the archive has them.
pub struct CopyWriter<'a, W: Write> {
    table: &'a ArchivedTable,
    columns: Option<&'a [usize]>,
    out: W,
    /// Whether a COPY statement lacks its end.
    is_open: bool,
}

impl<'a, W: Write> WrittenRows<'a, W> {
    /// Begins to write.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(format: RowFormat, table: &'a ArchivedTable, selection: &'a RowSelection, out: W) -> io::Result<Self> {
        Ok(match format {
            RowFormat::Copy => {
                Self::Copy(CopyWriter { table, columns: selection.columns.as_deref(), out, is_open: false })
            }
            _ => {
                let printer = RowPrinter::new(format, table, selection.columns_of(table), out)?;
                Self::Printed(selection.positions(table), Box::new(printer))
            }
        })
    }

    /// Ends the output and returns it.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(self) -> io::Result<W> {
        match self {
            Self::Printed(_, printer) => printer.finish(),
            Self::Copy(mut copy) => {
                copy.end()?;
                copy.out.flush()?;
                Ok(copy.out)
            }
        }
    }
}

impl<W: Write> RowOutput for WrittenRows<'_, W> {
    fn part(&mut self, part: &TablePart) -> io::Result<()> {
        let Self::Copy(copy) = self else { return Ok(()) };
        copy.end()?;
        copy.is_open = true;
        match copy.columns {
            None => copy.out.write_all(&part.copy),
            Some(columns) => copy.out.write_all(&copy_statement(part, copy.table, columns)?),
        }
    }

    fn row(&mut self, line: &[u8], row: &RowView<'_>) -> io::Result<()> {
        match self {
            Self::Printed(columns, printer) => {
                let values: Vec<ColumnValue<'_>> = columns.iter().map(|column| row.value(*column)).collect();
                printer.row(&values)
            }
            Self::Copy(copy) => {
                match copy.columns {
                    None => copy.out.write_all(line)?,
                    Some(columns) => {
                        for (at, column) in columns.iter().enumerate() {
                            let separator: &[u8] = if at > 0 { b"\t" } else { b"" };
                            copy.out.write_all(separator)?;
                            copy.out.write_all(&as_in_archive(row.raw(*column), copy.table.encoding)?)?;
                        }
                    }
                }
                copy.out.write_all(b"\n")
            }
        }
    }

    fn lines(&mut self, lines: &[u8]) -> io::Result<bool> {
        match self {
            Self::Copy(copy) if copy.columns.is_none() => copy.out.write_all(lines).map(|()| true),
            _ => Ok(false),
        }
    }
}

impl<W: Write> CopyWriter<'_, W> {
    fn end(&mut self) -> io::Result<()> {
        match std::mem::take(&mut self.is_open) {
            true => self.out.write_all(b"\\.\n"),
            false => Ok(()),
        }
    }
}

/// The COPY statement of a part with some of its columns.
fn copy_statement(part: &TablePart, table: &ArchivedTable, columns: &[usize]) -> io::Result<Vec<u8>> {
    let list = copied(&part.copy).map(|(_, list)| list).unwrap_or_default();
    let target = memchr::memmem::find(&part.copy, list).and_then(|at| part.copy.get(..at)).unwrap_or_default();
    let names = columns.iter().filter_map(|at| table.columns.get(*at)).map(|column| identifier(&column.name));
    let names = names.collect::<Vec<_>>().join(", ");
    let names = as_in_archive(names.as_bytes(), table.encoding)?;
    Ok([target, b"(", &names, b") FROM stdin;\n"].concat())
}

/// A text of UTF-8 in the encoding of the archive.
fn as_in_archive(text: &[u8], encoding: TextEncoding) -> io::Result<Cow<'_, [u8]>> {
    match std::str::from_utf8(text) {
        Ok(text) => encoding
            .encode(text)
            .ok_or_else(|| Error::new(Kind::Data, "a value cannot be written in the encoding of the archive").into()),
        Err(_) => Ok(Cow::Borrowed(text)),
    }
}

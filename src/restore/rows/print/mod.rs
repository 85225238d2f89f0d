//! Rows as text, in the formats that people and programs read.

use std::io::{self, Write};

use crate::error::{Error, Kind};
use crate::restore::rows::table::{ArchivedColumn, ArchivedTable, ColumnValue};

mod aligned;
mod csv;
pub mod insert;
pub mod json_lines;

use aligned::Aligned;

/// A format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowFormat {
    /// Aligned columns, for people.
    Table,
    /// As `psql --csv` writes it, but that an empty text has quotes: NULL has none.
    Csv,
    /// A JSON object for each row.
    JsonLines,
    /// COPY statements and rows as pg_dump wrote them.
    Copy,
    /// INSERT statements as `pg_dump --column-inserts` writes them.
    Insert,
}

impl RowFormat {
    /// The formats by their names.
    pub const NAMES: [(&'static str, RowFormat); 5] = [
        ("table", RowFormat::Table),
        ("csv", RowFormat::Csv),
        ("json-lines", RowFormat::JsonLines),
        ("copy", RowFormat::Copy),
        ("insert", RowFormat::Insert),
    ];

    /// The format of this name.
    ///
    /// # Errors
    /// `Usage` with the names that there are.
    pub fn of_name(name: &str) -> Result<Self, Error> {
        let known = Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, format)| *format);
        known.ok_or_else(|| {
            let names: Vec<&str> = Self::NAMES.iter().map(|(name, _)| *name).collect();
            Error::new(Kind::Usage, format!("there is no format '{}'", name.escape_debug()))
                .hint(format!("--format can be {}", names.join(", ")))
        })
    }
}

/// Writes rows with these columns in every format but COPY's, which needs rows as the archive has them.
///
/// [`RowPrinter::finish`] must be called. Memory: one row, and of [`RowFormat::Table`] the first rows, by which the columns are
/// aligned.
pub struct RowPrinter<W: Write> {
    columns: Vec<ArchivedColumn>,
    out: W,
    layout: Layout,
}

enum Layout {
    Table(Box<Aligned>),
    Csv,
    JsonLines,
    /// The beginning of each statement.
    Insert(Vec<u8>),
}

impl<W: Write> RowPrinter<W> {
    /// Begins with the names of the columns, where the format has a line for them. `table` is named in INSERT statements.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(format: RowFormat, table: &ArchivedTable, columns: Vec<ArchivedColumn>, mut out: W) -> io::Result<Self> {
        let names = columns.iter().map(|column| column.name.as_str());
        let layout = match format {
            RowFormat::Table => Layout::Table(Box::new(Aligned::new(&columns))),
            RowFormat::Csv => {
                csv::line(names.map(|name| Some(name.as_bytes())), &mut out)?;
                Layout::Csv
            }
            RowFormat::JsonLines => Layout::JsonLines,
            RowFormat::Copy | RowFormat::Insert => Layout::Insert(insert::head(table, &columns)),
        };
        Ok(RowPrinter { columns, out, layout })
    }

    /// Writes a row.
    ///
    /// # Errors
    /// Those of the output; `Data` for bytes that are not UTF-8 where the format needs letters.
    pub fn row(&mut self, values: &[ColumnValue<'_>]) -> io::Result<()> {
        match &mut self.layout {
            Layout::Table(table) => table.row(values, &mut self.out),
            Layout::Csv => csv::line(values.iter().map(Option::as_deref), &mut self.out),
            Layout::JsonLines => json_lines::line(&self.columns, values, &mut self.out),
            Layout::Insert(head) => insert::statement(head, &self.columns, values, &mut self.out),
        }
    }

    /// Writes what was kept, flushes the output and returns it.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finish(mut self) -> io::Result<W> {
        if let Layout::Table(table) = &mut self.layout {
            table.finish(&mut self.out)?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests;

//! Aligned columns for a terminal. The first rows decide the widths, so that memory does not grow with the rows.

use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use crate::postgres::values::ValueKind;
use crate::printable::printable;
use crate::restore::rows::table::{ArchivedColumn, ColumnValue};

/// Rows, and bytes of them, by which the columns are aligned.
const ROWS: usize = 1000;
const BYTES: usize = 1 << 20;

/// Letters of a value that are shown.
const SHOWN: usize = 1000;

/// How a null is shown.
const NULL: &str = "NULL";

/// A table that is being written.
pub struct Aligned {
    names: Vec<String>,
    /// Whether numbers are in the column, which are aligned right.
    right: Vec<bool>,
    widths: Vec<usize>,
    /// Rows that wait for the widths; none once these are decided.
    waiting: Option<Vec<Vec<String>>>,
    bytes: usize,
}

impl Aligned {
    /// A table with these columns.
    pub fn new(columns: &[ArchivedColumn]) -> Self {
        use ValueKind::{Double, Integer, Numeric, Real};
        let names: Vec<String> = columns.iter().map(|column| printable(&column.name)).collect();
        Aligned {
            right: columns.iter().map(|column| matches!(column.kind, Integer | Numeric | Real | Double)).collect(),
            widths: names.iter().map(|name| name.width()).collect(),
            waiting: Some(Vec::new()),
            names,
            bytes: 0,
        }
    }

    /// Takes a row, and writes it once the widths are decided.
    pub fn row(&mut self, values: &[ColumnValue<'_>], out: &mut impl Write) -> io::Result<()> {
        let row: Vec<String> = values.iter().map(shown).collect();
        let Some(waiting) = &mut self.waiting else { return self.write(&row, out) };
        for (width, value) in self.widths.iter_mut().zip(&row) {
            *width = value.width().max(*width);
        }
        self.bytes += row.iter().map(String::len).sum::<usize>();
        waiting.push(row);
        if waiting.len() >= ROWS || self.bytes >= BYTES { self.finish(out) } else { Ok(()) }
    }

    /// Writes the rows that wait.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        let Some(waiting) = self.waiting.take() else { return Ok(()) };
        self.write(&self.names, out)?;
        let lines: Vec<String> = self.widths.iter().map(|width| "-".repeat(*width)).collect();
        writeln!(out, "{}", lines.join("-+-"))?;
        waiting.iter().try_for_each(|row| self.write(row, out))
    }

    fn write(&self, row: &[String], out: &mut impl Write) -> io::Result<()> {
        let mut line = String::new();
        for (at, ((value, width), right)) in row.iter().zip(&self.widths).zip(&self.right).enumerate() {
            let blanks = " ".repeat(width.saturating_sub(value.width()));
            let (before, after) = if *right { (blanks.as_str(), "") } else { ("", blanks.as_str()) };
            let separator = if at > 0 { " | " } else { "" };
            line.extend([separator, before, value, after]);
        }
        writeln!(out, "{}", line.trim_end())
    }
}

fn shown(value: &ColumnValue<'_>) -> String {
    let Some(value) = value else { return NULL.to_owned() };
    // A letter has at most four bytes.
    let head = value.get(..4 * (SHOWN + 1)).unwrap_or(value);
    let text = String::from_utf8_lossy(head);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => printable(text.get(..end).unwrap_or_default()) + "…",
        None => printable(&text),
    }
}

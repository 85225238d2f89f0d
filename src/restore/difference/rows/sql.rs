//! Statements that make the rows of the first archive those of the second.

use std::io::{self, Write};

use crate::postgres::client::identifier;
use crate::postgres::values::ValueKind;
use crate::restore::rows::print::insert;
use crate::restore::rows::{ArchivedColumn, ArchivedTable, ColumnValue};

/// Types without an operator `=`, whose values are compared as text.
const NOT_COMPARABLE: [&str; 4] = ["json", "xml", "point", "polygon"];

/// Writes statements for one table.
pub struct ChangeStatements {
    table: String,
    insert: Vec<u8>,
    columns: Vec<ArchivedColumn>,
    /// The places of the key's columns; empty if there is no key.
    key: Vec<usize>,
}

impl ChangeStatements {
    /// Statements for a table with these columns, paired by this key.
    pub fn new(table: &ArchivedTable, columns: &[ArchivedColumn], key: &[usize]) -> Self {
        ChangeStatements {
            table: table.quoted_name(),
            insert: insert::head(table, columns),
            columns: columns.to_vec(),
            key: key.to_vec(),
        }
    }

    /// Writes the statement that turns the row `before` into `after`.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(
        &self,
        before: Option<&[ColumnValue<'_>]>,
        after: Option<&[ColumnValue<'_>]>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        match (before, after) {
            (None, None) => Ok(()),
            (None, Some(after)) => insert::statement(&self.insert, &self.columns, after, out),
            (Some(before), None) => {
                write!(out, "DELETE FROM {}", self.table)?;
                self.condition(before, out)
            }
            (Some(before), Some(after)) => {
                write!(out, "UPDATE {} SET ", self.table)?;
                let differ = |place: &usize| before.get(*place) != after.get(*place);
                for (number, place) in (0..self.columns.len()).filter(differ).enumerate() {
                    if number > 0 {
                        out.write_all(b", ")?;
                    }
                    if let (Some(column), Some(value)) = (self.columns.get(place), after.get(place)) {
                        write!(out, "{} = ", identifier(&column.name))?;
                        insert::value(column, value, out)?;
                    }
                }
                self.condition(before, out)
            }
        }
    }

    /// The condition that selects the row by its key, or, in a table without one, one of the rows with these values.
    fn condition(&self, row: &[ColumnValue<'_>], out: &mut impl Write) -> io::Result<()> {
        if !self.key.is_empty() {
            out.write_all(b" WHERE ")?;
            self.equal(&self.key, row, out)?;
            return out.write_all(b";\n");
        }
        write!(out, " WHERE ctid = (SELECT ctid FROM {}", self.table)?;
        let all: Vec<usize> = (0..self.columns.len()).collect();
        if !all.is_empty() {
            out.write_all(b" WHERE ")?;
            self.equal(&all, row, out)?;
        }
        out.write_all(b" LIMIT 1);\n")
    }

    /// Whether values are compared as text. Without a key also numbers are, which may be equal and look different (`1.0` and
    /// `1.00`, `-0` and `0`).
    fn is_text(&self, column: &ArchivedColumn) -> bool {
        let is_number = matches!(column.kind, ValueKind::Numeric | ValueKind::Real | ValueKind::Double);
        let has_no_operator = column.type_name.as_deref().is_some_and(|name| NOT_COMPARABLE.contains(&name));
        has_no_operator || (is_number && self.key.is_empty())
    }

    fn equal(&self, places: &[usize], row: &[ColumnValue<'_>], out: &mut impl Write) -> io::Result<()> {
        for (number, place) in places.iter().enumerate() {
            let (Some(column), Some(value)) = (self.columns.get(*place), row.get(*place)) else { continue };
            if number > 0 {
                out.write_all(b" AND ")?;
            }
            let name = identifier(&column.name);
            match value {
                Some(_) if self.is_text(column) => {
                    write!(out, "{name}::text = ")?;
                    let text = ArchivedColumn { kind: ValueKind::Text, type_name: None, ..column.clone() };
                    insert::value(&text, value, out)?;
                }
                Some(_) => {
                    write!(out, "{name} = ")?;
                    insert::value(column, value, out)?;
                }
                None => write!(out, "{name} IS NULL")?,
            }
        }
        Ok(())
    }
}

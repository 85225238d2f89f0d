//! A JSON object for each row, as the server's `row_to_json` makes it, but that arrays and composites are texts.

use std::io::{self, Write};

use crate::error::{Error, Kind};
use crate::postgres::values::ValueKind;
use crate::restore::rows::table::{ArchivedColumn, ColumnValue};

/// Writes a row.
pub fn line(columns: &[ArchivedColumn], values: &[ColumnValue<'_>], out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"{")?;
    for (at, (column, value)) in columns.iter().zip(values).enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        string(column.name.as_bytes(), out)?;
        out.write_all(b":")?;
        match value {
            None => out.write_all(b"null")?,
            Some(value) => write_value(column, value, out)?,
        }
    }
    out.write_all(b"}\n")
}

fn write_value(column: &ArchivedColumn, value: &[u8], out: &mut impl Write) -> io::Result<()> {
    match column.kind {
        ValueKind::Integer | ValueKind::Numeric | ValueKind::Real | ValueKind::Double if is_number(value) => {
            out.write_all(value)
        }
        ValueKind::Boolean => out.write_all(if value == b"t" { b"true" } else { b"false" }),
        ValueKind::Other if matches!(column.type_name.as_deref(), Some("json" | "jsonb")) => {
            // Outside of strings a line end is a blank, and in a string there is none.
            for (at, part) in value.split(|byte| matches!(byte, b'\n' | b'\r')).enumerate() {
                if at > 0 {
                    out.write_all(b" ")?;
                }
                out.write_all(part)?;
            }
            Ok(())
        }
        _ => string(value, out),
    }
}

/// Whether it has the form of a JSON number: NaN and Infinity have not.
fn is_number(value: &[u8]) -> bool {
    value.last().is_some_and(u8::is_ascii_digit)
}

fn string(value: &[u8], out: &mut impl Write) -> io::Result<()> {
    let text = std::str::from_utf8(value).map_err(|_| {
        Error::new(Kind::Data, "a value has bytes that are not UTF-8, and JSON has no others")
            .hint("the archive names no encoding for them: --format csv and copy print them as they are")
    })?;
    serde_json::to_writer(out, text).map_err(io::Error::from)
}

//! INSERT statements (`dumpTableData_insert` of `src/bin/pg_dump/pg_dump.c`). Like those of pg_dump they are read with
//! `standard_conforming_strings = on`.

use std::io::{self, Write};

use crate::postgres::client::identifier;
use crate::postgres::values::ValueKind;
use crate::restore::rows::table::{ArchivedColumn, ArchivedTable, ColumnValue};

/// The beginning of each statement.
pub fn head(table: &ArchivedTable, columns: &[ArchivedColumn]) -> Vec<u8> {
    let names: Vec<String> = columns.iter().map(|column| identifier(&column.name)).collect();
    let overriding = match columns.iter().any(|column| column.always_identity) {
        true => "OVERRIDING SYSTEM VALUE ",
        false => "",
    };
    let values = match names.as_slice() {
        [] => "DEFAULT VALUES".to_owned(),
        names => format!("({}) {overriding}VALUES (", names.join(", ")),
    };
    format!("INSERT INTO {} {values}", table.quoted_name()).into_bytes()
}

/// Writes a statement.
pub fn statement(
    head: &[u8],
    columns: &[ArchivedColumn],
    values: &[ColumnValue<'_>],
    out: &mut impl Write,
) -> io::Result<()> {
    out.write_all(head)?;
    for (at, (column, value)) in columns.iter().zip(values).enumerate() {
        if at > 0 {
            out.write_all(b", ")?;
        }
        self::value(column, value, out)?;
    }
    out.write_all(if columns.is_empty() { b";\n" } else { b");\n" })
}

/// Writes a value as a literal.
///
/// # Errors
/// Those of the output.
pub fn value(column: &ArchivedColumn, value: &ColumnValue<'_>, out: &mut impl Write) -> io::Result<()> {
    match value {
        None => out.write_all(b"NULL"),
        Some(value) => literal(column, value, out),
    }
}

fn literal(column: &ArchivedColumn, value: &[u8], out: &mut impl Write) -> io::Result<()> {
    // Without quotes -0 is the integer 0.
    let is_number = |value: &[u8]| value != b"-0" && value.iter().all(|byte| b"0123456789 +-eE.".contains(byte));
    match column.kind {
        ValueKind::Integer | ValueKind::Numeric | ValueKind::Real | ValueKind::Double if is_number(value) => {
            return out.write_all(value);
        }
        ValueKind::Boolean => return out.write_all(if value == b"t" { b"true" } else { b"false" }),
        ValueKind::Other if column.type_name.as_deref().is_some_and(is_bit) => out.write_all(b"B")?,
        _ => {}
    }
    out.write_all(b"'")?;
    for (at, part) in value.split(|byte| *byte == b'\'').enumerate() {
        if at > 0 {
            out.write_all(b"''")?;
        }
        out.write_all(part)?;
    }
    out.write_all(b"'")
}

fn is_bit(type_name: &str) -> bool {
    (type_name.starts_with("bit(") || type_name.starts_with("bit varying") || type_name == "bit")
        && !type_name.ends_with(']')
}

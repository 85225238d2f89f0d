//! Comma-separated values (`print_csv_text` of `src/fe_utils/print.c`).

use std::io::{self, Write};

/// Writes a line. A value is quoted if it has a comma, a quote or a line end, if it is `\.`, which COPY may take for the end of
/// its data, and if it is empty: without quotes COPY takes it for a null.
pub fn line<'a>(values: impl Iterator<Item = Option<&'a [u8]>>, out: &mut impl Write) -> io::Result<()> {
    for (at, value) in values.enumerate() {
        if at > 0 {
            out.write_all(b",")?;
        }
        let Some(value) = value else { continue };
        let is_special = |byte: &u8| matches!(byte, b',' | b'"' | b'\r' | b'\n');
        if !value.is_empty() && value != b"\\." && !value.iter().any(is_special) {
            out.write_all(value)?;
            continue;
        }
        out.write_all(b"\"")?;
        for (at, part) in value.split(|byte| *byte == b'"').enumerate() {
            if at > 0 {
                out.write_all(b"\"\"")?;
            }
            out.write_all(part)?;
        }
        out.write_all(b"\"")?;
    }
    out.write_all(b"\n")
}

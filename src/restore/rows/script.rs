//! The rows of a table in an SQL script.

use std::collections::HashSet;
use std::io::{self, BufRead};

use crate::postgres::archive::RowSink;
use crate::postgres::copy_text::CopyLines;
use crate::postgres::script::{ScriptPiece, ScriptPieces};

/// Calls `give` for each piece of a script, until it returns false.
pub fn pieces(mut script: impl BufRead, mut give: impl FnMut(ScriptPiece) -> io::Result<bool>) -> io::Result<()> {
    let (mut pieces, mut more) = (ScriptPieces::default(), true);
    while more {
        let bytes = match script.fill_buf() {
            Ok([]) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        pieces.feed(bytes, &mut |piece| {
            more = more && give(piece)?;
            Ok(())
        })?;
        let length = bytes.len();
        script.consume(length);
    }
    Ok(())
}

/// Reads the rows that follow these COPY statements, which are counted from 0.
pub fn rows(script: impl BufRead, mut copies: HashSet<u32>, sink: &mut dyn RowSink) -> io::Result<()> {
    let (mut number, mut lines) = (0, None::<CopyLines>);
    let mut is_refused = false;
    pieces(script, |piece| {
        match piece {
            ScriptPiece::Copy(_) => {
                if copies.remove(&number) {
                    sink.begin(number)?;
                    lines = Some(CopyLines::default());
                }
                number += 1;
            }
            ScriptPiece::Rows(rows) => {
                if let Some(lines) = &mut lines {
                    lines.push(&rows, &mut |rows| {
                        is_refused |= !is_refused && !sink.lines(rows)?;
                        Ok(())
                    })?;
                }
            }
            ScriptPiece::EndOfRows => lines = None,
            ScriptPiece::Statement(_) => {}
        }
        Ok(!is_refused && (lines.is_some() || !copies.is_empty()))
    })?;
    match is_refused || (lines.is_none() && copies.is_empty()) {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the script ends in the rows of the table")),
    }
}

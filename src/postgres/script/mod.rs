//! Scans the SQL script of a plain pg_dump while it is read: which tables it fills, whether it is complete, and whether it
//! reaches beyond one database.
//!
//! The script is split into quotes, comments, commands and COPY data as psql splits it: `src/fe_utils/psqlscan.l`
//! (quotes, dollar quotes, nested comments, where a statement ends, which COPY reads from the script),
//! `src/bin/psql/psqlscanslash.l` and `mainloop.c` (backslash commands), `copy.c` (the `\.` that ends COPY data), as
//! of PostgreSQL 18.6 (numbers with letters at their end are read as 15 and later do). pg_dump writes the last line of a script
//! in `RestoreArchive` of `src/bin/pg_dump/pg_backup_archiver.c`.
//!
//! The text alone does not determine how to split two kinds of scripts: one that changes `standard_conforming_strings` in
//! another way than pg_dump does (`SET standard_conforming_strings = off;`), and one in a client encoding whose characters
//! contain ASCII bytes (SJIS, BIG5, GBK, UHC, GB18030, JOHAB), which psql reads by the rules of that encoding.
//!
//! Memory is bounded however long lines, quotes and rows are; each table with COPY data takes 16 bytes.

mod contents;
mod excuse;
mod lexer;
mod pieces;
mod reach;
mod statement;

use std::io::{self, Write};

pub use contents::{FINDINGS, OpenConstruct, Script, ScriptFinding, ScriptPosition, ServerWide};
pub use excuse::{Excuse, WhenRun};
use lexer::Lexer;
pub use pieces::{Command, ScriptPiece, ScriptPieces};
pub(super) use statement::identifier;

/// Writes a script unchanged and scans it.
pub struct ScriptScanner<W: Write> {
    out: W,
    lexer: Lexer,
}

impl<W: Write> ScriptScanner<W> {
    /// A scanner that writes to `out`; [`io::sink`] if the script is only scanned.
    pub fn new(out: W) -> Self {
        Self { out, lexer: Lexer::new() }
    }

    /// Flushes the writer and returns what the script contains. An incomplete script is no error here: see
    /// [`Script::complete`] and [`Script::unfinished`].
    ///
    /// # Errors
    ///
    /// Those of the writer.
    pub fn finish(mut self) -> io::Result<(W, Script)> {
        self.out.flush()?;
        Ok((self.out, self.lexer.finish()))
    }
}

impl<W: Write> Write for ScriptScanner<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let written = self.out.write(piece)?;
        self.lexer.feed(piece.get(..written).unwrap_or(piece));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests;

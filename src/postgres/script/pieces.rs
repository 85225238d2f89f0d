//! Splits a script into statements and the rows of each COPY.

use std::collections::VecDeque;
use std::io;

use super::excuse::{Excuse, WhenRun};
use super::lexer::{Boundary, Lexer};

/// The longest statement that is accepted, in bytes; the server's own limit is a gigabyte.
const LONGEST: usize = 512 << 20;

/// A part of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptPiece {
    /// A statement with its semicolon.
    Statement(Command),
    /// A COPY … FROM stdin, whose rows follow.
    Copy(Command),
    /// Rows of the preceding COPY, divided anywhere.
    Rows(Vec<u8>),
    /// The end of the rows.
    EndOfRows,
}

/// The text of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// In the script's encoding.
    pub text: Vec<u8>,
    /// Its first line, from 1.
    pub line: u64,
    /// Why a new database may refuse it.
    pub excuse: Option<Excuse>,
    /// When to run it.
    pub turn: WhenRun,
}

/// Splits a script. Keeps at most one statement, or the rows of one call of [`ScriptPieces::feed`].
pub struct ScriptPieces {
    lexer: Lexer,
    /// Bytes that were not returned yet.
    rest: Vec<u8>,
    /// Their offset in the script.
    from: u64,
    in_rows: bool,
    /// A COPY whose rows were not read yet, and the statements that follow it on its line.
    waiting: VecDeque<ScriptPiece>,
}

impl Default for ScriptPieces {
    fn default() -> Self {
        let mut lexer = Lexer::new();
        lexer.mark_boundaries();
        Self { lexer, rest: Vec::new(), from: 0, in_rows: false, waiting: VecDeque::new() }
    }
}

impl ScriptPieces {
    /// Takes the next bytes of the script, and calls `give` for each complete piece.
    ///
    /// # Errors
    ///
    /// Those of `give`; `InvalidData` for a statement that is too long.
    pub fn feed(&mut self, bytes: &[u8], give: &mut impl FnMut(ScriptPiece) -> io::Result<()>) -> io::Result<()> {
        self.rest.extend_from_slice(bytes);
        self.lexer.feed(bytes);
        for boundary in self.lexer.take_boundaries() {
            self.pass(boundary, give)?;
        }
        if self.in_rows {
            let length = self.rest.len() - unfinished_end(&self.rest);
            return self.give_rows(length, give);
        }
        // Comments and blanks before a statement are dropped.
        match self.lexer.statement_start() {
            Some(start) => self.drop_until(start.offset),
            None => self.drop_until(u64::MAX),
        }
        match self.rest.len() > LONGEST {
            false => Ok(()),
            true => {
                let message = format!("a statement has more than {} MiB", LONGEST >> 20);
                Err(io::Error::new(io::ErrorKind::InvalidData, message))
            }
        }
    }

    fn pass(&mut self, boundary: Boundary, give: &mut impl FnMut(ScriptPiece) -> io::Result<()>) -> io::Result<()> {
        match boundary {
            Boundary::Statement { start, end, excuse, turn, copies } => {
                self.drop_until(start.offset);
                let mut text = self.take_until(end + 1);
                // `\;` ends a statement for the server and not for psql.
                if text.ends_with(b"\\;") {
                    text.truncate(text.len() - 2);
                    text.push(b';');
                }
                let command = Command { text, line: start.line, excuse, turn };
                match (copies, self.waiting.is_empty()) {
                    (true, _) => self.waiting.push_back(ScriptPiece::Copy(command)),
                    (false, false) => self.waiting.push_back(ScriptPiece::Statement(command)),
                    (false, true) => give(ScriptPiece::Statement(command))?,
                }
            }
            Boundary::Rows { from } => {
                self.drop_until(from);
                self.in_rows = true;
                self.waiting.pop_front().map_or(Ok(()), &mut *give)?;
            }
            Boundary::EndOfRows { end } => {
                let mark = if self.byte_at(end.saturating_sub(1)) == Some(b'\r') { 3 } else { 2 };
                let rows = end.saturating_sub(self.from).saturating_sub(mark);
                self.give_rows(usize::try_from(rows).unwrap_or_default(), give)?;
                self.drop_until(end + 1);
                self.in_rows = false;
                give(ScriptPiece::EndOfRows)?;
                while let Some(piece) = self.waiting.pop_front_if(|piece| matches!(piece, ScriptPiece::Statement(_))) {
                    give(piece)?;
                }
            }
        }
        Ok(())
    }

    fn byte_at(&self, offset: u64) -> Option<u8> {
        self.rest.get(usize::try_from(offset.checked_sub(self.from)?).ok()?).copied()
    }

    fn give_rows(&mut self, length: usize, give: &mut impl FnMut(ScriptPiece) -> io::Result<()>) -> io::Result<()> {
        let until = self.from + length as u64;
        let rows = self.take_until(until);
        if rows.is_empty() { Ok(()) } else { give(ScriptPiece::Rows(rows)) }
    }

    fn drop_until(&mut self, offset: u64) {
        let length = self.length_until(offset);
        self.rest.drain(..length);
        self.from += length as u64;
    }

    fn take_until(&mut self, offset: u64) -> Vec<u8> {
        let length = self.length_until(offset);
        self.from += length as u64;
        let rest = self.rest.split_off(length);
        std::mem::replace(&mut self.rest, rest)
    }

    fn length_until(&self, offset: u64) -> usize {
        usize::try_from(offset.saturating_sub(self.from)).unwrap_or(usize::MAX).min(self.rest.len())
    }
}

/// Length of the last line, if it is unfinished and may become the `\.` that ends the rows.
fn unfinished_end(rows: &[u8]) -> usize {
    let line = rows.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    match line {
        b"\\" | b"\\." | b"\\.\r" => line.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces_of(script: &str, step: usize) -> Vec<String> {
        let mut pieces = ScriptPieces::default();
        let mut texts: Vec<String> = Vec::new();
        let text = |command: &Command| format!("{}:{}", command.line, String::from_utf8_lossy(&command.text));
        for bytes in script.as_bytes().chunks(step) {
            pieces
                .feed(bytes, &mut |piece| {
                    match &piece {
                        ScriptPiece::Statement(command) => texts.push(text(command)),
                        ScriptPiece::Copy(command) => texts.extend([format!("copy {}", text(command)), String::new()]),
                        ScriptPiece::Rows(rows) => texts.last_mut().unwrap().push_str(&String::from_utf8_lossy(rows)),
                        ScriptPiece::EndOfRows => texts.push("end".to_owned()),
                    }
                    Ok(())
                })
                .unwrap();
        }
        texts
    }

    #[test]
    fn statements_and_rows() {
        let script = "\u{feff}-- a; b\n\\restrict x\nSELECT 1;\n\n/* ; */ SELECT ';' /* c; */ AS \"d;\";SELECT $$;$$; ;\n\
                      COPY t (a) FROM stdin;\n1\n\\\\.\n\\.x\nDROP TABLE x;\n\\.\nSELECT 2 -- ;\n;\nCOPY e FROM stdin;\n\\.\r\n\
                      COPY a FROM stdin; SELECT 3; COPY b FROM stdin; SELECT 4;\nof a\n\\.\nof b\n\\.\nCREATE FUNCTION f() \
                      RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;\nSELECT 5\\; SELECT 6;\n\\unrestrict x\n";
        let expected = [
            "3:SELECT 1;",
            "5:SELECT ';' /* c; */ AS \"d;\";",
            "5:SELECT $$;$$;",
            "copy 6:COPY t (a) FROM stdin;",
            "1\n\\\\.\n\\.x\nDROP TABLE x;\n",
            "end",
            "12:SELECT 2 -- ;\n;",
            "copy 14:COPY e FROM stdin;",
            "",
            "end",
            "copy 16:COPY a FROM stdin;",
            "of a\n",
            "end",
            "16:SELECT 3;",
            "copy 16:COPY b FROM stdin;",
            "of b\n",
            "end",
            "16:SELECT 4;",
            "21:CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END;",
            "22:SELECT 5;",
            "22:SELECT 6;",
        ];
        for step in [1, 2, 3, 7, 10_000] {
            assert_eq!(pieces_of(script, step), expected, "{step} bytes at once");
        }
    }

    #[test]
    fn excuses() {
        let cases = [
            ("DROP TABLE public.t;", Some(Excuse::Missing)),
            ("ALTER DOMAIN s.d DROP CONSTRAINT IF EXISTS c;", Some(Excuse::Missing)),
            ("ALTER TABLE ONLY public.t DROP CONSTRAINT t_pkey;", Some(Excuse::Missing)),
            ("ALTER TABLE public.t ALTER COLUMN id DROP DEFAULT;", Some(Excuse::Missing)),
            ("ALTER TABLE public.t ADD CHECK (a <> 'drop');", None),
            ("SELECT pg_catalog.lo_unlink('16421');", Some(Excuse::Missing)),
            (
                "SELECT * FROM pg_catalog.pg_restore_relation_stats('version', '180006'::integer);",
                Some(Excuse::Statistics),
            ),
            ("SELECT pg_restore_relation_stats();", None),
            ("CREATE SCHEMA public;", Some(Excuse::Present)),
            ("CREATE SCHEMA public AUTHORIZATION x;", None),
            ("CREATE SCHEMA sales;", None),
            ("COMMENT ON EXTENSION citext IS 'x';", Some(Excuse::Comment)),
            ("COMMENT ON TABLE extension IS 'x';", None),
            ("CREATE OR REPLACE VIEW v AS SELECT NULL::integer AS id;", Some(Excuse::Missing)),
            ("INSERT INTO t VALUES ('DROP TABLE x');", None),
            ("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'drop';", None),
        ];
        for (script, excuse) in cases {
            let mut found = Vec::new();
            ScriptPieces::default()
                .feed(script.as_bytes(), &mut |piece| {
                    found.push(piece);
                    Ok(())
                })
                .unwrap();
            let [ScriptPiece::Statement(command)] = found.as_slice() else { panic!("{script}: {found:?}") };
            assert_eq!(command.excuse, excuse, "{script}");
        }
        let script = "CREATE TABLE t ();CREATE OR REPLACE VIEW v AS SELECT 1;";
        let mut excuses = Vec::new();
        let mut give = |piece| {
            excuses.extend(if let ScriptPiece::Statement(command) = piece { Some(command.excuse) } else { None });
            Ok(())
        };
        ScriptPieces::default().feed(script.as_bytes(), &mut give).unwrap();
        assert_eq!(excuses, [None, None]);
    }
}

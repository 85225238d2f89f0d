//! COPY's text format (PostgreSQL documentation, "COPY", "Text Format"): its lines, the values in a line, and back.
//!
//! A line ends at a line feed and a value at a tab: in a value both are written with a backslash.

use std::borrow::Cow;
use std::io;

/// How a null is written.
pub const NULL: &[u8] = b"\\N";

/// The line that ends the rows.
const END: &[u8] = b"\\.\n";

/// Line feeds that pg_dump writes after [`END`] (`dumpTableData_copy` of `src/bin/pg_dump/pg_dump.c`).
const AFTER_END: usize = 2;

/// A line longer than this does not keep its buffer for the next one.
const KEPT: usize = 1 << 20;

/// Divides a stream of COPY text into complete lines. Memory: the longest line.
#[derive(Debug, Default)]
pub struct CopyLines {
    unfinished: Vec<u8>,
    ended: bool,
}

impl CopyLines {
    /// Takes the next piece, and gives the complete lines in it, with their line feeds and without the line that ends the rows.
    /// `give` is called at most twice.
    ///
    /// # Errors
    /// Those of `give`.
    pub fn push(&mut self, mut piece: &[u8], give: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        if !self.unfinished.is_empty() && !self.ended {
            let Some(end) = memchr::memchr(b'\n', piece) else {
                self.unfinished.extend_from_slice(piece);
                return Ok(());
            };
            let (end_of_line, rest) = piece.split_at(end + 1);
            self.unfinished.extend_from_slice(end_of_line);
            let mut line = std::mem::take(&mut self.unfinished);
            self.give(&line, give)?;
            if line.capacity() <= KEPT {
                line.clear();
                self.unfinished = line;
            }
            piece = rest;
        }
        if self.ended {
            return Ok(());
        }
        let (lines, rest) = piece.split_at(memchr::memrchr(b'\n', piece).map_or(0, |end| end + 1));
        self.unfinished.extend_from_slice(rest);
        self.give(lines, give)
    }

    fn give(&mut self, lines: &[u8], give: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let rows = match end_of_rows(lines) {
            Some(end) => {
                self.ended = true;
                lines.get(..end).unwrap_or_default()
            }
            None => lines,
        };
        if rows.is_empty() { Ok(()) } else { give(rows) }
    }

    /// Whether the line that ends the rows was read.
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Where the line that ends the rows begins. No row is such a line, and at most [`AFTER_END`] line feeds follow it.
fn end_of_rows(lines: &[u8]) -> Option<usize> {
    (0..=AFTER_END).find_map(|after| {
        let (before, feeds) = lines.split_at_checked(lines.len().checked_sub(after)?)?;
        let start = before.strip_suffix(END)?;
        let is_line = start.is_empty() || start.ends_with(b"\n");
        (is_line && feeds.iter().all(|byte| *byte == b'\n')).then_some(start.len())
    })
}

/// The values of a line without its line feed, as they are written.
pub fn fields(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let text = rest?;
        let end = memchr::memchr(b'\t', text);
        rest = end.and_then(|end| text.get(end + 1..));
        end.map_or(Some(text), |end| text.get(..end))
    })
}

/// The value that a field has; none for a null.
pub fn decode(field: &[u8]) -> Option<Cow<'_, [u8]>> {
    let Some(first) = memchr::memchr(b'\\', field) else { return Some(Cow::Borrowed(field)) };
    if field == NULL {
        return None;
    }
    let (plain, mut rest) = field.split_at(first);
    let mut value = Vec::with_capacity(field.len());
    value.extend_from_slice(plain);
    while let Some((_, after)) = rest.split_first() {
        let Some((&letter, after)) = after.split_first() else {
            value.push(b'\\');
            break;
        };
        value.push(match letter {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            other => other,
        });
        let (plain, next) = after.split_at(memchr::memchr(b'\\', after).unwrap_or(after.len()));
        value.extend_from_slice(plain);
        rest = next;
    }
    Some(Cow::Owned(value))
}

/// Adds a value as a field (`CopyAttributeOutText` of `src/backend/commands/copyto.c`).
pub fn encode(value: &[u8], to: &mut Vec<u8>) {
    for &byte in value {
        let letter = match byte {
            0x08 => b'b',
            0x0c => b'f',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x0b => b'v',
            b'\\' => b'\\',
            other => {
                to.push(other);
                continue;
            }
        };
        to.extend([b'\\', letter]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines_of(text: &[u8], step: usize) -> (Vec<u8>, bool) {
        let (mut lines, mut all) = (CopyLines::default(), Vec::new());
        for piece in text.chunks(step) {
            lines
                .push(piece, &mut |rows| {
                    assert!(rows.ends_with(b"\n"));
                    all.extend_from_slice(rows);
                    Ok(())
                })
                .unwrap();
        }
        (all, lines.has_ended())
    }

    #[test]
    fn rows_end_at_their_mark_however_they_come() {
        for rows in ["", "\n", "1\ta\n2\tb\n", "\n\n\n", "\\\\.\n", "x\\.\n"] {
            for end in ["\\.\n", "\\.\n\n\n"] {
                let text = [rows, end].concat();
                for step in 1..=text.len() {
                    assert_eq!(lines_of(text.as_bytes(), step), (rows.as_bytes().to_vec(), true), "{text:?} {step}");
                }
            }
            assert_eq!(lines_of(rows.as_bytes(), 3), (rows.as_bytes().to_vec(), false));
        }
    }

    proptest! {
        #[test]
        fn values_are_read_back(values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..9)), 1..5)) {
            let mut line = Vec::new();
            for (at, value) in values.iter().enumerate() {
                if at > 0 {
                    line.push(b'\t');
                }
                match value {
                    Some(value) => encode(value, &mut line),
                    None => line.extend_from_slice(NULL),
                }
            }
            prop_assert!(!line.contains(&b'\n'));
            let read: Vec<Option<Vec<u8>>> = fields(&line).map(|field| decode(field).map(Cow::into_owned)).collect();
            prop_assert_eq!(read, values);
        }
    }
}

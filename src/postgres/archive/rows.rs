//! Divides the rows of one table among sessions that load them at the same time.

use std::io;

use super::blocks::{Block, TABLE, TERMINATOR};
use super::malformed::Malformed;
use super::primitive::encode;

/// Bytes of the archive that are read at once. [`BlockRows`] keeps little more than this.
const READ_SIZE: usize = 256 << 10;

/// Length of the type and dump id of a block, before its first chunk.
const HEAD: u64 = 6;

/// Length of an integer.
const LENGTH: usize = 5;

/// What [`BlockRows::take`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowPiece {
    /// Complete rows: another session may take the next ones.
    Rows,
    /// A part, but not the end, of a row that is longer than a piece. The same session must take the next piece.
    Unfinished,
    /// The last rows, with the terminator.
    Last,
    /// Nothing: the last rows were taken before.
    None,
}

/// A position in a table's block that advances by complete rows.
///
/// pg_dump has every row of COPY's text format end with a line feed, and one inside of a value as `\n` (PostgreSQL
/// documentation, "COPY", "Text Format"), so that rows end where lines do. That is true of every encoding: no server
/// encoding, and none that pg_dump can write, has that byte in another character.
#[derive(Debug)]
pub struct BlockRows {
    /// Offset in the archive of the first byte that was not read.
    at: u64,
    /// Remaining bytes of the current chunk.
    left: usize,
    /// Rows that were read and not taken.
    kept: Vec<u8>,
    /// The read buffer, kept for reuse.
    stored: Vec<u8>,
    ended: bool,
}

impl BlockRows {
    /// The rows of a block that can be divided.
    #[must_use]
    pub fn new(block: &Block) -> Self {
        Self { at: block.start + HEAD, left: 0, kept: Vec::new(), stored: vec![0; READ_SIZE], ended: false }
    }

    /// Offset in the archive of the first byte that was not read.
    #[must_use]
    pub fn at(&self) -> u64 {
        self.at
    }

    /// Takes the next rows into `rows`, replacing its contents.
    ///
    /// `read` reads the archive from an offset into a buffer: at least the given number of bytes, at most the buffer's length.
    ///
    /// # Errors
    ///
    /// Those of `read`, and [`Malformed`] for bytes that are not chunks of COPY text.
    pub fn take(
        &mut self,
        rows: &mut Vec<u8>,
        mut read: impl FnMut(u64, usize, &mut [u8]) -> io::Result<usize>,
    ) -> io::Result<RowPiece> {
        rows.clear();
        if self.ended {
            return Ok(RowPiece::None);
        }
        rows.append(&mut self.kept);
        let least = if self.left == 0 { LENGTH } else { 1 };
        let mut stored = std::mem::take(&mut self.stored);
        let length = read(self.at, least, &mut stored)?;
        self.unchain(stored.get(..length).unwrap_or_default(), rows)?;
        self.stored = stored;
        if self.ended {
            if !rows.ends_with(&TERMINATOR) {
                return Err(Malformed::new(self.at, "COPY data that does not end with pg_dump's \\. line").into());
            }
            return Ok(RowPiece::Last);
        }
        // The terminator has line feeds that end no row, and must not be divided: these bytes may be its beginning.
        let sure = rows.len().saturating_sub(TERMINATOR.len());
        let end = rows.get(..sure).and_then(|sure| sure.iter().rposition(|&byte| byte == b'\n'));
        self.kept.extend(rows.drain(end.map_or(sure, |end| end + 1)..));
        Ok(if end.is_some() { RowPiece::Rows } else { RowPiece::Unfinished })
    }

    /// Adds the contents of the chunks in `stored` to `rows`, up to the end of the block or of `stored`.
    fn unchain(&mut self, mut stored: &[u8], rows: &mut Vec<u8>) -> io::Result<()> {
        loop {
            let (piece, rest) = stored.split_at(self.left.min(stored.len()));
            rows.extend_from_slice(piece);
            self.left -= piece.len();
            self.at += piece.len() as u64;
            let Some((length, rest)) = rest.split_first_chunk::<LENGTH>().filter(|_| self.left == 0) else {
                return Ok(());
            };
            let [sign, bytes @ ..] = *length;
            self.left = usize::try_from(i32::from_le_bytes(bytes))
                .ok()
                .filter(|_| sign == 0)
                .ok_or_else(|| Malformed::new(self.at, "a chunk with an impossible length"))?;
            self.at += LENGTH as u64;
            self.ended = self.left == 0;
            if self.ended {
                return Ok(());
            }
            stored = rest;
        }
    }

    /// The beginning of a table's block.
    #[must_use]
    pub fn head(dump_id: u32) -> Vec<u8> {
        [&[TABLE][..], &encode(i64::from(dump_id))].concat()
    }

    /// The header of a chunk with this many bytes of rows.
    #[must_use]
    pub fn chunk(length: usize) -> [u8; 5] {
        encode(i64::try_from(length).unwrap_or(i64::MAX))
    }

    /// The end of a table's block after [`RowPiece::Last`].
    #[must_use]
    pub fn tail() -> Vec<u8> {
        encode(0).to_vec()
    }

    /// The end of a block without the last rows: terminator and end.
    #[must_use]
    pub fn terminator() -> Vec<u8> {
        [&Self::chunk(TERMINATOR.len())[..], &TERMINATOR, &Self::tail()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block with these chunks, some bytes into an archive, taken by reads of at most `step` bytes.
    fn taken(chunks: &[&[u8]], step: usize) -> io::Result<Vec<(RowPiece, Vec<u8>)>> {
        let block = Block { dump_id: 7, start: 11, rows: true };
        let mut archive = vec![0xff; 11];
        archive.extend(BlockRows::head(7));
        for chunk in chunks {
            archive.extend(BlockRows::chunk(chunk.len()));
            archive.extend_from_slice(chunk);
        }
        archive.extend(BlockRows::tail());
        archive.extend([0xff; 20]);
        let (mut rows, mut pieces) = (BlockRows::new(&block), Vec::new());
        loop {
            let mut piece = Vec::new();
            let kind = rows.take(&mut piece, |at, least, buffer| {
                let there = &archive[usize::try_from(at).unwrap()..];
                let length = step.max(least).min(there.len()).min(buffer.len());
                buffer[..length].copy_from_slice(&there[..length]);
                Ok(length)
            })?;
            pieces.push((kind, piece));
            match kind {
                RowPiece::None => return Ok(pieces),
                RowPiece::Last => assert_eq!(rows.at(), archive.len() as u64 - 20),
                RowPiece::Rows | RowPiece::Unfinished => {}
            }
        }
    }

    #[test]
    fn pieces_are_whole_rows_and_together_all() {
        let text: Vec<u8> = (0..200).flat_map(|n| format!("{n}\t{}\n", "x".repeat(n % 37)).into_bytes()).collect();
        let text = [&text, &b"\n\nlonger\\n\n"[..], &[b'y'; 300], b"\n\\.\n\n\n"].concat();
        let cuts: Vec<Vec<&[u8]>> = vec![
            vec![&text],
            text.chunks(3).collect(),
            text.chunks(100).collect(),
            text.split_inclusive(|byte| *byte == b'\n').collect(),
        ];
        for chunks in cuts {
            for step in [1, 2, 6, 50, 1000, 1 << 20] {
                let pieces = taken(&chunks, step).unwrap();
                let all: Vec<u8> = pieces.iter().flat_map(|(_, rows)| rows.clone()).collect();
                assert!(all == text, "{step}");
                let mut whole = true;
                for (kind, rows) in pieces {
                    match kind {
                        RowPiece::Rows => assert!(rows.ends_with(b"\n") && !rows.ends_with(b"\\.\n")),
                        RowPiece::Last => assert!(rows.ends_with(&TERMINATOR)),
                        RowPiece::Unfinished => assert!(!rows.contains(&b'\n')),
                        RowPiece::None => assert!(whole && rows.is_empty()),
                    }
                    whole = kind != RowPiece::Unfinished;
                }
            }
        }
    }

    #[test]
    fn no_rows_at_all() {
        assert_eq!(taken(&[&TERMINATOR], 4).unwrap().last().unwrap(), &(RowPiece::None, Vec::new()));
    }

    #[test]
    fn what_is_not_copy_text_is_refused() {
        for chunks in [&[&b"1\n"[..]][..], &[], &[b"1\n\\.\n"]] {
            let error = taken(chunks, 100).unwrap_err();
            assert!(Malformed::in_error(&error).is_some(), "{error}");
        }
    }
}

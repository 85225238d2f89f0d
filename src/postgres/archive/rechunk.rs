//! Makes pg_dump's chunks longer while the archive passes, and takes its fingerprints.

use std::io::{self, Write};

use super::blocks::{BlockSink, Ignore};
use super::contents::Contents;
use super::header::ArchiveCompression;
use super::parser::{Expect, Parser};
use super::primitive::encode;
use super::recorder::{Record, Recorder};
use super::toc_entry::TocEntry;

/// Bytes of data in a joined chunk; only the last one of a table or large object is shorter.
pub const CHUNK: usize = 256 << 10;
/// Bytes written at once when the blocks are small.
const BATCH: usize = 64 << 10;
const LENGTH: usize = 5;

/// Takes the stream of `pg_dump -Fc -Z0` and writes the same archive with chunks of [`CHUNK`] bytes.
///
/// Without compression pg_dump makes each row a chunk of its own (`_CustomWriteFunc` of pg_backup_custom.c). The five
/// bytes before each make a compressed archive about a twentieth larger, and say nothing: pg_restore reads the rows
/// of a chunk one after the other.
///
/// The output depends only on the bytes, not on the pieces in which they arrive. An archive whose chunks pg_dump has
/// compressed is written unchanged, as is one with offsets in its table of contents, which would become wrong. A second
/// table of contents after the blocks, which no program reads, is left out where chunks are joined: its offsets would be
/// wrong too.
///
/// The rows and large objects are recorded, unless pg_dump has compressed them.
///
/// Memory: about 330 KiB, and what [`Contents`] and [`Recorder`] take. [`Write::flush`] does not cut the current chunk short.
pub struct Rechunker<W: Write> {
    parser: Parser,
    chunks: Chunks<W>,
    recorder: Recorder,
    failed: bool,
}

impl<W: Write> Rechunker<W> {
    /// A rechunker that writes to `out`.
    pub fn new(out: W) -> Self {
        let chunks = Chunks { out, buffer: Vec::with_capacity(BATCH + CHUNK + 4 * LENGTH), chunk: None };
        Self { parser: Parser::new(Expect::Custom), chunks, recorder: Recorder::default(), failed: false }
    }

    /// Ends the archive, checked as [`walk`](super::walk) does.
    ///
    /// # Errors
    ///
    /// [`Malformed`](super::Malformed) if the stream has not ended where an archive does; those of the writer.
    pub fn finish(mut self) -> io::Result<(W, Contents, Record)> {
        if self.failed {
            return Err(already_failed());
        }
        let contents = self.parser.finish()?;
        self.chunks.write_out()?;
        self.chunks.out.flush()?;
        let recorded = match contents.compression {
            ArchiveCompression::None => self.recorder.finish(),
            _ => Err("pg_dump has compressed the rows itself".to_owned()),
        };
        Ok((self.chunks.out, contents, recorded))
    }

    /// Takes only the bytes of a piece that belong to the header and the table of contents, and returns their number.
    ///
    /// # Errors
    /// As [`Write::write`].
    pub fn front(&mut self, piece: &[u8], visit: &mut dyn FnMut(&TocEntry<'_>)) -> io::Result<usize> {
        if self.parser.in_data() {
            return Ok(0);
        }
        let recorder = &mut self.recorder;
        let mut both = |entry: &TocEntry<'_>| {
            recorder.entry(entry);
            visit(entry);
        };
        let taken = self.parser.front(piece, &mut both).inspect_err(|_| self.failed = true)?;
        self.chunks.out.write_all(piece.get(..taken).unwrap_or_default()).inspect_err(|_| self.failed = true)?;
        Ok(taken)
    }

    /// Whether header and table of contents were read.
    pub fn has_contents(&self) -> bool {
        self.parser.in_data()
    }

    /// The encoding of the dump, once the table of contents was read.
    pub fn encoding(&self) -> Option<&str> {
        self.parser.encoding()
    }

    fn take(&mut self, piece: &[u8]) -> io::Result<()> {
        let front = self.front(piece, &mut |_| ())?;
        let back = piece.get(front..).unwrap_or_default();
        if back.is_empty() {
            return Ok(());
        }
        if self.parser.can_join() {
            return self.parser.back(back, &mut Both(&mut self.chunks, &mut self.recorder));
        }
        match self.parser.is_plain() {
            true => self.parser.back(back, &mut self.recorder)?,
            false => self.parser.back(back, &mut Ignore)?,
        }
        self.chunks.out.write_all(back)
    }
}

impl<W: Write> Write for Rechunker<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.failed {
            return Err(already_failed());
        }
        self.take(piece).inspect_err(|_| self.failed = true)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.chunks.out.flush()
    }
}

fn already_failed() -> io::Error {
    io::Error::other("the archive has already failed to be read or written")
}

/// Two sinks of the same blocks.
struct Both<'a, A, B>(&'a mut A, &'a mut B);

impl<A: BlockSink, B: BlockSink> BlockSink for Both<'_, A, B> {
    fn block(&mut self, kind: u8, dump_id: i64) -> io::Result<()> {
        self.0.block(kind, dump_id)?;
        self.1.block(kind, dump_id)
    }

    fn large_object(&mut self, oid: i64) -> io::Result<()> {
        self.0.large_object(oid)?;
        self.1.large_object(oid)
    }

    #[inline]
    fn data(&mut self, piece: &[u8]) -> io::Result<()> {
        self.0.data(piece)?;
        self.1.data(piece)
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.end()?;
        self.1.end()
    }
}

/// Writes blocks with long chunks.
struct Chunks<W: Write> {
    out: W,
    /// Bytes not yet written; an unfinished chunk is the last thing in it.
    buffer: Vec<u8>,
    /// Where in the buffer the unfinished chunk's length stands.
    chunk: Option<usize>,
}

impl<W: Write> Chunks<W> {
    fn close_chunk(&mut self) {
        let Some(start) = self.chunk.take() else {
            return;
        };
        let length = encode((self.buffer.len() - start - LENGTH) as i64);
        for (to, from) in self.buffer.iter_mut().skip(start).zip(length) {
            *to = from;
        }
    }

    /// Writes the buffer, which must have no unfinished chunk.
    fn write_out(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn between_chunks(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BATCH { self.write_out() } else { Ok(()) }
    }
}

impl<W: Write> BlockSink for Chunks<W> {
    fn block(&mut self, kind: u8, dump_id: i64) -> io::Result<()> {
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&encode(dump_id));
        Ok(())
    }

    fn large_object(&mut self, oid: i64) -> io::Result<()> {
        self.buffer.extend_from_slice(&encode(oid));
        self.between_chunks()
    }

    #[inline]
    fn data(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            let start = match self.chunk {
                Some(start) => start,
                None => {
                    let start = self.buffer.len();
                    self.buffer.extend_from_slice(&[0; LENGTH]);
                    self.chunk = Some(start);
                    start
                }
            };
            let room = (start + LENGTH + CHUNK).saturating_sub(self.buffer.len());
            let (now, later) = piece.split_at(room.min(piece.len()));
            self.buffer.extend_from_slice(now);
            piece = later;
            if now.len() == room {
                self.close_chunk();
                self.write_out()?;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.close_chunk();
        self.buffer.extend_from_slice(&encode(0));
        self.between_chunks()
    }
}

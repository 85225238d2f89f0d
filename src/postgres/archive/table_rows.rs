//! Reads the rows of some tables out of an archive, and nothing behind them.

use std::collections::HashSet;
use std::io::{self, BufRead, Read, Write};

use flate2::write::ZlibDecoder;

use super::blocks::{BlockSink, TABLE};
use super::header::ArchiveCompression;
use super::malformed::Malformed;
use super::members::{BLOCK, parse};
use super::parser::{Expect, Parser};
use crate::postgres::copy_text::CopyLines;

/// Compressed bytes that are decompressed at once.
const PACKED: usize = 8 << 10;

/// Receives the rows of tables.
pub trait RowSink {
    /// The rows of this entry follow.
    ///
    /// # Errors
    /// What ends the reading.
    fn begin(&mut self, dump_id: u32) -> io::Result<()>;

    /// Complete lines of COPY's text, in the encoding of the archive. False if no more are needed, of any table.
    ///
    /// # Errors
    /// What ends the reading.
    fn lines(&mut self, lines: &[u8]) -> io::Result<bool>;
}

/// Reads the rows of these entries of a custom archive, to the end of the last of them.
///
/// # Errors
/// Those of `from` and `sink`, and [`Malformed`] for an archive that is damaged or ends before.
pub fn custom_rows(mut from: impl BufRead, entries: HashSet<u32>, sink: &mut dyn RowSink) -> io::Result<()> {
    let mut parser = Parser::new(Expect::Custom);
    let mut extract = Extract { entries, rows: None, packed: ArchiveCompression::None, is_done: false, sink };
    while !extract.is_done {
        let piece = match from.fill_buf() {
            Ok([]) => break,
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let front = if parser.in_data() { 0 } else { parser.front(piece, &mut |_| ())? };
        extract.packed = parser.compression();
        parser.back(piece.get(front..).unwrap_or_default(), &mut extract)?;
        let length = piece.len();
        from.consume(length);
    }
    match extract.is_done {
        true => Ok(()),
        false => parser.finish().and_then(|_| Err(Malformed::new(0, "it has no rows of the table").into())),
    }
}

/// Reads the rows in a data file of a directory archive.
///
/// # Errors
/// Those of `from` and `sink`; `UnexpectedEof` for rows without their end.
pub fn file_rows(mut from: impl BufRead, sink: &mut dyn RowSink) -> io::Result<bool> {
    let mut rows = TableRows::new(ArchiveCompression::None)?;
    loop {
        let piece = match from.fill_buf() {
            Ok([]) => return rows.finish(),
            Ok(piece) => piece,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        rows.push(piece, sink)?;
        let length = piece.len();
        from.consume(length);
        if rows.is_refused {
            return Ok(false);
        }
    }
}

/// Reads the rows in these members of a tar archive of pg_dump, named with their entries.
///
/// # Errors
/// Those of `from` and `sink`; `InvalidData` or `UnexpectedEof` for an archive that is damaged or ends before.
pub fn tar_rows(mut from: impl BufRead, mut members: Vec<(String, u32)>, sink: &mut dyn RowSink) -> io::Result<()> {
    while !members.is_empty() {
        let mut header = [0; BLOCK];
        from.read_exact(&mut header)?;
        let Some((name, size)) = parse(&header) else {
            let what = "the tar archive has no rows of the table, or is malformed";
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        };
        let mut left = size.next_multiple_of(BLOCK as u64);
        if let Some(at) = members.iter().position(|(member, _)| *member == name) {
            let (_, dump_id) = members.swap_remove(at);
            sink.begin(dump_id)?;
            let mut member = from.by_ref().take(size);
            if !file_rows(&mut member, sink)? {
                return Ok(());
            }
            left = left - size + member.limit();
        }
        if io::copy(&mut from.by_ref().take(left), &mut io::sink())? < left {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the tar archive ends in the middle"));
        }
    }
    Ok(())
}

/// The rows of one table, decompressed and divided into lines.
struct TableRows {
    lines: CopyLines,
    unpack: Unpack,
    /// The sink takes no more rows.
    is_refused: bool,
}

/// How pg_dump compressed them. The decoders write into a buffer.
enum Unpack {
    Plain,
    Gzip(ZlibDecoder<Vec<u8>>),
    Zstd(zstd::stream::write::Decoder<'static, Vec<u8>>),
}

impl TableRows {
    fn new(packed: ArchiveCompression) -> io::Result<Self> {
        let unpack = match packed {
            ArchiveCompression::None => Unpack::Plain,
            ArchiveCompression::Gzip => Unpack::Gzip(ZlibDecoder::new(Vec::new())),
            ArchiveCompression::Zstd => Unpack::Zstd(zstd::stream::write::Decoder::new(Vec::new())?),
            ArchiveCompression::Lz4 => {
                return Err(io::Error::new(
                    io::ErrorKind::Unsupported,
                    "pg_dump has compressed the rows with LZ4, which only pg_restore decompresses",
                ));
            }
        };
        Ok(TableRows { lines: CopyLines::default(), unpack, is_refused: false })
    }

    fn push(&mut self, piece: &[u8], sink: &mut dyn RowSink) -> io::Result<()> {
        if let Unpack::Plain = self.unpack {
            return self.plain(piece, sink);
        }
        for piece in piece.chunks(PACKED) {
            let plain = match &mut self.unpack {
                Unpack::Plain => return Ok(()),
                Unpack::Gzip(decoder) => {
                    decoder.write_all(piece)?;
                    decoder.flush()?;
                    std::mem::take(decoder.get_mut())
                }
                Unpack::Zstd(decoder) => {
                    decoder.write_all(piece)?;
                    decoder.flush()?;
                    std::mem::take(decoder.get_mut())
                }
            };
            self.plain(&plain, sink)?;
        }
        Ok(())
    }

    fn plain(&mut self, piece: &[u8], sink: &mut dyn RowSink) -> io::Result<()> {
        let refused = &mut self.is_refused;
        self.lines.push(piece, &mut |lines| {
            *refused |= !*refused && !sink.lines(lines)?;
            Ok(())
        })
    }

    /// Whether more rows are needed.
    fn finish(self) -> io::Result<bool> {
        match self.lines.has_ended() || self.is_refused {
            true => Ok(!self.is_refused),
            false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the rows end without pg_dump's \\. line")),
        }
    }
}

struct Extract<'a> {
    /// Entries whose rows were not read yet.
    entries: HashSet<u32>,
    rows: Option<TableRows>,
    packed: ArchiveCompression,
    is_done: bool,
    sink: &'a mut dyn RowSink,
}

impl BlockSink for Extract<'_> {
    fn block(&mut self, kind: u8, dump_id: i64) -> io::Result<()> {
        let dump_id = u32::try_from(dump_id).unwrap_or_default();
        if kind == TABLE && !self.is_done && self.entries.remove(&dump_id) {
            self.sink.begin(dump_id)?;
            self.rows = Some(TableRows::new(self.packed)?);
        }
        Ok(())
    }

    #[inline]
    fn data(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some(rows) = &mut self.rows {
            rows.push(piece, self.sink)?;
            if rows.is_refused {
                self.is_done = true;
                self.rows = None;
            }
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(rows) = self.rows.take() {
            rows.finish()?;
            self.is_done |= self.entries.is_empty();
        }
        Ok(())
    }
}

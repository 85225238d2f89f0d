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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::archive::sample::{SampleArchive, SampleBlock, shop};

    #[derive(Default)]
    struct Taken {
        entries: Vec<u32>,
        lines: Vec<u8>,
        most: usize,
    }

    impl RowSink for Taken {
        fn begin(&mut self, dump_id: u32) -> io::Result<()> {
            self.entries.push(dump_id);
            Ok(())
        }

        fn lines(&mut self, lines: &[u8]) -> io::Result<bool> {
            self.lines.extend_from_slice(lines);
            Ok(self.lines.len() < self.most)
        }
    }

    fn taken(bytes: &[u8], entries: &[u32], most: usize) -> io::Result<Taken> {
        let mut taken = Taken { most, ..Taken::default() };
        custom_rows(bytes, entries.iter().copied().collect(), &mut taken).map(|()| taken)
    }

    /// The archive up to the end of its first block.
    fn front(archive: &SampleArchive) -> Vec<u8> {
        SampleArchive { blocks: vec![archive.blocks[0].clone()], ..archive.clone() }.bytes()
    }

    #[test]
    fn an_archive_is_read_to_the_end_of_the_table() {
        for minor in 14..=16 {
            let archive = shop(minor);
            let (bytes, first) = (archive.bytes(), front(&archive));
            for bytes in [&bytes, &first] {
                let found = taken(bytes, &[10], usize::MAX).unwrap();
                assert_eq!((found.entries, found.lines), (vec![10], b"1\tone\n2\ttwo\n".to_vec()));
            }
            let both = taken(&bytes, &[11, 10], usize::MAX).unwrap();
            assert_eq!((both.entries, both.lines.len()), (vec![10, 11], 12));
            for cut in [first.len() - 1, first.len() - 20, archive.front().len(), 30] {
                let error = taken(&first[..cut], &[10], usize::MAX).err().unwrap();
                assert!(Malformed::in_error(&error).is_some(), "{cut}: {error}");
            }
            // A sink that has enough ends the reading, also before the end of the table.
            assert!(taken(&first[..first.len() - 20], &[10], 1).is_ok());
            assert!(taken(&bytes, &[99], usize::MAX).is_err());
        }
    }

    #[test]
    fn rows_that_pg_dump_compressed() {
        let text: String = (0..20_000).map(|n| format!("{n}\tlabel {n}\n")).collect();
        let whole = [text.as_bytes(), b"\\.\n\n\n"].concat();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(&whole).unwrap();
        let packed = [(1, zlib.finish().unwrap()), (3, zstd::encode_all(whole.as_slice(), 1).unwrap())];
        for (compression, packed) in packed {
            let chunks = packed.chunks(1000).map(<[u8]>::to_vec).collect();
            let archive = SampleArchive { compression, blocks: vec![SampleBlock::Table(10, chunks)], ..shop(16) };
            assert!(taken(&archive.bytes(), &[10], usize::MAX).unwrap().lines == text.as_bytes(), "{compression}");
            let cut = SampleArchive { blocks: vec![SampleBlock::Table(10, vec![packed[..500].to_vec()])], ..archive };
            assert!(taken(&cut.bytes(), &[10], usize::MAX).is_err());
        }
        let lz4 = SampleArchive { compression: 2, ..shop(16) };
        assert_eq!(taken(&lz4.bytes(), &[10], usize::MAX).err().unwrap().kind(), io::ErrorKind::Unsupported);
    }
}

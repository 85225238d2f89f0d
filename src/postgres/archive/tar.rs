//! The table of contents inside a tar archive of pg_dump: `toc.dat`, which pg_backup_tar.c writes first.

use std::io::{self, Read, Write};

use super::contents::Contents;
use super::malformed::Malformed;
use super::members::{BLOCK, parse};
use super::parser::{Expect, Parser};
use super::recorder::{PassingData, Record, Recorder};
use super::toc_entry::TocEntry;
use super::walk::read_toc_of;

/// Reads the table of contents at the start of a tar archive of pg_dump; what follows is left unread.
///
/// # Errors
///
/// Those of `from`, and [`Malformed`] if the archive does not begin with a whole `toc.dat`. Its offsets count from
/// the start of `toc.dat`, those of the tar header from the start of the archive.
pub fn tar_toc<R: Read>(mut from: R, visit: impl FnMut(&TocEntry<'_>)) -> io::Result<Contents> {
    let mut header = Vec::with_capacity(BLOCK);
    from.by_ref().take(BLOCK as u64).read_to_end(&mut header)?;
    let size = toc_size(&header)?;
    read_toc_of(from.take(size), Expect::Toc, visit)
}

/// Writes a tar archive of pg_dump unchanged, parses the table of contents at its start, and records the rows and large
/// objects.
///
/// The rest is not checked: only the exit status of the program that writes it can say that the archive is complete.
pub struct TarReader<W: Write> {
    out: W,
    /// The header of a member, as far as it was read.
    header: Vec<u8>,
    position: Position,
    /// Whether the table of contents was read.
    after_toc: bool,
    parser: Parser,
    recorder: Recorder,
    passing: PassingData,
    failed: bool,
}

/// The position in the archive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Position {
    Header,
    /// In a member: its remaining bytes, and the padding up to the next header.
    Member {
        left: u64,
        padding: u64,
    },
    Padding(u64),
    /// After the last member.
    End,
}

impl<W: Write> TarReader<W> {
    /// A reader that writes to `out`.
    pub fn new(out: W) -> Self {
        Self::recording(out, Recorder::default())
    }

    /// A reader with this recorder.
    pub fn recording(out: W, recorder: Recorder) -> Self {
        Self {
            out,
            header: Vec::with_capacity(BLOCK),
            position: Position::Header,
            after_toc: false,
            parser: Parser::new(Expect::Toc),
            recorder,
            passing: PassingData::default(),
            failed: false,
        }
    }

    /// Flushes the writer and returns the contents and fingerprints.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the stream did not begin with a whole `toc.dat`; those of the writer.
    pub fn finish(mut self) -> io::Result<(W, Contents, Record)> {
        if self.failed {
            return Err(io::Error::other("the archive has already failed to be read or written"));
        }
        if !self.after_toc && self.position == Position::Header {
            toc_size(&self.header)?;
        }
        let contents = self.parser.finish_toc()?;
        self.out.flush()?;
        let recorded = match self.position {
            Position::End => self.recorder.finish(),
            _ => Err("the end of the tar archive was not found".to_owned()),
        };
        Ok((self.out, contents, recorded))
    }

    fn scan(&mut self, mut piece: &[u8]) -> io::Result<()> {
        while !piece.is_empty() {
            piece = match self.position {
                Position::Header => self.header(piece)?,
                Position::Member { left, padding } => self.member(piece, left, padding)?,
                Position::Padding(left) => {
                    let (_, rest) = split(piece, left);
                    let left = left - (piece.len() - rest.len()) as u64;
                    self.position = if left == 0 { Position::Header } else { Position::Padding(left) };
                    rest
                }
                Position::End => return Ok(()),
            };
        }
        Ok(())
    }

    fn header<'a>(&mut self, piece: &'a [u8]) -> io::Result<&'a [u8]> {
        let (header, rest) = piece.split_at(piece.len().min(BLOCK - self.header.len()));
        self.header.extend_from_slice(header);
        let Ok(header) = <&[u8; BLOCK]>::try_from(self.header.as_slice()) else { return Ok(rest) };
        let left = match (self.after_toc, parse(header)) {
            (false, _) => toc_size(header)?,
            (true, Some((name, size))) => {
                self.passing = self.recorder.file(&name);
                size
            }
            (true, None) => {
                if *header != [0; BLOCK] {
                    self.recorder.fail("the tar archive");
                }
                self.position = Position::End;
                return Ok(rest);
            }
        };
        self.header.clear();
        self.position = Position::Member { left, padding: left.next_multiple_of(BLOCK as u64) - left };
        self.end_member(left);
        Ok(rest)
    }

    fn member<'a>(&mut self, piece: &'a [u8], left: u64, padding: u64) -> io::Result<&'a [u8]> {
        let (piece, rest) = split(piece, left);
        if self.after_toc {
            self.passing.push(piece);
        } else {
            let recorder = &mut self.recorder;
            let front = self.parser.front(piece, &mut |entry| recorder.entry(entry))?;
            self.parser.no_more(piece.get(front..).unwrap_or_default())?;
        }
        let left = left - piece.len() as u64;
        self.position = Position::Member { left, padding };
        self.end_member(left);
        Ok(rest)
    }

    /// Moves on to the padding at the end of a member.
    fn end_member(&mut self, left: u64) {
        if let (0, Position::Member { padding, .. }) = (left, self.position) {
            match std::mem::replace(&mut self.after_toc, true) {
                true => self.recorder.take(&mut self.passing),
                // `finish` reports where its table of contents ends.
                false if !self.parser.in_data() => return self.position = Position::End,
                false => {}
            }
            self.position = if padding == 0 { Position::Header } else { Position::Padding(padding) };
        }
    }
}

/// Up to `left` bytes of the piece, and the rest.
fn split(piece: &[u8], left: u64) -> (&[u8], &[u8]) {
    piece.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(piece.len()))
}

impl<W: Write> Write for TarReader<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.scan(piece).and_then(|()| self.out.write_all(piece)).inspect_err(|_| self.failed = true)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Size of the `toc.dat` whose tar header this is (src/port/tar.c; POSIX ustar).
fn toc_size(header: &[u8]) -> Result<u64, Malformed> {
    let refuse = |what: &str| Malformed::new(0, format!("the header of the tar archive's first member: {what}"));
    let header: &[u8; BLOCK] = header
        .try_into()
        .map_err(|_| Malformed::new(header.len() as u64, "the stream ends in the first tar header"))?;
    let field = |at: usize, len: usize| header.get(at..at + len).unwrap_or_default();
    if !field(0, 100).starts_with(b"toc.dat\0") {
        return Err(refuse("its name is not toc.dat"));
    }
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    let own: u64 = field(148, 8).iter().map(|&byte| u64::from(byte)).sum();
    // For the checksum its own field counts as eight spaces.
    if octal(field(148, 8)) != Some(sum - own + 8 * u64::from(b' ')) {
        return Err(refuse("its checksum is wrong"));
    }
    octal(field(124, 12)).ok_or_else(|| refuse("its size is not an octal number"))
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(text, 8).ok()
}

//! The table of contents inside a tar archive of pg_dump: `toc.dat`, which pg_backup_tar.c writes first.

use std::io::{self, Read, Write};

use super::parser::{Expect, Parser};
use super::toc::Entry;
use super::{Contents, Malformed, read_toc_of};

const BLOCK: usize = 512;

/// Reads the table of contents at the start of a tar archive of pg_dump; what follows is left unread.
///
/// # Errors
///
/// Those of `from`, and [`Malformed`] if the archive does not begin with a whole `toc.dat`. Its offsets count from
/// the start of `toc.dat`, those of the tar header from the start of the archive.
pub fn tar_toc<R: Read>(mut from: R, visit: impl FnMut(&Entry<'_>)) -> io::Result<Contents> {
    let mut header = Vec::with_capacity(BLOCK);
    from.by_ref().take(BLOCK as u64).read_to_end(&mut header)?;
    let size = toc_size(&header)?;
    read_toc_of(from.take(size), Expect::Toc, visit)
}

/// Passes a tar archive of pg_dump on unchanged, and reads the table of contents at its start as it does.
///
/// Only that much is looked at: that the archive is whole, its writer's exit code must tell.
pub struct TocSniffer<W: Write> {
    out: W,
    header: Vec<u8>,
    /// Bytes of `toc.dat` still to come, once its size is known.
    left: Option<u64>,
    parser: Parser,
    failed: bool,
}

impl<W: Write> TocSniffer<W> {
    /// A sniffer that writes to `out`.
    pub fn new(out: W) -> Self {
        let header = Vec::with_capacity(BLOCK);
        Self { out, header, left: None, parser: Parser::new(Expect::Toc), failed: false }
    }

    /// Flushes the writer and gives the contents.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the stream did not begin with a whole `toc.dat`; those of the writer.
    pub fn finish(mut self) -> io::Result<(W, Contents)> {
        if self.failed {
            return Err(io::Error::other("the archive has already failed to be read or written"));
        }
        if self.left.is_none() {
            toc_size(&self.header)?;
        }
        let contents = self.parser.finish_toc()?;
        self.out.flush()?;
        Ok((self.out, contents))
    }

    fn look(&mut self, piece: &[u8]) -> io::Result<()> {
        let (header, rest) = piece.split_at(piece.len().min(BLOCK - self.header.len()));
        self.header.extend_from_slice(header);
        if self.header.len() < BLOCK {
            return Ok(());
        }
        let left = match self.left {
            Some(left) => left,
            None => toc_size(&self.header)?,
        };
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
        let toc = rest.get(..here).unwrap_or_default();
        self.left = Some(left - here as u64);
        let front = self.parser.front(toc, &mut |_| ())?;
        self.parser.no_more(toc.get(front..).unwrap_or_default())
    }
}

impl<W: Write> Write for TocSniffer<W> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        self.look(piece).and_then(|()| self.out.write_all(piece)).inspect_err(|_| self.failed = true)?;
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
    // The checksum is made with eight spaces in its own place.
    if octal(field(148, 8)) != Some(sum - own + 8 * u64::from(b' ')) {
        return Err(refuse("its checksum is wrong"));
    }
    octal(field(124, 12)).ok_or_else(|| refuse("its size is not an octal number"))
}

fn octal(field: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(field).ok()?.trim_matches(['\0', ' ']);
    u64::from_str_radix(text, 8).ok()
}

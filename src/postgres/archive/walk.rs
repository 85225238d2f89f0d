//! Reads archives without passing them on.

use std::io::{self, Read};

use super::blocks::Ignore;
use super::contents::Contents;
use super::header::ArchiveCompression;
use super::parser::{Expect, Parser};
use super::recorder::{Record, Recorder};
use super::toc_entry::TocEntry;

/// Reads a custom-format archive from its first byte to its last and checks it.
///
/// Every block must belong to an entry of the table of contents that has data, be of that entry's kind, and begin at the
/// entry's offset if it has one; every entry with data must have its block; COPY data must end with pg_dump's terminator;
/// and the stream must end where the archive does. The chunks of an archive that pg_dump compressed itself are not
/// decompressed: only their lengths are checked, and not the terminator.
///
/// `visit` is called for each entry of the table of contents, in its order.
///
/// # Errors
///
/// Those of `from`, and [`Malformed`](super::Malformed) for bytes that are not a whole archive.
pub fn walk<R: Read>(from: R, mut visit: impl FnMut(&TocEntry<'_>)) -> io::Result<Contents> {
    let mut parser = Parser::new(Expect::Custom);
    for_each_piece(from, |piece| {
        let front = parser.front(piece, &mut visit)?;
        parser.back(piece.get(front..).unwrap_or_default(), &mut Ignore)?;
        Ok(true)
    })?;
    parser.finish()
}

/// Reads a custom-format archive as [`walk`] does, and records its rows.
///
/// # Errors
///
/// Those of [`walk`].
pub fn record<R: Read>(from: R, mut recorder: Recorder) -> io::Result<Record> {
    let mut parser = Parser::new(Expect::Custom);
    for_each_piece(from, |piece| {
        let front = parser.front(piece, &mut |entry| recorder.entry(entry))?;
        match parser.is_plain() {
            true => parser.back(piece.get(front..).unwrap_or_default(), &mut recorder)?,
            false => parser.back(piece.get(front..).unwrap_or_default(), &mut Ignore)?,
        }
        Ok(true)
    })?;
    match parser.finish()?.compression {
        ArchiveCompression::None => Ok(recorder.finish()),
        _ => Ok(Err("pg_dump has compressed the rows itself".to_owned())),
    }
}

/// Reads the header and the table of contents: of a custom-format archive, whose data is not read (though `from` may be
/// some bytes into it afterwards), or of a whole `toc.dat` of the directory and tar formats, which pg_dump never
/// compresses.
///
/// # Errors
///
/// Those of `from`, and [`Malformed`](super::Malformed) for bytes that are not a header and a table of contents, or a
/// `toc.dat` with bytes after it.
pub fn read_toc<R: Read>(from: R, visit: impl FnMut(&TocEntry<'_>)) -> io::Result<Contents> {
    read_toc_of(from, Expect::Either, visit)
}

pub(super) fn read_toc_of<R: Read>(
    from: R,
    expect: Expect,
    mut visit: impl FnMut(&TocEntry<'_>),
) -> io::Result<Contents> {
    let mut parser = Parser::new(expect);
    for_each_piece(from, |piece| {
        let front = parser.front(piece, &mut visit)?;
        if !parser.is_custom() {
            parser.no_more(piece.get(front..).unwrap_or_default())?;
        }
        Ok(!(parser.in_data() && parser.is_custom()))
    })?;
    parser.finish_toc()
}

/// Reads the stream in pieces until it ends or `take` returns false.
fn for_each_piece<R: Read>(mut from: R, mut take: impl FnMut(&[u8]) -> io::Result<bool>) -> io::Result<()> {
    let mut buffer = vec![0; 128 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => {
                if !take(buffer.get(..n).unwrap_or_default())? {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

//! pg_dump's archive format, versions 1.14 to 1.16 (PostgreSQL 13 to 18): read as a stream, checked, and rewritten
//! with longer chunks.
//!
//! The format is followed as PostgreSQL's own sources write it: `src/bin/pg_dump/pg_backup_archiver.c` (header, table
//! of contents, integers, strings, offsets) and `.h` (versions, block types, offset flags), `pg_backup_custom.c` (data
//! blocks), `pg_backup_directory.c` and `pg_backup_tar.c` (`toc.dat`), as of PostgreSQL 15.18 and 18.6.
//!
//! # Layout
//!
//! | part | content |
//! | --- | --- |
//! | integer | a sign byte (0 or 1), then four bytes of the magnitude, least first |
//! | string | an integer, its length, then that many bytes; the length -1 stands for NULL |
//! | header | `PGDMP`, version (major, minor, revision), size of an integer, size of an offset, format (1 custom, 3 tar and directory), compression (up to 1.14 an integer, the level; from 1.15 a byte, the algorithm), seven integers of local time, then the names of the database, the server's version and pg_dump's |
//! | table of contents | an integer, the number of entries; each entry: dump id, whether it has data, OIDs of catalogue and object (as strings), tag, description, section, definition, drop statement, COPY statement, schema, tablespace, access method, relation kind (from 1.16), owner, `"false"`, dependencies (strings, ended by NULL), then in a custom archive an offset (a flag, then the bytes), in `toc.dat` the name of the data file |
//! | table block | byte 1, dump id, chunks, a zero length |
//! | large objects block | byte 3, dump id, then for each object its OID, chunks, a zero length; a zero OID ends it |
//! | chunk | an integer, its length, then that many bytes, compressed as the header says |
//!
//! pg_dump writes the offsets when the archive goes to a file: in place, or, when its standard output is that file
//! (17 and 18 reopen it for appending), as a second table of contents after the last block. Both are accepted.
//!
//! # Bounds
//!
//! Nothing here panics on any input, and memory grows only with what is kept of the table of contents: 28 bytes for
//! each table with data, and each distinct owner, tablespace and extension name once. Definitions, rows and large
//! objects pass by in whatever pieces they arrive.

mod blocks;
mod contents;
pub mod data_file;
mod header;
mod members;
mod parser;
mod primitive;
mod recorder;
mod rows;
mod tar;
mod toc;

use std::fmt;
use std::io::{self, Read};

pub use block_locator::{Block, BlockEvent, BlockLocator};
pub use contents::{Contents, Oids};
pub use header::{ArchiveCompression, ArchiveFormat, Version};
pub use members::{Promised, tar_members};
pub use rechunk::{CHUNK, Rechunker};
pub use recorder::{PassingData, Record, Recorded, Recorder, Tap, Tapped, column_names, table_names};
pub use rows::{BlockRows, RowPiece};
pub use tar::{TarReader, tar_toc};
pub use toc::{TAG_LIMIT, TocEntry, TocString};

use blocks::Ignore;
use parser::{Expect, Parser};

/// What is wrong with an archive, and where.
///
/// It travels inside an [`io::Error`] of kind [`io::ErrorKind::InvalidData`]; [`Malformed::in_error`] finds it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Bytes from the start of the plain (decompressed, decrypted) stream.
    pub offset: u64,
    /// What was being read and what was found.
    pub what: String,
}

impl Malformed {
    fn new(offset: u64, what: impl Into<String>) -> Self {
        Self { offset, what: what.into() }
    }

    fn reading(self, part: impl fmt::Display) -> Self {
        Self { offset: self.offset, what: format!("{part}: {}", self.what) }
    }

    /// The [`Malformed`] that an I/O error carries, if the error is about the bytes and not about reading them.
    #[must_use]
    pub fn in_error(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {} of the archive: {}", self.offset, self.what)
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

/// Reads a custom-format archive from its first byte to its last and checks it.
///
/// Every block must belong to an entry of the table of contents that says it has data, be of the kind that the entry
/// asks for, and stand where the table of contents says (where it says so); every such entry must have its block;
/// COPY data must end with pg_dump's terminator; and the stream must end where the archive does. In an archive that
/// pg_dump compressed itself the chunks are followed but not decompressed, so the terminator is not looked at: of
/// those bytes only the lengths are checked.
///
/// `visit` is called for each entry of the table of contents, in its order.
///
/// # Errors
///
/// Those of `from`, and [`Malformed`] for bytes that are not a whole archive.
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

/// Reads the header and the table of contents: of a custom-format archive, whose data is then left unread (some of it
/// may have been taken from `from`), or of a whole `toc.dat` of the directory and tar formats, which pg_dump never
/// compresses.
///
/// # Errors
///
/// Those of `from`, and [`Malformed`] for bytes that are not a header and a table of contents, or a `toc.dat` with
/// bytes after it.
pub fn read_toc<R: Read>(from: R, visit: impl FnMut(&TocEntry<'_>)) -> io::Result<Contents> {
    read_toc_of(from, Expect::Either, visit)
}

fn read_toc_of<R: Read>(from: R, expect: Expect, mut visit: impl FnMut(&TocEntry<'_>)) -> io::Result<Contents> {
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

/// Hands the stream on in pieces, until it ends or `take` has had enough.
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

pub mod block_locator;
#[cfg(test)]
mod properties;
pub mod rechunk;
#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;

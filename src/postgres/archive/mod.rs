//! pg_dump's archive format, versions 1.14 to 1.16 (PostgreSQL 13 to 19): read as a stream, checked, and rewritten
//! with longer chunks.
//!
//! The reader follows PostgreSQL's own sources: `src/bin/pg_dump/pg_backup_archiver.c` (header, table
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
//! No input makes the reader panic, and its memory grows only with the table of contents: 28 bytes for each table with
//! data, and each distinct name of an owner, tablespace or extension once. Rows and large objects are read piece by
//! piece and not kept, nor is a definition after its entry was visited.

pub mod block_locator;
mod blocks;
mod contents;
pub mod data_file;
mod header;
mod malformed;
mod members;
mod parser;
mod primitive;
#[cfg(test)]
mod properties;
pub mod rechunk;
mod recorder;
mod rows;
#[cfg(test)]
mod sample;
mod splice;
mod table_rows;
mod tar;
#[cfg(test)]
mod tests;
mod toc;
mod toc_entry;
mod walk;

pub use block_locator::BlockLocator;
pub use blocks::{Block, BlockEvent};
pub use contents::{Contents, Oids};
pub use header::{ArchiveCompression, ArchiveFormat, Version};
pub use malformed::Malformed;
pub use members::{Promised, tar_members};
pub use rechunk::{CHUNK, Rechunker};
pub use recorder::{PassingData, Record, Recorded, Recorder, Tap, Tapped, column_names, table_names};
pub use rows::{BlockRows, RowPiece};
pub use splice::{DataEntry, RowSource, Splice, SpliceOrder, Spliced};
pub use table_rows::{RowSink, custom_rows, file_rows, tar_rows};
pub use tar::{TarReader, tar_toc};
pub use toc_entry::{TAG_LIMIT, TocEntry, TocString};
pub use walk::{read_toc, record, walk};

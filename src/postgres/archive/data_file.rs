//! The data files of a directory archive (`pg_backup_directory.c`): their names, and how they end.

use std::io::{self, Write};

use super::toc_entry::TocEntry;
use crate::pipeline::compress::Method;

/// What pg_dump writes after the rows of a table (`dumpTableData_copy` in `src/bin/pg_dump/pg_dump.c`).
pub const ROWS_END: &[u8] = b"\\.\n\n\n";

/// How pg_dump compressed a file of a directory archive, by the suffix of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// With this method.
    By(Method),
    /// With LZ4, which only PostgreSQL's own programs decompress.
    Lz4,
}

/// A key's file name without the suffixes of encryption and compression, and the compression.
pub fn split(key: &str) -> (&str, Packing) {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    let name = name.strip_suffix(".age").unwrap_or(name);
    let suffixes = [(".gz", Packing::By(Method::Gzip)), (".zst", Packing::By(Method::Zstd)), (".lz4", Packing::Lz4)];
    let found = suffixes.into_iter().find_map(|(suffix, packing)| Some((name.strip_suffix(suffix)?, packing)));
    found.unwrap_or((name, Packing::Plain))
}

/// The data file that a table of contents names for an entry.
pub fn named_in(entry: &TocEntry<'_>) -> Option<String> {
    (!entry.file.bytes.is_empty()).then(|| entry.file.to_string())
}

/// Whether the file of this name, without the suffix of compression, has the rows of a table.
pub fn has_rows(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_digit())
}

/// A writer that keeps the last bytes.
#[derive(Debug)]
pub struct Tail {
    bytes: Vec<u8>,
    length: usize,
}

impl Tail {
    /// Keeps the last `length` bytes.
    pub fn new(length: usize) -> Self {
        Tail { bytes: Vec::new(), length }
    }

    /// The last bytes so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Write for Tail {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let new = bytes.get(bytes.len().saturating_sub(self.length)..).unwrap_or(bytes);
        let excess = (self.bytes.len() + new.len()).saturating_sub(self.length);
        self.bytes.drain(..excess);
        self.bytes.extend_from_slice(new);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_directory_files() {
        let cases = [
            ("a_20231231_020000/toc.dat", "toc.dat", Packing::Plain),
            ("a_20231231_020000/12.dat.gz", "12.dat", Packing::By(Method::Gzip)),
            ("a_20231231_020000/12.dat.zst.age", "12.dat", Packing::By(Method::Zstd)),
            ("a_20231231_020000/12.dat.lz4", "12.dat", Packing::Lz4),
            ("a_20231231_020000/blobs.toc.age", "blobs.toc", Packing::Plain),
        ];
        for (key, name, packing) in cases {
            assert_eq!(split(key), (name, packing), "{key}");
        }
    }

    #[test]
    fn the_tail_is_the_end_however_it_is_written() {
        for piece in 1..12 {
            for length in [0, 1, 4, 9, 20] {
                let mut tail = Tail::new(length);
                let text = b"0123456789abcdef";
                text.chunks(piece).for_each(|chunk| tail.write_all(chunk).unwrap());
                assert_eq!(tail.bytes(), &text[text.len().saturating_sub(length)..], "{piece} {length}");
            }
        }
    }
}

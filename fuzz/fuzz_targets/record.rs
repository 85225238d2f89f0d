//! Any bytes as an archive whose rows are recorded: nothing may panic, and pieces must make no difference.
#![no_main]

use std::io::{self, Write};

use libfuzzer_sys::fuzz_target;
use pgcellar::postgres::archive::{Rechunker, Record, TarReader};

fn custom(bytes: &[u8], piece: usize) -> Option<Record> {
    let mut rechunker = Rechunker::new(io::sink());
    let mut pieces = bytes.chunks(piece);
    pieces.try_for_each(|piece| rechunker.write_all(piece)).ok()?;
    rechunker.finish().ok().map(|(.., recorded)| recorded)
}

fn tar(bytes: &[u8], piece: usize) -> Option<Record> {
    let mut reader = TarReader::new(io::sink());
    let mut pieces = bytes.chunks(piece);
    pieces.try_for_each(|piece| reader.write_all(piece)).ok()?;
    reader.finish().ok().map(|(.., recorded)| recorded)
}

fuzz_target!(|bytes: &[u8]| {
    let whole = bytes.len().max(1);
    assert_eq!(custom(bytes, 5), custom(bytes, whole));
    assert_eq!(tar(bytes, 5), tar(bytes, whole));
});

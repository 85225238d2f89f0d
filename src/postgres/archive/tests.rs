use std::fmt;
use std::io::{self, Write};

use super::sample::{SampleArchive, SampleBlock, rows, shop};
use super::*;

pub(super) fn walk_all(bytes: &[u8]) -> io::Result<Contents> {
    walk(bytes, |_| ())
}

pub(super) fn joined(pieces: &[&[u8]]) -> io::Result<(Vec<u8>, Contents)> {
    let mut rechunker = Rechunker::new(Vec::new());
    for piece in pieces {
        rechunker.write_all(piece)?;
    }
    let (out, contents, _) = rechunker.finish()?;
    Ok((out, contents))
}

fn malformed(result: io::Result<impl fmt::Debug>) -> Malformed {
    let error = result.expect_err("refused");
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    Malformed::in_error(&error).expect("malformed").clone()
}

/// The archive as the rechunker should write it.
pub(super) fn with_long_chunks(archive: &SampleArchive) -> SampleArchive {
    let long = |chunks: &[Vec<u8>]| chunks.concat().chunks(CHUNK).map(<[u8]>::to_vec).collect();
    let blocks = archive.blocks.iter().map(|block| match block {
        SampleBlock::Table(id, data) => SampleBlock::Table(*id, long(data)),
        SampleBlock::LargeObjects(id, objects) => {
            SampleBlock::LargeObjects(*id, objects.iter().map(|(oid, data)| (*oid, long(data))).collect())
        }
    });
    SampleArchive { blocks: blocks.collect(), ..archive.clone() }
}

/// The shop without its long strings and objects, for tests of each byte.
pub(super) fn small(minor: u8) -> SampleArchive {
    let mut archive = shop(minor);
    archive.items[3].defn.truncate(10);
    archive.items[4].tag.truncate(20);
    archive.blocks[3] = SampleBlock::LargeObjects(13, vec![(20_001, vec![vec![7; 10]]), (9, Vec::new())]);
    archive
}

#[test]
fn every_version_is_read() {
    for minor in 14..=16 {
        let mut seen = Vec::new();
        let contents = walk(shop(minor).bytes().as_slice(), |entry| {
            seen.push((entry.dump_id, entry.desc.to_string(), entry.tag.truncated, entry.has_data));
        })
        .expect("whole");
        assert_eq!((contents.version.major, contents.version.minor), (1, minor));
        assert_eq!(contents.compression, ArchiveCompression::None);
        assert_eq!(contents.format, ArchiveFormat::Custom);
        assert_eq!(contents.dbname, "shop");
        assert_eq!(contents.server_version, "13.14");
        assert_eq!(contents.dump_version, "15.18 (Debian)");
        assert_eq!(contents.encoding.as_deref(), Some("UTF8"));
        assert_eq!(contents.entries as usize, seen.len());
        assert_eq!(contents.tables(), 2);
        assert_eq!(contents.count_of("INDEX"), 1);
        assert_eq!(contents.table_data.iter().collect::<Vec<_>>(), [16_004, 16_005, 16_006]);
        assert!(contents.table_data.contains(16_005) && !contents.table_data.contains(16_007));
        assert_eq!((contents.large_objects, contents.large_objects_with_data), (2, 2));
        assert_eq!(contents.extensions.iter().collect::<Vec<_>>(), ["pg_trgm"]);
        assert_eq!(contents.owners.iter().collect::<Vec<_>>(), ["clerk", "Ünder"]);
        assert_eq!(contents.tablespaces.iter().collect::<Vec<_>>(), ["fast"]);
        assert!(seen.contains(&(6, "FUNCTION".to_owned(), true, false)));
        assert!(seen.contains(&(13, "BLOBS".to_owned(), false, true)));
    }
}

#[test]
fn chunks_are_joined_and_split() {
    for minor in 14..=16 {
        let mut archive = shop(minor);
        archive.blocks[0] = SampleBlock::Table(10, rows(&["1\tx\n", &"y".repeat(2 * CHUNK), "\n", "2\tz\n"]));
        let (bytes, contents) = joined(&[&archive.bytes()]).expect("whole");
        assert!(bytes == with_long_chunks(&archive).bytes());
        assert_eq!(walk_all(&bytes).expect("whole"), contents);
        assert_eq!(contents, walk_all(&archive.bytes()).expect("whole"));
    }
}

#[test]
fn chunks_that_pg_dump_compressed_are_unchanged() {
    for (minor, compression) in [(14, -1), (14, 9), (15, 1), (16, 1), (16, 2), (16, 3)] {
        let bytes = SampleArchive { compression, ..shop(minor) }.bytes();
        let (out, contents) = joined(&[&bytes]).expect("whole");
        assert!(out == bytes);
        assert_ne!(contents.compression, ArchiveCompression::None);
    }
}

#[test]
fn compressed_rows_need_no_terminator_and_plain_ones_do() {
    let mut archive = shop(16);
    archive.blocks[0] = SampleBlock::Table(10, vec![b"1\tone\n".to_vec()]);
    assert!(malformed(walk_all(&archive.bytes())).what.contains("dump id 10 does not end"));
    archive.compression = 1;
    assert!(walk_all(&archive.bytes()).is_ok());
}

#[test]
fn offsets_are_checked_and_keep_chunks_unchanged() {
    let archive = shop(16).with_offsets();
    let bytes = archive.bytes();
    assert!(walk_all(&bytes).is_ok());
    assert!(joined(&[&bytes]).expect("whole").0 == bytes);
    let mut wrong = archive;
    wrong.items[5].offset.1 += 1;
    assert!(malformed(walk_all(&wrong.bytes())).what.contains("should begin at byte"));
}

#[test]
fn a_second_table_of_contents_is_accepted_and_checked() {
    let archive = small(16);
    let with = |toc: Vec<u8>| [archive.bytes(), toc].concat();
    let right = small(16).with_offsets();
    assert_eq!(walk_all(&with(right.toc())).expect("whole"), walk_all(&archive.bytes()).expect("whole"));
    assert!(joined(&[&with(right.toc())]).expect("whole").0 == with_long_chunks(&archive).bytes());

    let mut other = right.clone();
    other.items[3].owner = "nobody".to_owned();
    assert!(malformed(walk_all(&with(other.toc()))).what.contains("differs from the first"));
    let mut moved = right.clone();
    moved.items[5].offset.1 += 1;
    assert!(malformed(walk_all(&with(moved.toc()))).what.contains("second table of contents says byte"));
    let more = [right.toc(), vec![0]].concat();
    assert_eq!(malformed(walk_all(&with(more))).what, "bytes after the end");
    for len in 1..right.toc().len() {
        malformed(walk_all(&with(right.toc()[..len].to_vec())));
    }
}

#[test]
fn unknown_values_are_refused_by_name() {
    let bytes = shop(16).bytes();
    for (at, value, what) in [
        (0, b'p', "no PGDMP"),
        (5, 2, "version 2.16"),
        (6, 13, "version 1.13"),
        (6, 17, "version 1.17"),
        (8, 9, "integer size 9"),
        (9, 3, "offset size 3"),
        (10, 3, "tar or directory format where"),
        (10, 4, "format 4"),
        (11, 4, "algorithm 4"),
    ] {
        let mut bytes = bytes.clone();
        bytes[at] = value;
        let error = malformed(walk_all(&bytes));
        assert!(error.what.contains(what), "{error}");
        assert!(error.offset <= at as u64);
    }
    assert!(malformed(walk_all(&SampleArchive { compression: 77, ..shop(14) }.bytes())).what.contains("level 77"));
}

#[test]
fn blocks_must_fit_the_table_of_contents() {
    let change = |change: fn(&mut SampleArchive)| {
        let mut archive = shop(15);
        change(&mut archive);
        malformed(walk_all(&archive.bytes())).what
    };
    assert!(
        change(|a| a.blocks.push(SampleBlock::Table(99, rows(&[])))).contains("for which the table of contents has no")
    );
    assert!(
        change(|a| a.blocks.push(SampleBlock::Table(40, rows(&[])))).contains("for which the table of contents has no")
    );
    assert!(change(|a| a.blocks.push(SampleBlock::Table(10, rows(&[])))).contains("a second block for dump id 10"));
    assert!(change(|a| a.blocks[3] = SampleBlock::Table(13, rows(&[]))).contains("type should be 3"));
    assert!(change(|a| drop(a.blocks.remove(1))).contains("before the data for dump id 11"));
    assert!(change(|a| a.items[6].dump_id = 10).contains("two entries with dump id 10"));
    let mut bytes = shop(15).bytes();
    bytes.push(7);
    assert_eq!(malformed(walk_all(&bytes)).what, "block type 7 is not known (1 and 3 are)");
}

#[test]
fn an_archive_cut_anywhere_is_refused() {
    for minor in 14..=16 {
        let bytes = small(minor).bytes();
        for len in 0..bytes.len() {
            let cut = &bytes[..len];
            let error = malformed(walk_all(cut));
            assert_eq!(error, malformed(joined(&[cut])));
            assert!(error.offset <= len as u64 && error.what.contains("the stream ends"), "{len}: {error}");
        }
    }
}

#[test]
fn a_definition_of_any_size_is_read_without_being_kept() {
    let mut archive = shop(16);
    archive.items[3].defn = "x".repeat(40 << 20);
    let (bytes, contents) = joined(&[&archive.bytes()]).expect("whole");
    assert_eq!(contents.entries as usize, archive.items.len());
    assert!(bytes.len() > 40 << 20);
}

#[test]
fn lengths_that_the_stream_does_not_have_take_no_memory() {
    let mut bytes = shop(16).header();
    bytes.extend(primitive::encode(i64::from(i32::MAX)));
    assert!(malformed(walk_all(&bytes)).what.contains("the dump id of entry 1 of 2147483647"));
    let mut bytes = shop(16).front();
    bytes.extend([1, 0, 10, 0, 0, 0]);
    bytes.extend(primitive::encode(i64::from(i32::MAX)));
    assert!(malformed(walk_all(&bytes)).what.contains("a chunk in the block for dump id 10"));
}

#[test]
fn after_an_error_nothing_more_is_taken() {
    let mut rechunker = Rechunker::new(Vec::new());
    rechunker.write_all(b"garbage").expect_err("refused");
    rechunker.write_all(b"PGDMP").expect_err("still refused");
    assert!(rechunker.finish().is_err());
}

#[test]
fn toc_dat_is_read_alone_and_in_tar() {
    let archive = SampleArchive { format: 3, ..small(16) };
    let toc = archive.front();
    let mut files = Vec::new();
    let contents = read_toc(toc.as_slice(), |entry| files.push(entry.file.to_string())).expect("whole");
    assert_eq!(contents.format, ArchiveFormat::Toc);
    assert_eq!(contents.table_data.len(), 3);
    assert!(files.contains(&"10.dat".to_owned()));
    let longer = [toc.as_slice(), b"x"].concat();
    assert_eq!(malformed(read_toc(longer.as_slice(), |_| ())).what, "bytes after the end");
    assert!(malformed(walk_all(&toc)).what.contains("where the custom format is expected"));

    let tar = [tar_member(&toc), b"and so on".to_vec()].concat();
    assert_eq!(tar_toc(tar.as_slice(), |_| ()).expect("whole"), contents);
    for step in [1, 7, 511, 512, 513, 100_000] {
        let mut reader = TarReader::new(Vec::new());
        tar.chunks(step).for_each(|piece| reader.write_all(piece).expect("taken"));
        let (out, read, _) = reader.finish().expect("whole");
        assert!(out == tar && read == contents);
    }
    for len in 0..512 + toc.len() {
        malformed(tar_toc(&tar[..len], |_| ()));
        let mut reader = TarReader::new(Vec::new());
        reader.write_all(&tar[..len]).expect("taken");
        malformed(reader.finish().map(|_| ()));
    }
    let mut renamed = tar;
    renamed[0] = b'T';
    assert!(malformed(tar_toc(renamed.as_slice(), |_| ())).what.contains("name is not toc.dat"));
}

fn tar_member(content: &[u8]) -> Vec<u8> {
    let mut header = vec![0; 512];
    header[..7].copy_from_slice(b"toc.dat");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header.extend(content);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

#[test]
fn read_toc_leaves_the_data_of_a_custom_archive_unread() {
    let mut bytes = shop(14).front();
    bytes.extend(b"\x07 no blocks at all");
    assert_eq!(read_toc(bytes.as_slice(), |_| ()).expect("table of contents").large_objects, 2);
}

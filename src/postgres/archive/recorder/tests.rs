use std::io::Write;

use proptest::prelude::*;

use super::super::sample::{SampleArchive, SampleBlock, SampleEntry, shop};
use super::super::{Rechunker, TarReader};
use super::*;

fn sum(rows: &[&[u8]]) -> Sum {
    let mut sum = Sum::default();
    rows.iter().for_each(|row| sum.add(row));
    sum
}

fn recorded(bytes: &[u8], size: usize) -> Record {
    let mut rechunker = Rechunker::new(Vec::new());
    bytes.chunks(size).for_each(|piece| rechunker.write_all(piece).unwrap());
    rechunker.finish().unwrap().2
}

/// An archive of these tables: target, own name, columns and rows.
fn archive(minor: u8, tables: &[(&str, &str, &str, &[u8])]) -> SampleArchive {
    let item = |(n, (target, name, columns, _)): (usize, &(&str, &str, &str, &[u8]))| SampleEntry {
        dump_id: n as i64 + 1,
        data: true,
        oid: 20_000 + n as u32,
        tag: (*name).to_owned(),
        desc: "TABLE DATA".to_owned(),
        copy: Some(format!("COPY {target} {columns} FROM stdin;\n")),
        namespace: "s".to_owned(),
        offset: (1, 0),
        ..SampleEntry::default()
    };
    let block = |(n, (.., rows)): (usize, &(&str, &str, &str, &[u8]))| {
        let text = [rows, &b"\\.\n\n\n"[..]].concat();
        SampleBlock::Table(n as i64 + 1, text.chunks(5).map(<[u8]>::to_vec).collect())
    };
    let items = tables.iter().enumerate().map(item).collect();
    SampleArchive { minor, format: 1, compression: 0, items, blocks: tables.iter().enumerate().map(block).collect() }
}

#[test]
fn tables_are_recorded_by_target_and_columns() {
    for minor in 14..=16 {
        let archive = archive(
            minor,
            &[
                ("s.t", "t", "(a, \"FROM stdin;\")", b"1\tone\n2\ttwo\n"),
                ("s.\"Odd \"\". t\"", "Odd \". t", "", b"\n\n\n"),
                ("s.root", "p1", "(a)", b"1\n2\n"),
                ("s.root", "p\"2", "(a)", b"3\n"),
                ("s.root", "p3", "(b, a)", b"x\t3\n"),
                ("s.turned", "t1", "(a, \"B, c\", d)", b"1\t\\t\tx\n"),
                ("s.turned", "t2", "(d, a, \"B, c\")", b"y\t2\t\\N\n\t3\t\\\\\n"),
                ("s.turned", "t3", "(a, \"B, c\", d)", b"4\tb\tz\n"),
                ("s.empty", "empty", "(a)", b""),
            ],
        );
        for size in [1, 3, 1 << 20] {
            let recorded = recorded(&archive.bytes(), size).unwrap();
            let found: Vec<_> = recorded
                .tables
                .iter()
                .map(|table| {
                    let partitions: Vec<String> = table.partitions.iter().map(ToString::to_string).collect();
                    (table.target.to_string(), table.columns.to_string(), partitions.join(" "), table.sum)
                })
                .collect();
            let expected = [
                ("s.\"Odd \"\". t\"", "", "", sum(&[b"", b"", b""])),
                ("s.empty", "(a)", "", sum(&[])),
                ("s.root", "(a)", "\"s\".\"p1\" \"s\".\"p\"\"2\"", sum(&[b"1", b"2", b"3"])),
                ("s.root", "(b, a)", "\"s\".\"p3\"", sum(&[b"x\t3"])),
                ("s.t", "(a, \"FROM stdin;\")", "", sum(&[b"1\tone", b"2\ttwo"])),
                (
                    "s.turned",
                    "(a, \"B, c\", d)",
                    "\"s\".\"t1\" \"s\".\"t2\" \"s\".\"t3\"",
                    sum(&[b"1\t\\t\tx", b"2\t\\N\ty", b"3\t\\\\\t", b"4\tb\tz"]),
                ),
            ];
            let expected: Vec<_> = expected
                .map(|(target, columns, partitions, sum)| (target.into(), columns.into(), partitions.into(), sum))
                .into_iter()
                .collect();
            assert_eq!(found, expected, "{minor} {size}");
        }
    }
}

#[test]
fn large_objects_are_recorded_by_their_oids() {
    let mut archive = shop(15);
    let object = |text: &[u8]| text.chunks(7).map(<[u8]>::to_vec).collect();
    archive.items.retain(|item| item.desc != "TABLE DATA" || item.copy.is_none());
    archive.items.retain(|item| item.desc != "TABLE DATA");
    let objects = vec![(20_001, object(b"some contents\n\\.\n")), (-1_294_967_296, Vec::new()), (7, object(b"x"))];
    archive.blocks = vec![SampleBlock::LargeObjects(13, objects)];
    let mut expected = LargeObjects::default();
    for (oid, text) in [(7, &b"x"[..]), (3_000_000_000, b""), (20_001, b"some contents\n\\.\n")] {
        let mut pieces = LongRow::default();
        pieces.push(text);
        expected.add(oid, &pieces);
    }
    for size in [1, 10, 1 << 20] {
        assert_eq!(recorded(&archive.bytes(), size).unwrap().large_objects, expected, "{size}");
    }
}

#[test]
fn values_of_sequences() {
    let read = |text: &str, standard| {
        let sequence = sequence(TocString { bytes: text.as_bytes(), truncated: false }, standard)?;
        Some((sequence.name.to_string(), sequence.last_value, sequence.is_called))
    };
    let value = |name: &str, value: &str, called| Some((name.to_owned(), value.to_owned(), called));
    assert_eq!(read("SELECT pg_catalog.setval('public.s', 42, true);\n", true), value("public.s", "42", true));
    assert_eq!(
        read("SELECT pg_catalog.setval('public.\"it''s, (1, true)\\\"', -9223372036854775808, false);\n", true),
        value("public.\"it's, (1, true)\\\"", "-9223372036854775808", false)
    );
    assert_eq!(
        read("SELECT pg_catalog.setval('public.\"a\\\\b\"', 1, false);\n", false),
        value("public.\"a\\b\"", "1", false)
    );
    for text in
        ["", "SELECT pg_catalog.setval('s', x, true);\n", "SELECT pg_catalog.setval('s', 1, 1);\n", "SELECT 1;\n"]
    {
        assert_eq!(read(text, true), None, "{text}");
    }
}

#[test]
fn what_cannot_be_parsed_is_reported() {
    for copy in ["COPY t (a) FROM stdin;\n", "COPY s.t (a) FROM stdin WITH x;\n", "COPY s.t a FROM stdin;\n", ""] {
        let mut archive = archive(16, &[("s.t", "t", "(a)", b"1\n")]);
        archive.items[0].copy = Some(copy.to_owned());
        let why = recorded(&archive.bytes(), 100).unwrap_err();
        assert!(why.contains("COPY statement of the table t"), "{why}");
    }
    let compressed = SampleArchive { compression: 1, ..archive(16, &[("s.t", "t", "(a)", b"1\n")]) };
    assert!(recorded(&compressed.bytes(), 100).unwrap_err().contains("compressed"));
}

#[test]
fn archives_with_offsets_are_recorded_too() {
    let plain = archive(16, &[("s.t", "t", "(a)", b"1\n2\n"), ("s.u", "u", "(a)", b"3\n")]);
    let with = plain.clone().with_offsets();
    assert_eq!(recorded(&with.bytes(), 10), recorded(&plain.bytes(), 10));
}

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, content) in members {
        let mut header = vec![0; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend(header);
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

#[test]
fn members_of_a_tar_archive_are_recorded() {
    let mut archive = archive(16, &[("s.t", "t", "(a)", b"1\n2\n"), ("s.u", "u", "(a)", b"3\n")]);
    archive.format = 3;
    archive.items[0].file = "1.dat".to_owned();
    archive.items[1].file = "2.dat".to_owned();
    let toc = archive.front();
    let tar = tar(&[
        ("toc.dat", &toc),
        ("2.dat", b"3\n\\.\n\n\n"),
        ("blob_20001.dat", b"contents"),
        ("blob_20002.dat", b""),
        ("blobs_3.toc", b"20001 blob_20001.dat\n"),
        ("1.dat", &[&b"1\n2\n"[..], b"\\.\n\n\n"].concat()),
        ("restore.sql", b"x"),
    ]);
    for size in [1, 511, 512, 513, 1 << 20] {
        let mut reader = TarReader::new(Vec::new());
        tar.chunks(size).for_each(|piece| reader.write_all(piece).unwrap());
        let (out, _, recorded) = reader.finish().unwrap();
        let recorded = recorded.unwrap();
        assert!(out == tar);
        assert_eq!(recorded.tables[0].sum, sum(&[b"1", b"2"]), "{size}");
        assert_eq!(recorded.tables[1].sum, sum(&[b"3"]));
        assert_eq!((recorded.large_objects.all().rows, recorded.large_objects.all().bytes), (2, 8));
    }
    let mut reader = TarReader::new(Vec::new());
    reader.write_all(&tar[..tar.len() - 1024]).unwrap();
    assert!(reader.finish().unwrap().2.is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_the_lines_however_divided(
        rows in prop::collection::vec(
            prop_oneof![
                8 => prop::collection::vec(any::<u8>(), 0..20),
                1 => Just(b"\\".to_vec()),
                1 => Just(b"\\.\\".to_vec()),
                1 => Just(b"\\\\.".to_vec()),
                1 => (1usize..2000).prop_map(|n| vec![b'r'; n]),
            ],
            0..30,
        ),
        size in 1usize..400,
    ) {
        let rows: Vec<Vec<u8>> = rows.into_iter().map(|row| row.into_iter().filter(|byte| *byte != b'\n').collect()).collect();
        prop_assume!(rows.iter().all(|row| row != b"\\."));
        let text = rows.iter().flat_map(|row| [row, &b"\n"[..]].concat()).chain(*b"\\.\n\n\n").collect::<Vec<_>>();
        let (mut lines, mut found) = (Lines::default(), Sum::default());
        text.chunks(size).for_each(|piece| lines.push(piece, &mut found));
        prop_assert!(lines.are_whole());
        prop_assert_eq!(found, sum(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        prop_assert_eq!(found.bytes + found.rows + 5, text.len() as u64);
    }
}

/// The corpus of the fuzzer: archives that pg_dump has written, and, under the names that the fuzzer gave them, those that it
/// has derived.
fn corpus_folder() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/record")
}

fn corpus(name: &str) -> Vec<u8> {
    std::fs::read(corpus_folder().join(name)).unwrap()
}

fn recorded_custom(bytes: &[u8], size: usize) -> io::Result<Record> {
    let mut rechunker = Rechunker::new(Vec::new());
    bytes.chunks(size).try_for_each(|piece| rechunker.write_all(piece))?;
    Ok(rechunker.finish()?.2)
}

fn recorded_tar(bytes: &[u8], size: usize) -> io::Result<Record> {
    let mut reader = TarReader::new(Vec::new());
    bytes.chunks(size).try_for_each(|piece| reader.write_all(piece))?;
    Ok(reader.finish()?.2)
}

#[test]
fn archives_of_every_version_are_recorded_alike() {
    for major in [15, 17, 18] {
        let custom = recorded(&corpus(&format!("custom-{major}")), 100).unwrap();
        assert_eq!(recorded_tar(&corpus(&format!("tar-{major}")), 100).unwrap().unwrap(), custom, "{major}");
        let tables: Vec<_> = custom
            .tables
            .iter()
            .map(|table| (table.target.to_string(), table.columns.to_string(), table.partitions.len(), table.sum))
            .collect();
        let rows = sum(&[b"1\tx\\n\\\\.\\ty", b"2\t\\N", b"3\t"]);
        let expected = [
            ("public.n", "", 0, sum(&[b"", b""])),
            ("public.r", "(m)", 2, sum(&[b"a", b"b", b"a"])),
            ("public.t", "(a, \"B \"\"c\")", 0, rows),
        ];
        assert!(
            tables.iter().map(|(target, columns, n, sum)| (target.as_str(), columns.as_str(), *n, *sum)).eq(expected)
        );
        let sequence = custom.sequences.first().unwrap();
        assert_eq!((sequence.name.to_string().as_str(), sequence.last_value.as_str()), ("public.\"it's\"", "7"));
        assert_eq!((custom.large_objects.all().rows, custom.large_objects.all().bytes), (2, 3));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn damage_is_survived_however_divided(
        major in prop::sample::select(vec![15, 17, 18]),
        at in any::<prop::sample::Index>(),
        bits in 1u8..,
        size in 1usize..50,
    ) {
        let damaged = |name: &str| {
            let mut bytes = corpus(&format!("{name}-{major}"));
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            bytes
        };
        let custom = damaged("custom");
        prop_assert_eq!(recorded_custom(&custom, size).ok(), recorded_custom(&custom, custom.len()).ok());
        let tar = damaged("tar");
        prop_assert_eq!(recorded_tar(&tar, size).ok(), recorded_tar(&tar, tar.len()).ok());
    }
}

#[test]
fn pieces_make_no_difference_to_the_corpus() {
    let mut seen = 0;
    for file in std::fs::read_dir(corpus_folder()).unwrap() {
        let path = file.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let whole = bytes.len().max(1);
        for size in [1, 5, 700] {
            let (custom, tar) = (recorded_custom(&bytes, size).ok(), recorded_tar(&bytes, size).ok());
            assert_eq!(custom, recorded_custom(&bytes, whole).ok(), "{}", path.display());
            assert_eq!(tar, recorded_tar(&bytes, whole).ok(), "{}", path.display());
        }
        seen += 1;
    }
    assert!(seen > 6, "{seen}");
}

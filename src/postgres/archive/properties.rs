use proptest::prelude::*;

use super::sample::{SampleArchive, SampleBlock, rows, shop};
use super::tests::{joined, small, walk_all, with_long_chunks};
use super::*;

fn flip(bytes: &mut [u8], at: prop::sample::Index, bits: u8) {
    let at = at.index(bytes.len());
    bytes[at] ^= bits;
}

fn any_archive() -> impl Strategy<Value = SampleArchive> {
    let chunk = prop::collection::vec(any::<u8>(), 1..300);
    let row = prop_oneof![20 => chunk, 1 => (1usize..600_000).prop_map(|n| vec![b'r'; n])];
    let data = prop::collection::vec(row, 0..12);
    let objects = prop::collection::vec((prop_oneof![1i64..=0x7fff_ffff, -0x8000_0000i64..=-1], data.clone()), 0..4);
    (14u8..=16, prop::collection::vec(data, 3), objects).prop_map(|(minor, tables, objects)| {
        let mut archive = shop(minor);
        for (block, (mut data, id)) in archive.blocks.iter_mut().zip(tables.into_iter().zip(10..)) {
            data.extend(rows(&["\n"]));
            *block = SampleBlock::Table(id, data);
        }
        archive.blocks[3] = SampleBlock::LargeObjects(13, objects);
        archive
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn pieces_make_no_difference(archive in any_archive(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let bytes = archive.bytes();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([0, bytes.len()]).collect();
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
        let (out, contents) = joined(&pieces).expect("whole");
        prop_assert!(out == with_long_chunks(&archive).bytes());
        prop_assert!(contents == walk_all(&bytes).expect("whole"));
    }

    #[test]
    fn single_bytes_make_no_difference(minor in 14u8..=16) {
        let archive = small(minor);
        let bytes = archive.bytes();
        let (out, _) = joined(&bytes.chunks(1).collect::<Vec<_>>()).expect("whole");
        prop_assert!(out == with_long_chunks(&archive).bytes());
    }

    #[test]
    fn joining_again_changes_nothing(archive in any_archive()) {
        let (once, _) = joined(&[&archive.bytes()]).expect("whole");
        let (twice, _) = joined(&[&once]).expect("whole");
        prop_assert!(once == twice);
    }

    #[test]
    fn damage_is_survived(
        minor in 14u8..=16,
        flips in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4),
    ) {
        let mut bytes = small(minor).front();
        let front = bytes.len();
        bytes.extend(small(minor).data());
        for (n, (at, bits)) in flips.into_iter().enumerate() {
            // One of them in the header or the table of contents.
            let end = if n == 0 { front } else { bytes.len() };
            flip(&mut bytes[..end], at, bits);
        }
        let walked = walk_all(&bytes);
        prop_assert_eq!(walked.is_ok(), joined(&[&bytes]).is_ok());
        let _ = read_toc(bytes.as_slice(), |_| ());
    }

    #[test]
    fn garbage_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(walk_all(&bytes).is_err());
        let mut archive = shop(16).front();
        archive.extend(&bytes);
        prop_assert!(walk_all(&archive).is_err());
        let mut archive = shop(16).header();
        archive.extend(&bytes);
        prop_assert!(walk_all(&archive).is_err());
    }
}

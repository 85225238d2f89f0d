//! Fingerprints of large objects: one for each OID, or for each range of OIDs if there are many.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::sum::{LongRow, Sum};

/// Most ranges that are kept, in about 4 MiB.
const RANGES: usize = 1 << 16;

/// The large objects of a database, in memory that does not grow with their number.
///
/// Up to 65,536 objects each have a range of their own, so that a difference is named by its OID. For more objects the
/// ranges are widened: all are 2^`width` OIDs wide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeObjects {
    /// All of them. Each object is hashed together with its OID, so that two swapped objects change the sum.
    #[serde(flatten)]
    all: Sum,
    /// Ranges are 2^width OIDs wide.
    width: u8,
    /// The ranges in which there are objects, by their first OID divided by 2^width.
    ranges: BTreeMap<u32, Sum>,
}

/// A range of OIDs in which the objects of two databases differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    /// The range.
    pub oids: RangeInclusive<u32>,
    /// The objects of the first database.
    pub expected: Sum,
    /// The objects of the second database.
    pub observed: Sum,
}

impl LargeObjects {
    /// Adds an object with its contents, in any order of OIDs. Each object must be added once.
    pub fn add(&mut self, oid: u32, contents: &LongRow) {
        // The OID follows the contents, because `LongRow` has hashed these before.
        let mut object = contents.clone();
        object.hash.update(&oid.to_be_bytes());
        let sum = Sum { rows: 1, bytes: contents.bytes, hash: object.hash.digest128() };
        self.all.merge(&sum);
        self.ranges.entry(self.range_of(oid)).or_default().merge(&sum);
        while self.ranges.len() > RANGES {
            self.widen(self.width + 1);
        }
    }

    /// All objects: their number, their bytes, and the sum of their hashes.
    pub fn all(&self) -> &Sum {
        &self.all
    }

    /// The ranges of OIDs in which the objects differ, smallest first, with the sums of both; a range of one OID names an
    /// object.
    pub fn differing(&self, other: &LargeObjects) -> Vec<Differing> {
        let (mut one, mut two) = (self.clone(), other.clone());
        let width = one.width.max(two.width);
        one.widen(width);
        two.widen(width);
        let keys: std::collections::BTreeSet<&u32> = one.ranges.keys().chain(two.ranges.keys()).collect();
        let sum = |of: &LargeObjects, range: &u32| of.ranges.get(range).copied().unwrap_or_default();
        let differing = |range: &u32| {
            let first = range.checked_shl(width.into()).unwrap_or_default();
            let last = first | 1_u32.checked_shl(width.into()).unwrap_or_default().wrapping_sub(1);
            Differing { oids: first..=last, expected: sum(&one, range), observed: sum(&two, range) }
        };
        keys.into_iter().map(differing).filter(|range| range.expected != range.observed).collect()
    }

    fn range_of(&self, oid: u32) -> u32 {
        oid.checked_shr(self.width.into()).unwrap_or_default()
    }

    /// Widens the ranges to 2^`width` OIDs, unless they are as wide already.
    fn widen(&mut self, width: u8) {
        let Some(by) = width.checked_sub(self.width).filter(|by| *by > 0) else { return };
        self.width = width;
        for (range, sum) in std::mem::take(&mut self.ranges) {
            self.ranges.entry(range.checked_shr(by.into()).unwrap_or_default()).or_default().merge(&sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(text: &str) -> LongRow {
        let mut pieces = LongRow::default();
        pieces.push(text.as_bytes());
        pieces
    }

    fn of(objects: impl IntoIterator<Item = (u32, &'static str)>) -> LargeObjects {
        let mut all = LargeObjects::default();
        objects.into_iter().for_each(|(oid, text)| all.add(oid, &object(text)));
        all
    }

    /// The ranges that differ, and the numbers of objects there.
    fn differing(one: &LargeObjects, two: &LargeObjects) -> Vec<(RangeInclusive<u32>, u64, u64)> {
        one.differing(two).into_iter().map(|range| (range.oids, range.expected.rows, range.observed.rows)).collect()
    }

    #[test]
    fn what_differs_is_named_by_its_oid() {
        let base = of([(16_400, "a"), (16_401, ""), (u32::MAX, "c")]);
        assert_eq!(differing(&base, &of([(u32::MAX, "c"), (16_401, ""), (16_400, "a")])), []);
        assert_eq!(differing(&base, &of([(16_400, "b"), (16_401, ""), (u32::MAX, "c")])), [(16_400..=16_400, 1, 1)]);
        let without = of([(16_400, "a"), (u32::MAX, "c")]);
        assert_eq!(differing(&base, &without), [(16_401..=16_401, 1, 0)]);
        assert_eq!(differing(&without, &base), [(16_401..=16_401, 0, 1)]);
        let swapped = of([(16_400, ""), (16_401, "a"), (u32::MAX, "c")]);
        assert_eq!(differing(&base, &swapped), [(16_400..=16_400, 1, 1), (16_401..=16_401, 1, 1)]);
        assert_eq!(swapped.all().bytes, base.all().bytes);
        assert_ne!(swapped.all().hash, base.all().hash);
    }

    #[test]
    fn very_many_share_ranges_in_any_order() {
        let many: Vec<u32> = (0..200_000_u32).map(|n| 16_384 + n * 3).chain([u32::MAX]).collect();
        let forth = of(many.iter().map(|oid| (*oid, "x")));
        let back = of(many.iter().rev().map(|oid| (*oid, "x")));
        assert_eq!(forth, back);
        assert!(forth.ranges.len() <= RANGES && forth.ranges.len() > RANGES / 4);
        assert_eq!(forth.all().rows, 200_001);
        let changed = of(many.iter().map(|oid| (*oid, if *oid == 16_384 + 300 { "y" } else { "x" })));
        let found = forth.differing(&changed);
        assert_eq!(found.len(), 1);
        let oids = &found[0].oids;
        assert!(oids.contains(&(16_384 + 300)) && oids.end() - oids.start() < 64, "{found:?}");
        assert!(found[0].expected.rows == found[0].observed.rows && found[0].expected.rows > 1, "{found:?}");
        // Few against many.
        let few = of([(16_384, "x")]);
        assert!(few.differing(&forth).len() > 1000);
    }
}

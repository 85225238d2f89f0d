//! Fingerprints of large objects: each by its OID, or, of very many, each range of OIDs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Pieces, Sum};

/// Most ranges that are kept: about 4 MiB.
const RANGES: usize = 1 << 16;

/// The large objects of a database, whatever their number, in memory that does not grow with it.
///
/// Up to 65,536 of them each has a range of its own, so that one that differs is named by its OID. With more the ranges
/// become as wide as it takes: all are 2^`width` OIDs wide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LargeObjects {
    /// All of them. An object is hashed together with its OID, so that two that change places are noticed.
    #[serde(flatten)]
    all: Sum,
    /// Ranges are 2^width OIDs wide.
    width: u8,
    /// The ranges in which there are objects, by their first OID divided by 2^width.
    ranges: BTreeMap<u32, Sum>,
}

impl LargeObjects {
    /// Adds an object with its contents, in any order of the OIDs. Each object may be added once.
    pub fn add(&mut self, oid: u32, contents: &Pieces) {
        // The OID stands behind the contents, because they may come in many pieces before it is known that they are whole.
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

    /// The ranges of OIDs in which the objects of the two are not the same, smallest first; those of one OID name an
    /// object.
    pub fn differing(&self, other: &LargeObjects) -> Vec<RangeInclusive<u32>> {
        let (mut one, mut two) = (self.clone(), other.clone());
        let width = one.width.max(two.width);
        one.widen(width);
        two.widen(width);
        let keys: std::collections::BTreeSet<&u32> = one.ranges.keys().chain(two.ranges.keys()).collect();
        let differing = keys.into_iter().filter(|range| one.ranges.get(range) != two.ranges.get(range));
        let oids = |range: &u32| {
            let first = range.checked_shl(width.into()).unwrap_or_default();
            first..=first | 1_u32.checked_shl(width.into()).unwrap_or_default().wrapping_sub(1)
        };
        differing.map(oids).collect()
    }

    fn range_of(&self, oid: u32) -> u32 {
        oid.checked_shr(self.width.into()).unwrap_or_default()
    }

    /// Makes the ranges at least so wide.
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

    fn object(text: &str) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.push(text.as_bytes());
        pieces
    }

    fn of(objects: impl IntoIterator<Item = (u32, &'static str)>) -> LargeObjects {
        let mut all = LargeObjects::default();
        objects.into_iter().for_each(|(oid, text)| all.add(oid, &object(text)));
        all
    }

    #[test]
    fn what_differs_is_named_by_its_oid() {
        let base = of([(16_400, "a"), (16_401, ""), (u32::MAX, "c")]);
        assert_eq!(base.differing(&of([(u32::MAX, "c"), (16_401, ""), (16_400, "a")])), []);
        assert_eq!(base.differing(&of([(16_400, "b"), (16_401, ""), (u32::MAX, "c")])), [16_400..=16_400]);
        assert_eq!(base.differing(&of([(16_400, "a"), (u32::MAX, "c")])), [16_401..=16_401]);
        let swapped = of([(16_400, ""), (16_401, "a"), (u32::MAX, "c")]);
        assert_eq!(base.differing(&swapped), [16_400..=16_400, 16_401..=16_401]);
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
        assert!(found[0].contains(&(16_384 + 300)) && found[0].end() - found[0].start() < 64, "{found:?}");
        // Few against many.
        let few = of([(16_384, "x")]);
        assert!(few.differing(&forth).len() > 1000);
    }
}

//! Finds the rows that only one of two archives has.
//!
//! pg_dump writes rows in the order in which they lie in the table, so that most rows of two backups come in the same order.
//! Both are read at once: two equal rows that come together are dropped, and a row that comes alone waits for its like in memory.
//! What does not fit is written to sorted runs, and both sides are merged in the end. Which rows wait where changes nothing in
//! the result: equal rows are taken away in pairs whenever they meet, and the rows that are left are those that differ.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

use xxhash_rust::xxh3::xxh3_128;

use crate::error::Result;
use crate::restore::difference::rows::key::{KeyColumn, append_key};
use crate::restore::difference::rows::pairs::{RowChange, RowPairs};
use crate::restore::difference::rows::run::{Runs, SortedRow, SpillFolder};

/// Bytes of rows that may wait in memory, with what the map takes for each.
const WAITING: usize = 40 << 20;

/// What a waiting row takes beside its bytes: its place in the map, and the allocator's.
const OVERHEAD: usize = 80;

/// Waiting rows by the hash of their bytes, XXH3 with 128 bits as in fingerprints.
type WaitingRows = HashMap<u128, WaitingRow, BuildHasherDefault<HashItself>>;

struct WaitingRow {
    row: Box<[u8]>,
    count: u64,
}

/// A hash of a hash is not needed.
#[derive(Default)]
struct HashItself(u64);

impl Hasher for HashItself {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.first_chunk().map_or(0, |first| u64::from_ne_bytes(*first));
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// One side.
#[derive(Default)]
struct MatchedSide {
    waiting: WaitingRows,
    /// Bytes of the waiting rows.
    bytes: usize,
    runs: Runs,
}

impl MatchedSide {
    /// Takes a row away; false if there is none.
    fn take(&mut self, hash: u128) -> bool {
        let std::collections::hash_map::Entry::Occupied(mut found) = self.waiting.entry(hash) else { return false };
        self.bytes -= found.get().row.len() + OVERHEAD;
        match found.get().count {
            1 => drop(found.remove()),
            _ => found.get_mut().count -= 1,
        }
        true
    }

    fn put(&mut self, hash: u128, row: &[u8]) {
        self.bytes += row.len() + OVERHEAD;
        self.waiting
            .entry(hash)
            .and_modify(|same| same.count += 1)
            .or_insert_with(|| WaitingRow { row: row.into(), count: 1 });
    }

    /// The waiting rows with their keys, in any order.
    fn drain(&mut self, key: &[KeyColumn]) -> Vec<SortedRow> {
        self.bytes = 0;
        let sorted = |WaitingRow { row, count }| {
            let mut bytes = Vec::new();
            append_key(&row, key, &mut bytes);
            SortedRow { key: bytes, row: row.into_vec(), count }
        };
        std::mem::take(&mut self.waiting).into_values().map(sorted).collect()
    }
}

/// Takes the rows of both sides in any order.
pub struct RowMatcher {
    key: Vec<KeyColumn>,
    sides: [MatchedSide; 2],
    folder: SpillFolder,
    limit: usize,
}

impl RowMatcher {
    /// Rows with this key; without one, rows are only inserted and deleted.
    pub fn new(key: Vec<KeyColumn>, folder: SpillFolder) -> Self {
        RowMatcher { key, sides: Default::default(), folder, limit: WAITING }
    }

    /// Takes the next row of both sides, lines of COPY's text format without their line feeds. Returns which of them were taken:
    /// one alone if its like had been waiting, so that rows that follow a deleted or inserted one meet again.
    ///
    /// # Errors
    /// Those of the files of sorted rows.
    pub fn take_both(&mut self, before: &[u8], after: &[u8]) -> Result<(bool, bool)> {
        if before == after {
            return Ok((true, true));
        }
        let [one, two] = &mut self.sides;
        let (hash_before, hash_after) = (xxh3_128(before), xxh3_128(after));
        if two.take(hash_before) {
            return Ok((true, false));
        }
        if one.take(hash_after) {
            return Ok((false, true));
        }
        one.put(hash_before, before);
        two.put(hash_after, after);
        self.spill().map(|()| (true, true))
    }

    /// Takes a row of the first side, or else of the second, when the other has ended.
    ///
    /// # Errors
    /// Those of the files of sorted rows.
    pub fn take_one(&mut self, is_before: bool, row: &[u8]) -> Result<()> {
        let hash = xxh3_128(row);
        let [one, two] = &mut self.sides;
        let (own, other) = if is_before { (one, two) } else { (two, one) };
        if !other.take(hash) {
            own.put(hash, row);
            self.spill()?;
        }
        Ok(())
    }

    /// Writes the larger side to a run if too much waits.
    fn spill(&mut self) -> Result<()> {
        let [one, two] = &mut self.sides;
        if one.bytes + two.bytes <= self.limit {
            return Ok(());
        }
        let larger = if one.bytes >= two.bytes { one } else { two };
        let rows = larger.drain(&self.key);
        larger.runs.add(rows, &mut self.folder).map_err(|error| self.folder.error(&error))
    }

    /// The rows that differ, sorted by their keys.
    ///
    /// # Errors
    /// Those of the files of sorted rows, and of `visit`.
    pub fn finish(mut self, mut visit: impl FnMut(RowChange) -> io::Result<()>) -> Result<()> {
        let [one, two] = std::mem::take(&mut self.sides).map(|mut side| (side.drain(&self.key), side.runs));
        let merge = |(rows, runs): (Vec<SortedRow>, Runs)| runs.merge(rows, &self.folder);
        let each = || {
            let (before, after) = (merge(one)?, merge(two)?);
            RowPairs::new(before, after, !self.key.is_empty()).each(&mut visit)
        };
        each().map_err(|error| self.folder.error(&error))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::postgres::values::ValueKind;

    /// Numbers that look random and are the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            usize::try_from(self.0 >> 33).unwrap() % limit
        }
    }

    fn differing(before: &[String], after: &[String], keyed: bool, limit: usize) -> Vec<String> {
        let key = if keyed { vec![KeyColumn { place: 0, kind: ValueKind::Integer }] } else { Vec::new() };
        let parent = tempfile::tempdir().unwrap();
        let mut matcher = RowMatcher::new(key, SpillFolder::new(parent.path().to_owned(), true));
        matcher.limit = limit;
        let (mut at, mut other) = (0, 0);
        while at < before.len() && other < after.len() {
            let (one, two) = matcher.take_both(before[at].as_bytes(), after[other].as_bytes()).unwrap();
            (at, other) = (at + usize::from(one), other + usize::from(two));
        }
        before[at..].iter().for_each(|row| matcher.take_one(true, row.as_bytes()).unwrap());
        after[other..].iter().for_each(|row| matcher.take_one(false, row.as_bytes()).unwrap());
        let mut found = Vec::new();
        let text = |row: &[u8]| String::from_utf8(row.to_vec()).unwrap();
        let visit = |change: RowChange| {
            found.push(match change {
                RowChange::Deleted(row) => format!("-{}", text(&row)),
                RowChange::Inserted(row) => format!("+{}", text(&row)),
                RowChange::Updated(one, two) => format!("{}>{}", text(&one), text(&two)),
            });
            Ok(())
        };
        matcher.finish(visit).unwrap();
        found
    }

    #[test]
    fn the_rows_that_differ_are_found_in_any_order_and_however_little_memory_there_is() {
        let mut numbers = Numbers(1);
        for round in 0..60 {
            let before: BTreeMap<usize, usize> = (0..numbers.below(200)).map(|id| (id, numbers.below(5))).collect();
            let mut after = before.clone();
            for _ in 0..numbers.below(30) {
                let id = numbers.below(220);
                match numbers.below(3) {
                    0 => drop(after.remove(&id)),
                    _ => drop(after.insert(id, numbers.below(5))),
                }
            }
            let mut expected = Vec::new();
            for id in 0..220 {
                match (before.get(&id), after.get(&id)) {
                    (Some(one), Some(two)) if one != two => expected.push(format!("{id}\t{one}>{id}\t{two}")),
                    (Some(one), None) => expected.push(format!("-{id}\t{one}")),
                    (None, Some(two)) => expected.push(format!("+{id}\t{two}")),
                    _ => {}
                }
            }
            let rows = |of: &BTreeMap<usize, usize>| -> Vec<String> {
                of.iter().map(|(id, value)| format!("{id}\t{value}")).collect()
            };
            let (one, mut two) = (rows(&before), rows(&after));
            if round % 2 == 1 {
                for at in 0..two.len() {
                    let other = numbers.below(two.len());
                    two.swap(at, other);
                }
            }
            for limit in [0, 1000, WAITING] {
                assert_eq!(differing(&one, &two, true, limit), expected, "{round} {limit}");
            }
        }
    }

    #[test]
    fn rows_without_a_key_are_multisets() {
        let rows = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for limit in [0, WAITING] {
            let found = differing(&rows("a b b c c c"), &rows("c b d c a a"), false, limit);
            assert_eq!(found, ["+a", "-b", "-c", "+d"], "{limit}");
        }
    }

    #[test]
    fn rows_with_one_key_are_not_paired() {
        let rows = |text: &str| text.split(' ').map(|row| row.replace('=', "\t")).collect::<Vec<_>>();
        for limit in [0, WAITING] {
            let found = differing(&rows("1=a 1=b 2=c 3=d"), &rows("1=b 1=x 1=y 2=z 3=d"), true, limit);
            assert_eq!(found, ["-1\ta", "+1\tx", "+1\ty", "2\tc>2\tz"], "{limit}");
        }
    }
}

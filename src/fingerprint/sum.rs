//! Sums of the hashes of rows.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_128};

/// Sum over rows, or other pieces of data, independent of their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Their number.
    pub rows: u64,
    /// Their bytes, of rows without the line feeds that end them.
    pub bytes: u64,
    /// The hashes of their bytes, added modulo 2^128. In JSON 32 hexadecimal digits.
    #[serde(with = "hexadecimal")]
    pub hash: u128,
}

impl Sum {
    /// Adds a row: a line of COPY's text format without its line feed.
    #[inline]
    pub fn add(&mut self, row: &[u8]) {
        self.add_hashed(row.len() as u64, xxh3_128(row));
    }

    /// Adds a row that was hashed in pieces.
    pub fn add_pieces(&mut self, row: &LongRow) {
        self.add_hashed(row.bytes, row.digest());
    }

    /// Adds the rows of another sum.
    pub fn merge(&mut self, other: &Sum) {
        self.rows = self.rows.wrapping_add(other.rows);
        self.bytes = self.bytes.wrapping_add(other.bytes);
        self.hash = self.hash.wrapping_add(other.hash);
    }

    #[inline]
    fn add_hashed(&mut self, bytes: u64, hash: u128) {
        self.merge(&Sum { rows: 1, bytes, hash });
    }
}

/// A row that is hashed in pieces, so that a long one need not be kept.
#[derive(Clone, Default)]
pub struct LongRow {
    pub(super) bytes: u64,
    pub(super) hash: Xxh3Default,
}

impl LongRow {
    /// The next piece of the row.
    pub fn push(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.hash.update(piece);
    }

    /// The hash of what was pushed.
    pub fn digest(&self) -> u128 {
        self.hash.digest128()
    }

    /// Starts another row.
    pub fn clear(&mut self) {
        self.bytes = 0;
        self.hash.reset();
    }
}

impl fmt::Debug for LongRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LongRow").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Numbers as strings: many JSON parsers would round them.
mod hexadecimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(hash: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{hash:032x}"))
    }

    pub fn deserialize<'a, D: Deserializer<'a>>(from: D) -> Result<u128, D::Error> {
        let text = String::deserialize(from)?;
        u128::from_str_radix(&text, 16).map_err(|_| D::Error::custom("a hash is 32 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(rows: &[&str]) -> Sum {
        let mut sum = Sum::default();
        rows.iter().for_each(|row| sum.add(row.as_bytes()));
        sum
    }

    #[test]
    fn the_hash_is_that_of_every_other_xxh3() {
        // `printf '' | xxh128sum` and `printf abc | xxh128sum` of xxHash 0.8.
        assert_eq!(sum(&[""]).hash, 0x99aa_06d3_0147_98d8_6001_c324_468d_497f);
        assert_eq!(sum(&["abc"]).hash, 0x06b0_5ab6_733a_6185_78af_5f94_892f_3950);
    }

    #[test]
    fn the_order_makes_no_difference_and_every_change_does() {
        let rows = ["1\ta", "2\tb", "", "2\tb", "\\N\t\\\\n"];
        let whole = sum(&rows);
        assert_eq!(whole, sum(&["", "2\tb", "\\N\t\\\\n", "2\tb", "1\ta"]));
        assert_eq!((whole.rows, whole.bytes), (5, 15));
        for changed in [
            &["1\ta", "2\tb", "2\tb", "\\N\t\\\\n"][..],
            &["1\ta", "2\tb", "", "", "2\tb", "\\N\t\\\\n"],
            &["1\ta", "2\tc", "", "2\tb", "\\N\t\\\\n"],
            &["1\tb", "2\ta", "", "2\tb", "\\N\t\\\\n"],
        ] {
            assert_ne!(whole.hash, sum(changed).hash, "{changed:?}");
        }
        let (mut one, two) = (sum(&rows[..2]), sum(&rows[2..]));
        one.merge(&two);
        assert_eq!(one, whole);
    }

    #[test]
    fn pieces_make_no_difference() {
        let row: Vec<u8> = (0..2000_u32).flat_map(|n| n.to_le_bytes()).collect();
        let mut whole = Sum::default();
        whole.add(&row);
        whole.add(b"");
        for size in [1, 7, 64, 240, 1024, 8000] {
            let (mut sum, mut pieces) = (Sum::default(), LongRow::default());
            row.chunks(size).for_each(|piece| pieces.push(piece));
            sum.add_pieces(&pieces);
            pieces.clear();
            sum.add_pieces(&pieces);
            assert_eq!(sum, whole, "{size}");
        }
    }
}

//! The keys by which rows are paired and sorted.

use crate::postgres::copy_text::{NULL, fields};
use crate::postgres::values::ValueKind;

/// A column of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its place among the columns of a row.
    pub place: usize,
    /// How its values are compared.
    pub kind: ValueKind,
}

/// What stands before a value: whole numbers are sorted as such, and NULL is last, as with ORDER BY.
const INTEGER: u8 = 1;
const NUMBER: u8 = 2;
const TEXT: u8 = 3;
const NO_VALUE: u8 = 4;

/// Appends the key of a row, a line of COPY's text format without its line feed. Equal numbers have one key however they are
/// written (`1.0` and `1.00`, `-0` and `0`); other values are equal if COPY writes them alike.
pub fn append_key(row: &[u8], columns: &[KeyColumn], to: &mut Vec<u8>) {
    for column in columns {
        match (fields(row).nth(column.place).unwrap_or(NULL), column.kind) {
            (NULL, _) => to.push(NO_VALUE),
            (field, ValueKind::Integer) => match whole_number(field) {
                Some(number) => {
                    to.push(INTEGER);
                    // With the sign's bit turned over, unsigned bytes compare as the signed number does.
                    to.extend_from_slice(&(number.cast_unsigned() ^ (1 << 63)).to_be_bytes());
                }
                None => append_text(field, to),
            },
            (field, kind @ (ValueKind::Numeric | ValueKind::Real | ValueKind::Double)) => {
                let mut number = Vec::new();
                kind.normalize(field, &mut number);
                to.push(NUMBER);
                to.extend_from_slice(&(number.len() as u64).to_be_bytes());
                to.append(&mut number);
            }
            (field, _) => append_text(field, to),
        }
    }
}

fn whole_number(field: &[u8]) -> Option<i64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// A tab ends the text: in a value it is written as `\t`.
fn append_text(field: &[u8], to: &mut Vec<u8>) {
    to.push(TEXT);
    to.extend_from_slice(field);
    to.push(b'\t');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(row: &str, columns: &[(usize, ValueKind)]) -> Vec<u8> {
        let columns: Vec<KeyColumn> =
            columns.iter().map(|(place, kind)| KeyColumn { place: *place, kind: *kind }).collect();
        let mut key = Vec::new();
        append_key(row.as_bytes(), &columns, &mut key);
        key
    }

    #[test]
    fn whole_numbers_are_sorted_as_numbers() {
        let numbers = [i64::MIN, -10, -9, -1, 0, 1, 9, 10, 100, i64::MAX];
        let keys: Vec<Vec<u8>> = numbers.iter().map(|n| key(&format!("x\t{n}"), &[(1, ValueKind::Integer)])).collect();
        assert!(keys.is_sorted() && keys.windows(2).all(|two| two[0] != two[1]));
        assert!(key("\\N", &[(0, ValueKind::Integer)]) > keys[9]);
    }

    #[test]
    fn equal_numbers_have_one_key() {
        for kind in [ValueKind::Numeric, ValueKind::Double] {
            let number = |text: &str| key(text, &[(0, kind)]);
            for (one, two) in
                [("1.0", "1.00"), ("-0", "0"), ("0.00", "0"), ("-0.0", "0"), ("10", "10.0"), ("NaN", "NaN")]
            {
                assert_eq!(number(one), number(two), "{one} {two}");
            }
            for (one, two) in [("1", "10"), ("NaN", "0"), ("1.5", "1.05"), ("100", "1")] {
                assert_ne!(number(one), number(two), "{one} {two}");
            }
        }
    }

    #[test]
    fn columns_cannot_be_confused() {
        let two = |row: &str| key(row, &[(0, ValueKind::Text), (1, ValueKind::Text)]);
        assert_ne!(two("a\tbc"), two("ab\tc"));
        assert_ne!(two("\t\\N"), two("\\N\t"));
    }
}

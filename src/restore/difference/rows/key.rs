//! The keys by which rows are paired and sorted: bytes that compare as the values do, as far as that is simple.

/// How the text of a key's column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// Byte by byte.
    Text,
    /// As a whole number of up to 64 bits.
    Integer,
    /// As a number: `1.0` is `1.00`, and `-0` is `0`.
    Number,
}

/// A column of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// Its place among the columns of a row.
    pub place: usize,
    /// How it is compared.
    pub kind: KeyKind,
}

/// What stands before a value, by which the kinds of values are sorted: NULL is last, as with ORDER BY.
const INTEGER: u8 = 1;
const TEXT: u8 = 2;
const NULL: u8 = 3;

/// Appends the key of a row, a line of COPY's text format without its line feed. A column that the row lacks counts as NULL.
pub fn append_key(row: &[u8], columns: &[KeyColumn], to: &mut Vec<u8>) {
    for column in columns {
        // A tab in a value is written as `\t`.
        let field = row.split(|byte| *byte == b'\t').nth(column.place).unwrap_or(b"\\N");
        match (field, column.kind) {
            (b"\\N", _) => to.push(NULL),
            (field, KeyKind::Integer) => {
                match std::str::from_utf8(field).ok().and_then(|text| text.parse::<i64>().ok()) {
                    Some(number) => {
                        to.push(INTEGER);
                        // With the sign's bit turned over, unsigned bytes compare as the signed number does.
                        to.extend_from_slice(&(number.cast_unsigned() ^ (1 << 63)).to_be_bytes());
                    }
                    None => append_text(field, to),
                }
            }
            (field, KeyKind::Number) => append_text(shortest(field), to),
            (field, KeyKind::Text) => append_text(field, to),
        }
    }
}

fn append_text(field: &[u8], to: &mut Vec<u8>) {
    to.push(TEXT);
    to.extend_from_slice(field);
    to.push(b'\t');
}

/// A number without zeros that do not change its value. The server writes no exponent of `numeric`, and equal floating-point
/// numbers alike, but for the sign of zero.
fn shortest(number: &[u8]) -> &[u8] {
    let is_plain = number.contains(&b'.') && !number.contains(&b'e');
    let mut short = number;
    while let (true, Some((b'0', rest))) = (is_plain, short.split_last()) {
        short = rest;
    }
    match short.strip_suffix(b".").unwrap_or(short) {
        b"-0" => b"0",
        short => short,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(row: &str, columns: &[(usize, KeyKind)]) -> Vec<u8> {
        let columns: Vec<KeyColumn> =
            columns.iter().map(|(place, kind)| KeyColumn { place: *place, kind: *kind }).collect();
        let mut key = Vec::new();
        append_key(row.as_bytes(), &columns, &mut key);
        key
    }

    #[test]
    fn whole_numbers_are_sorted_as_numbers() {
        let numbers = [i64::MIN, -10, -9, -1, 0, 1, 9, 10, 100, i64::MAX];
        let keys: Vec<Vec<u8>> = numbers.iter().map(|n| key(&format!("x\t{n}"), &[(1, KeyKind::Integer)])).collect();
        assert!(keys.is_sorted() && keys.windows(2).all(|two| two[0] != two[1]));
        assert!(key("\\N", &[(0, KeyKind::Integer)]) > keys[9]);
    }

    #[test]
    fn equal_numbers_have_one_key() {
        let number = |text: &str| key(text, &[(0, KeyKind::Number)]);
        for (one, two) in [("1.0", "1.00"), ("-0", "0"), ("0.00", "0"), ("-0.0", "0"), ("10", "10.0")] {
            assert_eq!(number(one), number(two), "{one} {two}");
        }
        for (one, two) in [("1", "10"), ("NaN", "0"), ("1e10", "1e1"), ("1.5", "1.05"), ("100", "1")] {
            assert_ne!(number(one), number(two), "{one} {two}");
        }
    }

    #[test]
    fn columns_cannot_be_confused() {
        let two = |row: &str| key(row, &[(0, KeyKind::Text), (1, KeyKind::Text)]);
        assert_ne!(two("a\tbc"), two("ab\tc"));
        assert_ne!(two("\t\\N"), two("\\N\t"));
    }
}

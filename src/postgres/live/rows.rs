//! Rows as they pass: hashed, and not kept.

use crate::error::Error;
use crate::fingerprint::{LongRow, Sum};

/// Rows of COPY's text format that come in whatever pieces.
#[derive(Debug, Default)]
pub struct CopyRows {
    sum: Sum,
    /// The beginning of a row whose end has not come.
    begun: LongRow,
    in_row: bool,
}

impl CopyRows {
    /// The next bytes.
    pub fn take(&mut self, bytes: &[u8]) {
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = bytes.get(from..end).unwrap_or_default();
            if self.in_row {
                self.begun.push(line);
                self.sum.add_pieces(&self.begun);
                self.begun.clear();
                self.in_row = false;
            } else {
                self.sum.add(line);
            }
            from = end + 1;
        }
        let rest = bytes.get(from..).unwrap_or_default();
        if !rest.is_empty() {
            self.begun.push(rest);
            self.in_row = true;
        }
    }

    /// The rows that have passed; none if the last one has no end.
    pub fn finish(self) -> Option<Sum> {
        (!self.in_row).then_some(self.sum)
    }
}

/// Why a query has no answer.
#[derive(Debug)]
pub enum QueryFailure {
    /// The server says why.
    Server(tokio_postgres::Error),
    /// What came of it did not end with a row.
    CutShort,
    /// It is ours.
    Other(Error),
}

impl From<tokio_postgres::Error> for QueryFailure {
    fn from(error: tokio_postgres::Error) -> Self {
        QueryFailure::Server(error)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_row_without_its_end_is_none() {
        let mut passing = CopyRows::default();
        passing.take(b"1\n2");
        assert_eq!(passing.finish(), None);
        assert_eq!(CopyRows::default().finish(), Some(Sum::default()));
    }

    proptest! {
        #[test]
        fn pieces_make_no_difference(
            rows in prop::collection::vec("[a-c\t]{0,6}", 0..20),
            cuts in prop::collection::vec(1_usize..9, 1..50),
        ) {
            let mut expected = Sum::default();
            rows.iter().for_each(|row| expected.add(row.as_bytes()));
            let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
            let (mut passing, mut rest) = (CopyRows::default(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                let (piece, left) = rest.split_at((*cut).min(rest.len()));
                passing.take(piece);
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(passing.finish(), Some(expected));
        }
    }
}

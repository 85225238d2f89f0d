//! Hashes rows while they are read.

use crate::error::Error;
use crate::fingerprint::{LongRow, Sum};

/// Rows in COPY's text format, in pieces of any size.
#[derive(Debug, Default)]
pub struct CopyRows {
    sum: Sum,
    /// The unfinished row.
    begun: LongRow,
    in_row: bool,
}

impl CopyRows {
    /// Takes the next bytes.
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

    /// The sum of all rows; none if the last one is unfinished.
    pub fn finish(self) -> Option<Sum> {
        (!self.in_row).then_some(self.sum)
    }
}

/// Why the rows of a statement could not be read.
#[derive(Debug)]
pub enum QueryFailure {
    /// An error of the server.
    Server(tokio_postgres::Error),
    /// The rows do not end with a complete row.
    CutShort,
    /// An error of this process.
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
    fn an_unfinished_row_is_no_result() {
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

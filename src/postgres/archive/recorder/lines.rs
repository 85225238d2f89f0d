//! COPY text as rows.

use std::sync::Arc;

use crate::fingerprint::{LongRow, Sum};

/// The line that ends the rows of COPY.
const END: [u8; 2] = *b"\\.";

/// Splits COPY text into rows and hashes them. A row that arrives in pieces is hashed in pieces, so that memory does not grow
/// with its length; only a row whose columns are hashed in another order is kept whole, as pg_dump keeps it too.
#[derive(Debug, Default)]
pub struct Lines {
    /// The unfinished row.
    row: LongRow,
    /// Its bytes so far, counted up to one more than the line that ends the rows has.
    length: usize,
    /// Its first bytes.
    head: [u8; END.len()],
    ended: bool,
    /// The order in which the columns are hashed, if it is not their own.
    order: Option<Arc<[usize]>>,
    /// The unfinished row, if its columns are reordered.
    kept: Vec<u8>,
    /// Whether a row has not as many columns as the order.
    odd: bool,
}

impl Lines {
    /// Lines whose columns are hashed in this order.
    pub fn in_order(order: Option<Arc<[usize]>>) -> Self {
        Lines { order, ..Lines::default() }
    }

    /// Whether the terminator was read, and all rows could be parsed.
    pub fn are_whole(&self) -> bool {
        self.ended && !self.odd
    }

    /// Takes the next piece.
    #[inline]
    pub fn push(&mut self, mut piece: &[u8], sum: &mut Sum) {
        if self.order.is_some() {
            return self.push_ordered(piece, sum);
        }
        while !self.ended {
            let Some(end) = memchr::memchr(b'\n', piece) else {
                return self.begin(piece);
            };
            let (row, rest) = piece.split_at(end);
            piece = rest.get(1..).unwrap_or_default();
            if self.length > 0 {
                self.begin(row);
                self.end(sum);
            } else if row == END {
                self.ended = true;
            } else {
                sum.add(row);
            }
        }
    }

    /// Hashes a piece of a row that does not end in it.
    fn begin(&mut self, piece: &[u8]) {
        for (to, from) in self.head.iter_mut().skip(self.length).zip(piece) {
            *to = *from;
        }
        self.length = (self.length + piece.len().min(END.len() + 1)).min(END.len() + 1);
        self.row.push(piece);
    }

    fn end(&mut self, sum: &mut Sum) {
        if self.length == END.len() && self.head == END {
            self.ended = true;
        } else {
            sum.add_pieces(&self.row);
        }
        self.row.clear();
        self.length = 0;
    }

    fn push_ordered(&mut self, mut piece: &[u8], sum: &mut Sum) {
        while !self.ended {
            let (row, rest) = piece.split_at(memchr::memchr(b'\n', piece).unwrap_or(piece.len()));
            self.kept.extend_from_slice(row);
            let Some(rest) = rest.get(1..) else { return };
            piece = rest;
            let row = std::mem::take(&mut self.kept);
            match row == END {
                true => self.ended = true,
                false => self.add_ordered(&row, sum),
            }
        }
    }

    /// Adds a row with its columns reordered. A tab in a value is written as `\t`.
    fn add_ordered(&mut self, row: &[u8], sum: &mut Sum) {
        let order = self.order.as_deref().unwrap_or_default();
        let columns: Vec<&[u8]> = row.split(|byte| *byte == b'\t').collect();
        self.odd |= columns.len() != order.len();
        let mut ordered = LongRow::default();
        for (at, column) in order.iter().enumerate() {
            if at > 0 {
                ordered.push(b"\t");
            }
            ordered.push(columns.get(*column).copied().unwrap_or_default());
        }
        sum.add_pieces(&ordered);
    }
}

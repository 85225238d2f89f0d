//! Pairs the rows of two sides by their keys.

use std::io;
use std::iter::Peekable;

use crate::restore::difference::rows::run::{RunMerge, SortedRow};

/// A difference in one row, a line of COPY's text format without its line feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// Only the first has it.
    Deleted(Vec<u8>),
    /// Only the second has it.
    Inserted(Vec<u8>),
    /// Both have a row with its key: that of the first, and that of the second.
    Updated(Vec<u8>, Vec<u8>),
}

impl RowChange {
    /// The word in lists.
    pub fn name(&self) -> &'static str {
        match self {
            RowChange::Deleted(_) => "deleted",
            RowChange::Inserted(_) => "inserted",
            RowChange::Updated(..) => "updated",
        }
    }
}

/// The rows of both sides in their order.
pub struct RowPairs {
    before: Peekable<RunMerge>,
    after: Peekable<RunMerge>,
    /// Whether rows have keys.
    keyed: bool,
}

/// The rows of one key that differ, as far as they may still be a pair.
#[derive(Default)]
struct OneKey {
    key: Vec<u8>,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    /// Whether one of the sides has had several: they are not paired.
    several: bool,
}

impl RowPairs {
    /// The rows of two sides; a row of each is a pair if they have the same key and no other row has it.
    pub fn new(before: RunMerge, after: RunMerge, keyed: bool) -> Self {
        RowPairs { before: before.peekable(), after: after.peekable(), keyed }
    }

    /// Calls `visit` with each difference, sorted by key.
    ///
    /// # Errors
    /// Those of the runs, and of `visit`.
    pub fn each(mut self, visit: &mut impl FnMut(RowChange) -> io::Result<()>) -> io::Result<()> {
        let mut same = OneKey::default();
        while let Some((is_before, SortedRow { key, row, count })) = self.next()? {
            if key != same.key || !self.keyed {
                std::mem::replace(&mut same, OneKey { key, ..OneKey::default() }).flush(visit)?;
            }
            for _ in 0..count {
                same.add(is_before, &row, visit)?;
            }
            if !self.keyed {
                same.flush(visit)?;
                same = OneKey::default();
            }
        }
        same.flush(visit)
    }

    /// The next row that one side has more often, whether that is the first, and how much more often.
    fn next(&mut self) -> io::Result<Option<(bool, SortedRow)>> {
        loop {
            let order = match (self.before.peek(), self.after.peek()) {
                (None, None) => return Ok(None),
                (Some(Ok(one)), Some(Ok(two))) => (&one.key, &one.row).cmp(&(&two.key, &two.row)),
                (Some(Err(_)), _) | (_, None) => std::cmp::Ordering::Less,
                (_, Some(_)) => std::cmp::Ordering::Greater,
            };
            match order {
                std::cmp::Ordering::Less => return Ok(self.before.next().transpose()?.map(|row| (true, row))),
                std::cmp::Ordering::Greater => return Ok(self.after.next().transpose()?.map(|row| (false, row))),
                std::cmp::Ordering::Equal => {}
            }
            let (Some(one), Some(two)) = (self.before.next().transpose()?, self.after.next().transpose()?) else {
                return Ok(None);
            };
            let count = one.count.abs_diff(two.count);
            if count > 0 {
                return Ok(Some((one.count > two.count, SortedRow { count, ..one })));
            }
        }
    }
}

impl OneKey {
    fn add(
        &mut self,
        is_before: bool,
        row: &[u8],
        visit: &mut impl FnMut(RowChange) -> io::Result<()>,
    ) -> io::Result<()> {
        let own = if is_before { &mut self.before } else { &mut self.after };
        if own.is_none() && !self.several {
            *own = Some(row.to_owned());
            return Ok(());
        }
        self.several = true;
        self.release(visit)?;
        visit(if is_before { RowChange::Deleted(row.to_owned()) } else { RowChange::Inserted(row.to_owned()) })
    }

    /// Hands on the rows that are no pair.
    fn release(&mut self, visit: &mut impl FnMut(RowChange) -> io::Result<()>) -> io::Result<()> {
        let deleted = self.before.take().map(RowChange::Deleted);
        deleted.into_iter().chain(self.after.take().map(RowChange::Inserted)).try_for_each(visit)
    }

    fn flush(mut self, visit: &mut impl FnMut(RowChange) -> io::Result<()>) -> io::Result<()> {
        match (self.before.take(), self.after.take()) {
            (Some(one), Some(two)) => visit(RowChange::Updated(one, two)),
            (one, two) => {
                (self.before, self.after) = (one, two);
                self.release(visit)
            }
        }
    }
}

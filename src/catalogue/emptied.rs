//! Detects emptied databases: a backup that has almost nothing of what the one before it had.
//!
//! A database that lost its rows by mistake is backed up like any other, until retention removes its last full backup. So a
//! drop to nothing, or by nine tenths, is reported until it is acknowledged or the rows are back, and that backup is kept until
//! then.

use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::{Manifest, tables_in_words};
use crate::config::Format;

/// Below these numbers, a drop by nine tenths may be normal; a drop to nothing always counts.
const FEW_ROWS: u64 = 1000;
const FEW_TABLES: u64 = 10;

/// Numbers of tables and rows in an archive, as far as they are known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// Tables whose rows are in it.
    pub tables: Option<u64>,
    /// Rows of all of them.
    pub rows: Option<u64>,
}

/// A drop that was not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Emptied<T> {
    /// The last backup before the drop.
    pub before: T,
    /// The first one after it.
    pub first: T,
}

impl Fill {
    /// The numbers of a manifest. A script may have its rows in a form that is not counted (`--inserts`, another tool's).
    pub fn of(manifest: &Manifest) -> Self {
        let uncounted =
            manifest.adopted.is_some() || manifest.dump_options.iter().any(|option| option.contains("insert"));
        match manifest.format {
            Format::Plain if uncounted => Fill::default(),
            _ => Fill { tables: Some(manifest.contents.tables), rows: manifest.contents.rows },
        }
    }

    /// Whether almost nothing is left.
    fn is_emptied(self, before: Fill) -> bool {
        let dropped = |now: Option<u64>, before: Option<u64>, few: u64| match (now, before) {
            (Some(0), Some(before)) => before > 0,
            (Some(now), Some(before)) => before >= few && now.saturating_mul(10) <= before,
            _ => false,
        };
        dropped(self.tables, before.tables, FEW_TABLES) || dropped(self.rows, before.rows, FEW_ROWS)
    }

    /// Whether at least nine tenths are back.
    fn is_back(self, before: Fill) -> bool {
        let back = |now: Option<u64>, before: Option<u64>| match (now, before) {
            (Some(now), Some(before)) => now.saturating_mul(10) >= before.saturating_mul(9),
            (None, Some(_)) => false,
            (_, None) => true,
        };
        back(self.tables, before.tables) && back(self.rows, before.rows)
    }

    /// `2 tables with 1,000 rows`.
    pub fn words(self) -> String {
        let tables = self.tables.map(tables_in_words);
        let rows = self.rows.map(|rows| match rows {
            1 => "1 row".to_owned(),
            rows => format!("{} rows", indicatif::HumanCount(rows)),
        });
        let both: Vec<String> = tables.into_iter().chain(rows).collect();
        both.join(" with ")
    }
}

/// The drop that the newest backup of a database still shows, if any. `backups` are its good ones, the oldest first, each with
/// its numbers and whether a drop was acknowledged with it.
pub fn emptied<T: Copy>(backups: impl IntoIterator<Item = (T, Fill, bool)>) -> Option<Emptied<T>> {
    let found = open_drop(backups, Fill::is_emptied, Fill::is_back)?;
    Some(Emptied { before: found.before.0, first: found.first.0 })
}

/// The drop of some number that the newest of some backups still shows, with the numbers. `backups` come with the oldest first,
/// each with its number and whether a drop was acknowledged with it. Both functions compare a number with an earlier one.
pub fn open_drop<T: Copy, N: Copy>(
    backups: impl IntoIterator<Item = (T, N, bool)>,
    has_dropped: impl Fn(N, N) -> bool,
    is_back: impl Fn(N, N) -> bool,
) -> Option<Emptied<(T, N)>> {
    let mut full: Option<(T, N)> = None;
    let mut first: Option<(T, N)> = None;
    for (backup, number, acknowledged) in backups {
        match full {
            Some((_, before)) if first.is_some() && !is_back(number, before) && !acknowledged => {}
            Some((_, before)) if first.is_none() && has_dropped(number, before) && !acknowledged => {
                first = Some((backup, number));
            }
            _ => (full, first) = (Some((backup, number)), None),
        }
    }
    Some(Emptied { before: full?, first: first? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(tables: u64, rows: u64) -> Fill {
        Fill { tables: Some(tables), rows: Some(rows) }
    }

    /// The drop that these backups show, by their places.
    fn found(fills: &[Fill], acknowledged: &[usize]) -> Option<(usize, usize)> {
        let backups = fills.iter().enumerate().map(|(at, fill)| (at, *fill, acknowledged.contains(&at)));
        emptied(backups).map(|Emptied { before, first }| (before, first))
    }

    #[test]
    fn a_drop_to_nothing_or_by_most_of_the_rows() {
        let full = fill(2, 50_000);
        assert_eq!(found(&[full, full, fill(0, 0)], &[]), Some((1, 2)));
        assert_eq!(found(&[full, fill(2, 0)], &[]), Some((0, 1)));
        assert_eq!(found(&[full, fill(2, 5000)], &[]), Some((0, 1)));
        assert_eq!(found(&[full, fill(2, 5001)], &[]), None);
        assert_eq!(found(&[fill(2, 3), fill(2, 0)], &[]), Some((0, 1)));
        assert_eq!(found(&[fill(100, 3), fill(10, 3)], &[]), Some((0, 1)));
        // A drop of small numbers does not count, nor one from nothing to nothing.
        assert_eq!(found(&[fill(2, 900), fill(1, 1)], &[]), None);
        assert_eq!(found(&[fill(2, 0), fill(2, 0)], &[]), None);
        assert_eq!(found(&[], &[]), None);
    }

    #[test]
    fn a_drop_is_reported_until_the_rows_are_back() {
        let mut fills = vec![fill(2, 50_000); 10];
        fills.extend([fill(0, 0); 20]);
        assert_eq!(found(&fills, &[]), Some((9, 10)));
        // New rows do not replace the lost ones.
        fills.push(fill(2, 30_000));
        assert_eq!(found(&fills, &[]), Some((9, 10)));
        assert_eq!(found(&[fills[9], fills[10], fills[30]], &[]), Some((0, 1)));
        fills.push(fill(2, 49_000));
        assert_eq!(found(&fills, &[]), None);
        fills.push(fill(2, 1));
        assert_eq!(found(&fills, &[]), Some((31, 32)));
    }

    #[test]
    fn later_backups_are_compared_with_the_acknowledged_one() {
        let fills = [fill(2, 50_000), fill(2, 0), fill(2, 0), fill(2, 2000), fill(2, 20)];
        assert_eq!(found(&fills[..3], &[0, 1, 2]), None);
        assert_eq!(found(&fills, &[0, 1, 2]), Some((3, 4)));
    }

    #[test]
    fn unknown_numbers_are_not_compared() {
        let old = Fill { tables: Some(2), rows: None };
        assert_eq!(found(&[old, fill(2, 0)], &[]), None);
        assert_eq!(found(&[old, fill(0, 0)], &[]), Some((0, 1)));
        assert_eq!(found(&[fill(2, 5), Fill::default()], &[]), None);
        assert_eq!((old.words(), fill(1, 1234).words()), ("2 tables".to_owned(), "1 table with 1,234 rows".to_owned()));
    }
}

//! Detects tables that lost rows: a backup in which a table has far fewer rows than in the one before it.
//!
//! A mass deletion is backed up like any other change, until retention removes the last backup that has the rows. So a drop by
//! more than a set part is reported until it is acknowledged or the rows are back, and that backup is kept for longer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::catalogue::emptied::{Emptied, open_drop};
use crate::fingerprint::TableRows;

/// The numbers of rows in backups whose fingerprints could be read, by the ids of the backups.
pub type RowsById = HashMap<String, Arc<TableRows>>;

/// A table that lost rows, which was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk<T> {
    /// The table, as the archive quotes it.
    pub table: String,
    /// The last backup before the drop, and the first one after it.
    pub between: Emptied<T>,
    /// Rows in the last backup before the drop.
    pub before: u64,
    /// Rows in the newest backup; 0 if the table is gone.
    pub now: u64,
}

/// The tables of which the newest backup still shows that they lost more than `percent` of their rows at once; none if that is 0.
/// `backups` are good ones of one database, the oldest first, each with its tables and whether a drop was acknowledged with it.
pub fn shrunk<T: Copy>(backups: &[(T, &TableRows, bool)], percent: u32) -> Vec<Shrunk<T>> {
    let names: BTreeSet<&String> = backups.iter().flat_map(|(_, tables, _)| tables.keys()).collect();
    let percent = u128::from(percent.min(100));
    let kept = |now: u64, before: u64| u128::from(now) * 100 >= u128::from(before) * (100 - percent);
    let find = |table: &&String| {
        let rows = |tables: &TableRows| tables.get(*table).copied().unwrap_or_default();
        let facts = backups.iter().map(|(backup, tables, acknowledged)| (*backup, rows(tables), *acknowledged));
        let between = open_drop(facts, |now, before| !kept(now, before), kept)?;
        let (before, first) = (between.before, between.first);
        Some(Shrunk {
            table: (*table).clone(),
            between: Emptied { before: before.0, first: first.0 },
            before: before.1,
            now: backups.last().map_or(0, |(_, tables, _)| rows(tables)),
        })
    };
    names.iter().filter(|_| percent > 0).filter_map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rows: &[&[(&str, u64)]], acknowledged: &[usize], percent: u32) -> Vec<String> {
        let tables: Vec<TableRows> =
            rows.iter().map(|rows| rows.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect()).collect();
        let backups: Vec<(usize, &TableRows, bool)> =
            tables.iter().enumerate().map(|(at, tables)| (at, tables, acknowledged.contains(&at))).collect();
        let words = |found: Shrunk<usize>| {
            let Emptied { before, first } = found.between;
            format!("{} {} to {}, {before} {first}", found.table, found.before, found.now)
        };
        shrunk(&backups, percent).into_iter().map(words).collect()
    }

    #[test]
    fn a_table_that_lost_more_than_the_limit() {
        let full: &[(&str, u64)] = &[("a", 100), ("b", 10)];
        assert_eq!(found(&[full, &[("a", 49), ("b", 10)]], &[], 50), ["a 100 to 49, 0 1"]);
        assert_eq!(found(&[full, &[("a", 50), ("b", 5)]], &[], 50), [""; 0]);
        assert_eq!(found(&[full, &[("b", 10)]], &[], 50), ["a 100 to 0, 0 1"]);
        assert_eq!(found(&[full, &[("a", 0)]], &[], 0), [""; 0]);
        assert_eq!(found(&[&[("a", 0)], &[("a", 0)]], &[], 50), [""; 0]);
        // The newest shows it for as long as the rows are not back.
        assert_eq!(found(&[full, full, &[("a", 1), ("b", 9)], &[("a", 2), ("b", 10)]], &[], 50), ["a 100 to 2, 1 2"]);
        assert_eq!(found(&[full, &[("a", 1), ("b", 10)], full], &[], 50), [""; 0]);
    }

    #[test]
    fn an_acknowledged_drop_is_none() {
        let rows: &[&[(&str, u64)]] = &[&[("a", 100)], &[("a", 1)], &[("a", 1)]];
        assert_eq!(found(rows, &[0, 1], 50), [""; 0]);
        assert_eq!(found(rows, &[0], 50), ["a 100 to 1, 0 1"]);
        assert_eq!(found(&[rows[0], rows[1], &[("a", 0)]], &[0, 1], 50), ["a 1 to 0, 1 2"]);
    }
}

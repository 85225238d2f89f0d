//! What a backup changed against the one before it: the tables that grew or shrank most.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::fingerprint::TableRows;

/// Tables that are named.
const NAMED: usize = 10;

/// The changes of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BackupChanges<'a> {
    /// Id of the backup before.
    pub before: &'a str,
    /// Id of the backup.
    pub after: &'a str,
    /// The tables whose numbers of rows changed most, the largest change first.
    pub tables: Vec<TableChange>,
    /// How many further tables have another number of rows.
    pub more: usize,
}

/// A table with another number of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableChange {
    /// The table, as the archive quotes it.
    pub table: String,
    /// Rows in the backup before; null if it had no such table.
    pub rows_before: Option<u64>,
    /// Rows in the backup; null if the table is gone.
    pub rows_after: Option<u64>,
}

impl TableChange {
    /// By how many rows it differs.
    pub fn difference(&self) -> i128 {
        i128::from(self.rows_after.unwrap_or_default()) - i128::from(self.rows_before.unwrap_or_default())
    }
}

impl<'a> BackupChanges<'a> {
    /// The changes between two backups, by their ids and rows.
    pub fn between((before, had): (&'a str, &TableRows), (after, has): (&'a str, &TableRows)) -> Self {
        let names: BTreeSet<&String> = had.keys().chain(has.keys()).collect();
        let change = |table: &String| TableChange {
            table: table.clone(),
            rows_before: had.get(table).copied(),
            rows_after: has.get(table).copied(),
        };
        let mut tables: Vec<TableChange> =
            names.into_iter().map(change).filter(|change| change.rows_before != change.rows_after).collect();
        tables.sort_by_key(|change| std::cmp::Reverse(change.difference().abs()));
        let more = tables.len().saturating_sub(NAMED);
        tables.truncate(NAMED);
        BackupChanges { before, after, tables, more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_changes_come_first() {
        let rows = |rows: &[(&str, u64)]| -> TableRows {
            rows.iter().map(|(name, rows)| ((*name).to_owned(), *rows)).collect()
        };
        let had = rows(&[("a", 5), ("b", 5), ("c", 5), ("gone", 50)]);
        let has = rows(&[("a", 5), ("b", 1), ("c", 25), ("new", 0)]);
        let changes = BackupChanges::between(("x_1", &had), ("x_2", &has));
        let found: Vec<(&str, i128)> =
            changes.tables.iter().map(|one| (one.table.as_str(), one.difference())).collect();
        assert_eq!(found, [("gone", -50), ("c", 20), ("b", -4), ("new", 0)]);
        let many: TableRows = (0..25).map(|n| (format!("t{n}"), n)).collect();
        let changes = BackupChanges::between(("x_1", &TableRows::new()), ("x_2", &many));
        assert_eq!((changes.tables.len(), changes.more, changes.tables[0].table.as_str()), (10, 15, "t24"));
    }
}

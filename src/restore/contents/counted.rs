//! How many rows each table has, by the fingerprints of a backup.

use std::collections::HashMap;

use indicatif::HumanBytes;
use serde::Serialize;

use crate::fingerprint::{Fingerprints, Sum};
use crate::postgres::archive::table_names;

/// Rows by the schema and the name of their table.
#[derive(Debug, Default)]
pub struct Counted(HashMap<(Vec<u8>, Vec<u8>), RowCount>);

/// What is known of the rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum RowCount {
    /// Its own, or, of a partitioned table, those that are loaded through it.
    Own {
        /// Number of rows.
        rows: u64,
        /// Their bytes as COPY's text, without line ends.
        bytes: u64,
    },
    /// They are counted with those of the root of its partitions.
    OfRoot {
        /// The root.
        counted_with: String,
    },
}

impl Counted {
    /// The numbers in the fingerprints.
    pub fn of(prints: &Fingerprints) -> Self {
        let mut sums: HashMap<(Vec<u8>, Vec<u8>), Sum> = HashMap::new();
        let mut counted = Counted::default();
        for table in &prints.tables {
            if let Some(name) = table_names(&table.target) {
                sums.entry(name).or_default().merge(&table.sum);
            }
            for partition in table.partitions.iter().filter_map(table_names) {
                counted.0.insert(partition, RowCount::OfRoot { counted_with: table.target.to_string() });
            }
        }
        counted.0.extend(sums.into_iter().map(|(name, Sum { rows, bytes, .. })| (name, RowCount::Own { rows, bytes })));
        counted
    }

    /// The rows of a table; none if they were not counted.
    pub fn rows(&self, schema: &[u8], name: &[u8]) -> Option<&RowCount> {
        self.0.get(&(schema.to_owned(), name.to_owned()))
    }
}

impl RowCount {
    /// `1 row, 5 B`.
    pub fn in_words(&self) -> String {
        match self {
            RowCount::Own { rows, bytes } => {
                format!("{rows} row{}, {}", if *rows == 1 { "" } else { "s" }, HumanBytes(*bytes))
            }
            RowCount::OfRoot { counted_with } => format!("rows, counted with those of {counted_with}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::{Quoted, TableFingerprint};

    #[test]
    fn rows_by_name() {
        let sum = |rows: &[&str]| {
            let mut sum = Sum::default();
            rows.iter().for_each(|row| sum.add(row.as_bytes()));
            sum
        };
        let table = |target: &str, partitions: &[&str], sum| TableFingerprint {
            target: target.into(),
            partitions: partitions.iter().map(|name| Quoted::from(*name)).collect(),
            sum,
            ..TableFingerprint::default()
        };
        let tables = vec![
            table("public.\"My \"\"T\"", &[], sum(&["a"])),
            table("public.root", &["\"public\".\"p1\""], sum(&["a", "bcd"])),
            table("public.root", &["\"public\".\"p2\""], sum(&["e"])),
        ];
        let counted = Counted::of(&Fingerprints { tables, ..Fingerprints::default() });
        let words = |name: &str| counted.rows(b"public", name.as_bytes()).map(RowCount::in_words);
        assert_eq!(words("My \"T").as_deref(), Some("1 row, 1 B"));
        assert_eq!(words("root").as_deref(), Some("3 rows, 5 B"));
        assert_eq!(words("p2").as_deref(), Some("rows, counted with those of public.root"));
        assert_eq!(words("other"), None);
    }
}

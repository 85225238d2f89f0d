//! Tables that were added, removed or changed: their definitions, their columns, and their rows as the fingerprints count them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::fingerprint::{Quoted, Sum};
use crate::postgres::archive::table_names;
use crate::postgres::table_definition::{ColumnDefinition, RelationName};
use crate::restore::difference::index::DefinedTable;
use crate::restore::difference::kind::DiffKind;
use crate::restore::difference::side::DiffSide;

/// A table that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TableDifference {
    /// Its name, with its schema.
    pub name: String,
    /// How it differs.
    pub change: DiffKind,
    /// Rows in the first; null if the first has no such table, or its rows are not known or are counted with its root's.
    pub rows_before: Option<u64>,
    /// Rows in the second, likewise.
    pub rows_after: Option<u64>,
    /// Bytes of its rows as COPY's text in the first.
    pub bytes_before: Option<u64>,
    /// Bytes of its rows as COPY's text in the second.
    pub bytes_after: Option<u64>,
    /// Whether its rows differ; null if that is not known.
    pub content_changed: Option<bool>,
    /// Whether its definition differs; null if one of them is not known.
    pub definition_changed: Option<bool>,
    /// Its columns that differ.
    pub columns: Vec<ColumnDifference>,
}

/// A column that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ColumnDifference {
    /// Its name.
    pub name: String,
    /// How it differs.
    pub change: DiffKind,
    /// Its type in the first.
    pub type_before: Option<String>,
    /// Its type in the second.
    pub type_after: Option<String>,
}

/// The rows of a table as its fingerprints have them.
struct CountedRows {
    sum: Sum,
    /// The lists of columns that its rows are hashed in.
    columns: BTreeSet<Quoted>,
}

/// The tables that differ.
pub fn compare(before: &DiffSide, after: &DiffSide) -> Vec<TableDifference> {
    let (rows_before, rows_after) = (counted(before), counted(after));
    let names: BTreeSet<&RelationName> = before
        .index
        .tables
        .keys()
        .chain(after.index.tables.keys())
        .chain(rows_before.keys())
        .chain(rows_after.keys())
        .collect();
    let same_text = before.encoding() == after.encoding();
    let by_definition = before.index.has_definitions && after.index.has_definitions;
    let difference = |name: &RelationName| {
        let (one, two) = (before.index.tables.get(name), after.index.tables.get(name));
        let (had, has) = (rows_before.get(name), rows_after.get(name));
        let presence = DiffKind::of(
            (one.is_some() || had.is_some()).then_some(&()),
            (two.is_some() || has.is_some()).then_some(&()),
        );
        let both = one.zip(two).filter(|_| by_definition);
        let definition_changed =
            both.map(|(one, two)| (one.foreign, one.hash, &one.key) != (two.foreign, two.hash, &two.key));
        let content_changed = had.zip(has).and_then(|(had, has)| content(had, has, same_text));
        let has_changed = definition_changed == Some(true) || content_changed == Some(true);
        let change = presence.or(has_changed.then_some(DiffKind::Changed))?;
        Some(TableDifference {
            name: shown(name),
            change,
            rows_before: had.map(|had| had.sum.rows),
            rows_after: has.map(|has| has.sum.rows),
            bytes_before: had.map(|had| had.sum.bytes),
            bytes_after: has.map(|has| has.sum.bytes),
            content_changed,
            definition_changed,
            columns: both.map(|(one, two)| columns(one, two)).unwrap_or_default(),
        })
    };
    names.into_iter().filter_map(difference).collect()
}

/// Whether the rows differ. Rows that were hashed in other columns or in another encoding can only be counted.
fn content(before: &CountedRows, after: &CountedRows, same_text: bool) -> Option<bool> {
    match before.sum.rows == after.sum.rows {
        false => Some(true),
        true if same_text && before.columns == after.columns => Some(before.sum != after.sum),
        true => None,
    }
}

/// Rows by table, without those of tables that were rewritten when the dump began, which does not see them.
fn counted(side: &DiffSide) -> BTreeMap<RelationName, CountedRows> {
    let mut all: BTreeMap<RelationName, CountedRows> = BTreeMap::new();
    for table in side.fingerprints.iter().flat_map(|prints| &prints.tables) {
        let Some(name) = table_names(&table.target).filter(|name| !side.rewritten.contains(name)) else { continue };
        let rows = all.entry(name).or_insert_with(|| CountedRows { sum: Sum::default(), columns: BTreeSet::new() });
        rows.sum.merge(&table.sum);
        rows.columns.insert(table.columns.clone());
    }
    all
}

/// The columns that differ: the first's in their order, then those that only the second has.
pub fn columns(before: &DefinedTable, after: &DefinedTable) -> Vec<ColumnDifference> {
    let find = |table: &'_ DefinedTable, name: &[u8]| table.columns.iter().find(|column| column.name == name).cloned();
    let removed = before.columns.iter().map(|column| (Some(column.clone()), find(after, &column.name)));
    let added = after.columns.iter().filter(|column| find(before, &column.name).is_none());
    let pairs = removed.chain(added.map(|column| (None, Some(column.clone()))));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let difference = |(one, two): (Option<ColumnDefinition>, Option<ColumnDefinition>)| {
        let change = DiffKind::of(one.as_ref(), two.as_ref())?;
        let name = one.as_ref().or(two.as_ref()).map(|column| text(&column.name))?;
        let type_name = |column: Option<ColumnDefinition>| column.map(|column| text(&column.type_name));
        Some(ColumnDifference { name, change, type_before: type_name(one), type_after: type_name(two) })
    };
    pairs.filter_map(difference).collect()
}

/// A table's name as people write it: quoted where SQL requires it, keywords aside.
pub fn shown((schema, name): &RelationName) -> String {
    let part = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let is_plain = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
            && text.bytes().next().is_some_and(|first| !first.is_ascii_digit());
        if is_plain { text.into_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
    };
    match schema.is_empty() {
        true => part(name),
        false => format!("{}.{}", part(schema), part(name)),
    }
}

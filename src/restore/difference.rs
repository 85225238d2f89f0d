//! What differs between two backups or dumps, by their fingerprints and tables of contents: no row is read where both have
//! fingerprints, and no server is needed.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::fingerprint::{Fingerprints, SequenceFingerprint};
use crate::restore::difference::kind::DiffKind;
use crate::restore::difference::objects::ObjectDifference;
use crate::restore::difference::side::DiffSide;
use crate::restore::difference::tables::TableDifference;

pub mod index;
pub mod kind;
pub mod live;
pub mod objects;
pub mod rows;
pub mod side;
pub mod tables;

/// Most ranges of large objects that are named.
const RANGES: usize = 1000;

/// What differs.
#[derive(Debug, Default, Serialize)]
pub struct Differences {
    /// Tables.
    pub tables: Vec<TableDifference>,
    /// Sequences and their values.
    pub sequences: Vec<ValueDifference>,
    /// Large objects, by their OIDs.
    pub large_objects: Vec<LargeObjectDifference>,
    /// Extensions and their versions.
    pub extensions: Vec<ValueDifference>,
    /// Everything else in the tables of contents: functions, views, indexes, constraints, triggers, privileges, comments …
    pub objects: Vec<ObjectDifference>,
    /// What could not be compared, and why.
    pub not_compared: Vec<String>,
}

/// A part with one value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ValueDifference {
    /// Its name.
    pub name: String,
    /// How it differs.
    pub change: DiffKind,
    /// Its value in the first, where it is known.
    pub before: Option<String>,
    /// Its value in the second, where it is known.
    pub after: Option<String>,
}

/// Large objects that differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LargeObjectDifference {
    /// The first OID of the range, and of very many objects the only one that is exact.
    pub first: u32,
    /// The last OID of the range.
    pub last: u32,
    /// How they differ.
    pub change: DiffKind,
    /// Number of objects in the first.
    pub objects_before: u64,
    /// Number of objects in the second.
    pub objects_after: u64,
    /// Their bytes in the first.
    pub bytes_before: u64,
    /// Their bytes in the second.
    pub bytes_after: u64,
}

impl Differences {
    /// Compares two backups or dumps.
    pub fn between(before: &DiffSide, after: &DiffSide) -> Self {
        let mut differences = Differences {
            tables: tables::compare(before, after),
            extensions: extensions(before, after),
            objects: objects::compare(&before.index, &after.index),
            not_compared: notes(before, after),
            ..Differences::default()
        };
        if let (Some(one), Some(two)) = (&before.fingerprints, &after.fingerprints) {
            differences.sequences = sequences(one, two);
            differences.large_objects = large_objects(one, two);
        }
        differences
    }

    /// Whether nothing that was compared differs.
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
            && self.sequences.is_empty()
            && self.large_objects.is_empty()
            && self.extensions.is_empty()
            && self.objects.is_empty()
    }
}

fn sequences(before: &Fingerprints, after: &Fingerprints) -> Vec<ValueDifference> {
    let values = |prints: &Fingerprints| -> BTreeMap<_, _> {
        prints.sequences.iter().map(|sequence| (sequence.name.clone(), value(sequence))).collect()
    };
    values_differ(&values(before), &values(after))
}

fn value(sequence: &SequenceFingerprint) -> String {
    let called = if sequence.is_called { "" } else { " (not called yet)" };
    format!("{}{called}", sequence.last_value)
}

/// The entries of two maps that differ.
fn values_differ<K: Ord + ToString>(before: &BTreeMap<K, String>, after: &BTreeMap<K, String>) -> Vec<ValueDifference> {
    let names: std::collections::BTreeSet<&K> = before.keys().chain(after.keys()).collect();
    let differ = |name: &K| {
        let (one, two) = (before.get(name), after.get(name));
        let change = DiffKind::of(one, two)?;
        Some(ValueDifference { name: name.to_string(), change, before: one.cloned(), after: two.cloned() })
    };
    names.into_iter().filter_map(differ).collect()
}

fn large_objects(before: &Fingerprints, after: &Fingerprints) -> Vec<LargeObjectDifference> {
    let differing = before.large_objects.differing(&after.large_objects).into_iter().take(RANGES);
    let difference = |range: crate::fingerprint::Differing| LargeObjectDifference {
        first: *range.oids.start(),
        last: *range.oids.end(),
        change: match (range.expected.rows, range.observed.rows) {
            (0, _) => DiffKind::Added,
            (_, 0) => DiffKind::Removed,
            _ => DiffKind::Changed,
        },
        objects_before: range.expected.rows,
        objects_after: range.observed.rows,
        bytes_before: range.expected.bytes,
        bytes_after: range.observed.bytes,
    };
    differing.map(difference).collect()
}

/// The extension that every new database has, and no dump.
const BUILT_IN: &str = "plpgsql";

/// Dumps without a manifest name their extensions, and not the versions.
fn extensions(before: &DiffSide, after: &DiffSide) -> Vec<ValueDifference> {
    let have_versions = before.extensions.values().chain(after.extensions.values()).all(|version| !version.is_empty());
    let by_name = |side: &DiffSide| -> BTreeMap<String, String> {
        let version = |version: &String| if have_versions { version.clone() } else { String::new() };
        let named = side.extensions.iter().filter(|(name, _)| have_versions || *name != BUILT_IN);
        named.map(|(name, found)| (name.clone(), version(found))).collect()
    };
    let mut differences = values_differ(&by_name(before), &by_name(after));
    for difference in differences.iter_mut().filter(|_| !have_versions) {
        (difference.before, difference.after) = (None, None);
    }
    differences
}

/// What is not known of either side.
fn notes(before: &DiffSide, after: &DiffSide) -> Vec<String> {
    let mut notes = Vec::new();
    for side in [before, after] {
        let name = &side.name;
        if side.fingerprints.is_none() {
            notes.push(format!("{name} has no fingerprints: rows, sequences and large objects are not compared"));
        }
        if !side.index.has_definitions {
            notes.push(format!("{name} is a script, which has no table of contents: definitions are not compared"));
        }
        if side.omitted > 0 {
            let things = if side.omitted == 1 { "1 thing".to_owned() } else { format!("{} things", side.omitted) };
            notes.push(format!("{name} lacks {things} that its database had: pgcellar show names what"));
        }
    }
    let [one, two] = [before.pg_dump, after.pg_dump];
    if one != two && one > 0 && two > 0 {
        notes.push(format!(
            "one is of pg_dump {one} and the other of pg_dump {two}, which may write the same definition differently"
        ));
    }
    let [one, two] = [before.encoding(), after.encoding()];
    if one != two {
        notes.push(format!(
            "one is in {one} and the other in {two}: rows are counted, and their contents are not compared"
        ));
    }
    notes
}

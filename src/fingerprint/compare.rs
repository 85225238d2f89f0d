//! Compares what was observed in a database with the fingerprints of a backup, and names each table, sequence and large
//! object that differs.

use serde::{Serialize, Serializer};

use crate::fingerprint::{Differing, Fingerprints, LargeObjects, Quoted, SequenceFingerprint, Sum, TableFingerprint};

#[cfg(test)]
mod tests;
mod text;

/// Why an object with such a name, in a dump without an encoding, is not compared.
const NO_TEXT: &str = "its name has bytes that are not valid text";

/// Most ranges of large objects that are named.
const RANGES: usize = 1000;

/// The name of all large objects.
pub(super) const ALL: &str = "all";

/// What was observed in a database, in the order of the fingerprints.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// For each table of the fingerprints what has its name.
    pub tables: Vec<ObservedRows>,
    /// For each sequence of the fingerprints its value; none if there is no such sequence.
    pub sequences: Vec<Option<Value>>,
    /// Large objects.
    pub large_objects: Objects,
}

/// What has the name of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedRows {
    /// Its rows.
    All(Sum),
    /// The same rows, which print differently: OIDs in columns of `regclass` and similar types, whose objects did not exist
    /// when they were dumped, belong to other objects here and print as their names; or the server's major version has changed
    /// the text of a type.
    Named(Sum),
    /// Its number of rows; their contents were not read.
    Counted(u64),
    /// Nothing.
    Absent,
    /// A foreign table, whose rows are on another server.
    Foreign,
    /// A table without one of the columns.
    OtherColumns,
    /// A relation without rows of its own, such as a `view`.
    NoTable(&'static str),
    /// Its name has no representation in the encoding of a session.
    Unnamed,
}

/// The value of a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// `last_value`.
    pub last_value: String,
    /// `is_called`.
    pub is_called: bool,
}

/// What was observed of large objects.
#[derive(Clone, Debug, Default)]
pub enum Objects {
    /// They were not read.
    #[default]
    Ignored,
    /// Their number; their contents were not read.
    Counted(u64),
    /// All of them.
    All(LargeObjects),
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// Whether only the numbers of rows and large objects were compared, not their contents.
    pub counted_only: bool,
    /// Tables that were compared.
    pub tables: u64,
    /// Rows that they have in the backup.
    pub rows: u64,
    /// Sequences that were compared.
    pub sequences: u64,
    /// Large objects of the backup that were compared.
    pub large_objects: u64,
    /// What differs.
    pub differences: Vec<Difference>,
    /// What could not be compared.
    pub not_compared: Vec<NotCompared>,
    /// Tables that are equal although OIDs in them print as names.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<String>,
}

/// A part of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FingerprintPart {
    /// A table.
    Table,
    /// A sequence.
    Sequence,
    /// One large object, or several.
    LargeObjects,
}

/// A part of a backup that differs in the database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is.
    pub part: FingerprintPart,
    /// Its name, as the archive quotes it; of large objects their OID, the first and the last one, or `all`.
    pub name: String,
    /// How it differs.
    #[serde(rename = "difference", serialize_with = "in_words")]
    pub change: Change,
}

/// How a part differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It does not exist.
    Absent,
    /// It is something else, such as a `view`.
    Became(&'static str),
    /// A column does not exist.
    OtherColumns,
    /// It has fewer rows or objects.
    Fewer {
        /// Number in the backup.
        expected: u64,
        /// Number in the database.
        found: u64,
    },
    /// It has more rows or objects.
    More {
        /// Number in the backup.
        expected: u64,
        /// Number in the database.
        found: u64,
    },
    /// The same number of rows with other contents.
    OtherRows {
        /// Their number.
        rows: u64,
        /// Their bytes in the backup, as COPY writes them.
        expected: u64,
        /// Their bytes in the database.
        found: u64,
    },
    /// A sequence has another value.
    OtherValue {
        /// Its value in the backup.
        expected: Value,
        /// Its value in the database.
        found: Value,
    },
    /// The same number of large objects with other contents.
    OtherObjects {
        /// Their number.
        objects: u64,
        /// Their bytes in the backup.
        expected: u64,
        /// Their bytes in the database.
        found: u64,
    },
    /// A large object is not in the backup.
    Added,
}

/// A part of a backup that could not be compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NotCompared {
    /// What it is.
    pub part: FingerprintPart,
    /// Its name, as the archive quotes it.
    pub name: String,
    /// Why.
    pub why: &'static str,
}

/// What messages say of a table in which OIDs print as names.
pub const NAMED: &str = "the same rows; numbers of objects that were gone when it was dumped (regclass and its like) are those of \
     other objects in this database, and show as their names, or this major version has changed the text of a type";

/// Compares a database with the fingerprints of a backup.
#[must_use]
pub fn compare(expected: &Fingerprints, observed: &Observed) -> Comparison {
    let mut comparison = Comparison::default();
    for (table, found) in expected.tables.iter().zip(&observed.tables) {
        comparison.add_table(table, found);
    }
    for (sequence, found) in expected.sequences.iter().zip(&observed.sequences) {
        if is_no_text(expected, &sequence.name) {
            let name = sequence.name.to_string();
            comparison.not_compared.push(NotCompared { part: FingerprintPart::Sequence, name, why: NO_TEXT });
            continue;
        }
        comparison.add_sequence(sequence, found.as_ref());
    }
    comparison.add_large_objects(&expected.large_objects, &observed.large_objects);
    comparison
}

impl Comparison {
    /// Whether nothing that was compared differs.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty()
    }

    fn add_table(&mut self, table: &TableFingerprint, found: &ObservedRows) {
        let name = || table.target.to_string();
        let change = match found {
            ObservedRows::Foreign if table.foreign => {
                let why = "a foreign table, whose rows are another server's";
                return self.not_compared.push(NotCompared { part: FingerprintPart::Table, name: name(), why });
            }
            ObservedRows::Unnamed => {
                return self.not_compared.push(NotCompared {
                    part: FingerprintPart::Table,
                    name: name(),
                    why: NO_TEXT,
                });
            }
            ObservedRows::All(sum) => rows(&table.sum, sum),
            ObservedRows::Named(sum) => {
                let change = rows(&table.sum, sum);
                if change.is_none() {
                    self.named.push(name());
                }
                change
            }
            ObservedRows::Counted(rows) => {
                self.counted_only = true;
                number(table.sum.rows, *rows)
            }
            ObservedRows::Absent => Some(Change::Absent),
            ObservedRows::Foreign => Some(Change::Became("foreign table")),
            ObservedRows::OtherColumns => Some(Change::OtherColumns),
            ObservedRows::NoTable(kind) => Some(Change::Became(kind)),
        };
        self.tables += 1;
        self.rows += table.sum.rows;
        self.differences.extend(change.map(|change| Difference { part: FingerprintPart::Table, name: name(), change }));
    }

    fn add_sequence(&mut self, sequence: &SequenceFingerprint, found: Option<&Value>) {
        self.sequences += 1;
        let expected = Value { last_value: sequence.last_value.clone(), is_called: sequence.is_called };
        let change = match found {
            None => Change::Absent,
            Some(found) if *found == expected => return,
            Some(found) => Change::OtherValue { expected, found: found.clone() },
        };
        self.differences.push(Difference { part: FingerprintPart::Sequence, name: sequence.name.to_string(), change });
    }

    fn add_large_objects(&mut self, expected: &LargeObjects, found: &Objects) {
        let objects = expected.all().rows;
        let mut add = |name: String, change: Change| {
            self.differences.push(Difference { part: FingerprintPart::LargeObjects, name, change });
        };
        match found {
            Objects::Ignored => return,
            Objects::Counted(number_found) => {
                if let Some(change) = number(objects, *number_found) {
                    add(ALL.to_owned(), change);
                }
                self.counted_only = true;
            }
            Objects::All(found) => {
                if let Some(change) = number(objects, found.all().rows) {
                    add(ALL.to_owned(), change);
                }
                for range in expected.differing(found).into_iter().take(RANGES) {
                    let (first, last) = (range.oids.start(), range.oids.end());
                    match first == last {
                        true => add(first.to_string(), object(&range)),
                        false => add(format!("{first} to {last}"), objects_of(&range)),
                    }
                }
            }
        }
        self.large_objects = objects;
    }
}

/// Whether a name cannot be converted for a session: it is not UTF-8, and the dump has no encoding.
fn is_no_text(expected: &Fingerprints, name: &Quoted) -> bool {
    name.text().is_none() && expected.settings.get("client_encoding").is_some_and(|encoding| encoding == "SQL_ASCII")
}

fn number(expected: u64, found: u64) -> Option<Change> {
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Some(Change::Fewer { expected, found }),
        std::cmp::Ordering::Greater => Some(Change::More { expected, found }),
        std::cmp::Ordering::Equal => None,
    }
}

fn rows(expected: &Sum, found: &Sum) -> Option<Change> {
    let other = Change::OtherRows { rows: expected.rows, expected: expected.bytes, found: found.bytes };
    number(expected.rows, found.rows).or_else(|| (expected != found).then_some(other))
}

/// How one large object differs.
fn object(range: &Differing) -> Change {
    match (range.expected.rows, range.observed.rows) {
        (_, 0) => Change::Absent,
        (0, _) => Change::Added,
        _ => objects_of(range),
    }
}

/// How the large objects of a range differ.
fn objects_of(range: &Differing) -> Change {
    let Differing { expected, observed, .. } = range;
    let other = Change::OtherObjects { objects: expected.rows, expected: expected.bytes, found: observed.bytes };
    number(expected.rows, observed.rows).unwrap_or(other)
}

fn in_words<S: Serializer>(change: &Change, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(change)
}

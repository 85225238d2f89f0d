//! Whether a database holds what a backup's fingerprints say: both go in, and the differences come out, each with the name
//! of its table, sequence or large object.

use serde::{Serialize, Serializer};

use crate::fingerprint::{Differing, Fingerprints, LargeObjects, Quoted, SequenceFingerprint, Sum, TableFingerprint};

#[cfg(test)]
mod tests;
mod text;

/// Why what has such a name in a dump without an encoding is not compared.
const NO_TEXT: &str = "its name has bytes that are no text";

/// How many ranges of large objects are named.
const RANGES: usize = 1000;

/// The name of all large objects.
pub(super) const ALL: &str = "all";

/// What a database holds of what fingerprints are of: its tables and sequences in their order.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// For each table of the fingerprints what was found.
    pub tables: Vec<ObservedRows>,
    /// For each sequence of the fingerprints its value; none where there is no such sequence.
    pub sequences: Vec<Option<Value>>,
    /// Large objects.
    pub large_objects: Objects,
}

/// What was found under a table's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedRows {
    /// Its rows.
    All(Sum),
    /// These rows, which print otherwise: numbers of objects that were gone when they were dumped (`regclass` and its like)
    /// are those of other objects here, and print as their names.
    Named(Sum),
    /// Its rows, which were only counted.
    Counted(u64),
    /// Nothing.
    Absent,
    /// A foreign table: its rows are another server's.
    Foreign,
    /// A table without one of the columns.
    OtherColumns,
    /// Something that holds no rows of its own, such as a `view`.
    NoTable(&'static str),
    /// Its name cannot be told to this server.
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

/// What was found of large objects.
#[derive(Clone, Debug, Default)]
pub enum Objects {
    /// They were not looked at.
    #[default]
    Ignored,
    /// They were only counted.
    Counted(u64),
    /// All of them.
    All(LargeObjects),
}

/// What came of a comparison.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Comparison {
    /// Whether rows and large objects were counted, and their contents not looked at.
    pub counted_only: bool,
    /// Tables that were compared.
    pub tables: u64,
    /// Rows that they have in the backup.
    pub rows: u64,
    /// Sequences that were compared.
    pub sequences: u64,
    /// Large objects of the backup that were compared.
    pub large_objects: u64,
    /// What is not the same.
    pub differences: Vec<Difference>,
    /// What could not be compared.
    pub not_compared: Vec<NotCompared>,
    /// Tables that are the same, and in which numbers of objects print as names.
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

/// A part of a backup that the database does not hold as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// What it is.
    pub part: FingerprintPart,
    /// Its name, as the archive quotes it; of large objects their OID, the first and the last one, or `all`.
    pub name: String,
    /// What is not the same.
    #[serde(rename = "difference", serialize_with = "in_words")]
    pub change: Change,
}

/// How a part is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is not there.
    Absent,
    /// It is something else, such as a `view`.
    Became(&'static str),
    /// A column is not there.
    OtherColumns,
    /// It has fewer rows or objects.
    Fewer {
        /// As many as the backup has.
        expected: u64,
        /// As many as were found.
        found: u64,
    },
    /// It has more rows or objects.
    More {
        /// As many as the backup has.
        expected: u64,
        /// As many as were found.
        found: u64,
    },
    /// As many rows, of which some are others.
    OtherRows {
        /// How many.
        rows: u64,
        /// Bytes of them in the backup, as COPY writes them.
        expected: u64,
        /// Bytes of them that were found.
        found: u64,
    },
    /// A sequence goes on somewhere else.
    OtherValue {
        /// Its value in the backup.
        expected: Value,
        /// The value that was found.
        found: Value,
    },
    /// As many large objects, of which some are others.
    OtherObjects {
        /// How many.
        objects: u64,
        /// Bytes of them in the backup.
        expected: u64,
        /// Bytes of them that were found.
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

/// What is said of a table in which numbers of objects print as names.
pub const NAMED: &str = "the same rows; numbers of objects that were gone when it was dumped (regclass and its like) are those of \
     other objects in this database, and show as their names";

/// Compares what a database holds with what a backup's fingerprints say.
#[must_use]
pub fn compare(expected: &Fingerprints, held: &Observed) -> Comparison {
    let mut comparison = Comparison::default();
    for (table, found) in expected.tables.iter().zip(&held.tables) {
        comparison.add_table(table, found);
    }
    for (sequence, found) in expected.sequences.iter().zip(&held.sequences) {
        if is_no_text(expected, &sequence.name) {
            let name = sequence.name.to_string();
            comparison.not_compared.push(NotCompared { part: FingerprintPart::Sequence, name, why: NO_TEXT });
            continue;
        }
        comparison.add_sequence(sequence, found.as_ref());
    }
    comparison.add_large_objects(&expected.large_objects, &held.large_objects);
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

/// Whether no server can be told this name of a dump, whose encoding says what other bytes than UTF-8 mean.
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

/// How one large object is not the same.
fn object(range: &Differing) -> Change {
    match (range.ours.rows, range.theirs.rows) {
        (_, 0) => Change::Absent,
        (0, _) => Change::Added,
        _ => objects_of(range),
    }
}

/// How the large objects of a range are not the same.
fn objects_of(range: &Differing) -> Change {
    let Differing { ours, theirs, .. } = range;
    let other = Change::OtherObjects { objects: ours.rows, expected: ours.bytes, found: theirs.bytes };
    number(ours.rows, theirs.rows).unwrap_or(other)
}

fn in_words<S: Serializer>(change: &Change, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(change)
}

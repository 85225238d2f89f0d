//! The verdict of a drill: the observed fingerprints compared with the expected ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::catalogue::records::drill::{Compared, DrillOutcome};
use crate::catalogue::records::rehearsal::RefusedObject;
use crate::fingerprint::Fingerprints;
use crate::fingerprint::compare::{Change, Difference, NAMED, compare};
use crate::printable::printable;
use crate::task::drill::receiver::{Restored, RestoredContents};

/// The entries of a table of contents that refresh materialized views.
const REFRESH: &str = "MATERIALIZED VIEW DATA";

/// Entries that are not compared: a server gathers the planner's statistics itself.
const STATISTICS: &[&str] = &["STATISTICS DATA", "EXTENDED STATISTICS DATA"];

/// The verdict of a drill.
#[derive(Debug)]
pub struct Verdict {
    /// The outcome.
    pub outcome: DrillOutcome,
    /// `server_version` of the throwaway cluster; empty if none was made.
    pub postgres: String,
    /// How long the restore took.
    pub restore: Duration,
    /// Size of the restored database in bytes; none if nothing was restored or the size is unknown.
    pub database_bytes: Option<u64>,
    /// When the last observation arrived.
    pub at: Instant,
    /// What was compared.
    pub compared: Compared,
    /// What differs.
    pub differences: Vec<String>,
    /// What was not done.
    pub notes: Vec<String>,
    /// What the server of a rehearsal refuses, and the number of further objects.
    pub refused: (Vec<RefusedObject>, u64),
}

impl Verdict {
    /// A backup that cannot be restored.
    pub fn failed(reason: String) -> Self {
        Verdict {
            outcome: DrillOutcome::Failed,
            postgres: String::new(),
            restore: Duration::ZERO,
            database_bytes: None,
            at: Instant::now(),
            compared: Compared::default(),
            differences: vec![reason],
            notes: Vec::new(),
            refused: (Vec::new(), 0),
        }
    }
}

/// The bytes of rows and large objects to compare.
pub fn bytes(expected: &Fingerprints) -> u64 {
    let rows = expected.tables.iter().map(|table| table.sum.bytes).fold(0, u64::saturating_add);
    rows.saturating_add(expected.large_objects.all().bytes)
}

/// Compares what was observed with the fingerprints.
pub fn judge(
    expected: Option<&Fingerprints>,
    found: RestoredContents,
    restored: Restored,
    (postgres, restore): (String, Duration),
) -> Verdict {
    let Restored { mut notes, not_refreshed, database_bytes } = restored;
    let is_rehearsal = found.refused.is_some();
    let refused = found.refused.unwrap_or_default();
    // A refused table is named as such.
    let counts = |difference: &&Difference| refused.0.is_empty() || difference.change != Change::Absent;
    let database_bytes = Some(database_bytes).filter(|bytes| *bytes > 0);
    let at = found.at;
    let mut differences: Vec<String> = found.failure.into_iter().collect();
    let mut compared = Compared::default();
    // Rows that the sandbox only counted, or could not name, prove nothing.
    let mut is_whole = false;
    match expected {
        None => notes.push(
            "the backup has no fingerprints, so its rows cannot be compared with those that were backed up".to_owned(),
        ),
        Some(expected) => {
            let comparison = compare(expected, &found.observed);
            let foreign = expected.tables.iter().filter(|table| table.foreign).count();
            is_whole = !comparison.counted_only && comparison.not_compared.len() <= foreign;
            let differing = comparison.differences.iter().filter(counts);
            differences.extend(differing.map(|difference| printable(&difference.to_string())));
            let skipped = comparison.not_compared.iter();
            notes.extend(skipped.map(|part| format!("{} is not compared: {}", printable(&part.to_string()), part.why)));
            notes.extend(comparison.named.iter().map(|table| format!("table {}: {NAMED}", printable(table))));
            compared.tables = comparison.tables;
            compared.rows = comparison.rows;
            compared.bytes = expected.tables.iter().map(|table| table.sum.bytes).fold(0, u64::saturating_add);
            compared.sequences = comparison.sequences;
            compared.large_objects = comparison.large_objects;
            // Another major version counts other kinds of objects.
            if !expected.objects.is_empty() && !is_rehearsal {
                differences.extend(differing_numbers(&expected.objects, &found.objects, not_refreshed));
                compared.objects = expected.objects.values().sum();
            }
        }
    }
    let outcome = match (differences.is_empty() && refused.0.is_empty() && refused.1 == 0, is_whole) {
        (false, _) => DrillOutcome::Failed,
        (true, true) => DrillOutcome::Passed,
        (true, false) => DrillOutcome::Restored,
    };
    Verdict { outcome, postgres, restore, database_bytes, at, compared, differences, notes, refused }
}

/// The kinds of objects whose numbers differ.
fn differing_numbers(
    expected: &BTreeMap<String, u64>,
    found: &BTreeMap<String, u64>,
    not_refreshed: u64,
) -> Vec<String> {
    let kinds = expected.keys().chain(found.keys()).filter(|kind| !STATISTICS.contains(&kind.as_str()));
    let kinds: BTreeSet<&String> = kinds.collect();
    let number = |of: &BTreeMap<String, u64>, kind: &String| of.get(kind).copied().unwrap_or_default();
    let differs = |kind: &&String| {
        let missing = if *kind == REFRESH { not_refreshed } else { 0 };
        number(expected, kind) != number(found, kind).saturating_add(missing)
    };
    let difference = |kind: &String| {
        let (expected, found) = (number(expected, kind), number(found, kind));
        format!("objects of the kind {}: {found} instead of {expected}", printable(kind))
    };
    kinds.into_iter().filter(differs).map(difference).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fingerprint::compare::{Observed, ObservedRows};
    use crate::fingerprint::{Sum, TableFingerprint};

    fn judged(
        expected: Option<&Fingerprints>,
        rows: Vec<ObservedRows>,
        objects: &[(&str, u64)],
        not_refreshed: u64,
    ) -> Verdict {
        let objects = objects.iter().map(|(kind, number)| ((*kind).to_owned(), *number)).collect();
        let found = RestoredContents {
            observed: Observed { tables: rows, ..Observed::default() },
            objects,
            refused: None,
            failure: None,
            at: Instant::now(),
        };
        judge(
            expected,
            found,
            Restored { notes: Vec::new(), not_refreshed, database_bytes: 1 << 20 },
            (String::new(), Duration::ZERO),
        )
    }

    #[test]
    fn outcomes_of_comparisons() {
        let sum = Sum { rows: 2, bytes: 3, hash: 4 };
        let expected = Fingerprints {
            tables: vec![TableFingerprint { sum, ..TableFingerprint::default() }],
            objects: [("TABLE".to_owned(), 1), (REFRESH.to_owned(), 2)].into(),
            ..Fingerprints::default()
        };
        let all = [("TABLE", 1), (REFRESH, 2)];
        let passed = judged(Some(&expected), vec![ObservedRows::All(sum)], &all, 0);
        assert_eq!((passed.outcome, passed.compared.rows, passed.compared.objects), (DrillOutcome::Passed, 2, 3));
        let other = ObservedRows::All(Sum { hash: 5, ..sum });
        assert_eq!(judged(Some(&expected), vec![other], &all, 0).outcome, DrillOutcome::Failed);
        assert_eq!(
            judged(Some(&expected), vec![ObservedRows::All(sum)], &[("TABLE", 1), (REFRESH, 1)], 1).outcome,
            DrillOutcome::Passed
        );
        for unseen in [ObservedRows::Counted(2), ObservedRows::Unnamed] {
            assert_eq!(judged(Some(&expected), vec![unseen], &all, 0).outcome, DrillOutcome::Restored);
        }
        let fewer = judged(Some(&expected), vec![ObservedRows::All(sum)], &[(REFRESH, 2)], 0);
        assert_eq!(fewer.differences, ["objects of the kind TABLE: 0 instead of 1"]);
        assert_eq!(judged(None, Vec::new(), &all, 0).outcome, DrillOutcome::Restored);
    }
}

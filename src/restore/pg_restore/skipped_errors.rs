//! Errors that a restore skips because of `--keep-going`.

use std::sync::{Arc, Mutex, PoisonError};

/// How many errors are kept; the others are counted.
const KEPT: usize = 200;

/// The errors that a restore has skipped.
#[derive(Clone, Debug, Default)]
pub struct SkippedErrors {
    skipped: Arc<Mutex<Skipped>>,
    /// Whether pg_restore names the entry of each error, which it does in verbose mode alone.
    pub names_entries: bool,
}

/// An error that was skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SkippedError {
    /// The entry of the table of contents, if known.
    pub entry: Option<u32>,
    /// The SQLSTATE; empty if unknown.
    pub sqlstate: String,
    /// The error, and what explains it.
    pub text: String,
}

#[derive(Debug, Default)]
struct Skipped {
    first: Vec<SkippedError>,
    all: u64,
    /// Whether the last of them was kept and has no explanation yet.
    open: bool,
}

impl SkippedErrors {
    /// Errors with their entries.
    pub fn naming_entries() -> Self {
        SkippedErrors { names_entries: true, ..SkippedErrors::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Skipped> {
        self.skipped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an error.
    pub fn add(&self, text: String) {
        self.add_error(SkippedError { text, ..SkippedError::default() });
    }

    /// Adds an error of which more is known.
    pub fn add_error(&self, fault: SkippedError) {
        let mut skipped = self.lock();
        skipped.all += 1;
        skipped.open = skipped.first.len() < KEPT;
        if skipped.open {
            skipped.first.push(fault);
        }
    }

    /// Adds an explanation to the last one, if it has none yet.
    pub fn explain(&self, how: &str) {
        let mut skipped = self.lock();
        if !std::mem::take(&mut skipped.open) {
            return;
        }
        if let Some(last) = skipped.first.last_mut() {
            last.text.push_str(" | ");
            last.text.push_str(how);
        }
    }

    /// Removes all: the load begins again.
    pub fn clear(&self) {
        *self.lock() = Skipped::default();
    }

    /// The first of them, and the number of all.
    pub fn first_and_count(&self) -> (Vec<String>, u64) {
        let (first, all) = self.errors();
        (first.into_iter().map(|error| error.text).collect(), all)
    }

    /// The same with what is known of each.
    pub fn errors(&self) -> (Vec<SkippedError>, u64) {
        let skipped = self.lock();
        (skipped.first.clone(), skipped.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_some_kept() {
        let faults = SkippedErrors::default();
        (0..500).for_each(|number| faults.add(number.to_string()));
        let (first, all) = faults.first_and_count();
        assert_eq!((first.len(), all), (KEPT, 500));
        assert_eq!(first.last().unwrap(), "199");
        faults.explain("of number 499");
        assert_eq!(faults.first_and_count().0.last().unwrap(), "199");
    }

    #[test]
    fn one_explanation_each() {
        let faults = SkippedErrors::default();
        faults.explain("nothing");
        faults.add("a".to_owned());
        faults.explain("b");
        faults.explain("c");
        assert_eq!(faults.first_and_count().0, ["a | b"]);
    }
}

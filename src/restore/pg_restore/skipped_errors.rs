//! Errors that a restore skips because of `--keep-going`.

use std::sync::{Arc, Mutex, PoisonError};

/// How many errors are kept; the others are counted.
const KEPT: usize = 200;

/// The errors that a restore has skipped.
#[derive(Clone, Debug, Default)]
pub struct SkippedErrors(Arc<Mutex<Skipped>>);

#[derive(Debug, Default)]
struct Skipped {
    first: Vec<String>,
    all: u64,
    /// Whether the last of them was kept and has no explanation yet.
    open: bool,
}

impl SkippedErrors {
    /// Adds an error.
    pub fn add(&self, fault: String) {
        let mut skipped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        skipped.all += 1;
        skipped.open = skipped.first.len() < KEPT;
        if skipped.open {
            skipped.first.push(fault);
        }
    }

    /// Adds an explanation to the last one, if it has none yet.
    pub fn explain(&self, how: &str) {
        let mut skipped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut skipped.open) {
            return;
        }
        if let Some(last) = skipped.first.last_mut() {
            last.push_str(" | ");
            last.push_str(how);
        }
    }

    /// Removes all: the load begins again.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Skipped::default();
    }

    /// The first of them, and the number of all.
    pub fn first_and_count(&self) -> (Vec<String>, u64) {
        let skipped = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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

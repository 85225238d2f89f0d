//! Errors that a load goes on after, because it was told to.

use std::sync::{Arc, Mutex, PoisonError};

/// How many errors are kept; the others are counted.
const KEPT: usize = 200;

/// The errors of a load that goes on after them.
#[derive(Clone, Debug, Default)]
pub struct SkippedErrors(Arc<Mutex<Heard>>);

#[derive(Debug, Default)]
struct Heard {
    first: Vec<String>,
    all: u64,
    /// Whether what comes next explains the last of them.
    open: bool,
}

impl SkippedErrors {
    /// Adds one.
    pub fn add(&self, fault: String) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.all += 1;
        heard.open = heard.first.len() < KEPT;
        if heard.open {
            heard.first.push(fault);
        }
    }

    /// Adds an explanation to the last one, if it has none yet.
    pub fn explain(&self, how: &str) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut heard.open) {
            return;
        }
        if let Some(last) = heard.first.last_mut() {
            last.push_str(" | ");
            last.push_str(how);
        }
    }

    /// Forgets them: the load begins again.
    pub fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Heard::default();
    }

    /// The first of them, and how many there are in all.
    pub fn told(&self) -> (Vec<String>, u64) {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (heard.first.clone(), heard.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_counted_and_some_kept() {
        let faults = SkippedErrors::default();
        (0..500).for_each(|number| faults.add(number.to_string()));
        let (first, all) = faults.told();
        assert_eq!((first.len(), all), (KEPT, 500));
        assert_eq!(first.last().unwrap(), "199");
        faults.explain("of number 499");
        assert_eq!(faults.told().0.last().unwrap(), "199");
    }

    #[test]
    fn one_explanation_each() {
        let faults = SkippedErrors::default();
        faults.explain("nothing");
        faults.add("a".to_owned());
        faults.explain("b");
        faults.explain("c");
        assert_eq!(faults.told().0, ["a | b"]);
    }
}

//! The differences in words.

use std::fmt;

use super::{ALL, Change, Comparison, Difference, FingerprintPart, NotCompared, Value};

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Absent => f.write_str("not there"),
            Change::Became(kind) => write!(f, "a {kind} now"),
            Change::OtherColumns => f.write_str("one of its columns is not there, or is generated now"),
            Change::Fewer { expected, found } => {
                write!(f, "{} of {expected} missing", expected.saturating_sub(*found))
            }
            Change::More { expected, found } => {
                write!(f, "{} too many, {found} instead of {expected}", found.saturating_sub(*expected))
            }
            Change::OtherRows { rows, expected, found } if expected == found => {
                write!(f, "other contents in as many rows, {rows}")
            }
            Change::OtherRows { rows, expected, found } => {
                write!(f, "other contents in as many rows, {rows}: {found} bytes instead of {expected}")
            }
            Change::OtherValue { expected, found } => write!(f, "{found} instead of {expected}"),
            Change::OtherObjects { objects, expected, found } => {
                f.write_str("other contents")?;
                if *objects > 1 {
                    write!(f, " in as many objects, {objects}")?;
                }
                match expected == found {
                    true => Ok(()),
                    false => write!(f, ": {found} bytes instead of {expected}"),
                }
            }
            Change::Added => f.write_str("not in the backup"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.last_value, if self.is_called { "" } else { " (not called yet)" })
    }
}

/// `table public.orders`.
impl fmt::Display for NotCompared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            FingerprintPart::Table => "table",
            FingerprintPart::Sequence => "sequence",
            FingerprintPart::LargeObjects => "large objects",
        };
        write!(f, "{part} {}", self.name)
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            FingerprintPart::Table => "table",
            FingerprintPart::Sequence => "sequence",
            FingerprintPart::LargeObjects if self.name.bytes().all(|byte| byte.is_ascii_digit()) => "large object",
            FingerprintPart::LargeObjects => "large objects",
        };
        match (self.part, &self.change) {
            (FingerprintPart::Table, Change::Fewer { .. } | Change::More { .. }) => {
                write!(f, "{part} {}: rows: {}", self.name, self.change)
            }
            (FingerprintPart::LargeObjects, _) if self.name == ALL => write!(f, "{part}: {}", self.change),
            _ => write!(f, "{part} {}: {}", self.name, self.change),
        }
    }
}

/// `8 tables, 866,602 rows, 3 sequences and 1 large object`.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", counted(self.tables, "table"), counted(self.rows, "row"))?;
        for (number, what) in [(self.sequences, "sequence"), (self.large_objects, "large object")] {
            if number > 0 {
                write!(f, ", {}", counted(number, what))?;
            }
        }
        Ok(())
    }
}

fn counted(number: u64, what: &str) -> String {
    format!("{} {what}{}", indicatif::HumanCount(number), if number == 1 { "" } else { "s" })
}

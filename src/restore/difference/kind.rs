//! How a part of one backup differs from that of another.

use serde::Serialize;

/// How a part differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DiffKind {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it, and differ.
    Changed,
}

impl DiffKind {
    /// The word in lists.
    pub fn name(self) -> &'static str {
        match self {
            DiffKind::Added => "added",
            DiffKind::Removed => "removed",
            DiffKind::Changed => "changed",
        }
    }

    /// How a part differs that the first, the second or both have; none if neither has it, or both have the same.
    pub fn of<T: PartialEq>(before: Option<&T>, after: Option<&T>) -> Option<Self> {
        match (before, after) {
            (Some(_), None) => Some(DiffKind::Removed),
            (None, Some(_)) => Some(DiffKind::Added),
            (before, after) => (before != after).then_some(DiffKind::Changed),
        }
    }
}

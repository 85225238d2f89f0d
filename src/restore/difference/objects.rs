//! Objects other than tables that were added, removed or changed.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::restore::difference::index::{ContentsIndex, ObjectKey};
use crate::restore::difference::kind::DiffKind;

/// An object that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ObjectDifference {
    /// Its kind, such as `function`.
    pub kind: String,
    /// Its schema; empty if it has none.
    pub schema: String,
    /// Its name as the table of contents has it, such as `total(integer)`, or `orders orders_pkey` for a constraint.
    pub name: String,
    /// How it differs.
    pub change: DiffKind,
}

/// The objects that differ.
pub fn compare(before: &ContentsIndex, after: &ContentsIndex) -> Vec<ObjectDifference> {
    let names: BTreeSet<&ObjectKey> = before.objects.keys().chain(after.objects.keys()).collect();
    let by_definition = before.has_definitions && after.has_definitions;
    let hashes = |index: &ContentsIndex, name: &ObjectKey| {
        let mut hashes = index.objects.get(name).cloned().unwrap_or_default();
        if !by_definition {
            hashes.fill(0);
        }
        hashes.sort_unstable();
        hashes
    };
    let mut differences = Vec::new();
    for name in names {
        let (mut one, mut two) = (hashes(before, name), hashes(after, name));
        // An operator's name may stand for several.
        one.retain(|hash| match two.iter().position(|other| other == hash) {
            Some(at) => {
                two.remove(at);
                false
            }
            None => true,
        });
        let changed = one.len().min(two.len());
        let kinds = [
            (DiffKind::Changed, changed),
            (DiffKind::Removed, one.len() - changed),
            (DiffKind::Added, two.len() - changed),
        ];
        for (change, number) in kinds {
            differences.extend(std::iter::repeat_n(difference(name, change), number));
        }
    }
    differences
}

fn difference((kind, schema, name): &ObjectKey, change: DiffKind) -> ObjectDifference {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ObjectDifference { kind: text(kind).to_lowercase(), schema: text(schema), name: text(name), change }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_of_one_name_are_paired() {
        let index = |objects: &[(&str, &[u128])], has_definitions: bool| {
            let mut index = ContentsIndex::default();
            index.has_definitions = has_definitions;
            index.objects.extend(objects.iter().map(|(name, hashes)| {
                ((b"OPERATOR".to_vec(), b"s".to_vec(), name.as_bytes().to_vec()), hashes.to_vec())
            }));
            index
        };
        let one = index(&[("=", &[1, 2]), ("<", &[3]), (">", &[4])], true);
        let two = index(&[("=", &[2, 1, 5]), ("<", &[6]), ("!", &[7])], true);
        let found: Vec<String> =
            compare(&one, &two).iter().map(|found| format!("{} {}", found.name, found.change.name())).collect();
        assert_eq!(found, ["! added", "< changed", "= added", "> removed"]);
        let script = index(&[("=", &[0, 0]), ("<", &[0]), (">", &[0])], false);
        assert!(compare(&one, &script).is_empty());
    }
}

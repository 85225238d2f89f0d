//! What is protected: the backups of each database, over all stores.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::health::facts::{Backup, Expected, Facts};

/// How far a clock may be ahead before a backup counts as one from the future.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// A database and its backups.
#[derive(Clone, Debug)]
pub struct Protection<'a> {
    /// Database.
    pub database: &'a str,
    /// What is expected of it; none if it is not configured any more.
    pub expected: Option<&'a Expected>,
    /// Its backups, the oldest first.
    pub backups: Vec<Kept<'a>>,
}

/// A backup, and where it is.
#[derive(Clone, Debug)]
pub struct Kept<'a> {
    /// The backup, as it is in the store where it is best.
    pub backup: &'a Backup,
    /// Stores that have it.
    pub stores: Vec<&'static str>,
}

impl<'a> Protection<'a> {
    /// Every database that is expected or has backups, by name.
    pub fn all(facts: &'a Facts) -> Vec<Protection<'a>> {
        let empty = |name: &'a str| Protection { database: name, expected: None, backups: Vec::new() };
        let mut found: BTreeMap<&str, Protection<'a>> = BTreeMap::new();
        for expected in &facts.databases {
            found.entry(&expected.name).or_insert_with(|| empty(&expected.name)).expected = Some(expected);
        }
        for kept in everywhere(facts).into_values() {
            let name = kept.backup.database.as_str();
            found.entry(name).or_insert_with(|| empty(name)).backups.push(kept);
        }
        for protection in found.values_mut() {
            protection.backups.sort_by_key(|kept| (kept.backup.started, &kept.backup.id));
        }
        found.into_values().collect()
    }

    /// The good whole ones, the oldest first, without those from the future: of them nobody knows how old they are.
    pub fn good(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &'a Backup> {
        let good = move |backup: &&'a Backup| backup.is_good() && !is_from_future(backup, now);
        self.backups.iter().map(|kept| kept.backup).filter(good)
    }

    /// The newest good one.
    pub fn newest(&self, now: Timestamp) -> Option<&'a Backup> {
        self.good(now).next_back()
    }

    /// The oldest good one.
    pub fn oldest(&self, now: Timestamp) -> Option<&'a Backup> {
        self.good(now).next()
    }
}

/// Whether a backup began after now: then a clock was wrong, this one or that.
pub fn is_from_future(backup: &Backup, now: Timestamp) -> bool {
    backup.started.duration_since(now) > AHEAD
}

fn everywhere(facts: &Facts) -> BTreeMap<&str, Kept<'_>> {
    let mut found: BTreeMap<&str, Kept<'_>> = BTreeMap::new();
    for store in &facts.stores {
        for backup in store.backups() {
            let kept = found.entry(&backup.id).or_insert_with(|| Kept { backup, stores: Vec::new() });
            kept.stores.push(store.name);
            if backup.is_good() && !kept.backup.is_good() {
                kept.backup = backup;
            }
        }
    }
    found
}

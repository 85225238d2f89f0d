//! The backups of each database over all stores.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::catalogue;
use crate::catalogue::emptied::{Emptied, emptied};
use crate::catalogue::records::drill::DrillOutcome;
use crate::catalogue::shrunk::{Shrunk, shrunk};
use crate::health::changes::BackupChanges;
use crate::health::facts::{BackupFacts, DrillFacts, ExpectedDatabase, Facts, RehearsalFacts, State};

/// A database and its backups.
#[derive(Clone, Debug)]
pub struct Coverage<'a> {
    /// Database.
    pub database: &'a str,
    /// Its expected backups; none if it is not configured any more.
    pub expected: Option<&'a ExpectedDatabase>,
    /// Its backups, the oldest first.
    pub backups: Vec<CoveredBackup<'a>>,
}

/// A backup, and where it is.
#[derive(Clone, Debug)]
pub struct CoveredBackup<'a> {
    /// The best copy of the backup.
    pub backup: &'a BackupFacts,
    /// Stores that have it.
    pub stores: Vec<&'static str>,
    /// Its last drill, whichever copy it was of.
    pub drill: Option<&'a DrillFacts>,
    /// Its last rehearsal of an upgrade, whichever copy it was of.
    pub rehearsal: Option<&'a RehearsalFacts>,
    /// Whether the loss of rows was acknowledged in any store.
    pub acknowledged: bool,
}

impl CoveredBackup<'_> {
    /// Whether a drill has proven it, and no damage is known since.
    pub fn is_proven(&self) -> bool {
        let damaged = matches!(self.backup.state, State::Damaged(_));
        !damaged && self.drill.is_some_and(|drill| drill.result == DrillOutcome::Passed)
    }
}

impl<'a> Coverage<'a> {
    /// Every database that is expected or has backups, by name.
    pub fn all(facts: &'a Facts) -> Vec<Coverage<'a>> {
        let empty = |name: &'a str| Coverage { database: name, expected: None, backups: Vec::new() };
        let mut found: BTreeMap<&str, Coverage<'a>> = BTreeMap::new();
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

    /// The good and complete ones, the oldest first, without those from the future, whose age is unknown.
    pub fn good(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &'a BackupFacts> {
        self.kept_good(now).map(|kept| kept.backup)
    }

    fn kept_good(&self, now: Timestamp) -> impl DoubleEndedIterator<Item = &CoveredBackup<'a>> {
        self.backups.iter().filter(move |kept| kept.backup.is_good() && !is_from_future(kept.backup, now))
    }

    /// The last full one and the first one after it, if the newest shows that the database was emptied.
    pub fn emptied(&self, now: Timestamp) -> Option<Emptied<&'a BackupFacts>> {
        emptied(self.kept_good(now).map(|kept| (kept.backup, kept.backup.fill, kept.acknowledged)))
    }

    /// The tables that lost more than this percentage of their rows, until that is acknowledged or the rows are back.
    pub fn shrunk(&self, facts: &Facts, percent: u32) -> Vec<Shrunk<&'a BackupFacts>> {
        let counted = self
            .kept_good(facts.now)
            .filter_map(|kept| Some((kept.backup, facts.rows.get(&kept.backup.id)?.as_ref(), kept.acknowledged)));
        shrunk(&counted.collect::<Vec<_>>(), percent)
    }

    /// What the newest good backup changed against the one before it, if the rows of both were counted.
    pub fn changes(&self, facts: &'a Facts) -> Option<BackupChanges<'a>> {
        let mut good = self.good(facts.now).rev();
        let (after, before) = (good.next()?, good.next()?);
        let rows = |backup: &BackupFacts| facts.rows.get(&backup.id);
        Some(BackupChanges::between((&before.id, rows(before)?), (&after.id, rows(after)?)))
    }

    /// The newest good one.
    pub fn newest(&self, now: Timestamp) -> Option<&'a BackupFacts> {
        self.good(now).next_back()
    }

    /// The newest one that a drill has proven, and that drill.
    pub fn proven(&self) -> Option<(&'a BackupFacts, &'a DrillFacts)> {
        let kept = self.backups.iter().rev().find(|kept| kept.is_proven())?;
        kept.drill.map(|drill| (kept.backup, drill))
    }

    /// The last drill of any of them.
    pub fn last_drill(&self) -> Option<(&'a BackupFacts, &'a DrillFacts)> {
        let drills = self.backups.iter().filter_map(|kept| Some((kept.backup, kept.drill?)));
        drills.max_by_key(|(_, drill)| drill.at)
    }

    /// The last rehearsal with any of them, of an upgrade to this major version if one is given.
    pub fn last_rehearsal(&self, server: Option<u32>) -> Option<(&'a BackupFacts, &'a RehearsalFacts)> {
        let all = self.backups.iter().filter_map(|kept| Some((kept.backup, kept.rehearsal?)));
        let of_server = all.filter(|(_, rehearsal)| server.is_none_or(|server| rehearsal.server == server));
        of_server.max_by_key(|(_, rehearsal)| rehearsal.at)
    }

    /// The oldest good one.
    pub fn oldest(&self, now: Timestamp) -> Option<&'a BackupFacts> {
        self.good(now).next()
    }
}

/// Whether a backup began after now.
pub fn is_from_future(backup: &BackupFacts, now: Timestamp) -> bool {
    catalogue::is_from_future(backup.started, now)
}

fn everywhere(facts: &Facts) -> BTreeMap<&str, CoveredBackup<'_>> {
    let mut found: BTreeMap<&str, CoveredBackup<'_>> = BTreeMap::new();
    for store in &facts.stores {
        for backup in store.backups() {
            let kept = found.entry(&backup.id).or_insert_with(|| CoveredBackup {
                backup,
                stores: Vec::new(),
                drill: None,
                rehearsal: None,
                acknowledged: false,
            });
            kept.stores.push(store.name);
            kept.drill = kept.drill.into_iter().chain(&backup.drill).max_by_key(|drill| drill.at);
            kept.rehearsal = kept.rehearsal.into_iter().chain(&backup.rehearsal).max_by_key(|rehearsal| rehearsal.at);
            kept.acknowledged |= backup.acknowledged;
            if backup.is_good() && !kept.backup.is_good() {
                kept.backup = backup;
            }
        }
    }
    found
}

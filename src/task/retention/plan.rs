//! What becomes of each backup: the facts of the stores, put before the rules.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{RetentionRun, Shelf};
use crate::catalogue::acknowledged::Acknowledged;
use crate::catalogue::copy_record::{CopyRecord, address};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::retention::{Decision, Reason, RetentionFacts, decide};
use crate::catalogue::{Backup, Status};
use crate::config::Policy;
use crate::error::{Error, Result};
use crate::parallel;
use crate::store::Store;

/// What becomes of a backup of a shelf; in the order of its backups.
#[derive(Debug)]
pub struct Planned {
    /// What the rules say.
    pub decision: Decision,
    /// Whether it was removed.
    pub removed: bool,
    /// Why it could not be removed.
    pub error: Option<Error>,
}

/// Decides for each database and each store on its own. A store that does not tell whether it would delete a backup fails.
pub fn plan(run: &RetentionRun, shelves: &mut [Shelf]) -> Vec<Vec<Planned>> {
    let marks = Marks::of_shelves(run, shelves);
    let awaited = awaited(run, shelves);
    let mut planned = Vec::new();
    for shelf in shelves {
        let mut facts: Vec<RetentionFacts<'_>> = shelf
            .backups
            .iter()
            .map(|backup| RetentionFacts {
                awaited: shelf.folder.is_some() && awaited.contains(&backup.manifest.id),
                ..marks.facts(backup)
            })
            .collect();
        let decisions = match shelf.folder {
            Some(_) => Ok(decide_all(run, shelf, &facts)),
            None => decide_with_locks(run, shelf, &mut facts),
        };
        let decisions = decisions.unwrap_or_else(|error| {
            shelf.failure = Some(error.context(format!("{} is not cleaned", shelf.store.location())));
            shelf.backups.clear();
            Vec::new()
        });
        let plan = |decision| Planned { decision, removed: false, error: None };
        planned.push(decisions.into_iter().map(plan).collect());
    }
    planned
}

/// What is known of backups from all stores.
struct Marks {
    pinned: HashSet<String>,
    proven: HashSet<String>,
    acknowledged: Acknowledged,
}

impl Marks {
    fn of<'a>(backups: impl Iterator<Item = &'a Backup> + Clone, acknowledged: Acknowledged) -> Self {
        Marks {
            pinned: backups.clone().filter(|backup| backup.pin.is_some()).map(id).collect(),
            proven: backups.filter(|backup| backup.is_proven()).map(id).collect(),
            acknowledged,
        }
    }

    fn of_shelves(run: &RetentionRun, shelves: &[Shelf]) -> Self {
        let mut acknowledged = Acknowledged::default();
        for shelf in shelves.iter().filter(|shelf| shelf.failure.is_none()) {
            acknowledged.merge(Acknowledged::read(shelf.store.as_ref(), &run.place.instance));
        }
        Marks::of(shelves.iter().flat_map(|shelf| &shelf.backups), acknowledged)
    }

    fn facts<'a>(&self, backup: &'a Backup) -> RetentionFacts<'a> {
        let manifest = &backup.manifest;
        RetentionFacts {
            id: &manifest.id,
            started: manifest.started,
            status: if is_unclear(backup) { Status::Damaged } else { backup.status },
            pinned: self.pinned.contains(&manifest.id),
            locked_until: None,
            proven: self.proven.contains(&manifest.id),
            awaited: false,
            fill: self.acknowledged.fill(manifest),
            acknowledged: self.acknowledged.has(manifest),
        }
    }
}

/// Which of these backups a store would keep that has others already: their ids. What a run would remove at once need not be
/// brought there.
pub fn would_stay(
    candidates: &[&Backup],
    there: &[&Backup],
    policy: &Policy,
    now: Timestamp,
    zone: &TimeZone,
) -> HashSet<String> {
    let new: HashSet<&str> = candidates.iter().map(|backup| backup.manifest.id.as_str()).collect();
    let others = there.iter().filter(|backup| !new.contains(backup.manifest.id.as_str()));
    let all: Vec<&Backup> = candidates.iter().chain(others).copied().collect();
    // An acknowledgement only ever lets go of something.
    let marks = Marks::of(all.iter().copied(), Acknowledged::default());
    let facts: Vec<RetentionFacts<'_>> = all.iter().map(|backup| marks.facts(backup)).collect();
    let decisions = by_database(&all, &facts, policy, now, zone);
    let kept = candidates.iter().zip(decisions).filter(|(_, decision)| decision.keep);
    kept.map(|(backup, _)| id(backup)).collect()
}

/// Ids of the folder's backups that the bucket should have and does not have yet, as far as one can tell. One that retention,
/// or somebody, has deleted there is not waited for, nor one that would be removed there at once; a copy that is damaged
/// is none.
fn awaited(run: &RetentionRun, shelves: &[Shelf]) -> HashSet<String> {
    let (local, bucket) = match shelves {
        [local, bucket] => (local, bucket),
        _ => return HashSet::new(),
    };
    let whole: Vec<&Backup> = local.backups.iter().filter(|backup| backup.status != Status::Damaged).collect();
    let there: HashMap<&str, Status> =
        bucket.backups.iter().map(|backup| (backup.manifest.id.as_str(), backup.status)).collect();
    let address = run.place.s3.as_ref().map(address).unwrap_or_default();
    let mut copied = CopyRecord::read(local.store.as_ref());
    if bucket.failure.is_none() {
        copied.forget_emptied(&address, &whole, &there.keys().copied().collect());
    }
    let lacks = |backup: &&&Backup| match there.get(backup.manifest.id.as_str()) {
        Some(status) => *status == Status::Damaged,
        None => !copied.has(&address, &backup.manifest.id),
    };
    let lacking: Vec<&Backup> = whole.iter().filter(lacks).copied().collect();
    if bucket.failure.is_some() {
        return lacking.into_iter().map(id).collect();
    }
    let there: Vec<&Backup> = bucket.backups.iter().collect();
    would_stay(&lacking, &there, &bucket.policy, run.now, &run.settings.zone)
}

/// Whether its files are there, and a record of a verify that may have said that they are damaged cannot be read. It is no
/// reason to remove another one, and is not removed itself.
fn is_unclear(backup: &Backup) -> bool {
    backup.verification_error.is_some() && backup.status != Status::Damaged
}

fn id(backup: &Backup) -> String {
    backup.manifest.id.clone()
}

/// Decides database by database; by the names in the manifests, so that `foo` is never `foobar`.
fn decide_all(run: &RetentionRun, shelf: &Shelf, facts: &[RetentionFacts<'_>]) -> Vec<Decision> {
    by_database(&shelf.backups.iter().collect::<Vec<_>>(), facts, &shelf.policy, run.now, &run.settings.zone)
}

fn by_database(
    backups: &[&Backup],
    facts: &[RetentionFacts<'_>],
    policy: &Policy,
    now: Timestamp,
    zone: &TimeZone,
) -> Vec<Decision> {
    let mut databases: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, backup) in backups.iter().enumerate() {
        databases.entry(&backup.manifest.database).or_default().push(at);
    }
    let mut decisions = Vec::new();
    for places in databases.into_values() {
        let of_database: Vec<RetentionFacts<'_>> = places.iter().map(|at| facts[*at].clone()).collect();
        let decided = decide(&of_database, policy, now, zone);
        decisions.extend(places.into_iter().zip(decided));
    }
    decisions.sort_by_key(|(at, _)| *at);
    let unless_unclear = |(at, decision): (usize, Decision)| match is_unclear(backups[at]) && !decision.keep {
        true => Decision { keep: true, reasons: vec![Reason::Unclear] },
        false => decision,
    };
    decisions.into_iter().map(unless_unclear).collect()
}

/// Asks the store about locks, but only of what would be removed: a lock keeps its backup, and changes nothing else.
fn decide_with_locks<'a>(
    run: &RetentionRun,
    shelf: &'a Shelf,
    facts: &mut [RetentionFacts<'a>],
) -> Result<Vec<Decision>> {
    let decisions = decide_all(run, shelf, facts);
    let removed: Vec<usize> = (0..decisions.len()).filter(|at| !decisions[*at].keep).collect();
    let store = shelf.store.as_ref();
    if removed.is_empty() || !store.has_locks() {
        return Ok(decisions);
    }
    // The manifest was written last, and so tells it soonest.
    let keys = removed.iter().map(|at| (*at, Manifest::key(&shelf.backups[*at].manifest.id))).collect();
    for (at, lock) in locks(store, keys)? {
        facts[at].locked_until = lock;
    }
    let unlocked = removed.into_iter().filter(|at| facts[*at].locked_until.is_none());
    let files = |at: usize| shelf.backups[at].manifest.files.iter().map(move |file| (at, file.key.clone()));
    let keys = unlocked.flat_map(files).collect();
    for (at, lock) in locks(store, keys)? {
        facts[at].locked_until = facts[at].locked_until.or(lock);
    }
    Ok(decide_all(run, shelf, facts))
}

/// Until when the store refuses to delete each of these objects. All are asked about at once, as far as that goes.
fn locks(store: &dyn Store, keys: Vec<(usize, String)>) -> Result<Vec<(usize, Option<Timestamp>)>> {
    let locks = parallel::map(&keys, |(at, key)| store.locked_until(key).map(|lock| (*at, lock)));
    locks.into_iter().collect()
}

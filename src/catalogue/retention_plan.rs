//! The removals that retention plans: the facts of the stores' backups, and what the rules decide on them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::catalogue::acknowledged::Acknowledged;
use crate::catalogue::copy_record::{CopyRecord, address};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::retention::{Decision, Reason, RetentionFacts, decide};
use crate::catalogue::shrunk::RowsById;
use crate::catalogue::{Backup, Status};
use crate::config::{Place, Policy, RetentionSettings};
use crate::error::{Error, Kind, Result};
use crate::parallel;
use crate::store::local::LocalStore;
use crate::store::{Store, StoreKind, Stores};

/// The rules, and the time they are applied at.
pub struct RetentionRules {
    /// The policies of the stores.
    pub settings: RetentionSettings,
    /// The instance and its stores.
    pub place: Place,
    /// Days count back from here.
    pub now: Timestamp,
}

/// A store with this instance's backups.
pub struct StoreBackups {
    /// The store.
    pub store: Arc<dyn Store>,
    /// The store, if it is a folder.
    pub folder: Option<LocalStore>,
    /// Its rules.
    pub policy: Policy,
    /// The backups, the oldest first.
    pub backups: Vec<Backup>,
    /// Their rows by table, as far as they were counted.
    pub rows: RowsById,
    /// Why nothing is removed from it.
    pub failure: Option<Error>,
}

/// The decision on a backup, in the order of the store's backups.
#[derive(Debug)]
pub struct Planned {
    /// What the rules say.
    pub decision: Decision,
    /// Whether it was removed.
    pub removed: bool,
    /// Why it could not be removed.
    pub error: Option<Error>,
}

/// The backups of a store that are to be removed.
pub fn removals(planned: &[Planned]) -> impl Iterator<Item = &Planned> {
    planned.iter().filter(|planned| !planned.decision.keep)
}

impl RetentionRules {
    /// The stores with the backups that `read` gives, the local one first.
    pub fn store_backups(
        &self,
        stores: &Stores,
        mut read: impl FnMut(&dyn Store) -> Result<Vec<Backup>>,
    ) -> Vec<StoreBackups> {
        let mut of_store = |store: Arc<dyn Store>, folder: Option<LocalStore>, policy| {
            let (backups, failure) = match read(store.as_ref()) {
                Ok(backups) => (backups, None),
                Err(error) => (Vec::new(), Some(error.context(format!("{} is not cleaned", store.location())))),
            };
            StoreBackups { store, folder, policy, backups, rows: RowsById::new(), failure }
        };
        let mut all = Vec::new();
        if let Some(local) = &stores.local {
            all.push(of_store(Arc::new(local.clone()), Some(local.clone()), self.settings.local));
        }
        if let Some(s3) = &stores.s3 {
            all.push(of_store(Arc::clone(s3) as Arc<dyn Store>, None, self.settings.s3));
        }
        all
    }

    /// Decides for each database in each store separately. A store whose object locks cannot be read gets a failure.
    pub fn plan(&self, stores: &mut [StoreBackups]) -> Vec<Vec<Planned>> {
        let marks = Marks::of_stores(&self.place, stores);
        let awaited = self.awaited(stores);
        let mut planned = Vec::new();
        for store in stores {
            let mut facts: Vec<RetentionFacts<'_>> = store
                .backups
                .iter()
                .map(|backup| RetentionFacts {
                    awaited: store.folder.is_some() && awaited.contains(&backup.manifest.id),
                    rows: store.rows.get(&backup.manifest.id).cloned(),
                    ..marks.facts(backup)
                })
                .collect();
            let decisions = match store.folder {
                Some(_) => Ok(self.decide_all(store, &facts)),
                None => self.decide_with_locks(store, &mut facts),
            };
            let decisions = decisions.unwrap_or_else(|error| {
                store.failure = Some(error.context(format!("{} is not cleaned", store.store.location())));
                store.backups.clear();
                Vec::new()
            });
            let plan = |decision| Planned { decision, removed: false, error: None };
            planned.push(decisions.into_iter().map(plan).collect());
        }
        planned
    }

    /// Ids of the folder's backups whose copies in the bucket are still missing, as far as is known. A copy that was deleted there,
    /// or that retention would remove there at once, is not missing; a damaged copy is.
    fn awaited(&self, stores: &[StoreBackups]) -> HashSet<String> {
        let (local, bucket) = match stores {
            [local, bucket] => (local, bucket),
            _ => return HashSet::new(),
        };
        let whole: Vec<&Backup> = local.backups.iter().filter(|backup| backup.status != Status::Damaged).collect();
        let there: HashMap<&str, Status> =
            bucket.backups.iter().map(|backup| (backup.manifest.id.as_str(), backup.status)).collect();
        let address = self.place.s3.as_ref().map(address).unwrap_or_default();
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
        would_stay(&lacking, &there, &bucket.policy, self.now, &self.settings.zone)
    }

    /// Decides for each database, by the name in the manifest: `foo` is not `foobar`.
    fn decide_all(&self, store: &StoreBackups, facts: &[RetentionFacts<'_>]) -> Vec<Decision> {
        by_database(&store.backups.iter().collect::<Vec<_>>(), facts, &store.policy, self.now, &self.settings.zone)
    }

    /// Reads the object locks of the backups to be removed only: a lock keeps its own backup and no other.
    fn decide_with_locks<'a>(
        &self,
        store: &'a StoreBackups,
        facts: &mut [RetentionFacts<'a>],
    ) -> Result<Vec<Decision>> {
        let decisions = self.decide_all(store, facts);
        let removed: Vec<usize> = (0..decisions.len()).filter(|at| !decisions[*at].keep).collect();
        if removed.is_empty() || !store.store.has_locks() {
            return Ok(decisions);
        }
        // The manifest was written last, so its lock ends last.
        let keys = removed.iter().map(|at| (*at, Manifest::key(&store.backups[*at].manifest.id))).collect();
        for (at, lock) in locks(store.store.as_ref(), keys)? {
            facts[at].locked_until = lock;
        }
        let unlocked = removed.into_iter().filter(|at| facts[*at].locked_until.is_none());
        let files = |at: usize| store.backups[at].manifest.files.iter().map(move |file| (at, file.key.clone()));
        let keys = unlocked.flat_map(files).collect();
        for (at, lock) in locks(store.store.as_ref(), keys)? {
            facts[at].locked_until = facts[at].locked_until.or(lock);
        }
        Ok(self.decide_all(store, facts))
    }
}

/// The backups that a retention run at `now` would remove, as the kind of the store and the backup. `backups` has the backups of
/// this instance in each store that could be read, and `rows` the rows of those that were counted.
pub fn foresee(
    settings: &RetentionSettings,
    place: &Place,
    stores: &Stores,
    (backups, rows): (&HashMap<StoreKind, Vec<Backup>>, &RowsById),
    now: Timestamp,
) -> Vec<(StoreKind, Backup)> {
    let read = |store: &dyn Store| {
        let backups = backups.get(&store.kind()).cloned();
        backups.ok_or_else(|| Error::new(Kind::Unavailable, format!("{} could not be read", store.location())))
    };
    let rules = RetentionRules { settings: settings.clone(), place: place.clone(), now };
    let mut stores = rules.store_backups(stores, read);
    stores.iter_mut().for_each(|store| store.rows.clone_from(rows));
    let planned = rules.plan(&mut stores);
    let removed = stores.into_iter().zip(planned).flat_map(|(store, planned)| {
        let kind = store.store.kind();
        let expired = store.backups.into_iter().zip(planned).filter(|(_, planned)| !planned.decision.keep);
        expired.map(move |(backup, _)| (kind, backup)).collect::<Vec<_>>()
    });
    removed.collect()
}

/// Pins, proofs and acknowledgements, which count in every store.
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

    fn of_stores(place: &Place, stores: &[StoreBackups]) -> Self {
        let mut acknowledged = Acknowledged::default();
        for store in stores.iter().filter(|store| store.failure.is_none()) {
            acknowledged.merge(Acknowledged::read(store.store.as_ref(), &place.instance));
        }
        Marks::of(stores.iter().flat_map(|store| &store.backups), acknowledged)
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
            rows: None,
        }
    }
}

/// The ids of those candidates that a store would keep beside the backups it has: a copy that retention would remove at once need
/// not be made.
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
    // An acknowledgement only ever allows a removal.
    let marks = Marks::of(all.iter().copied(), Acknowledged::default());
    let facts: Vec<RetentionFacts<'_>> = all.iter().map(|backup| marks.facts(backup)).collect();
    let decisions = by_database(&all, &facts, policy, now, zone);
    let kept = candidates.iter().zip(decisions).filter(|(_, decision)| decision.keep);
    kept.map(|(backup, _)| id(backup)).collect()
}

/// Whether the record of its last verify cannot be read: the backup may be damaged. It replaces no other backup, and is not removed
/// itself.
fn is_unclear(backup: &Backup) -> bool {
    backup.verification_error.is_some() && backup.status != Status::Damaged
}

fn id(backup: &Backup) -> String {
    backup.manifest.id.clone()
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

/// Until when the store refuses to delete each of these objects, read in parallel.
fn locks(store: &dyn Store, keys: Vec<(usize, String)>) -> Result<Vec<(usize, Option<Timestamp>)>> {
    let locks = parallel::map(&keys, |(at, key)| store.locked_until(key).map(|lock| (*at, lock)));
    locks.into_iter().collect()
}

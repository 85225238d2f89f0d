//! Checks of the stores: whether they can be read, what is damaged or left over in them, and whether there is room.

use jiff::SignedDuration;

use crate::config::{MinFree, MonitorSettings};
use crate::format::{bytes, count, quoted, some, span};
use crate::health::coverage::Coverage;
use crate::health::facts::{BackupFacts, Facts, Mixed, State, StoreContents, StoreFacts};
use crate::health::{Finding, Level};
use crate::host::disk::Disk;

/// The age up to which an unfinished file may belong to a running backup.
const DEBRIS_AGE: SignedDuration = SignedDuration::from_hours(24);

/// The time a copy to the other store may take after the backup.
const COPYING: SignedDuration = SignedDuration::from_hours(2);

/// The number of names in a finding.
const SHOWN: usize = 3;

/// The number of a database's last backups that predict the size of its next one.
const LAST: usize = 3;

/// Free files below this may not suffice for the next run.
const FEWEST_FILES: u64 = 100;

pub fn findings(facts: &Facts, settings: &MonitorSettings) -> Vec<Finding> {
    let mixed = |Mixed { what, message, hint, unclear }: &Mixed| {
        let level = if *unclear { Level::Critical } else { Level::Warning };
        Finding::new(level, "mixed_servers", *what, message, hint)
    };
    let mut findings: Vec<Finding> = facts.mixed.iter().map(mixed).collect();
    for store in &facts.stores {
        match &store.contents {
            Ok(contents) => {
                findings.extend(unusable(store, contents));
                findings.extend(unread_results(store, contents));
                findings.extend(debris(facts, store, contents));
                findings.extend(damaged(store, contents));
            }
            Err(trouble) => findings.push(Finding::new(
                if facts.stores.first().is_some_and(|first| first.name == store.name) {
                    Level::Critical
                } else {
                    // The first store has the backups as well.
                    Level::Warning
                },
                "store_unreadable",
                store.name,
                &trouble.message,
                &trouble.hint,
            )),
        }
    }
    findings.extend(behind(facts));
    findings.extend(facts.disk.and_then(|disk| in_memory(facts, disk)));
    findings.extend(facts.disk.and_then(|disk| full(facts, disk, settings)));
    findings
}

/// A directory in memory, which the next boot empties; a warning only if a bucket has the backups as well.
fn in_memory(facts: &Facts, disk: Disk) -> Option<Finding> {
    let store = facts.stores.first().filter(|_| disk.in_memory)?;
    let level = if facts.stores.len() > 1 { Level::Warning } else { Level::Critical };
    let message = format!("{} is in memory: its contents are lost at the next reboot", store.location);
    Some(Finding::new(level, "in_memory", store.name, message, "set BACKUP_DIR to a folder on a disk"))
}

fn unusable(store: &StoreFacts, contents: &StoreContents) -> Option<Finding> {
    let (_, why) = contents.unusable.first()?;
    let keys: Vec<&str> = contents.unusable.iter().map(|(key, _)| key.as_str()).collect();
    Some(Finding::new(
        Level::Warning,
        "unusable_manifest",
        store.name,
        format!("{} cannot be used: {}: {why}", count(keys.len(), "manifest"), some(&keys, SHOWN)),
        format!(
            "the backups of these manifests in {} cannot be listed; pgcellar list shows each reason",
            store.location
        ),
    ))
}

fn unread_results(store: &StoreFacts, contents: &StoreContents) -> Option<Finding> {
    let (id, why) = contents.unread_results.first()?;
    let ids: Vec<&str> = contents.unread_results.iter().map(|(id, _)| id.as_str()).collect();
    Some(Finding::new(
        Level::Warning,
        "unread_result",
        store.name,
        format!(
            "the result of the last verify cannot be read of {} in {}: {}: {why}",
            count(ids.len(), "backup"),
            store.location,
            some(&ids, SHOWN)
        ),
        format!("it may have recorded damage: pgcellar verify {id} records a new result"),
    ))
}

fn debris(facts: &Facts, store: &StoreFacts, contents: &StoreContents) -> Option<Finding> {
    let old = |(_, _, modified): &&(String, u64, _)| facts.now.duration_since(*modified) > DEBRIS_AGE;
    let old: Vec<_> = contents.debris.iter().filter(old).collect();
    let keys: Vec<&str> = old.iter().map(|(key, _, _)| key.as_str()).collect();
    let size = old.iter().fold(0_u64, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
    (!old.is_empty()).then(|| {
        Finding::new(
            Level::Warning,
            "debris",
            store.name,
            format!(
                "{} in {}, older than a day, {} a run that did not end well: {} ({})",
                count(keys.len(), "unfinished file"),
                store.location,
                if keys.len() == 1 { "is from" } else { "are from" },
                some(&keys, SHOWN),
                bytes(size)
            ),
            "the next backup removes what is provably its own; the log of the run shows how it ended",
        )
    })
}

/// One finding for each database: a failing disk damages many files.
fn damaged(store: &StoreFacts, contents: &StoreContents) -> Vec<Finding> {
    let mut found: std::collections::BTreeMap<&str, Vec<(&BackupFacts, &str)>> = std::collections::BTreeMap::new();
    for backup in &contents.backups {
        if let State::Damaged(damage) = &backup.state {
            let first = damage.first().map_or("its last verify failed", String::as_str);
            found.entry(&backup.database).or_default().push((backup, first));
        }
    }
    let each = found.into_iter().map(|(database, damaged)| {
        let (newest, why) = damaged[damaged.len() - 1];
        let others = match damaged.len() {
            1 => String::new(),
            several => format!(", and {} more of its backups", several - 1),
        };
        Finding::new(
            Level::Critical,
            "damaged",
            format!("{database} in {}", store.name),
            format!("{} in {} is damaged: {why}{others}", newest.id, store.name),
            format!("pgcellar verify {} shows all damage; make a new backup, and look at the disk", newest.id),
        )
    });
    each.collect()
}

/// Backups of the first store that are newer than the newest in another one.
fn behind(facts: &Facts) -> Vec<Finding> {
    let [first, others @ ..] = facts.stores.as_slice() else { return Vec::new() };
    let mut findings = Vec::new();
    for store in others.iter().filter(|store| store.contents.is_ok()) {
        for protection in Coverage::all(facts) {
            findings.extend(behind_in(facts, first, store, &protection));
        }
    }
    findings
}

fn behind_in(facts: &Facts, first: &StoreFacts, store: &StoreFacts, protection: &Coverage<'_>) -> Option<Finding> {
    let database = protection.database;
    let of = |store: &'_ StoreFacts| -> Vec<BackupFacts> {
        store.backups().iter().filter(|backup| backup.database == database && backup.is_good()).cloned().collect()
    };
    let copied = of(store);
    let newest = copied.last().map(|backup| backup.started);
    let had_time = |backup: &BackupFacts| facts.now.duration_since(backup.ended) > COPYING;
    let missing: Vec<BackupFacts> = of(first)
        .into_iter()
        .filter(|backup| newest.is_none_or(|newest| backup.started > newest) && had_time(backup))
        .collect();
    let oldest = missing.first()?;
    let ids: Vec<&str> = missing.iter().rev().map(|backup| backup.id.as_str()).collect();
    // Critical as late as a missing backup is; for a database that is not configured any more, a warning.
    let late = facts.now.duration_since(newest.unwrap_or(oldest.started));
    let critical = protection.expected.is_some() && late.unsigned_abs() > facts.schedule.recent.saturating_mul(2);
    let level = match critical {
        true => Level::Critical,
        false => Level::Warning,
    };
    let last = match newest {
        Some(newest) => format!("the newest there is {} old", span(facts.now.duration_since(newest).unsigned_abs())),
        None => "none of its backups is there".to_owned(),
    };
    Some(Finding::new(
        level,
        "copies_behind",
        format!("{database} in {}", store.name),
        format!(
            "{} of {} {} not in {}: {}; {last}",
            count(ids.len(), "backup"),
            quoted(database),
            if ids.len() == 1 { "is" } else { "are" },
            store.location,
            some(&ids, SHOWN)
        ),
        "the next backup copies what is missing; the log of the last one shows why it could not",
    ))
}

fn full(facts: &Facts, disk: Disk, settings: &MonitorSettings) -> Option<Finding> {
    let store = facts.stores.first()?;
    let free = disk.free_bytes;
    let least = least_free(disk, settings);
    let next = next_run_bytes(facts);
    let (check, message) = if free < least {
        let message = format!(
            "{} of {} are free in {}, less than {}",
            bytes(free),
            bytes(disk.bytes),
            store.location,
            bytes(least)
        );
        ("storage_full", message)
    } else if disk.free_files.is_some_and(|files| files < FEWEST_FILES) {
        (
            "storage_full",
            format!("the file system of {} can take no more than {FEWEST_FILES} further files", store.location),
        )
    } else if next > free {
        let message =
            format!("the next backup needs about {}, and {} are free in {}", bytes(next), bytes(free), store.location);
        ("next_backup_fits", message)
    } else {
        return None;
    };
    let hint = "free space there, keep fewer backups (BACKUP_RETENTION_DAYS), or set BACKUP_DIR to a larger disk";
    Some(Finding::new(Level::Critical, check, store.name, message, hint))
}

/// The least free space in bytes.
pub fn least_free(disk: Disk, settings: &MonitorSettings) -> u64 {
    match settings.min_free {
        MinFree::Bytes(bytes) => bytes,
        MinFree::Percent(percent) => (disk.bytes as f64 * percent / 100.0) as u64,
    }
}

/// What the next run will write, guessed: of each database as much as the largest of its last backups, and a tenth more.
fn next_run_bytes(facts: &Facts) -> u64 {
    let expected = Coverage::all(facts).into_iter().filter(|protection| protection.expected.is_some());
    let largest =
        |protection: &Coverage<'_>| protection.good(facts.now).rev().take(LAST).map(|backup| backup.bytes).max();
    let sum = expected.fold(0_u64, |sum, protection| sum.saturating_add(largest(&protection).unwrap_or(0)));
    sum.saturating_add(sum / 10)
}

//! Checks of each database: whether it has backups, enough of them, new ones, and none that is too large or too old.

use std::time::Duration;

use jiff::SignedDuration;

use crate::catalogue::details::WHERE_KEYS_ARE;
use crate::catalogue::emptied::Emptied;
use crate::config::{MaxAge, MonitorSettings};
use crate::format::{bytes, count, quoted, some, span, time};
use crate::health::coverage::{Coverage, is_from_future};
use crate::health::facts::{BackupFacts, ExpectedDatabase, Facts, State};
use crate::health::{Finding, Level};
use crate::printable::printable;

/// The number of names in a finding.
const SHOWN: usize = 3;

pub fn findings(facts: &Facts, protections: &[Coverage<'_>], settings: &MonitorSettings) -> Vec<Finding> {
    // Stores that cannot be read have a finding of their own.
    if facts.stores.iter().all(|store| store.contents.is_err()) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if protections.is_empty() {
        findings.push(Finding::new(
            Level::Critical,
            "no_backup",
            "",
            format!("there is no backup, and no database is configured for {}", quoted(&facts.instance)),
            "set DB_NAME to the databases to back up, and run pgcellar backup",
        ));
    }
    for protection in protections {
        let expected = protection.expected.into_iter();
        findings.extend(expected.filter_map(|expected| match incomplete(facts, protection) {
            Some(found) => Some(found),
            None => recent(facts, protection, expected),
        }));
        findings.extend(protection.expected.and_then(|_| few(facts, protection, settings)));
        findings.extend(large(protection, settings));
        findings.extend(old(facts, protection, settings));
    }
    findings.extend(overdue(facts, settings));
    findings.extend(clock(facts, protections));
    findings
}

fn recent(facts: &Facts, protection: &Coverage<'_>, expected: &ExpectedDatabase) -> Option<Finding> {
    let Some(newest) = protection.newest(facts.now) else { return none(facts, protection, expected) };
    let age = Duration::try_from(facts.now.duration_since(newest.started)).unwrap_or_default();
    let limit = facts.schedule.recent;
    let level = match age {
        _ if age > limit.saturating_mul(2) => Level::Critical,
        _ if age > limit => Level::Warning,
        _ => return None,
    };
    Some(Finding::new(
        level,
        "not_recent",
        protection.database,
        format!(
            "the newest good backup of {} is {} old: {}; {} are allowed ({})",
            quoted(protection.database),
            span(age),
            newest.id,
            span(limit),
            facts.schedule.because
        ),
        advice(facts),
    ))
}

/// The newest backup, if it is recent enough and lacks only the rows of rewritten tables.
fn incomplete(facts: &Facts, protection: &Coverage<'_>) -> Option<Finding> {
    let usable =
        |backup: &&BackupFacts| !matches!(backup.state, State::Damaged(_)) && !is_from_future(backup, facts.now);
    let newest = protection.backups.iter().rev().map(|kept| kept.backup).find(usable)?;
    let age = Duration::try_from(facts.now.duration_since(newest.started)).unwrap_or_default();
    (newest.state == State::Partial && newest.rewritten_tables > 0 && age <= facts.schedule.recent).then(|| {
        Finding::new(
            Level::Warning,
            "incomplete",
            protection.database,
            format!(
                "the newest backup of {} lacks the rows of {}: {}; {} when the dump began",
                quoted(protection.database),
                match newest.rewritten.as_slice() {
                    [] => format!(
                        "{} (pgcellar show names them with a private key)",
                        count(newest.rewritten_tables, "table")
                    ),
                    names => some(names, SHOWN),
                },
                newest.id,
                if newest.rewritten_tables == 1 { "the table was rewritten" } else { "the tables were rewritten" },
            ),
            "run the backup at a time when nothing truncates or rewrites them",
        )
    })
}

/// The hint for a missing backup.
fn advice(facts: &Facts) -> String {
    let (instance, place) = (&facts.instance, &facts.surroundings);
    let log = place.log(&format!("pgcellar-backup@{instance}"));
    format!("run {}; {log} shows how the last run ended", place.call(instance, "backup"))
}

fn none(facts: &Facts, protection: &Coverage<'_>, expected: &ExpectedDatabase) -> Option<Finding> {
    let name = quoted(protection.database);
    let has_failed = || facts.units.iter().any(|unit| unit.is_failure_of("backup"));
    if facts.schedule.is_off
        && protection.backups.is_empty()
        && expected.first_due.is_none_or(|_| expected.has_time(facts.now))
        && !has_failed()
    {
        let message = format!("there is no backup of {name} yet, and none begins by itself: BACKUP_SCHEDULE is off");
        return Some(Finding::new(Level::Warning, "no_backup", protection.database, message, advice(facts)));
    }
    if let Some(due) = expected.first_due
        && protection.backups.is_empty()
        && expected.has_time(facts.now)
    {
        let message = format!("there is no backup of {name} yet: the first one is due at {}", time(due, &facts.zone));
        return Some(Finding::new(Level::Ok, "pending", protection.database, message, ""));
    }
    let number =
        |has_state: fn(&State) -> bool| protection.backups.iter().filter(|kept| has_state(&kept.backup.state)).count();
    let (damaged, partial) =
        (number(|state| matches!(state, State::Damaged(_))), number(|state| *state == State::Partial));
    let future = protection
        .backups
        .iter()
        .filter(|kept| kept.backup.is_good() && is_from_future(kept.backup, facts.now))
        .count();
    let others = match (damaged, partial) {
        _ if future > 0 => format!(
            " that began in the past ({} in the future)",
            if future == 1 { "one began".to_owned() } else { format!("{future} began") }
        ),
        (0, 0) => String::new(),
        (0, partial) => format!(" ({partial} without all data)"),
        (damaged, 0) => format!(" ({damaged} damaged)"),
        (damaged, partial) => format!(" ({damaged} damaged, {partial} without all data)"),
    };
    let message = format!("there is no good backup of {name}{others}");
    Some(Finding::new(Level::Critical, "no_backup", protection.database, message, advice(facts)))
}

fn few(facts: &Facts, protection: &Coverage<'_>, settings: &MonitorSettings) -> Option<Finding> {
    let number = protection.good(facts.now).count();
    // No backup at all is another finding.
    (number > 0 && (number as u64) < settings.min_backups).then(|| {
        Finding::new(
            Level::Warning,
            "few_backups",
            protection.database,
            format!(
                "{} has {}, fewer than MONITOR_MIN_BACKUPS={}",
                quoted(protection.database),
                count(number, "good backup"),
                settings.min_backups
            ),
            "does retention keep so many, and did the last backups succeed? pgcellar list shows them",
        )
    })
}

fn large(protection: &Coverage<'_>, settings: &MonitorSettings) -> Option<Finding> {
    let limit = settings.max_bytes?;
    let large: Vec<&BackupFacts> =
        protection.backups.iter().map(|kept| kept.backup).filter(|backup| backup.bytes > limit).collect();
    let newest = large.last()?;
    let others = match large.len() {
        1 => String::new(),
        several => format!(", and so have {} more", several - 1),
    };
    Some(Finding::new(
        Level::Warning,
        "too_large",
        protection.database,
        format!("{} has {}, more than MONITOR_MAX_SIZE ({}){others}", newest.id, bytes(newest.bytes), bytes(limit)),
        "find the table that grew (pgcellar restore --list), or set MONITOR_MAX_SIZE to the new usual size",
    ))
}

fn old(facts: &Facts, protection: &Coverage<'_>, settings: &MonitorSettings) -> Option<Finding> {
    let MaxAge::Days(days) = settings.max_age else { return None };
    let limit = SignedDuration::from_hours(24 * i64::from(days));
    // Retention never removes the last good backup, the last fully verified or proven one, nor those around an emptied database.
    let (newest, emptied) = (protection.newest(facts.now), protection.emptied(facts.now));
    let verified = protection.good(facts.now).rfind(|backup| backup.verified.is_some());
    let proven = protection.proven().map(|(backup, _)| backup);
    let kept = [newest, verified, proven, emptied.map(|found| found.before), emptied.map(|found| found.first)];
    let before_loss = protection.shrunk(facts, settings.max_shrink);
    let is_before_loss = |backup: &BackupFacts| before_loss.iter().any(|lost| lost.between.before.id == backup.id);
    let is_kept =
        |backup: &BackupFacts| kept.iter().flatten().any(|kept| kept.id == backup.id) || is_before_loss(backup);
    let old = |backup: &&BackupFacts| facts.now.duration_since(backup.started) > limit && !is_kept(backup);
    let old: Vec<&BackupFacts> = protection.backups.iter().map(|kept| kept.backup).filter(old).collect();
    let oldest = old.first()?;
    Some(Finding::new(
        Level::Warning,
        "too_old",
        protection.database,
        format!(
            "{} of {} older than MONITOR_MAX_AGE_DAYS={days}, the oldest {} ({})",
            count(old.len(), "backup"),
            quoted(protection.database),
            oldest.id,
            span(facts.now.duration_since(oldest.started).unsigned_abs())
        ),
        "does retention run? pgcellar retention --dry-run shows what it would remove",
    ))
}

/// Backups that retention should have removed.
fn overdue(facts: &Facts, settings: &MonitorSettings) -> Vec<Finding> {
    if settings.max_age != MaxAge::Retention {
        return Vec::new();
    }
    let removals = facts.removals.as_deref().unwrap_or_default();
    let each = facts.stores.iter().filter_map(|store| {
        let overdue = removals.iter().filter(|removal| removal.store == store.name && removal.overdue);
        let ids: Vec<&str> = overdue.map(|removal| removal.id.as_str()).collect();
        (!ids.is_empty()).then(|| {
            Finding::new(
                Level::Warning,
                "retention_behind",
                store.name,
                format!(
                    "{} in {} should have been removed two days ago: {}",
                    count(ids.len(), "backup"),
                    store.location,
                    some(&ids, SHOWN)
                ),
                "does retention run? pgcellar retention --dry-run shows what it would remove, and why",
            )
        })
    });
    each.collect()
}

fn clock(facts: &Facts, protections: &[Coverage<'_>]) -> Option<Finding> {
    let all = protections.iter().flat_map(|protection| &protection.backups).map(|kept| kept.backup);
    let future: Vec<&BackupFacts> = all.filter(|backup| is_from_future(backup, facts.now)).collect();
    let latest = future.iter().max_by_key(|backup| backup.started)?;
    Some(Finding::new(
        Level::Warning,
        "clock",
        "",
        format!(
            "{} in the future, the latest {}: the clock went back, or was ahead then",
            if future.len() == 1 { "a backup began".to_owned() } else { format!("{} backups began", future.len()) },
            latest.id
        ),
        "check the clock (timedatectl); the age of such a backup is unknown, so it is not counted",
    ))
}

/// One finding for each database, until it is acknowledged or the rows are back.
pub fn emptied(facts: &Facts, protections: &[Coverage<'_>]) -> Vec<Finding> {
    let expected = protections.iter().filter(|protection| protection.expected.is_some());
    expected.filter_map(|protection| emptied_one(facts, protection)).collect()
}

fn emptied_one(facts: &Facts, protection: &Coverage<'_>) -> Option<Finding> {
    let Emptied { before, first } = protection.emptied(facts.now)?;
    let newest = protection.newest(facts.now).filter(|newest| newest.id != first.id);
    let newest = newest.map(|newest| format!(", and {} now {}", newest.id, newest.fill.words()));
    let database = quoted(protection.database);
    Some(Finding::new(
        Level::Critical,
        "emptied",
        protection.database,
        format!(
            "{database} was emptied: {} had {}, the last one before it, {}, had {}{}",
            first.id,
            first.fill.words(),
            before.id,
            before.fill.words(),
            newest.unwrap_or_default()
        ),
        format!(
            "pgcellar restore {} --target-database NAME restores it under another name, and --force in its place; if it was emptied on purpose: \
             pgcellar monitor acknowledge {database}; until then retention keeps that backup",
            before.id
        ),
    ))
}

/// One finding for each database with tables that lost rows, until it is acknowledged or the rows are back. Of an emptied
/// database, which has a finding of its own, nothing more is said.
pub fn shrunk(facts: &Facts, protections: &[Coverage<'_>], settings: &MonitorSettings) -> Vec<Finding> {
    let expected = protections.iter().filter(|protection| protection.expected.is_some());
    let others = expected.filter(|protection| protection.emptied(facts.now).is_none());
    let find = |protection: &Coverage<'_>| {
        shrunk_one(facts, protection, settings.max_shrink).or_else(|| uncounted(facts, protection, settings.max_shrink))
    };
    others.filter_map(find).collect()
}

/// The newest backup, if its rows are not known, so that no loss of rows can be noticed.
fn uncounted(facts: &Facts, protection: &Coverage<'_>, percent: u32) -> Option<Finding> {
    let newest = protection.newest(facts.now).filter(|newest| percent > 0 && !facts.rows.contains_key(&newest.id))?;
    Some(Finding::new(
        Level::Warning,
        "not_counted",
        protection.database,
        format!("the rows of {} cannot be counted, and MONITOR_MAX_SHRINK={percent} compares them", newest.id),
        format!(
            "for encrypted backups give the monitor and retention a private key ({WHERE_KEYS_ARE}); the rows of scripts and of \
             dumps of other tools are never counted"
        ),
    ))
}

fn shrunk_one(facts: &Facts, protection: &Coverage<'_>, percent: u32) -> Option<Finding> {
    let lost = protection.shrunk(facts, percent);
    let first = lost.first()?;
    let names: Vec<String> =
        lost.iter().map(|lost| format!("{} has {} of {} rows", lost.table, lost.now, lost.before)).collect();
    let (database, Emptied { before, first: after }) = (quoted(protection.database), first.between);
    Some(Finding::new(
        Level::Warning,
        "shrunk",
        protection.database,
        format!(
            "{database} lost rows: {} since {}; more than MONITOR_MAX_SHRINK={percent} percent",
            some(&names, SHOWN),
            after.id
        ),
        format!(
            "pgcellar diff {} {} --rows {} shows which; {} still has them, and retention keeps it twice as long, or until: \
             pgcellar monitor acknowledge {database}",
            before.id,
            after.id,
            printable(&first.table),
            before.id
        ),
    ))
}

//! Which backups are kept. The input are facts about the backups, a policy, the time and a zone; the output is for each backup
//! the decision to keep or to remove it, with the reasons.
//!
//! The facts are those of one database in one store. The rules count only good complete backups. Days count back from the
//! newest of these, so that a failing service deletes nothing more, and do not count across a gap (`gap`), so that a single new
//! backup does not either. Regardless of the rules, these are kept: the newest good backup, the newest one that a verify has
//! read completely, the newest one that a drill has proven, the last one before the database was emptied, pinned and locked
//! ones, those from the future (a clock was wrong), and for twice the time those that another store does not have yet, and the
//! last one before a table lost rows.
//!
//! Partial and damaged backups never cause the removal of a good one. They are removed when they are older, before the newest
//! good backup, than the policy's days; no other rule keeps them. If options leave data out of every backup of a database, the
//! rules count its partial ones, and if only damaged ones are left, all of them are kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::catalogue::emptied::{Fill, emptied};
use crate::catalogue::shrunk::shrunk;
use crate::catalogue::{Status, is_from_future};
use crate::config::{DEFAULT_DAYS, Policy, Within};
use crate::fingerprint::TableRows;

mod gap;
mod period;
mod reason;

use gap::KeptBy;
use period::Period;
pub use reason::Reason;

/// The facts about a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionFacts<'a> {
    /// Its id.
    pub id: &'a str,
    /// When it began.
    pub started: Timestamp,
    /// Its state.
    pub status: Status,
    /// Whether it is pinned in any store.
    pub pinned: bool,
    /// Until when the store refuses to delete it.
    pub locked_until: Option<Timestamp>,
    /// Whether it is still to be copied to another store.
    pub awaited: bool,
    /// Whether a drill has proven a copy of it in any store.
    pub proven: bool,
    /// Its numbers of tables and rows.
    pub fill: Fill,
    /// Whether a drop since the backup before it was acknowledged in any store.
    pub acknowledged: bool,
    /// Its rows by table; none if they were not counted.
    pub rows: Option<Arc<TableRows>>,
}

/// The decision on a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is kept.
    pub keep: bool,
    /// All reasons to keep it, or the reason to remove it.
    pub reasons: Vec<Reason>,
}

/// Decides on each backup of one database in one store. The decisions are in the order of the backups, which may be any.
pub fn decide(backups: &[RetentionFacts<'_>], policy: &Policy, now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
    let view = View::new(backups, now, zone);
    let mut reasons = view.rules(policy, Gaps::Skipped);
    let shrunk = view.shrunk(policy.max_shrink);
    let twice = match !shrunk.is_empty() || backups.iter().any(|backup| backup.awaited) {
        true => view.rules(&policy.doubled(), Gaps::Counted),
        false => Vec::new(),
    };
    let emptied = view.emptied();
    for (at, backup) in backups.iter().enumerate() {
        let reasons = &mut reasons[at];
        if view.counted.first() == Some(&at) {
            reasons.push(if view.fallback { Reason::NewestPartial } else { Reason::NewestGood });
        }
        if view.proven == Some(at) {
            reasons.push(Reason::NewestProven);
        } else if view.verified == Some(at) {
            reasons.push(Reason::NewestVerified);
        }
        reasons.extend(emptied.iter().filter(|(of, _)| *of == at).map(|(_, reason)| reason.clone()));
        if is_from_future(backup.started, now) {
            reasons.push(Reason::NotYet);
        } else if view.is_last_resort(backup) {
            reasons.push(Reason::NoGoodOne);
        }
        if backup.pinned {
            reasons.push(Reason::Pinned);
        }
        if let Some(until) = backup.locked_until.filter(|until| *until > now) {
            reasons.push(Reason::Locked(until));
        }
        if reasons.is_empty() && shrunk.contains(&at) && !twice[at].is_empty() {
            reasons.push(Reason::BeforeShrunk);
        }
        if reasons.is_empty() && backup.awaited && !twice[at].is_empty() {
            reasons.push(Reason::Awaited);
        }
    }
    let decision = |(reasons, backup): (Vec<Reason>, &RetentionFacts<'_>)| match reasons.is_empty() {
        false => Decision { keep: true, reasons },
        true => Decision { keep: false, reasons: vec![Reason::expired(backup.status)] },
    };
    reasons.into_iter().zip(backups).map(decision).collect()
}

/// The backups of a database, prepared for the rules.
struct View<'a> {
    backups: &'a [RetentionFacts<'a>],
    zone: &'a TimeZone,
    /// Those that the rules count, the newest first.
    counted: Vec<usize>,
    /// Whether there is no good complete one, and the rules count partial ones.
    fallback: bool,
    /// The newest that a drill has proven: of those that the rules count, or else of all.
    proven: Option<usize>,
    /// The newest of those that the rules count that was read completely, by a full verify or by a drill.
    verified: Option<usize>,
}

/// Whether the time in gaps between backups counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gaps {
    Skipped,
    Counted,
}

fn is_good(status: Status) -> bool {
    matches!(status, Status::Good | Status::Verified)
}

/// Whether the rules count a backup of this status.
fn counts(status: Status, fallback: bool) -> bool {
    if fallback { status == Status::Partial } else { is_good(status) }
}

impl<'a> View<'a> {
    fn new(backups: &'a [RetentionFacts<'a>], now: Timestamp, zone: &'a TimeZone) -> Self {
        let fallback = !backups.iter().any(|backup| is_good(backup.status));
        let counted = |at: &usize| counts(backups[*at].status, fallback) && !is_from_future(backups[*at].started, now);
        let mut counted: Vec<usize> = (0..backups.len()).filter(counted).collect();
        counted.sort_by(|a, b| {
            let (a, b) = (&backups[*a], &backups[*b]);
            (b.started, b.id).cmp(&(a.started, a.id))
        });
        let is_proven = |at: &usize| backups[*at].proven && backups[*at].status != Status::Damaged;
        let others = || (0..backups.len()).filter(is_proven).max_by_key(|at| (backups[*at].started, backups[*at].id));
        let proven = counted.iter().copied().find(is_proven).or_else(others);
        let is_verified = |at: &usize| backups[*at].status == Status::Verified || is_proven(at);
        let verified = counted.iter().copied().find(is_verified);
        View { backups, zone, counted, fallback, proven, verified }
    }

    /// Whether there may be no better backup of the database.
    fn is_last_resort(&self, backup: &RetentionFacts<'_>) -> bool {
        self.counted.is_empty() || (self.fallback && backup.status == Status::Damaged)
    }

    /// The two backups that show that the database was emptied, each with the reason to keep it. Partial ones do not count,
    /// because their options may differ.
    fn emptied(&self) -> Vec<(usize, Reason)> {
        if self.fallback {
            return Vec::new();
        }
        let facts = |at: &usize| (*at, self.backups[*at].fill, self.backups[*at].acknowledged);
        let found = emptied(self.counted.iter().rev().map(facts));
        let both = found.map(|found| [(found.before, Reason::BeforeEmptied), (found.first, Reason::FirstEmptied)]);
        both.into_iter().flatten().collect()
    }

    /// The last backups before tables lost more than this percentage of their rows.
    fn shrunk(&self, percent: u32) -> BTreeSet<usize> {
        let counted = self.counted.iter().rev().filter_map(|at| {
            let backup = self.backups.get(*at)?;
            Some((*at, backup.rows.as_deref()?, backup.acknowledged))
        });
        let found = shrunk(&counted.collect::<Vec<_>>(), if self.fallback { 0 } else { percent });
        found.into_iter().map(|shrunk| shrunk.between.before).collect()
    }

    /// For each backup the rules of the policy that keep it.
    fn rules(&self, policy: &Policy, gaps: Gaps) -> Vec<Vec<Reason>> {
        let mut reasons = vec![Vec::new(); self.backups.len()];
        if self.counted.is_empty() {
            return reasons;
        }
        let ages = ages(policy);
        for (rule, reason) in &ages {
            self.keep_by_age(rule, reason, gaps, &mut reasons);
        }
        // Without a rule of age, the default days apply to the other backups.
        let of_others = match ages.is_empty() {
            true => self::ages(&Policy { days: DEFAULT_DAYS, days_by_default: true, ..*policy }),
            false => ages,
        };
        self.keep_others_by_age(&of_others, &mut reasons);
        for (place, at) in self.counted.iter().enumerate().take(policy.last as usize) {
            reasons[*at].push(Reason::Last(place + 1));
        }
        let periods = [
            (Period::Hour, policy.hourly),
            (Period::Day, policy.daily),
            (Period::Week, policy.weekly),
            (Period::Month, policy.monthly),
            (Period::Year, policy.yearly),
        ];
        for (period, number) in periods {
            self.keep_newest_of_each(period, number, &mut reasons);
        }
        reasons
    }

    /// What a rule of age keeps of the counted backups.
    fn keep_by_age(&self, rule: &Within, reason: &Reason, gaps: Gaps, reasons: &mut [Vec<Reason>]) {
        let times: Vec<Timestamp> = self.counted.iter().map(|at| self.backups[*at].started).collect();
        for (at, kept) in self.counted.iter().zip(gap::kept(&times, rule, self.zone)) {
            match kept {
                KeptBy::ByAge => reasons[*at].push(reason.clone()),
                KeptBy::BeforeGap(gap) if gaps == Gaps::Skipped && !reasons[*at].contains(&Reason::BeforeGap(gap)) => {
                    reasons[*at].push(Reason::BeforeGap(gap));
                }
                KeptBy::BeforeGap(_) => {}
            }
        }
    }

    /// What the rules of age keep of the other backups.
    fn keep_others_by_age(&self, rules: &[(Within, Reason)], reasons: &mut [Vec<Reason>]) {
        let Some(newest) = self.counted.first().map(|at| self.backups[*at].started) else { return };
        for (rule, reason) in rules {
            let since = period::before(newest, rule, self.zone);
            for (at, backup) in self.backups.iter().enumerate() {
                if !counts(backup.status, self.fallback) && backup.started >= since {
                    reasons[at].push(reason.clone());
                }
            }
        }
    }

    /// As restic does: the newest backup of each of the last periods that have one; and while there are too few periods, also
    /// the oldest backup of all, from which the later periods grow.
    fn keep_newest_of_each(&self, period: Period, number: u32, reasons: &mut [Vec<Reason>]) {
        let mut left = number;
        let mut last = None;
        for (place, at) in self.counted.iter().enumerate() {
            if left == 0 {
                return;
            }
            let within = Some(period.of(self.backups[*at].started, self.zone));
            if within != last {
                reasons[*at].push(Reason::NewestOf(period));
                last = within;
                left -= 1;
            } else if place + 1 == self.counted.len() {
                reasons[*at].push(Reason::OldestFor(period));
            }
        }
    }
}

/// The rules of age.
fn ages(policy: &Policy) -> Vec<(Within, Reason)> {
    let mut ages = Vec::new();
    if policy.days > 0 {
        let reason = if policy.days_by_default { Reason::DefaultDays } else { Reason::Days };
        ages.push((Within { days: policy.days, ..Within::default() }, reason(policy.days)));
    }
    if policy.within != Within::default() {
        ages.push((policy.within, Reason::Within(policy.within)));
    }
    ages
}

#[cfg(test)]
mod tests;

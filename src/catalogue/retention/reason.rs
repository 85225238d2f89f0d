//! Why a backup stays or goes, in words.

use std::fmt;

use jiff::Timestamp;

use super::Period;
use crate::catalogue::Status;
use crate::config::Within;

/// Why a backup stays or goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `BACKUP_RETENTION_DAYS`.
    Days(u32),
    /// `BACKUP_KEEP_WITHIN`.
    Within(Within),
    /// `BACKUP_KEEP_LAST`; the newest one is the first.
    Last(usize),
    /// `BACKUP_KEEP_HOURLY` and so on.
    NewestOf(Period),
    /// The same rules, while there are too few periods.
    OldestFor(Period),
    /// The last good backup of its database.
    NewestGood,
    /// The last backup of its database that a drill has proven.
    NewestProven,
    /// Options left data out of all of them.
    NewestPartial,
    /// It is damaged, and there is no good one.
    NoGoodOne,
    /// It began later than now.
    NotYet,
    /// Somebody pinned it.
    Pinned,
    /// The store refuses to delete it until then; for ever under a legal hold.
    Locked(Timestamp),
    /// The record of its last verify cannot be read, and may have said that it is damaged.
    Unclear,
    /// No rule keeps it, and another store does not have it yet.
    Awaited,
    /// No rule keeps it.
    Expired,
    /// It is partial and older than what the days and durations keep.
    ExpiredPartial,
    /// It is damaged and older than what the days and durations keep.
    ExpiredDamaged,
}

impl Reason {
    pub(super) fn expired(status: Status) -> Self {
        match status {
            Status::Good | Status::Verified => Reason::Expired,
            Status::Partial => Reason::ExpiredPartial,
            Status::Damaged => Reason::ExpiredDamaged,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Days(1) => f.write_str("within 1 day"),
            Reason::Days(days) => write!(f, "within {days} days"),
            Reason::Within(within) => write!(f, "within {within}"),
            Reason::Last(1) => f.write_str("newest"),
            Reason::Last(place) => write!(f, "newest but {}", place - 1),
            Reason::NewestOf(period) => write!(f, "newest of its {}", period.name()),
            Reason::OldestFor(period) => write!(f, "oldest, until there are enough {}s", period.name()),
            Reason::NewestGood => f.write_str("last good one"),
            Reason::NewestProven => f.write_str("last proven one"),
            Reason::NewestPartial => f.write_str("last one, all are partial"),
            Reason::NoGoodOne => f.write_str("there is no good one"),
            Reason::NotYet => f.write_str("its time is yet to come"),
            Reason::Pinned => f.write_str("pinned"),
            Reason::Locked(until) if *until == Timestamp::MAX => f.write_str("under a legal hold"),
            Reason::Locked(until) => write!(f, "locked until {until:.0}"),
            Reason::Unclear => f.write_str("the result of its last verify cannot be read"),
            Reason::Awaited => f.write_str("expired, but not in the bucket yet"),
            Reason::Expired => f.write_str("no rule keeps it"),
            Reason::ExpiredPartial => f.write_str("partial and too old"),
            Reason::ExpiredDamaged => f.write_str("damaged and too old"),
        }
    }
}

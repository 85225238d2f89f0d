//! The reasons to keep or to remove a backup, in words.

use std::fmt;

use jiff::{SignedDuration, Timestamp};

use crate::catalogue::Status;
use crate::catalogue::retention::period::Period;
use crate::config::Within;
use crate::format::span;

/// A reason to keep or to remove a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// `BACKUP_RETENTION_DAYS`.
    Days(u32),
    /// The default days, because no rule is set.
    DefaultDays(u32),
    /// A rule of age keeps it if the time in this gap between backups does not count.
    BeforeGap(SignedDuration),
    /// `BACKUP_KEEP_WITHIN`.
    Within(Within),
    /// `BACKUP_KEEP_LAST`; the newest one is number 1.
    Last(usize),
    /// `BACKUP_KEEP_HOURLY` and so on.
    NewestOf(Period),
    /// The same rules, while there are too few periods.
    OldestFor(Period),
    /// The last good backup of its database.
    NewestGood,
    /// The last backup of its database that a drill has proven.
    NewestProven,
    /// The last good backup of its database that was read completely.
    NewestVerified,
    /// It must be read before others of its database are removed.
    ReadFirst,
    /// The newer backup that would replace it could not be read.
    NewestUnread,
    /// The last backup before its database was emptied, which was not acknowledged.
    BeforeEmptied,
    /// The first backup of the emptied database.
    FirstEmptied,
    /// No rule keeps it, but it is the last backup before a table lost rows, which was not acknowledged.
    BeforeShrunk,
    /// The newest one, and options left data out of all of them.
    NewestPartial,
    /// It is damaged, and there is no good one.
    NoGoodOne,
    /// It began in the future.
    NotYet,
    /// It is pinned.
    Pinned,
    /// The store refuses to delete it until then; [`Timestamp::MAX`] under a legal hold.
    Locked(Timestamp),
    /// The record of its last verify cannot be read, and may have recorded damage.
    Unclear,
    /// No rule keeps it, but it is not copied to another store yet.
    Awaited,
    /// No rule keeps it.
    Expired,
    /// It is partial and older than what the days and durations keep.
    ExpiredPartial,
    /// It is damaged and older than what the days and durations keep.
    ExpiredDamaged,
}

impl Reason {
    /// The reason to remove a backup of this status that no rule keeps.
    pub fn expired(status: Status) -> Self {
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
            Reason::DefaultDays(days) => write!(f, "{} (the default)", Reason::Days(*days)),
            Reason::BeforeGap(gap) => {
                write!(f, "from before a gap of {}, too few came after it yet", span(gap.unsigned_abs()))
            }
            Reason::Within(within) => write!(f, "within {within}"),
            Reason::Last(1) => f.write_str("newest"),
            Reason::Last(place) => write!(f, "newest but {}", place - 1),
            Reason::NewestOf(period) => write!(f, "newest of its {}", period.name()),
            Reason::OldestFor(period) => write!(f, "oldest, until there are enough {}s", period.name()),
            Reason::NewestGood => f.write_str("last good one"),
            Reason::NewestProven => f.write_str("last proven one"),
            Reason::NewestVerified => f.write_str("last verified one"),
            Reason::ReadFirst => f.write_str("read before others go"),
            Reason::NewestUnread => f.write_str("the newest one could not be read"),
            Reason::BeforeEmptied => f.write_str("last one before the database was emptied"),
            Reason::FirstEmptied => f.write_str("first one after the database was emptied"),
            Reason::BeforeShrunk => f.write_str("expired, but the last one before a table lost rows"),
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

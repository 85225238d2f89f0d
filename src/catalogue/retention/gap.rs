//! The rules of age across a gap: a single new backup, made with a wrong clock or after a month without backups, does not cause
//! the removal of what the rules would have kept without it.
//!
//! A gap counts if it is longer than half of what the rule keeps, so that most of the backups before it would be removed at
//! once, and if it is unusual: more than twice as long as each gap after it, and as the one before it. For the backups before a
//! gap, the time in it does not count: they are removed one by one, as the backups after it come to span the same time. If
//! backups are made regularly, none of this applies.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::catalogue::retention::period;
use crate::config::Within;

/// Why a rule of age keeps a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptBy {
    /// It is within the age.
    ByAge,
    /// It was within the age before this gap.
    BeforeGap(SignedDuration),
}

/// What a rule of age keeps of these backups, the newest first: the first ones, as many as there are results.
pub fn kept(times: &[Timestamp], rule: &Within, zone: &TimeZone) -> Vec<KeptBy> {
    let Some(newest) = times.first().copied() else { return Vec::new() };
    let since = |skipped: SignedDuration| {
        let moment = newest.checked_sub(skipped).unwrap_or(Timestamp::MIN);
        period::before(moment, rule, zone)
    };
    let young = since(SignedDuration::ZERO);
    let half = newest.duration_since(young) / 2;
    let mut kept = Vec::new();
    let (mut skipped, mut last, mut longest) = (SignedDuration::ZERO, None, SignedDuration::ZERO);
    for (at, time) in times.iter().enumerate() {
        match last {
            _ if *time >= young => kept.push(KeptBy::ByAge),
            Some(gap) if *time >= since(skipped) => kept.push(KeptBy::BeforeGap(gap)),
            _ => break,
        }
        let Some(next) = times.get(at + 1) else { break };
        let gap = time.duration_since(*next);
        // A backup that is removed in any case does not count as usual: the next run would not see it.
        let before = times.get(at + 2).filter(|time| **time >= since(skipped + gap));
        let is_usual = longest >= gap / 2 || before.is_some_and(|before| next.duration_since(*before) >= gap / 2);
        if gap > half && !is_usual {
            skipped += gap;
            last = Some(gap);
        }
        longest = longest.max(gap);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24;

    /// How many of the backups that began so many hours before the first one stay by age, and how many before a gap.
    fn count(hours: &[i64], days: u32) -> (usize, usize) {
        let newest: Timestamp = "2024-06-01T02:00:00Z".parse().unwrap();
        let times: Vec<Timestamp> = hours.iter().map(|hours| newest - SignedDuration::from_hours(*hours)).collect();
        let kept = kept(&times, &Within { days, ..Within::default() }, &TimeZone::UTC);
        let by_age = kept.iter().filter(|kept| **kept == KeptBy::ByAge).count();
        (by_age, kept.len() - by_age)
    }

    fn daily(from: i64, number: i64) -> Vec<i64> {
        (0..number).map(|day| (from + day) * DAY).collect()
    }

    #[test]
    fn regular_backups_are_kept_by_age_alone() {
        assert_eq!(count(&daily(0, 30), 7), (8, 0));
        let weekly: Vec<i64> = (0..10).map(|week| week * 7 * DAY).collect();
        assert_eq!(count(&weekly, 7), (2, 0));
        assert_eq!(count(&weekly, 30), (5, 0));
        // On working days only.
        let working: Vec<i64> = daily(0, 40).into_iter().filter(|hours| !matches!(hours / DAY % 7, 0 | 1)).collect();
        let since_newest: Vec<i64> = working.iter().map(|hours| hours - working[0]).collect();
        assert_eq!(count(&since_newest, 7), (6, 0));
    }

    #[test]
    fn each_new_backup_after_a_gap_removes_at_most_one() {
        for days in 1..=9 {
            let hours = [daily(0, days), daily(days - 1 + 30, 8)].concat();
            let (after, before) = count(&hours, 7);
            let expected = (days as usize, 9 - days as usize);
            assert_eq!((after, before), if days == 9 { (8, 0) } else { expected }, "{days}");
        }
        // A single one has no usual gap, and is kept, too.
        assert_eq!(count(&[0, 30 * DAY], 7), (1, 1));
        assert_eq!(count(&[0, DAY, 31 * DAY], 7), (2, 1));
    }

    #[test]
    fn usual_and_short_gaps_do_not_count() {
        // Four days off, of seven.
        assert_eq!(count(&[vec![0], daily(3, 8)].concat(), 7), (6, 0));
        // Where backups are rarer than the days of the rule, one more stays than the rule says.
        let weekly: Vec<i64> = (0..10).map(|week| week * 7 * DAY).collect();
        assert_eq!(count(&weekly, 6), (1, 1));
        let monthly: Vec<i64> = (0..10).map(|month| month * 30 * DAY).collect();
        assert_eq!(count(&monthly, 7), (1, 1));
    }
}

//! The rules of age across a gap: a single newcomer, of a clock that was wrong or after a month without backups, is no reason
//! to remove what the rules would have kept without it.
//!
//! A gap counts as one if it is longer than half of what the rule keeps, so that most of the backups before it would go
//! at once, and if it is unusual: more than twice as long as each gap after it, and as the one before it. To the backups
//! before a gap, it is as if no time had passed in it: they go one by one, as the backups after it come to span as much.
//! Where backups are made steadily, nothing of this applies.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::catalogue::retention::period;
use crate::config::Within;

/// What keeps a backup of those that the rules go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptBy {
    /// It is young enough.
    ByAge,
    /// It was, before this gap.
    BeforeGap(SignedDuration),
}

/// What a rule of age keeps of these, the newest of which comes first: as many of the first as there are results.
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
        // A backup that goes in any case tells nothing of what is usual: the next run would not see it.
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
    fn steady_backups_go_by_age_alone() {
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
    fn a_newcomer_removes_one_at_most_and_so_does_each_that_follows() {
        for days in 1..=9 {
            let hours = [daily(0, days), daily(days - 1 + 30, 8)].concat();
            let (after, before) = count(&hours, 7);
            let expected = (days as usize, 9 - days as usize);
            assert_eq!((after, before), if days == 9 { (8, 0) } else { expected }, "{days}");
        }
        // One alone has no usual gap, and stays, too.
        assert_eq!(count(&[0, 30 * DAY], 7), (1, 1));
        assert_eq!(count(&[0, DAY, 31 * DAY], 7), (2, 1));
    }

    #[test]
    fn gaps_that_are_usual_or_short_are_none() {
        // Four days off, of seven.
        assert_eq!(count(&[vec![0], daily(3, 8)].concat(), 7), (6, 0));
        // Where backups are rarer than the days of the rule, one more stays than the rule says.
        let weekly: Vec<i64> = (0..10).map(|week| week * 7 * DAY).collect();
        assert_eq!(count(&weekly, 6), (1, 1));
        let monthly: Vec<i64> = (0..10).map(|month| month * 30 * DAY).collect();
        assert_eq!(count(&monthly, 7), (1, 1));
    }
}

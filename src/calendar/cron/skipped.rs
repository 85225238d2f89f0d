//! Days on which the clock skips a run.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::calendar::cron::{Cron, days_from, is_usual, values};

impl Cron {
    /// The days, within a number of days from this time, on which the clock is put forward over a run.
    pub fn skipped(&self, from: Timestamp, days: i64, zone: &TimeZone) -> Vec<Date> {
        let start = from.to_zoned(zone.clone()).date();
        let end = start.saturating_add(days.days());
        days_from(start, 1)
            .take_while(|day| *day < end)
            .filter(|day| !is_usual(*day, zone) && self.has_day(*day) && self.has_gap(*day, zone))
            .collect()
    }

    /// The runs that cron makes up for skipped ones on these days, right after the clock was put forward. systemd has none
    /// (`tm_within_bounds` in `src/shared/calendarspec.c`). Neither has a line that follows the clock, and a run that is due at
    /// that time anyway does not count.
    pub fn made_up(&self, from: Timestamp, days: i64, zone: &TimeZone) -> Vec<Timestamp> {
        let days = self.skipped(from, days, zone).into_iter();
        let mut runs: Vec<Timestamp> =
            days.flat_map(|day| self.after_gaps(day, zone)).filter(|run| *run > from).collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    }

    fn after_gaps(&self, day: Date, zone: &TimeZone) -> Vec<Timestamp> {
        let times = values(self.hours).flat_map(|hour| values(self.minutes).map(move |minute| (hour, minute)));
        let skipped = times.filter(|time| is_in_gap(day, *time, zone));
        let made_up = skipped.flat_map(|time| self.moments(day, time, zone)).flatten();
        made_up.filter(|run| !self.is_due(*run, zone)).collect()
    }

    /// Whether this is a time of the line.
    fn is_due(&self, at: Timestamp, zone: &TimeZone) -> bool {
        let local = at.to_zoned(zone.clone());
        let has = |field: u64, value: i8| values(field).any(|one| one == value);
        self.has_day(local.date()) && has(self.hours, local.hour()) && has(self.minutes, local.minute())
    }

    fn has_gap(&self, day: Date, zone: &TimeZone) -> bool {
        let mut times = values(self.hours).flat_map(|hour| values(self.minutes).map(move |minute| (hour, minute)));
        times.any(|time| is_in_gap(day, time, zone))
    }
}

/// Whether the clock is put forward over this time of a day.
fn is_in_gap(day: Date, (hour, minute): (i8, i8), zone: &TimeZone) -> bool {
    DateTime::new(day.year(), day.month(), day.day(), hour, minute, 0, 0)
        .is_ok_and(|civil| matches!(zone.to_ambiguous_timestamp(civil).offset(), AmbiguousOffset::Gap { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_in_the_hour_that_summer_time_skips() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let from = "2026-11-22T12:00:00Z".parse().unwrap();
        let skipped = |line: &str, zone: &TimeZone| Cron::parse(line).unwrap().skipped(from, 366, zone);
        assert_eq!(skipped("30 2 * * *", &berlin), ["2027-03-28".parse::<Date>().unwrap()]);
        assert_eq!(skipped("*/30 * * * *", &berlin), ["2027-03-28".parse::<Date>().unwrap()]);
        assert_eq!(skipped("30 3 * * *", &berlin), []);
        assert_eq!(skipped("30 2 * * mon", &berlin), []);
        assert_eq!(skipped("30 2 * * *", &TimeZone::UTC), []);
    }

    #[test]
    fn what_is_skipped_comes_once_after_the_gap() {
        for (line, zone, from, expected) in [
            ("0 2 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &["2027-03-28T01:00:00Z"][..]),
            ("*/5 2 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &[]),
            ("0,30 2 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &["2027-03-28T01:00:00Z"]),
            // It comes at three o'clock anyhow.
            ("0 2,3 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &[]),
            ("0 2 * * mon", "Europe/Berlin", "2026-11-22T12:00:00Z", &[]),
            ("0 3 * * *", "Europe/Berlin", "2026-11-22T12:00:00Z", &[]),
            ("0 2 * * *", "UTC", "2026-11-22T12:00:00Z", &[]),
            ("0 0 * * *", "America/Sao_Paulo", "2018-01-01T12:00:00Z", &["2018-11-04T03:00:00Z"]),
            ("30 0 * * *", "Africa/Cairo", "2026-11-22T12:00:00Z", &["2027-04-29T22:00:00Z"]),
            // The clock is put forward by half an hour.
            ("15 2 * * *", "Australia/Lord_Howe", "2026-11-22T12:00:00Z", &["2027-10-02T15:30:00Z"]),
            ("30 2 * * *", "Australia/Lord_Howe", "2026-11-22T12:00:00Z", &[]),
        ] {
            let (zone, cron) = (TimeZone::get(zone).unwrap(), Cron::parse(line).unwrap());
            let from: Timestamp = from.parse().unwrap();
            let runs = cron.made_up(from, 365, &zone);
            assert_eq!(runs.iter().map(Timestamp::to_string).collect::<Vec<_>>(), expected, "{line} in {zone:?}");
            // They are runs of the line.
            for run in runs {
                let before = run.checked_sub(1.second()).unwrap();
                assert_eq!(cron.next(before, &zone), Some(run), "{line}");
            }
        }
    }
}

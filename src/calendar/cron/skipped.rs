//! Days on which the clock skips a run.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

use crate::calendar::cron::{Cron, days_from, is_usual, values};

impl Cron {
    /// The days from this moment on, as many as said, on which the clock is put forward over a run.
    pub fn skipped(&self, from: Timestamp, days: i64, zone: &TimeZone) -> Vec<Date> {
        let start = from.to_zoned(zone.clone()).date();
        let end = start.saturating_add(days.days());
        days_from(start, 1)
            .take_while(|day| *day < end)
            .filter(|day| !is_usual(*day, zone) && self.has_day(*day) && self.has_gap(*day, zone))
            .collect()
    }

    fn has_gap(&self, day: Date, zone: &TimeZone) -> bool {
        let mut times = values(self.hours).flat_map(|hour| values(self.minutes).map(move |minute| (hour, minute)));
        times.any(|(hour, minute)| {
            DateTime::new(day.year(), day.month(), day.day(), hour, minute, 0, 0)
                .is_ok_and(|civil| matches!(zone.to_ambiguous_timestamp(civil).offset(), AmbiguousOffset::Gap { .. }))
        })
    }
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
}

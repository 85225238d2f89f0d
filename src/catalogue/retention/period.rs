//! Hours, days, weeks, months and years of a time zone.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::config::Within;

/// A period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// An hour. An hour that a clock change repeats counts as two.
    Hour,
    /// A day.
    Day,
    /// A week of ISO 8601: it begins on Monday, and belongs to the year of its Thursday.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
            Period::Year => "year",
        }
    }

    /// A value that is equal for two moments if and only if they are in the same period.
    pub fn of(self, moment: Timestamp, zone: &TimeZone) -> (i16, i16, i8, i32) {
        let zoned = moment.to_zoned(zone.clone());
        match self {
            Period::Hour => (zoned.year(), zoned.day_of_year(), zoned.hour(), zoned.offset().seconds()),
            Period::Day => (zoned.year(), zoned.day_of_year(), 0, 0),
            Period::Week => {
                let week = zoned.date().iso_week_date();
                (week.year(), week.week().into(), 0, 0)
            }
            Period::Month => (zoned.year(), zoned.month().into(), 0, 0),
            Period::Year => (zoned.year(), 0, 0, 0),
        }
    }
}

/// The moment that is this long before another: years, months and days by the calendar, then hours. It is not before the earliest
/// possible time.
pub fn before(moment: Timestamp, within: &Within, zone: &TimeZone) -> Timestamp {
    let span = Span::new()
        .try_years(within.years)
        .and_then(|span| span.try_months(within.months))
        .and_then(|span| span.try_days(within.days))
        .and_then(|span| span.try_hours(within.hours));
    let earlier = span.and_then(|span| moment.to_zoned(zone.clone()).checked_sub(span));
    earlier.map_or(Timestamp::MIN, |zoned| zoned.timestamp())
}

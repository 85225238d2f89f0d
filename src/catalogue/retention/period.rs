//! Hours, days, weeks, months and years of a time zone.

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::config::Within;

/// A period of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// An hour. Where a clock is put back, the hour that comes twice is two hours.
    Hour,
    /// A day.
    Day,
    /// A week of ISO 8601: from Monday on; it belongs to the year that its Thursday is in.
    Week,
    /// A month.
    Month,
    /// A year.
    Year,
}

impl Period {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Period::Hour => "hour",
            Period::Day => "day",
            Period::Week => "week",
            Period::Month => "month",
            Period::Year => "year",
        }
    }

    /// What two moments have in common if they lie in the same period, and else have not.
    pub(super) fn of(self, moment: Timestamp, zone: &TimeZone) -> (i16, i16, i8, i32) {
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

/// The moment that lies this long before another: years, months and days by the calendar, then hours. One before the
/// calendar's beginning is its beginning.
pub fn before(moment: Timestamp, within: &Within, zone: &TimeZone) -> Timestamp {
    let span = Span::new()
        .try_years(within.years)
        .and_then(|span| span.try_months(within.months))
        .and_then(|span| span.try_days(within.days))
        .and_then(|span| span.try_hours(within.hours));
    let earlier = span.and_then(|span| moment.to_zoned(zone.clone()).checked_sub(span));
    earlier.map_or(Timestamp::MIN, |zoned| zoned.timestamp())
}

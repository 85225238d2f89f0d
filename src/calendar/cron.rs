//! Cron lines as Debian's cron reads them (`crontab(5)`; `load_entry` in `entry.c`, `find_jobs` in `cron.c`).

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan};

use crate::error::{Error, Kind, Result};

mod on_calendar;

/// Number of days within which every line that has any run has one: 29 February on a given weekday recurs after at most 40
/// years (around 2100).
const SEARCHED_DAYS: usize = 41 * 366;

/// Number of days over which gaps are measured: over eight years, the longest time between two 29 February.
const MEASURED_DAYS: usize = 8 * 366 + 62;

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// The times of a cron line. Bit N of a field represents its value N.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Whether a day must match both the day of the month and the weekday instead of one of them, because one of the fields
    /// begins with `*`.
    both: bool,
    /// Whether the minute or the hour begins with `*`: such a line follows the clock also when it is changed.
    by_the_clock: bool,
}

/// A field of a line.
struct Field {
    name: &'static str,
    first: u32,
    last: u32,
    /// Names of the values from `first` on.
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", first: 0, last: 59, names: &[] },
    Field { name: "hour", first: 0, last: 23, names: &[] },
    Field { name: "day of the month", first: 1, last: 31, names: &[] },
    Field { name: "month", first: 1, last: 12, names: MONTHS },
    Field { name: "day of the week", first: 0, last: 7, names: WEEKDAYS },
];

/// The line without a comment that begins with ` #`.
pub fn without_comment(text: &str) -> &str {
    let at = text.match_indices('#').map(|(at, _)| at).find(|at| text[..*at].ends_with([' ', '\t']) || *at == 0);
    text[..at.unwrap_or(text.len())].trim()
}

impl Cron {
    /// Reads the five fields of a line, or one of cron's names such as `@daily`.
    ///
    /// # Errors
    /// `Config` for a malformed line, and for one that has no run.
    pub fn parse(text: &str) -> Result<Self> {
        let text = without_comment(text);
        let wrong = |why: String| Error::new(Kind::Config, format!("the cron line '{text}' cannot be used: {why}"));
        let line = match text.strip_prefix('@') {
            Some(name) => named(name).map_err(|why| wrong(why.to_owned()))?,
            None => text,
        };
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields[..] else {
            return Err(wrong(format!(
                "it has {} fields instead of five: minute, hour, day of the month, month, day of the week",
                fields.len()
            )));
        };
        let read = |text: &str, field: &Field| {
            set(text, field).map_err(|(item, why)| {
                wrong(format!("'{item}' as {} (character {}): {why}", field.name, place(line, item)))
            })
        };
        let weekdays = read(weekday, &FIELDS[4])?;
        let cron = Cron {
            minutes: read(minute, &FIELDS[0])?,
            hours: read(hour, &FIELDS[1])?,
            days: read(day, &FIELDS[2])?,
            months: read(month, &FIELDS[3])?,
            // Sunday is 0 and 7.
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            both: day.starts_with('*') || weekday.starts_with('*'),
            by_the_clock: minute.starts_with('*') || hour.starts_with('*'),
        };
        let start = Date::constant(2000, 1, 1);
        match days_from(start, 1).take(SEARCHED_DAYS).any(|day| cron.has_day(day)) {
            true => Ok(cron),
            false => Err(wrong("it never runs: its months have no such day".to_owned())),
        }
    }

    /// The first run after this time, in a time zone.
    ///
    /// Changes of the clock are handled as by Debian's cron (`cron(8)`, "Notes"): a line with `*` in its minute or hour follows
    /// the clock, so a skipped hour has no runs, and a repeated one has them twice. For other lines, skipped runs take place
    /// right after the change, and repeated ones once.
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        // If the clock skips midnight, a run of the day before may take place on this day.
        let from = after.to_zoned(zone.clone()).date().yesterday().ok()?;
        self.days(from, 1).find_map(|day| self.runs(day, zone).into_iter().find(|run| *run > after))
    }

    /// The last run before this time.
    pub fn previous(&self, before: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = before.to_zoned(zone.clone()).date().tomorrow().ok()?;
        self.days(from, -1).find_map(|day| self.runs(day, zone).into_iter().rev().find(|run| *run < before))
    }

    /// The longest time between two consecutive runs within eight years from this time.
    pub fn longest_gap(&self, from: Timestamp, zone: &TimeZone) -> SignedDuration {
        let start = from.to_zoned(zone.clone()).date();
        let mut longest = SignedDuration::ZERO;
        let mut last: Option<Timestamp> = None;
        // The gaps of usual days are equal; only days with a clock change are measured one by one.
        let usual = self.gap_within(Date::constant(2000, 1, 1), &TimeZone::UTC);
        for day in days_from(start, 1).take(MEASURED_DAYS).filter(|day| self.has_day(*day)) {
            let within = match is_usual(day, zone) {
                true => usual,
                false => self.gap_within(day, zone),
            };
            let (Some(first), Some(end)) = (self.edge(day, zone, false), self.edge(day, zone, true)) else { continue };
            let before = last.map_or(SignedDuration::ZERO, |last| first.duration_since(last));
            longest = longest.max(within).max(before);
            last = Some(end);
        }
        longest
    }

    fn gap_within(&self, day: Date, zone: &TimeZone) -> SignedDuration {
        let runs = self.runs(day, zone);
        let gaps = runs.windows(2).map(|pair| pair[1].duration_since(pair[0]));
        gaps.max().unwrap_or(SignedDuration::ZERO)
    }

    /// The days on which there are runs, from this one on.
    fn days(&self, from: Date, step: i32) -> impl Iterator<Item = Date> {
        days_from(from, step).take(SEARCHED_DAYS).filter(|day| self.has_day(*day))
    }

    fn has_day(&self, day: Date) -> bool {
        let bit = |field: u64, value: i8| u32::try_from(value).is_ok_and(|value| field >> value & 1 == 1);
        let of_month = bit(self.days, day.day());
        let of_week = bit(self.weekdays, day.weekday().to_sunday_zero_offset());
        let fits = if self.both { of_month && of_week } else { of_month || of_week };
        bit(self.months, day.month()) && fits
    }

    /// The runs of a day in their order.
    fn runs(&self, day: Date, zone: &TimeZone) -> Vec<Timestamp> {
        let times = values(self.hours).flat_map(|hour| values(self.minutes).map(move |minute| (hour, minute)));
        let moments = times.flat_map(|(hour, minute)| self.moments(day, (hour, minute), zone));
        let mut runs: Vec<Timestamp> = moments.flatten().collect();
        runs.sort_unstable();
        runs.dedup();
        runs
    }

    /// The times at which the clock shows this time of a day, as far as there are runs.
    fn moments(&self, day: Date, (hour, minute): (i8, i8), zone: &TimeZone) -> [Option<Timestamp>; 2] {
        let Ok(civil) = DateTime::new(day.year(), day.month(), day.day(), hour, minute, 0, 0) else {
            return [None, None];
        };
        let shown = zone.to_ambiguous_timestamp(civil);
        match shown.offset() {
            AmbiguousOffset::Gap { .. } if self.by_the_clock => [None, None],
            AmbiguousOffset::Gap { .. } => [shown.later().ok().map(|later| end_of_gap(later, zone)), None],
            AmbiguousOffset::Fold { .. } if self.by_the_clock => [shown.earlier().ok(), shown.later().ok()],
            AmbiguousOffset::Fold { .. } | AmbiguousOffset::Unambiguous { .. } => [shown.earlier().ok(), None],
        }
    }

    /// The first or the last run of a day.
    fn edge(&self, day: Date, zone: &TimeZone, last: bool) -> Option<Timestamp> {
        if !is_usual(day, zone) {
            let runs = self.runs(day, zone);
            return if last { runs.last() } else { runs.first() }.copied();
        }
        let pick = |field: u64| if last { values(field).last() } else { values(field).next() };
        let time = (pick(self.hours)?, pick(self.minutes)?);
        self.moments(day, time, zone)[0]
    }
}

fn is_usual(day: Date, zone: &TimeZone) -> bool {
    let midnight = |day: Date| zone.to_timestamp(day.to_datetime(jiff::civil::Time::midnight())).ok();
    match (midnight(day), day.tomorrow().ok().and_then(midnight)) {
        (Some(start), Some(end)) => end.duration_since(start) == SignedDuration::from_hours(24),
        _ => false,
    }
}

/// The time at which the clock was put forward over a skipped time, which is given as if the clock had not changed.
fn end_of_gap(skipped: Timestamp, zone: &TimeZone) -> Timestamp {
    let just_after = skipped.checked_add(SignedDuration::from_nanos(1)).unwrap_or(skipped);
    zone.preceding(just_after).next().map_or(skipped, |change| change.timestamp())
}

fn days_from(from: Date, step: i32) -> impl Iterator<Item = Date> {
    std::iter::successors(Some(from), move |day| day.checked_add(step.days()).ok())
}

fn values(field: u64) -> impl Iterator<Item = i8> {
    (0..60_i8).filter(move |value| field >> value & 1 == 1)
}

fn named(name: &str) -> std::result::Result<&'static str, &'static str> {
    match name.to_ascii_lowercase().as_str() {
        "yearly" | "annually" => Ok("0 0 1 1 *"),
        "monthly" => Ok("0 0 1 * *"),
        "weekly" => Ok("0 0 * * 0"),
        "daily" | "midnight" => Ok("0 0 * * *"),
        "hourly" => Ok("0 * * * *"),
        "reboot" => Err("@reboot is not a time of day"),
        _ => Err("the names are @hourly, @daily, @weekly, @monthly and @yearly"),
    }
}

/// The position of a part in its line, in characters from 1.
fn place(line: &str, part: &str) -> usize {
    let at = (part.as_ptr() as usize).saturating_sub(line.as_ptr() as usize);
    line.get(..at).map_or(1, |before| before.chars().count() + 1)
}

/// Reads a field: a list of values, ranges, `*`, and steps through the latter two. The error is the wrong item and the reason.
fn set<'a>(text: &'a str, field: &Field) -> std::result::Result<u64, (&'a str, String)> {
    text.split(',').try_fold(0, |bits, item| item_set(item, field).map(|more| bits | more).map_err(|why| (item, why)))
}

fn item_set(item: &str, field: &Field) -> std::result::Result<u64, String> {
    let (range, step) = match item.split_once('/') {
        Some((range, step)) => (range, Some(step)),
        None => (item, None),
    };
    let (first, last) = match range.split_once('-') {
        _ if range == "*" => (field.first, field.last),
        Some((first, last)) => (value(first, field)?, value(last, field)?),
        None => {
            let value = value(range, field)?;
            if step.is_some() {
                return Err(format!("a step needs a range, such as {range}-{}", field.last));
            }
            (value, value)
        }
    };
    if first > last {
        return Err("a range ends before it begins".to_owned());
    }
    let step = match step.map(number) {
        None => 1,
        Some(Some(step @ 1..)) => step,
        Some(_) => return Err("a step must be a number from 1".to_owned()),
    };
    Ok((first..=last).step_by(step as usize).fold(0_u64, |bits, value| bits | 1 << value))
}

fn value(text: &str, field: &Field) -> std::result::Result<u32, String> {
    let named = field.names.iter().zip(field.first..).find(|(name, _)| text.eq_ignore_ascii_case(name));
    let found = named.map(|(_, value)| value).or_else(|| number(text));
    found.filter(|value| (field.first..=field.last).contains(value)).ok_or_else(|| {
        let names = if field.names.is_empty() { "" } else { ", or a name of three letters" };
        format!("'{text}' is not a number from {} to {}{names}", field.first, field.last)
    })
}

/// Reads digits, without sign and blanks.
fn number(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

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
mod tests;

//! Dates and times in ISO form, in microseconds. jiff's own years end at 9999, and PostgreSQL's at 294276.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;

const SECOND: i128 = 1_000_000;
const DAY: i128 = 86_400 * SECOND;

/// A date as its first microsecond; `infinity` and `-infinity` are outside of all others.
pub fn date(text: &str) -> Option<i128> {
    timestamp(text, None).filter(|moment| moment % DAY == 0 || is_infinite(*moment))
}

/// A date with a time, which may be left out. With a zone, the offset in the text counts, or else the zone's at that time.
pub fn timestamp(text: &str, zone: Option<&TimeZone>) -> Option<i128> {
    match text.to_ascii_lowercase().as_str() {
        "infinity" => return Some(i128::MAX),
        "-infinity" => return Some(i128::MIN),
        _ => {}
    }
    let (text, is_before_christ) = match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    };
    let (day, rest) = text.split_at(text.find([' ', 'T']).unwrap_or(text.len()));
    let mut parts = day.splitn(3, '-');
    let mut number = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?.parse::<i64>().ok();
    let (year, month, day) = (number()?, number()?, number()?);
    let year = if is_before_christ { 1 - year } else { year };
    let days = i128::from(days(year, month, day)?) * DAY;
    let rest = rest.get(1..).unwrap_or_default();
    let (clock, offset) = match rest.find(['+', '-', 'Z']) {
        Some(at) => (rest.get(..at)?.trim_end(), Some(rest.get(at..)?)),
        None => (rest, None),
    };
    let clock = if clock.is_empty() { 0 } else { time(clock)? };
    let local = days + clock;
    match (zone, offset) {
        (None, None) => Some(local),
        // Without a zone an offset has no meaning.
        (None, Some(_)) => None,
        (Some(_), Some(offset)) => Some(local - i128::from(offset_seconds(offset)?) * SECOND),
        (Some(zone), None) => Some(local - i128::from(zone_offset(zone, (year, month, day), clock)?) * SECOND),
    }
}

/// A time of day; 24:00:00 is one.
pub fn time(text: &str) -> Option<i128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':');
    let mut number = || two_digits(parts.next()?);
    let (hour, minute) = (number()?, number()?);
    let second = number().unwrap_or_default();
    if parts.next().is_some() || hour > 24 || minute > 59 || second > 60 || fraction.len() > 6 {
        return None;
    }
    let micros: i128 = if fraction.is_empty() { 0 } else { format!("{fraction:0<6}").parse().ok()? };
    Some(i128::from((hour * 60 + minute) * 60 + second) * SECOND + micros)
}

fn two_digits(text: &str) -> Option<i64> {
    (text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn is_infinite(moment: i128) -> bool {
    moment == i128::MAX || moment == i128::MIN
}

/// `+02`, `-05:30`, `+00:17:30` or `Z`.
fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("Z", "") => return Some(0),
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let mut parts = rest.split(':').map(two_digits);
    let hours = parts.next()??;
    let (minutes, seconds) = (parts.next().unwrap_or(Some(0))?, parts.next().unwrap_or(Some(0))?);
    parts.next().is_none().then_some(sign * ((hours * 60 + minutes) * 60 + seconds))
}

/// The offset that a zone has at a local time.
fn zone_offset(zone: &TimeZone, (year, month, day): (i64, i64, i64), clock: i128) -> Option<i64> {
    let hour = i8::try_from(clock / (3600 * SECOND)).ok()?.min(23);
    let minute = i8::try_from(clock / (60 * SECOND) % 60).ok()?;
    let [month, day] = [month, day].map(|part| i8::try_from(part).unwrap_or_default());
    let local = DateTime::new(year.try_into().ok()?, month, day, hour, minute, 0, 0).ok()?;
    Some(i64::from(zone.to_ambiguous_timestamp(local).compatible().ok().map(|at| zone.to_offset(at).seconds())?))
}

/// Days since 1970-01-01 in the Gregorian calendar, in which the year before 1 is 0. None for a date that is not there.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=length).contains(&day) || !(-5_000..=300_000).contains(&year) {
        return None;
    }
    // Years begin in March here, so that a leap day is the last of its year.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments() {
        assert_eq!(timestamp("1970-01-02 00:00:01.5", None), Some(DAY + SECOND + 500_000));
        assert_eq!(timestamp("2000-03-01", None), Some(11_017 * DAY));
        assert_eq!(timestamp("0001-01-01 BC", None), timestamp("0001-01-01", None).map(|day| day - 366 * DAY));
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        assert_eq!(timestamp("2026-07-01 12:00", Some(&berlin)), timestamp("2026-07-01 10:00:00+00", Some(&berlin)));
        assert_eq!(timestamp("2026-01-01 12:00:00Z", Some(&berlin)), timestamp("2026-01-01 13:00", Some(&berlin)));
        for wrong in
            ["2026-13-01", "2026-02-29", "2026", "2026-01-01 25:00", "2026-01-01 1", "x", "2026-01-01 00:00:00+1:2:3:4"]
        {
            assert_eq!(timestamp(wrong, Some(&berlin)), None, "{wrong}");
        }
        assert_eq!(timestamp("2026-01-01 00:00:00+01", None), None);
        assert_eq!((date("2026-01-01 01:00"), time("24:00:00")), (None, Some(DAY)));
    }
}

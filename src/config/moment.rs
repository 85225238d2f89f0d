//! A moment as a person writes it.

use jiff::civil::{DateTime, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::error::{Error, Kind, Result};
use crate::format::{second, zone_name};
use crate::printable::printable;

/// How times may be written.
const FORMS: &str = "write it as '2026-11-28 14:00', as 14:00 for today, or as 2026-11-28T14:00:00+01:00";

/// The moment that a text names: with an offset, or by the clocks of a zone; of a time alone, today's. Lists write the
/// abbreviation of their zone behind a time, which may stand here too.
///
/// # Errors
/// `Usage`: what is no time, what is yet to come, and what the clocks of the zone never showed, or showed twice.
pub fn of(text: &str, zone: &TimeZone, now: Timestamp) -> Result<Timestamp> {
    let text = text.trim();
    let wrong = |why: String| Error::new(Kind::Usage, format!("--at '{}' {why}", printable(text)));
    let at = match exact(text) {
        Some(at) => at,
        None => {
            let (written, abbreviation) = abbreviated(text);
            let civil = civil(written, zone, now).ok_or_else(|| wrong("is no time".to_owned()).hint(FORMS))?;
            by_clock(civil, abbreviation, zone).map_err(wrong)?
        }
    };
    match at > now {
        true => Err(wrong(format!("is in the future: it is {} now", second(now, zone))).hint(FORMS)),
        false => Ok(at),
    }
}

/// With an offset (RFC 3339), and perhaps with the name of a zone (RFC 9557).
fn exact(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| text.parse().ok().map(|zoned: Zoned| zoned.timestamp()))
}

fn abbreviated(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once(' ') {
        Some((time, last)) if time.contains(':') && !last.contains(':') => (time.trim_end(), Some(last)),
        _ => (text, None),
    }
}

/// A date alone does not say which backup of its day is meant.
fn civil(text: &str, zone: &TimeZone, now: Timestamp) -> Option<DateTime> {
    if !text.contains(':') {
        return None;
    }
    match text.contains('-') {
        true => text.parse().ok(),
        false => Some(now.to_zoned(zone.clone()).date().to_datetime(text.parse::<Time>().ok()?)),
    }
}

fn by_clock(civil: DateTime, abbreviation: Option<&str>, zone: &TimeZone) -> std::result::Result<Timestamp, String> {
    let utc = TimeZone::UTC;
    let zone = if abbreviation == Some("UTC") { &utc } else { zone };
    let shown = zone.to_ambiguous_timestamp(civil);
    let moments = [shown.earlier(), shown.later()].map(|moment| moment.map_err(|error| error.to_string()));
    let [earlier, later] = moments;
    let (earlier, later) = (earlier?, later?);
    let place = zone_name(zone, earlier);
    let named =
        |at: &Timestamp| abbreviation.is_none_or(|word| at.to_zoned(zone.clone()).strftime("%Z").to_string() == word);
    let offset = |at: Timestamp| at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
    match shown.offset() {
        AmbiguousOffset::Gap { .. } => Err(format!("does not exist: the clocks of {place} were put forward over it")),
        _ if !named(&earlier) && !named(&later) => {
            Err(format!("is in another zone than TZ, which is {place}: write the offset, as in {}", offset(earlier)))
        }
        AmbiguousOffset::Fold { .. } if named(&earlier) && named(&later) => Err(format!(
            "is ambiguous, because the clocks of {place} showed it twice: it is {} or {}",
            offset(earlier),
            offset(later)
        )),
        _ => Ok(if named(&earlier) { earlier } else { later }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, place: &str) -> Result<Timestamp> {
        of(text, &TimeZone::get(place).unwrap(), "2026-11-28T15:00:00Z".parse().unwrap())
    }

    #[test]
    fn moments() {
        for (text, place, expected) in [
            ("2026-11-28 14:00", "Europe/Berlin", "2026-11-28T13:00:00Z"),
            ("2026-07-28 14:00:30", "Europe/Berlin", "2026-07-28T12:00:30Z"),
            ("2026-07-28T14:00", "UTC", "2026-07-28T14:00:00Z"),
            (" 14:00 ", "Europe/Berlin", "2026-11-28T13:00:00Z"),
            ("00:30", "Australia/Lord_Howe", "2026-11-28T13:30:00Z"),
            ("2026-11-28T14:00:00Z", "Europe/Berlin", "2026-11-28T14:00:00Z"),
            ("2026-11-28 14:00+01:00", "America/Sao_Paulo", "2026-11-28T13:00:00Z"),
            ("2026-11-28T14:00[Africa/Cairo]", "UTC", "2026-11-28T12:00:00Z"),
            ("2026-11-28 14:00 CET", "Europe/Berlin", "2026-11-28T13:00:00Z"),
            ("2026-11-28 14:00 UTC", "Europe/Berlin", "2026-11-28T14:00:00Z"),
            ("2026-11-27 14:00 -03", "America/Sao_Paulo", "2026-11-27T17:00:00Z"),
            ("2026-10-25 02:30 CEST", "Europe/Berlin", "2026-10-25T00:30:00Z"),
            ("2026-10-25 02:30 CET", "Europe/Berlin", "2026-10-25T01:30:00Z"),
        ] {
            let at = read(text, place).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(at.to_string(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_moment() {
        for (text, place, why) in [
            ("yesterday", "UTC", "is no time"),
            ("2026-11-28", "UTC", "is no time"),
            ("14", "UTC", "is no time"),
            ("2026-02-30 14:00", "UTC", "is no time"),
            ("23:59", "UTC", "is in the future: it is 2026-11-28 15:00:00 UTC now"),
            ("2027-01-01 00:00", "UTC", "is in the future"),
            ("2026-03-29 02:30", "Europe/Berlin", "does not exist"),
            ("2018-11-04 00:30", "America/Sao_Paulo", "does not exist"),
            ("2026-10-25 02:30", "Europe/Berlin", "it is 2026-10-25T02:30:00+02:00 or 2026-10-25T02:30:00+01:00"),
            ("2026-11-27 14:00 EST", "Europe/Berlin", "write the offset, as in 2026-11-27T14:00:00+01:00"),
        ] {
            let error = read(text, place).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage, "{text}");
            assert!(error.to_string().contains(why), "{text}: {error}");
        }
    }
}

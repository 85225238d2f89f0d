//! Numbers, times and names for display.

use std::time::Duration;

use indicatif::HumanBytes;
use jiff::{Timestamp, tz::TimeZone};

use crate::printable::printable;

/// A duration in a suitable unit: `59 s`, `26 h`, `3 d`.
pub fn span(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..259_200 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

/// How long a backup took; a dash if that is unknown, as for an adopted one.
pub fn took(duration: Duration) -> String {
    match duration.is_zero() {
        true => "\u{2013}".to_owned(),
        false => span(duration),
    }
}

/// How long ago this was, or that it is in the future.
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    match Duration::try_from(now.duration_since(then)) {
        Ok(age) => format!("{} ago", span(age)),
        Err(_) => "in the future".to_owned(),
    }
}

/// Local time with the abbreviation of the zone: `2023-12-31 03:00 CET`.
pub fn time(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

/// The same with seconds.
pub fn second(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// The date alone: `2023-12-31`.
pub fn day(time: Timestamp, zone: &TimeZone) -> String {
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d").to_string()
}

/// The name of a zone, for a heading above times without it: `Europe/Berlin`. A zone that is a rule or a file has only an
/// abbreviation.
pub fn zone_name(zone: &TimeZone, at: Timestamp) -> String {
    zone.iana_name().map_or_else(|| at.to_zoned(zone.clone()).strftime("%Z").to_string(), str::to_owned)
}

/// `10.00 MiB`.
pub fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// A name of unknown origin in quotes.
pub fn quoted(name: &str) -> String {
    format!("'{}'", printable(name))
}

/// The first names, and the number of the others.
pub fn some<T: AsRef<str>>(names: &[T], shown: usize) -> String {
    let first: Vec<String> = names.iter().take(shown).map(|name| printable(name.as_ref())).collect();
    match names.len().saturating_sub(shown) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// `1 backup`, `2 backups`.
pub fn count(number: usize, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        let cases = [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (259_199, "71 h"), (259_200, "3 d")];
        for (seconds, text) in cases {
            assert_eq!(span(Duration::from_secs(seconds)), text);
        }
        let now: Timestamp = "2023-12-31T02:00:00Z".parse().unwrap();
        assert_eq!(ago(now, now), "0 s ago");
        assert_eq!(ago("2024-01-01T00:00:00Z".parse().unwrap(), now), "in the future");
        assert_eq!(time(now, &TimeZone::UTC), "2023-12-31 02:00 UTC");
        for (zone, expected) in [
            ("Europe/Berlin", "2023-12-31 03:00:00 CET"),
            ("America/Sao_Paulo", "2023-12-30 23:00:00 -03"),
            ("Australia/Lord_Howe", "2023-12-31 13:00:00 +11"),
        ] {
            let zone = TimeZone::get(zone).unwrap();
            assert_eq!(second(now, &zone), expected);
        }
        let rule = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!((zone_name(&rule, now), zone_name(&TimeZone::UTC, now)), ("CET".to_owned(), "UTC".to_owned()));
    }

    #[test]
    fn some_names() {
        assert_eq!(some(&["a", "b"], 2), "a, b");
        assert_eq!(some(&["a", "b\n", "c"], 2), r"a, b\u{a} and 1 more");
        assert_eq!((count(1, "backup"), count(0, "backup")), ("1 backup".to_owned(), "0 backups".to_owned()));
    }
}

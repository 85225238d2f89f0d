//! The time in the name of a dump.

use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::catalogue::name;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;

/// When a dump was made.
#[derive(Debug, PartialEq, Eq)]
pub struct Moment {
    /// The moment.
    pub at: Timestamp,
    /// What is uncertain about it.
    pub note: Option<String>,
}

/// The time zone of this name, such as `Europe/Berlin` (the tz database).
pub fn zone(name: &str) -> Result<TimeZone> {
    TimeZone::get(name).map_err(|_| {
        Error::new(Kind::Usage, format!("there is no time zone '{}' (--timezone)", printable(name)))
            .hint("the folders of /usr/share/zoneinfo have them, such as Europe/Berlin; is tzdata installed?")
    })
}

/// When a dump with this id was made, by a clock of this zone.
///
/// # Errors
/// `Usage` for a time that does not exist, and for one after `now`: retention counts from the newest backup, so one from the
/// future would let all others expire.
pub fn of_id(id: &str, zone: &TimeZone, now: Timestamp) -> Result<Moment> {
    let refused = |why: String| Error::new(Kind::Usage, format!("{} cannot be adopted: {why}", printable(id)));
    let Some(local) = name::time(id) else {
        return Err(refused("the time in its name does not exist".to_owned())
            .hint("rename it to DATABASE_YYYYMMDD_HHMMSS with the time at which it was made"));
    };
    let place = zone.iana_name().unwrap_or("this zone");
    let ambiguous = zone.to_ambiguous_timestamp(local);
    let note = match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { .. } => None,
        AmbiguousOffset::Gap { .. } => {
            let day = local.date();
            let why = format!("the clocks of {place} were put forward on {day}, and never showed {}", local.time());
            return Err(refused(why).hint("name the zone of the host that made it with --timezone"));
        }
        AmbiguousOffset::Fold { .. } => {
            Some(format!("the clocks of {place} showed {local} twice: the first one is used"))
        }
    };
    let at = ambiguous.earlier().map_err(|error| refused(error.to_string()))?;
    match at > now {
        true => Err(refused(format!("its name has a time in the future, {at:.0}: it is {now:.0}"))
            .hint("name the zone of the host that made it with --timezone, such as Europe/Berlin")),
        false => Ok(Moment { at, note }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: &str, place: &str) -> Result<Moment> {
        of_id(id, &zone(place).unwrap(), "2026-01-01T00:00:00Z".parse().unwrap())
    }

    #[test]
    fn names_are_read_by_the_clock_of_their_zone() {
        for (id, zone, at, noted) in [
            ("a_20231231_020000", "UTC", "2023-12-31T02:00:00Z", false),
            ("a_20231231_020000", "Europe/Berlin", "2023-12-31T01:00:00Z", false),
            ("a_20230701_003000", "Europe/Berlin", "2023-06-30T22:30:00Z", false),
            ("a_20231231_200000", "America/New_York", "2024-01-01T01:00:00Z", false),
            ("a_20240229_120000", "Asia/Kathmandu", "2024-02-29T06:15:00Z", false),
            // The night in which the clocks were put back.
            ("a_20231029_015959", "Europe/Berlin", "2023-10-28T23:59:59Z", false),
            ("a_20231029_023000", "Europe/Berlin", "2023-10-29T00:30:00Z", true),
            ("a_20231029_030000", "Europe/Berlin", "2023-10-29T02:00:00Z", false),
            // A daylight saving of half an hour.
            ("a_20230402_014500", "Australia/Lord_Howe", "2023-04-01T14:45:00Z", true),
        ] {
            let moment = of(id, zone).unwrap();
            assert_eq!((moment.at.to_string().as_str(), moment.note.is_some()), (at, noted), "{id} {zone}");
        }
    }

    #[test]
    fn times_that_cannot_be_are_refused() {
        for (id, zone, words) in [
            ("a_20230326_023000", "Europe/Berlin", "never showed 02:30:00"),
            ("a_20230229_120000", "UTC", "does not exist"),
            ("a_20260101_003000", "UTC", "it is 2026-01-01T00:00:00Z"),
            ("a_99991231_235959", "America/New_York", "cannot be adopted"),
        ] {
            let error = of(id, zone).unwrap_err();
            assert_eq!(error.kind(), Kind::Usage);
            assert!(error.message().contains(words), "{error}");
        }
        // Half an hour later in the zone that made it.
        assert!(of("a_20260101_003000", "Europe/Berlin").is_ok());
        assert_eq!(zone("Middle/Earth").unwrap_err().kind(), Kind::Usage);
    }
}

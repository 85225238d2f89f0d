//! Schedules: cron lines and calendar expressions of systemd.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::cron::Cron;
use crate::error::Result;

pub mod cron;
pub mod systemd;
pub mod tasks;

/// How many days ahead runs after clock changes are searched for. The generator runs at each start of the machine and with each
/// `daemon-reload`, which happen within five years.
const AHEAD_DAYS: i64 = 5 * 366;

/// Separates several schedules in one. Neither a cron line nor a calendar expression contains it.
const SEPARATOR: char = ';';

/// Whether a schedule is a single cron line; otherwise it is a calendar expression of systemd (`systemd.time(7)`), which has at
/// most four words, or several schedules in one.
pub fn is_cron(text: &str) -> bool {
    let text = cron::without_comment(text);
    !text.contains(SEPARATOR) && (text.starts_with('@') || text.split_ascii_whitespace().count() > 4)
}

/// The cron lines and calendar expressions of a schedule, usually a single one.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    cron::without_comment(text).split(SEPARATOR).map(str::trim).filter(|part| !part.is_empty())
}

/// The expressions for `OnCalendar=` of a schedule: those of its cron lines, and its calendar expressions, which only systemd
/// can check.
///
/// # Errors
/// `Config` for a wrong cron line.
pub fn on_calendar(text: &str) -> Result<Vec<String>> {
    let mut expressions = Vec::new();
    for part in parts(text) {
        match is_cron(part) {
            true => expressions.extend(Cron::parse(part)?.on_calendar()),
            false => expressions.push(part.to_owned()),
        }
    }
    // systemd refuses an empty expression; without any, the timer would silently have no runs.
    match expressions.is_empty() {
        true => Ok(vec![cron::without_comment(text).to_owned()]),
        false => Ok(expressions),
    }
}

/// Further expressions for `OnCalendar=` of cron lines: the runs that cron has right after the clock was put forward over
/// others, in the coming years. systemd has no expression for this, so each run is a time of its own.
pub fn made_up(text: &str, now: Timestamp, zone: &TimeZone) -> Vec<String> {
    let crons = parts(text).filter(|part| is_cron(part)).filter_map(|part| Cron::parse(part).ok());
    let runs = crons.flat_map(|cron| cron.made_up(now, AHEAD_DAYS, zone));
    runs.map(|run| run.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_schedules() {
        for cron in ["0 2 * * *", " 0 3 * * 0  # weekly", "@daily", "*/5 * * * * *"] {
            assert!(is_cron(cron), "{cron}");
        }
        for other in [
            "daily",
            "*-*-* 02:00:00",
            "Mon..Fri *-*-* 22:30 Europe/Berlin",
            "Sat 03:00 # weekly",
            "",
            "0 2 * * *; 0 14 * * *",
            "02:00; 10:00; 12:00; 14:00; 16:00",
        ] {
            assert!(!is_cron(other), "{other}");
        }
    }

    #[test]
    fn several_schedules_in_one() {
        assert_eq!(on_calendar("Mon..Fri 22:30; Sat,Sun 12:00 ;").unwrap(), ["Mon..Fri 22:30", "Sat,Sun 12:00"]);
        assert_eq!(on_calendar("0 2 * * *; 14:00").unwrap(), ["*-*-* 02:00:00", "14:00"]);
        assert_eq!(on_calendar(" ; ").unwrap(), [";"]);
        assert!(on_calendar("14:00; 0 25 * * *").unwrap_err().to_string().contains("'0 25 * * *'"));
        let (now, berlin) = ("2023-12-31T12:00:00Z".parse().unwrap(), TimeZone::get("Europe/Berlin").unwrap());
        assert_eq!(made_up("14:00; 30 2 * * *", now, &berlin), made_up("30 2 * * *", now, &berlin));
    }
}

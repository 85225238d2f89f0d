//! Schedules: when runs are due, and how far apart they can be.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::cron::Cron;
use crate::error::Result;

pub mod cron;
pub mod systemd;
pub mod tasks;

/// How far ahead runs after a change of the clock are looked for. The generator runs at each start of the machine and with
/// each `daemon-reload`, which a machine has within five years.
const AHEAD_DAYS: i64 = 5 * 366;

/// Whether a schedule is written as a cron line; else it is a calendar expression of systemd (`systemd.time(7)`), which
/// has four words at the most.
pub fn is_cron(text: &str) -> bool {
    let text = cron::without_comment(text);
    text.starts_with('@') || text.split_ascii_whitespace().count() > 4
}

/// The expressions for `OnCalendar=` of a schedule: those of a cron line, or the calendar expression itself, of which only
/// systemd knows whether it is one.
pub fn on_calendar(text: &str) -> Result<Vec<String>> {
    match is_cron(text) {
        true => Ok(Cron::parse(text)?.on_calendar()),
        false => Ok(vec![cron::without_comment(text).to_owned()]),
    }
}

/// Further expressions for `OnCalendar=`, of a cron line: the runs that cron has right after the clock was put forward over
/// others, in the years to come. No expression of systemd says such a thing, so each is a moment of its own.
pub fn made_up(text: &str, now: Timestamp, zone: &TimeZone) -> Vec<String> {
    let cron = is_cron(text).then(|| Cron::parse(text).ok()).flatten();
    let runs = cron.map(|cron| cron.made_up(now, AHEAD_DAYS, zone)).unwrap_or_default();
    runs.iter().map(|run| run.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_schedules() {
        for cron in ["0 2 * * *", " 0 3 * * 0  # weekly", "@daily", "*/5 * * * * *"] {
            assert!(is_cron(cron), "{cron}");
        }
        for other in ["daily", "*-*-* 02:00:00", "Mon..Fri *-*-* 22:30 Europe/Berlin", "Sat 03:00 # weekly", ""] {
            assert!(!is_cron(other), "{other}");
        }
    }
}

//! Schedules: when runs are due, and how far apart they can be.

use crate::calendar::cron::Cron;
use crate::error::Result;

pub mod cron;
pub mod systemd;
pub mod tasks;

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

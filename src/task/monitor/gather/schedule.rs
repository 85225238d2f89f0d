//! When backups are due.

use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use tokio::process::Command;

use crate::calendar::cron::{Cron, without_comment};
use crate::calendar::tasks::is_off;
use crate::calendar::{is_cron, systemd};
use crate::config::MonitorSettings;
use crate::health::facts::{Schedule, Trouble};

/// How long a run may take, and be late.
const RUN: Duration = Duration::from_secs(2 * 3600);

/// The gap where nothing tells another one: a day.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Runs that systemd is asked for: those of two weeks, if there is one each minute.
const ITERATIONS: &str = "--iterations=20000";

/// How long that may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// The runs of a schedule.
pub enum Runs {
    /// A cron line, by the clocks of this zone.
    Cron(Box<Cron>, TimeZone),
    /// The coming runs of a systemd calendar expression.
    Listed(Vec<Timestamp>),
    /// There are none: backups are made by something else.
    Off,
    /// Nothing tells them here, which is no fault of the schedule.
    Untold,
    /// The schedule cannot be used.
    Wrong(Trouble),
}

impl Runs {
    /// Reads a schedule; a cron line goes by this zone, systemd by the system's.
    pub async fn of(schedule: &str, zone: &TimeZone) -> Runs {
        if is_off(schedule) {
            return Runs::Off;
        }
        if is_cron(schedule) {
            return match Cron::parse(schedule) {
                Ok(cron) => Runs::Cron(Box::new(cron), zone.clone()),
                Err(error) => Runs::wrong(error.message()),
            };
        }
        let mut command = Command::new("systemd-analyze");
        command.args(["calendar", ITERATIONS, "--", without_comment(schedule)]).env("LC_ALL", "C").kill_on_drop(true);
        match tokio::time::timeout(PATIENCE, command.output()).await {
            Ok(Ok(output)) if output.status.success() => {
                match systemd::runs(&String::from_utf8_lossy(&output.stdout)) {
                    runs if runs.len() > 1 => Runs::Listed(runs),
                    _ => Runs::wrong(&format!("the schedule '{schedule}' does not come again")),
                }
            }
            Ok(Ok(_)) => Runs::wrong(&format!("systemd does not take '{schedule}' for a calendar expression")),
            _ => Runs::Untold,
        }
    }

    fn wrong(why: &str) -> Runs {
        let hint = "BACKUP_SCHEDULE is a cron line of five fields, or what systemd-analyze calendar takes";
        Runs::Wrong(Trouble { message: format!("BACKUP_SCHEDULE: {why}"), hint: hint.to_owned() })
    }

    /// The first run after this moment. Where the runs are not known, it may be up to the longest gap later.
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Runs::Cron(cron, zone) => cron.next(after, zone),
            Runs::Listed(runs) if runs.first().is_some_and(|first| *first <= after) => {
                runs.iter().copied().find(|run| *run > after)
            }
            _ => after.checked_add(SignedDuration::try_from(self.gap(after).unwrap_or(DAY)).ok()?).ok(),
        }
    }

    /// The longest gap between two runs.
    fn gap(&self, now: Timestamp) -> Option<Duration> {
        let gap = match self {
            Runs::Cron(cron, zone) => Some(cron.longest_gap(now, zone)),
            Runs::Listed(runs) => systemd::longest_gap(runs),
            Runs::Off | Runs::Untold | Runs::Wrong(_) => None,
        };
        gap.and_then(|gap| Duration::try_from(gap).ok())
    }

    /// What the checks are told.
    pub fn facts(&self, settings: &MonitorSettings, now: Timestamp) -> Schedule {
        let hours = |span: Duration| format!("{} h", span.as_secs().div_ceil(3600));
        let (recent, because) = match (settings.recent, self.gap(now)) {
            (Some(recent), _) => (recent, "MONITOR_RECENT_HOURS".to_owned()),
            (None, Some(gap)) => {
                (gap + RUN, format!("the longest gap of the schedule, {}, and {}", hours(gap), hours(RUN)))
            }
            (None, None) if matches!(self, Runs::Off) => {
                (DAY + RUN, "BACKUP_SCHEDULE is off: MONITOR_RECENT_HOURS tells how old the newest may be".to_owned())
            }
            (None, None) => {
                (DAY + RUN, "nothing here tells the gaps of the schedule: MONITOR_RECENT_HOURS can".to_owned())
            }
        };
        let (next, trouble) = match self {
            Runs::Cron(cron, zone) => (cron.next(now, zone), None),
            Runs::Listed(runs) => (runs.iter().copied().find(|run| *run > now), None),
            Runs::Off | Runs::Untold => (None, None),
            Runs::Wrong(trouble) => (None, Some(trouble.clone())),
        };
        Schedule { text: without_comment(&settings.schedule).to_owned(), trouble, recent, because, next }
    }
}

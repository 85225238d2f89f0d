//! When backups are due.

use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::cron::{Cron, without_comment};
use crate::calendar::tasks::{self, TASKS, Task};
use crate::calendar::{is_cron, on_calendar, systemd};
use crate::config::MonitorSettings;
use crate::health::facts::{Schedule, Trouble};
use crate::host::systemd_analyze::{Question, usable};
use crate::host::task_units::{TaskUnits, Timer};
use crate::host::timer_schedule;
use crate::host::timer_schedule::ScheduleMismatch;
use crate::printable::printable;

/// How long a run may take, including its delay.
const RUN: Duration = Duration::from_secs(2 * 3600);

/// The gap between runs if it is unknown: a day.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// How many runs systemd is asked for at first, and at most: two weeks of one each minute.
const SOME: usize = 400;
const MANY: usize = 21_600;

/// How far ahead to search for the longest gap, as far as that many runs reach: over a year, in which clocks change
/// twice.
const AHEAD: Duration = Duration::from_secs(370 * 24 * 3600);

/// The schedule of the backups: that of the timer if it is active, or else that of the settings.
#[derive(Debug)]
pub struct Backups {
    runs: Runs,
    /// When the timer starts the next one, with its delay.
    next: Option<Timestamp>,
    /// Whether there is a timer and it is not active.
    is_off: bool,
    /// The schedule as text, for messages.
    text: String,
    troubles: Vec<(&'static str, Trouble)>,
}

/// The runs of a schedule.
#[derive(Debug)]
enum Runs {
    /// A cron line, by the clocks of this zone.
    Cron(Box<Cron>, TimeZone),
    /// Calendar expressions of systemd, and their coming runs.
    Calendar { expressions: Vec<String>, as_timers: bool, coming: Vec<Timestamp> },
    /// Switched off: something else makes the backups. The interval is that of MONITOR_RECENT_HOURS, if set.
    Off(Option<Duration>),
    /// They cannot be determined here, though the schedule is valid.
    Unknown,
}

impl Backups {
    /// Reads the schedules of the settings, and compares them with the timers. `zone` is that of cron lines without a
    /// timer.
    pub async fn new(settings: &MonitorSettings, units: &TaskUnits, zone: &TimeZone, now: Timestamp) -> Self {
        let mut troubles = Vec::new();
        let mut text = without_comment(&settings.schedule).to_owned();
        for task in TASKS {
            let is_backup = task.variable == "BACKUP_SCHEDULE";
            let configured = match is_backup {
                true => Some(settings.schedule.clone()),
                false => std::env::var(task.variable).ok(),
            };
            let timer = units.timer(task);
            let Some(difference) = timer_schedule::compare(configured.as_deref(), task, timer.as_ref(), now).await
            else {
                continue;
            };
            if let (true, Some(timer)) = (is_backup, &timer) {
                text = timer_schedule::schedule(timer);
            }
            troubles.extend(trouble(task, &difference, timer.as_ref()).map(|trouble| (task.variable, trouble)));
        }
        let backup = TASKS.iter().find(|task| task.variable == "BACKUP_SCHEDULE");
        let timer = backup.and_then(|task| units.timer(task));
        let is_off = timer.is_none() && backup.is_some_and(|task| units.has_timer(task));
        let timer = timer.filter(|timer| !timer_schedule::schedule(timer).is_empty());
        let next = timer.as_ref().and_then(|timer| timer.next);
        let runs = match timer {
            Some(timer) => Runs::calendar(timer.expressions, true, now).await,
            None if tasks::is_off(&settings.schedule) => Runs::Off(settings.recent),
            None => Runs::configured(&settings.schedule, backup, zone, now).await,
        };
        Backups { runs, next, is_off, text, troubles }
    }

    /// The first run after a moment in the past.
    pub async fn due(&self, since: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let due = self.runs.next(since).await?;
        // A future run starts when the timer elapses.
        Some(if due > now { self.next.unwrap_or(due) } else { due })
    }

    /// The facts for the checks.
    pub fn facts(&self, settings: &MonitorSettings, now: Timestamp) -> Schedule {
        let hours = |span: Duration| format!("{} h", span.as_secs().div_ceil(3600));
        let (recent, because) = match (settings.recent, self.runs.gap(now)) {
            (Some(recent), _) => (recent, "MONITOR_RECENT_HOURS".to_owned()),
            (None, Some(gap)) => {
                (gap + RUN, format!("the longest gap of the schedule, {}, and {}", hours(gap), hours(RUN)))
            }
            (None, None) if self.is_switched_off() => {
                (DAY + RUN, "BACKUP_SCHEDULE is off; set MONITOR_RECENT_HOURS".to_owned())
            }
            (None, None) => (DAY + RUN, "the interval of the schedule is unknown; set MONITOR_RECENT_HOURS".to_owned()),
        };
        let next = self.next.or_else(|| match &self.runs {
            _ if self.is_off => None,
            Runs::Cron(cron, zone) => cron.next(now, zone),
            Runs::Calendar { coming, .. } => coming.first().copied(),
            Runs::Off(_) | Runs::Unknown => None,
        });
        let (text, troubles) = (self.text.clone(), self.troubles.clone());
        Schedule { text, troubles, recent, because, next, is_off: self.is_switched_off() }
    }

    fn is_switched_off(&self) -> bool {
        matches!(self.runs, Runs::Off(_))
    }
}

/// The message for a schedule that is not in force. An administrator's own drop-in is no problem.
fn trouble(task: &Task, difference: &ScheduleMismatch, timer: Option<&Timer>) -> Option<Trouble> {
    let variable = task.variable;
    let (message, hint) = match (difference, timer) {
        (ScheduleMismatch::Overridden, _) => return None,
        (ScheduleMismatch::Unusable(error), Some(timer)) => {
            let message = format!("{variable}: {}; {}", error.message(), timer_schedule::words(timer));
            (message, "correct it, then systemctl daemon-reload".to_owned())
        }
        (ScheduleMismatch::Unusable(error), None) => {
            let hint = format!("{variable} is a cron line of five fields, or what systemd-analyze calendar takes");
            (format!("{variable}: {}", error.message()), hint)
        }
        (ScheduleMismatch::NotRead(text), timer) => {
            let words = timer.map(timer_schedule::words).unwrap_or_default();
            let message = format!("{variable} is now '{}', which systemd has not read; {words}", printable(text));
            (message, "systemctl daemon-reload".to_owned())
        }
    };
    Some(Trouble { message, hint })
}

impl Runs {
    /// The runs of the configured schedule; of one that cannot be used, those of the packaged one.
    async fn configured(schedule: &str, backup: Option<&Task>, zone: &TimeZone, now: Timestamp) -> Self {
        let text = match (usable(schedule).await, backup) {
            (Err(_), Some(backup)) => backup.default,
            _ => schedule,
        };
        match (is_cron(text), Cron::parse(text), on_calendar(text)) {
            (true, Ok(cron), _) => Runs::Cron(Box::new(cron), zone.clone()),
            (false, _, Ok(expressions)) => Runs::calendar(expressions, false, now).await,
            _ => Runs::Unknown,
        }
    }

    async fn calendar(expressions: Vec<String>, as_timers: bool, now: Timestamp) -> Self {
        let question = |number| Question { expressions: &expressions, number, after: now, as_timers };
        let Ok(mut coming) = question(SOME).ask().await else { return Runs::Unknown };
        let reached = coming.last().and_then(|last| Duration::try_from(last.duration_since(now)).ok());
        if let Some(reached) = reached.filter(|reached| coming.len() >= SOME && *reached < AHEAD) {
            let times = AHEAD.as_secs() / reached.as_secs().max(1) + 1;
            let number = SOME.saturating_mul(usize::try_from(times).unwrap_or(MANY)).min(MANY);
            if let Ok(more) = question(number).ask().await {
                coming = more;
            }
        }
        Runs::Calendar { expressions, as_timers, coming }
    }

    /// The first run after this moment.
    async fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Runs::Cron(cron, zone) => cron.next(after, zone),
            // A database that has had a backup is never new.
            Runs::Calendar { .. } if after == Timestamp::UNIX_EPOCH => Some(after),
            Runs::Calendar { expressions, as_timers, .. } => {
                let question = Question { expressions, number: 1, after, as_timers: *as_timers };
                question.ask().await.ok()?.first().copied()
            }
            Runs::Off(often) => after.checked_add((*often)?).ok(),
            Runs::Unknown => after.checked_add(DAY).ok(),
        }
    }

    /// The longest gap between two runs.
    fn gap(&self, now: Timestamp) -> Option<Duration> {
        let gap = match self {
            Runs::Cron(cron, zone) => Some(cron.longest_gap(now, zone)),
            Runs::Calendar { coming, .. } => systemd::longest_gap(coming),
            Runs::Off(_) | Runs::Unknown => None,
        };
        gap.and_then(|gap| Duration::try_from(gap).ok())
    }
}

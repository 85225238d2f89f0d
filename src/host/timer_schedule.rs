//! The schedules of the settings compared with those that systemd's timers run by.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::calendar::on_calendar;
use crate::calendar::tasks::{ScheduleSetting, Task};
use crate::error::{Error, Kind, Result};
use crate::format::time;
use crate::host::systemd_analyze::{Question, usable};
use crate::host::task_units::Timer;
use crate::printable::printable;

/// How many runs of two schedules are compared, and over how many days.
const RUNS: usize = 20;
const DAYS: i64 = 366;

/// Why a schedule of the settings is not in force.
#[derive(Debug)]
pub enum ScheduleMismatch {
    /// It cannot be used, so the packaged one applies.
    Unusable(Error),
    /// The settings have changed since systemd read them: the new schedule.
    NotRead(String),
    /// A drop-in sets another one.
    Overridden,
}

/// Compares the schedule of the settings, if it is set, with that of the timer, if it runs.
pub async fn compare(
    configured: Option<&str>,
    task: &Task,
    timer: Option<&Timer>,
    now: Timestamp,
) -> Option<ScheduleMismatch> {
    let setting = task.setting(configured);
    if let ScheduleSetting::At(text) = setting
        && let Err(error) = usable(text).await
    {
        return (error.kind() == Kind::Config).then_some(ScheduleMismatch::Unusable(error));
    }
    let timer = timer?;
    let text = match setting {
        ScheduleSetting::At(text) => text,
        ScheduleSetting::Default => task.default,
        ScheduleSetting::Off => "off",
    };
    // The generator adds the runs that cron makes up after a clock change to a cron line, each as a moment.
    let own: Vec<String> = timer.expressions.iter().filter(|expression| !is_moment(expression)).cloned().collect();
    let differs = match setting {
        ScheduleSetting::Off => !own.is_empty(),
        _ => own.is_empty() || runs(&own, now).await.ok()? != runs(&on_calendar(text).ok()?, now).await.ok()?,
    };
    match differs {
        false => None,
        true if timer.is_stale => Some(ScheduleMismatch::NotRead(text.to_owned())),
        true => Some(ScheduleMismatch::Overridden),
    }
}

async fn runs(expressions: &[String], now: Timestamp) -> Result<Vec<Timestamp>> {
    let mut runs = Question { expressions, number: RUNS, after: now, as_timers: true }.ask().await?;
    let end = now.checked_add(SignedDuration::from_hours(24 * DAYS)).unwrap_or(Timestamp::MAX);
    runs.truncate(RUNS);
    runs.retain(|run| *run <= end);
    Ok(runs)
}

fn is_moment(expression: &str) -> bool {
    expression.strip_suffix(" UTC").is_some_and(|moment| moment.parse::<DateTime>().is_ok())
}

/// The schedule of a timer, without added moments; empty if it is switched off.
pub fn schedule(timer: &Timer) -> String {
    let own: Vec<&str> = timer.expressions.iter().map(String::as_str).filter(|one| !is_moment(one)).collect();
    own.join(" and ")
}

/// The schedule of a timer and its next run, for messages.
pub fn words(timer: &Timer) -> String {
    let next = timer.next.map(|next| format!(", next at {}", time(next, &TimeZone::system()))).unwrap_or_default();
    format!("{} runs by '{}'{next}", timer.name, printable(&schedule(timer)))
}

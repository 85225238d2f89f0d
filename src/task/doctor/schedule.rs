//! The next runs of the tasks: by the schedules of the settings, and by systemd's timers if it runs them.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::cron::Cron;
use crate::calendar::tasks::{ScheduleSetting, TASKS, Task};
use crate::calendar::{is_cron, on_calendar};
use crate::cli::DoctorPart;
use crate::error::{Kind, Result};
use crate::format::time;
use crate::health;
use crate::host::surroundings::Surroundings;
use crate::host::systemd_analyze::{Question, must_come_again};
use crate::host::task_units::TaskUnits;
use crate::host::timer_schedule;
use crate::host::timer_schedule::ScheduleMismatch;
use crate::task::doctor::check::Checks;
use crate::task::doctor::services::Services;

/// How many runs are shown.
const RUNS: usize = 3;

/// Checks every schedule, and the instance's timers.
pub async fn check(services: &Arc<Services>) -> Checks {
    let mut checks = Checks::new(DoctorPart::Schedule);
    let units = TaskUnits::ask(&services.args.place.instance).await;
    for task in TASKS {
        schedule(task, &units, &mut checks).await;
    }
    timers(&units, &mut checks).await;
    checks
}

async fn schedule(task: &Task, units: &TaskUnits, checks: &mut Checks) {
    let set = task.setting_here();
    let (text, of) = match task.setting(set.as_deref()) {
        ScheduleSetting::At(text) => (text, ""),
        ScheduleSetting::Default => (task.default, ", which is built in,"),
        ScheduleSetting::Off => return checks.ok(task.variable, "switched off"),
    };
    match runs(text).await {
        Ok(runs) => checks.ok(task.variable, format!("'{text}'{of} is next due {}", list(&runs))),
        Err(error) if error.kind() == Kind::Config => {
            let stays =
                units.timer(task).map(|timer| format!("; {}", timer_schedule::words(&timer))).unwrap_or_default();
            checks.failed_because(task.variable, &format!("{}{stays}", error.message()), &error);
        }
        Err(error) => {
            let found = format!("'{text}' cannot be checked here: {}", error.message());
            checks.warning(task.variable, found, "use a cron line");
        }
    }
}

async fn runs(text: &str) -> Result<Vec<Timestamp>> {
    let now = Timestamp::now();
    if is_cron(text) {
        let (cron, zone) = (Cron::parse(text)?, TimeZone::system());
        let next = |after: &Timestamp| cron.next(*after, &zone);
        return Ok(std::iter::successors(next(&now), next).take(RUNS).collect());
    }
    let expressions = on_calendar(text)?;
    let mut runs = Question { expressions: &expressions, number: RUNS, after: now, as_timers: true }.ask().await?;
    must_come_again(&expressions, &runs)?;
    runs.truncate(RUNS);
    Ok(runs)
}

fn list(runs: &[Timestamp]) -> String {
    let zone = TimeZone::system();
    let one = |run: &Timestamp| run.to_zoned(zone.clone()).strftime("%a %Y-%m-%d %H:%M %Z").to_string();
    match runs.is_empty() {
        true => "never".to_owned(),
        false => runs.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// Checks the timers that systemd has.
async fn timers(units: &TaskUnits, checks: &mut Checks) {
    for task in TASKS {
        let Some(timer) = units.timer(task) else { continue };
        let words = timer_schedule::words(&timer);
        let set = task.setting_here();
        match timer_schedule::compare(set.as_deref(), task, Some(&timer), Timestamp::now()).await {
            Some(ScheduleMismatch::NotRead(text)) => {
                let found = format!("{} is now '{text}', which systemd has not read; {words}", task.variable);
                checks.warning(&timer.name, found, "systemctl daemon-reload");
            }
            Some(ScheduleMismatch::Overridden) if task.setting(set.as_deref()) != ScheduleSetting::Default => {
                let found = format!("{words}, and not by {}: {} sets it", task.variable, timer.drop_ins.join(" and "));
                checks.warning(&timer.name, found, format!("remove {}, or the drop-in", task.variable));
            }
            _ if timer_schedule::schedule(&timer).is_empty() => {}
            _ => {
                if let Some(next) = timer.next {
                    let next = time(next, &TimeZone::system());
                    checks.ok(&timer.name, format!("systemd starts it next at {next}"));
                }
            }
        }
    }
    for unit in units.troubled().await {
        let found = health::checks::unit(&unit, &Surroundings::here());
        checks.warning(unit.name, found.message, found.hint);
    }
}

//! When what runs next: by the schedules of the settings, and by the timers of systemd where it runs them.

use std::sync::Arc;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use crate::calendar::cron::Cron;
use crate::calendar::tasks::{Setting, TASKS};
use crate::calendar::{is_cron, on_calendar};
use crate::cli::Part;
use crate::error::{Kind, Result};
use crate::health;
use crate::host::surroundings::Surroundings;
use crate::task::calendar::of_systemd;
use crate::task::doctor::check::Checks;
use crate::task::doctor::known::Known;
use crate::task::monitor::gather::units;

/// How many runs are told.
const RUNS: u16 = 3;

/// Checks every schedule, and the instance's timers.
pub async fn check(known: &Arc<Known>) -> Checks {
    let mut checks = Checks::new(Part::Schedule);
    for task in TASKS {
        match task.setting(task.setting_here().as_deref()) {
            Setting::At(text) => schedule(task.variable, text, "", &mut checks).await,
            Setting::Default => schedule(task.variable, task.default, ", which is built in,", &mut checks).await,
            Setting::Off => checks.ok(task.variable, "switched off"),
        }
    }
    timers(&known.args.place.instance, &mut checks).await;
    checks
}

async fn schedule(variable: &str, text: &str, of: &str, checks: &mut Checks) {
    match runs(text).await {
        Ok(runs) => checks.ok(variable, format!("'{text}'{of} comes next {}", list(&runs))),
        Err(error) if error.kind() == Kind::Config => checks.failed(variable, &error),
        Err(error) => {
            checks.warning(variable, format!("nothing here can read '{text}': {}", error.message()), "use a cron line");
        }
    }
}

async fn runs(text: &str) -> Result<Vec<Timestamp>> {
    if is_cron(text) {
        let (cron, zone) = (Cron::parse(text)?, TimeZone::system());
        let next = |after: &Timestamp| cron.next(*after, &zone);
        return Ok(std::iter::successors(next(&Timestamp::now()), next).take(RUNS.into()).collect());
    }
    of_systemd(&on_calendar(text)?, RUNS).await
}

fn list(runs: &[Timestamp]) -> String {
    let zone = TimeZone::system();
    let one = |run: &Timestamp| -> String {
        let local: Zoned = run.to_zoned(zone.clone());
        local.strftime("%a %Y-%m-%d %H:%M %Z").to_string()
    };
    match runs.is_empty() {
        true => "never".to_owned(),
        false => runs.iter().map(one).collect::<Vec<_>>().join(", "),
    }
}

/// Timers are told where systemd has them.
async fn timers(instance: &str, checks: &mut Checks) {
    for (name, next) in units::timers(instance).await {
        checks.ok(name, format!("systemd starts it next {next}"));
    }
    for unit in units::troubled(instance).await {
        let found = health::checks::unit(&unit, &Surroundings::here());
        checks.warning(unit.name, found.message, found.hint);
    }
}

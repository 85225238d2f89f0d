//! The schedules of the timers.

use crate::calendar::tasks::{TASKS, is_off};
use crate::calendar::{cron::without_comment, is_cron, on_calendar};
use crate::error::Kind;
use crate::task::calendar::of_systemd;
use crate::task::config::findings::Findings;
use crate::task::config::names::Values;

/// Checks each schedule: cron lines here, calendar expressions by systemd where it is.
pub async fn check(values: &Values, findings: &mut Findings) {
    for variable in TASKS.iter().map(|task| task.variable) {
        let schedule = values.get(variable).map(|text| without_comment(text)).filter(|text| !text.is_empty());
        let Some(schedule) = schedule.filter(|text| !is_off(text)) else { continue };
        match on_calendar(schedule) {
            Err(error) => findings.error(variable, error),
            Ok(_) if is_cron(schedule) => {}
            Ok(expressions) => match of_systemd(&expressions, 1).await {
                Err(error) if error.kind() == Kind::Config => findings.error(variable, error),
                // Without systemd nobody can tell.
                Ok(_) | Err(_) => {}
            },
        }
    }
}

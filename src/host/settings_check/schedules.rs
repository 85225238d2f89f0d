//! Checks of the tasks' schedules.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::calendar::cron::{Cron, without_comment};
use crate::calendar::tasks::{TASKS, Task, is_off};
use crate::format::time;
use crate::host::settings_check::findings::SettingFindings;
use crate::host::settings_check::names::Values;
use crate::host::settings_check::source::{Origin, SettingsSource};
use crate::host::systemd_analyze::usable;

/// Checks each schedule: cron lines here, calendar expressions by systemd if it is available.
pub async fn check(source: &SettingsSource, values: &Values, findings: &mut SettingFindings) {
    for task in TASKS {
        let schedule = values
            .get(task.variable)
            .map(|text| without_comment(text))
            .filter(|text| !text.is_empty() && !is_off(text));
        match schedule.map(usable) {
            None => {}
            Some(usable) => match usable.await {
                Ok(()) => {}
                // The timers of an instance run all the same.
                Err(error) if matches!(source.origin, Origin::Units { .. }) => {
                    findings.error(task.variable, format!("{error}; {}", packaged(task)));
                }
                Err(error) => findings.error(task.variable, error),
            },
        }
    }
}

/// The schedule in force for a task whose own schedule cannot be used.
fn packaged(task: &Task) -> String {
    let zone = TimeZone::system();
    let next = Cron::parse(task.default).ok().and_then(|cron| cron.next(Timestamp::now(), &zone));
    let next = next.map(|next| format!(", next at {}", time(next, &zone))).unwrap_or_default();
    format!("until it is corrected, the timer keeps the packaged schedule '{}'{next}", task.default)
}

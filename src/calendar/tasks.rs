//! The scheduled tasks. On a systemd host each has a timer and a service; `pgcellar schedule` runs the same command lines.

use std::time::Duration;

use crate::calendar::cron::without_comment;

/// A scheduled task.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Name, as in the names of its units.
    pub name: &'static str,
    /// Variable with its schedule.
    pub variable: &'static str,
    /// Default schedule, a cron line.
    pub default: &'static str,
    /// Arguments of `pgcellar`, without the instance.
    pub arguments: &'static [&'static str],
    /// Exit statuses other than 0 that are no failure: those of the monitor, and of a drill that is not possible on this host.
    pub success: &'static [i32],
    /// How long it may make no progress.
    pub limit: Duration,
    /// Whether it needs the server.
    pub needs_server: bool,
    /// Name of the file that `pgcellar schedule` logs it to.
    pub log: &'static str,
}

/// The setting of a task's schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScheduleSetting<'a> {
    /// Not set: the default schedule.
    Default,
    /// The task is switched off.
    Off,
    /// A cron line, or a calendar expression.
    At(&'a str),
}

/// Words that switch a task off.
const OFF: &[&str] = &["off", "never"];

impl Task {
    /// Reads the value of [`variable`](Task::variable), without a comment at its end. An empty value counts as not set, except
    /// for drills, on which nothing else depends, and which it switches off.
    pub fn setting<'a>(&self, value: Option<&'a str>) -> ScheduleSetting<'a> {
        match value.map(without_comment) {
            Some("") if self.name == "drill" => ScheduleSetting::Off,
            None | Some("") => ScheduleSetting::Default,
            Some(text) if is_off(text) => ScheduleSetting::Off,
            Some(text) => ScheduleSetting::At(text),
        }
    }

    /// The value in the environment.
    pub fn setting_here(&self) -> Option<String> {
        std::env::var(self.variable).ok()
    }
}

/// Whether a schedule is a word that switches the task off.
pub fn is_off(schedule: &str) -> bool {
    OFF.iter().any(|word| without_comment(schedule).eq_ignore_ascii_case(word))
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
const TEN_MINUTES: Duration = Duration::from_secs(600);

/// All tasks; those that are due at the same time begin in this order.
#[rustfmt::skip]
pub const TASKS: &[Task] = &[
    Task { name: "backup", variable: "BACKUP_SCHEDULE", default: "0 2 * * *", arguments: &["backup", "--wait=1800"], success: &[], limit: HOUR, needs_server: true, log: "cron.log" },
    Task { name: "retention", variable: "RETENTION_SCHEDULE", default: "0 4 * * *", arguments: &["retention", "--wait=1800"], success: &[], limit: HOUR, needs_server: false, log: "cron.log" },
    Task { name: "monitor", variable: "MONITOR_SCHEDULE", default: "*/15 * * * *", arguments: &["monitor", "check", "--notify"], success: &[1, 2, 3], limit: TEN_MINUTES, needs_server: false, log: "monitor.log" },
    Task { name: "drill", variable: "DRILL_SCHEDULE", default: "0 5 * * 0", arguments: &["drill", "--each", "--wait=43200"], success: &[72], limit: DAY, needs_server: false, log: "cron.log" },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::on_calendar;

    fn lines(unit: &str) -> Vec<String> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit);
        std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn words_that_switch_a_task_off() {
        for task in TASKS {
            for off in ["off", " never # for now", "OFF"] {
                assert_eq!(task.setting(Some(off)), ScheduleSetting::Off, "{off}");
            }
            let empty = if task.name == "drill" { ScheduleSetting::Off } else { ScheduleSetting::Default };
            assert_eq!((task.setting(None), task.setting(Some(" # none"))), (ScheduleSetting::Default, empty));
            assert_eq!(task.setting(Some("@daily  # x")), ScheduleSetting::At("@daily"));
        }
    }

    #[test]
    fn the_tasks_are_those_of_the_units() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert_eq!(files.filter(|name| name.ends_with(".timer")).count(), TASKS.len());
        for task in TASKS {
            let timer = lines(&format!("pgcellar-{}@.timer", task.name));
            let due = format!("OnCalendar={}", on_calendar(task.default).unwrap().join(" and "));
            assert!(timer.contains(&due), "{}: {due}", task.name);
            let service = lines(&format!("pgcellar-{}@.service", task.name));
            let value =
                |name: &str| service.iter().find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned();
            let mut words: Vec<String> = value("ExecStart=").split(' ').map(str::to_owned).collect();
            words.retain(|word| word != "/usr/bin/pgcellar" && word != "--instance=%i");
            assert_eq!(words, task.arguments, "{}", task.name);
            let limit = match value("TimeoutStartSec=").as_str() {
                "1d" => DAY,
                "1h" => HOUR,
                "10min" => TEN_MINUTES,
                other => panic!("{}: {other}", task.name),
            };
            assert_eq!(limit, task.limit, "{}", task.name);
            let statuses = value("SuccessExitStatus=");
            let statuses: Vec<i32> = statuses.split_whitespace().map(|status| status.parse().unwrap()).collect();
            assert_eq!(statuses, task.success, "{}", task.name);
        }
    }
}

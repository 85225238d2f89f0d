//! The settings of the scheduler, and those of the backups, so that errors show at the start and not at night.

use jiff::tz::TimeZone;

use crate::calendar::cron::Cron;
use crate::calendar::is_cron;
use crate::calendar::tasks::{ScheduleSetting, TASKS, Task};
use crate::cli::{Cli, ScheduleArgs, Verb};
use crate::config::{BackupSettings, Connection, Place, zone};
use crate::error::{Error, Kind, Result};
use crate::printable::printable;

/// A task and its schedule.
pub struct Line {
    pub task: &'static Task,
    /// The schedule as it is set.
    pub text: String,
    /// None if the task is switched off.
    pub cron: Option<Cron>,
}

/// All settings, checked.
pub struct Settings {
    pub lines: Vec<Line>,
    pub zone: TimeZone,
    pub place: Place,
    pub connection: Connection,
}

impl Settings {
    /// Reads the environment, as the tasks will.
    pub fn new(args: &ScheduleArgs) -> Result<Self> {
        let lines = TASKS.iter().map(|task| line(task, task.setting_here())).collect::<Result<_>>()?;
        let zone = zone(args.timezone.as_deref())?;
        let value = |name: &str| match name {
            "PGCELLAR_INSTANCE" => Some(args.instance.clone()),
            name => variable(name),
        };
        let verb = Cli::of_variables(&["backup"], &value)
            .map_err(|error| Error::new(Kind::Config, printable(error.to_string().trim())))?;
        let Verb::Backup(backup) = verb else { return Err(Error::new(Kind::Internal, "backup is another verb")) };
        BackupSettings::new(&backup)?;
        let (place, connection) = (Place::new(&backup.place)?, Connection::new(&backup.connection)?);
        Ok(Settings { lines, zone, place, connection })
    }
}

/// A variable's value; an empty one counts as not set, but for `BACKUP_DIR`.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty() || name == "BACKUP_DIR")
}

fn line(task: &'static Task, value: Option<String>) -> Result<Line> {
    let text = match task.setting(value.as_deref()) {
        ScheduleSetting::Off => return Ok(Line { task, text: String::new(), cron: None }),
        ScheduleSetting::Default => task.default,
        ScheduleSetting::At(text) => text,
    };
    if !is_cron(text) {
        let message = format!("{} is '{}', which is not a cron line", task.variable, printable(text));
        return Err(Error::new(Kind::Config, message).hint(
            "here schedules have five fields, such as 0 2 * * *, or a name such as @daily, and off switches the task off; \
             systemd's calendar expressions are for its timers",
        ));
    }
    let cron = Cron::parse(text).map_err(|error| error.context(task.variable))?;
    Ok(Line { task, text: text.to_owned(), cron: Some(cron) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Line> {
        line(&TASKS[0], Some(value.to_owned()))
    }

    #[test]
    fn lines_and_defaults() {
        assert_eq!(line(&TASKS[0], None).unwrap().text, "0 2 * * *");
        assert_eq!(read(" # off").unwrap().text, "0 2 * * *");
        assert_eq!(read("0 3 * * 0  # weekly").unwrap().text, "0 3 * * 0");
        assert_eq!(read("@daily").unwrap().text, "@daily");
        assert!(read("off").unwrap().cron.is_none());
    }

    #[test]
    fn what_cron_does_not_know_is_refused_by_name() {
        for (text, words) in [
            ("*-*-* 02:00:00", "BACKUP_SCHEDULE is '*-*-* 02:00:00', which is not a cron line"),
            ("daily", "BACKUP_SCHEDULE is 'daily'"),
            ("0 25 * * *", "BACKUP_SCHEDULE: the cron line '0 25 * * *' cannot be used: '25' as hour (character 3)"),
        ] {
            let error = read(text).err().unwrap();
            assert_eq!(error.kind(), Kind::Config);
            assert!(error.message().contains(words), "{error}");
        }
    }
}

//! Options of `pgcellar schedule` and `pgcellar calendar`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;

/// `pgcellar schedule`. The settings of the tasks come from the environment only, as those of units do.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// Name of the configuration
    #[arg(short, long, env = "PGCELLAR_INSTANCE", hide_env_values = true, value_name = "NAME", default_value = "main")]
    pub instance: String,
    /// Also back up at the start
    #[arg(long, env = "BACKUP_ON_START", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub backup_on_start: bool,
    /// Folder for cron.log and monitor.log, to which the log is also written, with at most 1 MiB and one older file each; no
    /// files are written if the folder does not exist
    #[arg(
        long,
        env = "BACKUP_LOG_DIR",
        hide_env_values = true,
        value_name = "FOLDER",
        default_value = "/var/log/backup"
    )]
    pub log_dir: PathBuf,
    /// Time zone of the schedules, such as Europe/Berlin [default: the system's]
    #[arg(long, env = "TZ", hide_env_values = true, value_name = "ZONE")]
    pub timezone: Option<String>,
}

/// `pgcellar calendar`.
#[derive(Debug, Args)]
pub struct CalendarArgs {
    /// Cron line, or calendar expression of systemd.time(7), or several separated by ;
    #[arg(value_name = "SCHEDULE")]
    pub schedule: String,
    /// Number of runs to show
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub iterations: u16,
}

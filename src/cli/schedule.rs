//! Options of `pgcellar schedule`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::FalseyValueParser;

/// `pgcellar schedule`. The settings of the tasks themselves come from the environment alone, as those of units do.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// Name of the configuration
    #[arg(short, long, env = "PGCELLAR_INSTANCE", hide_env_values = true, value_name = "NAME", default_value = "main")]
    pub instance: String,
    /// Back up once at the start, whatever the schedule says
    #[arg(long, env = "BACKUP_ON_START", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub backup_on_start: bool,
    /// Folder for cron.log and monitor.log, which have what is logged here too, and hold 1 MiB and an older file each;
    /// where there is no such folder there are no files
    #[arg(
        long,
        env = "BACKUP_LOG_DIR",
        hide_env_values = true,
        value_name = "FOLDER",
        default_value = "/var/log/backup"
    )]
    pub log_dir: PathBuf,
    /// Zone of the schedules, such as Europe/Berlin [default: the system's]
    #[arg(long, env = "TZ", hide_env_values = true, value_name = "ZONE")]
    pub timezone: Option<String>,
}

//! Options of `pgcellar monitor`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::connection::{ConnectionArgs, DatabaseArgs};
use crate::cli::encryption::{IdentityArgs, RecipientArgs};
use crate::cli::mail::{NotifyArgs, TestMailArgs};
use crate::cli::place::PlaceArgs;
use crate::cli::retention::{RuleArgs, ShrinkArgs};

/// `pgcellar monitor`.
#[derive(Debug, Args)]
pub struct MonitorArgs {
    /// The action.
    #[command(subcommand)]
    pub action: MonitorAction,
}

impl MonitorArgs {
    /// The instance and the stores of the action.
    pub fn place_mut(&mut self) -> &mut PlaceArgs {
        match &mut self.action {
            MonitorAction::Check(args) => &mut args.health.place,
            MonitorAction::Report(args) => &mut args.health.place,
            MonitorAction::Acknowledge(args) => &mut args.place,
            MonitorAction::TestMail(args) => &mut args.place,
        }
    }
}

/// The actions of `pgcellar monitor`.
#[derive(Debug, Subcommand)]
pub enum MonitorAction {
    /// Check the backups: the exit code is 0 (OK), 1 (WARNING), 2 (CRITICAL) or 3 (UNKNOWN)
    Check(Box<CheckArgs>),
    /// Show the state of the backups
    Report(Box<ReportArgs>),
    /// Confirm that a database was emptied, or that its tables lost rows, on purpose; until then retention keeps its last backup
    /// before that
    Acknowledge(Box<AcknowledgeArgs>),
    /// Send a test mail, and report each step
    TestMail(Box<TestMailArgs>),
}

/// `pgcellar monitor acknowledge`.
#[derive(Debug, Args)]
pub struct AcknowledgeArgs {
    /// Database that pgcellar monitor check reports as emptied, or with tables that lost rows
    #[arg(value_name = "DATABASE")]
    pub database: String,
    /// Tables that lost rows.
    #[command(flatten)]
    pub shrink: ShrinkArgs,
    /// Private keys.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The server, whose identity is queried.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `pgcellar monitor check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Exit with 0 below this level: warning or critical; UNKNOWN always fails. For the health check of a container
    #[arg(long, value_name = "LEVEL", default_value = "warning", value_parser = ["warning", "critical"])]
    pub fail_on: String,
    /// Mail settings.
    #[command(flatten)]
    pub notify: NotifyArgs,
    /// What is checked.
    #[command(flatten)]
    pub health: HealthArgs,
}

/// `pgcellar monitor report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// text, json, html, or prometheus for node_exporter's textfile collector
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: String,
    /// File to write, which is replaced atomically and is readable by all users [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// What is checked.
    #[command(flatten)]
    pub health: HealthArgs,
}

/// What is checked, and the thresholds.
#[derive(Clone, Debug, Args)]
pub struct HealthArgs {
    /// The rows of the last two backups are counted, for a report.
    #[arg(skip)]
    pub counts_rows: bool,
    /// No credential could be loaded: checks that need one are skipped.
    #[arg(skip)]
    pub without_credentials: bool,
    /// The databases that backups are made of.
    #[command(flatten)]
    pub databases: DatabaseArgs,
    /// Who can decrypt.
    #[command(flatten)]
    pub recipients: RecipientArgs,
    /// Thresholds.
    #[command(flatten)]
    pub thresholds: ThresholdArgs,
    /// What retention keeps, and the zone of the schedule.
    #[command(flatten)]
    pub rules: RuleArgs,
    /// Private keys.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The server.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// The thresholds.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Thresholds")]
pub struct ThresholdArgs {
    /// Schedule of backups: a cron line, a systemd calendar expression, for timers several separated by ;, or off
    #[arg(long, env = "BACKUP_SCHEDULE", hide_env_values = true, value_name = "SCHEDULE", default_value = "0 2 * * *")]
    pub schedule: String,
    /// Maximum age of the newest good backup of each database, in hours; twice that is critical [default: the longest gap of the
    /// schedule plus 2 hours]
    #[arg(long, env = "MONITOR_RECENT_HOURS", hide_env_values = true, value_name = "HOURS")]
    pub recent_hours: Option<String>,
    /// Minimum number of good backups of each database
    #[arg(long, env = "MONITOR_MIN_BACKUPS", hide_env_values = true, value_name = "NUMBER", default_value = "1")]
    pub min_backups: String,
    /// Maximum size of a backup, such as 500M or 10G; 0 is no limit
    #[arg(long, env = "MONITOR_MAX_SIZE", hide_env_values = true, value_name = "SIZE", default_value = "100G")]
    pub max_size: String,
    /// Maximum age of the oldest backup, in days; 0 is no limit [default: what retention keeps]
    #[arg(long, env = "MONITOR_MAX_AGE_DAYS", hide_env_values = true, value_name = "DAYS")]
    pub max_age_days: Option<String>,
    /// Minimum free space of the backup directory's disk: a percentage, such as 5%, or a size, such as 20G
    #[arg(long, env = "MONITOR_MIN_FREE", hide_env_values = true, value_name = "PERCENT|SIZE", default_value = "5%")]
    pub min_free: String,
    /// By how many times its usual spread a size or a duration may deviate from the usual; 0 is no limit
    #[arg(long, env = "MONITOR_MAX_DEVIATION", hide_env_values = true, value_name = "NUMBER", default_value = "8")]
    pub max_deviation: String,
    /// Maximum time since the last drill of each database, in days; 0 is no limit [default: no limit]
    #[arg(long, env = "MONITOR_DRILL_DAYS", hide_env_values = true, value_name = "DAYS")]
    pub drill_days: Option<String>,
    /// Report the rehearsals of the upgrade to this major version [default: that of the last one]
    #[arg(long, env = "DRILL_SERVER_NEXT", hide_env_values = true, value_name = "MAJOR")]
    pub server_next: Option<String>,
}

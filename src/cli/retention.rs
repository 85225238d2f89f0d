//! Options of `pgcellar retention`, `pin` and `unpin`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::connection::ConnectionArgs;
use crate::cli::encryption::IdentityArgs;
use crate::cli::place::{PlaceArgs, WaitArgs};

/// `pgcellar retention`.
#[derive(Debug, Args)]
pub struct RetentionArgs {
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Print every backup with keep or remove and the reasons, and remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Print every backup with keep or remove and the reasons, as JSON
    #[arg(long)]
    pub json: bool,
    /// How long to wait for another run.
    #[command(flatten)]
    pub patience: WaitArgs,
    /// The rules.
    #[command(flatten)]
    pub rules: RuleArgs,
    /// Private keys, with which the rows of encrypted backups are counted for MONITOR_MAX_SHRINK.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The server, whose identity is queried if needed, and whose clock is compared before anything is removed.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// The rules and their time zone.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Retention")]
pub struct RuleArgs {
    /// Time zone of schedules, hours, days, weeks, months and years, such as Europe/Berlin [default: the system's]
    #[arg(long, env = "TZ", hide_env_values = true, value_name = "ZONE")]
    pub timezone: Option<String>,
    /// The rules.
    #[command(flatten)]
    pub keep: KeepArgs,
    /// The rules for the bucket.
    #[command(flatten)]
    pub keep_s3: KeepS3Args,
    /// Tables that lost rows.
    #[command(flatten)]
    pub shrink: ShrinkArgs,
}

/// From when on the loss of rows is noticed.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Tables that lost rows")]
pub struct ShrinkArgs {
    /// Warn of a table that lost more than this percentage of its rows from one backup to the next, such as 50, and keep the
    /// backup from before twice as long; 0 is off [default: 0]
    #[arg(long, env = "MONITOR_MAX_SHRINK", hide_env_values = true, value_name = "PERCENT")]
    pub max_shrink: Option<String>,
}

/// The rules. A backup is kept if any of them keeps it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Retention")]
pub struct KeepArgs {
    /// Keep this many days back from the newest good backup [default: 7, unless another of these is set]
    #[arg(long, env = "BACKUP_RETENTION_DAYS", hide_env_values = true, value_name = "DAYS")]
    pub retention_days: Option<String>,
    /// Keep the newest N
    #[arg(long, env = "BACKUP_KEEP_LAST", hide_env_values = true, value_name = "N")]
    pub keep_last: Option<String>,
    /// Keep the newest of each of the last N hours that have backups
    #[arg(long, env = "BACKUP_KEEP_HOURLY", hide_env_values = true, value_name = "N")]
    pub keep_hourly: Option<String>,
    /// Keep the newest of each of the last N days that have backups
    #[arg(long, env = "BACKUP_KEEP_DAILY", hide_env_values = true, value_name = "N")]
    pub keep_daily: Option<String>,
    /// Keep the newest of each of the last N weeks (from Monday on) that have backups
    #[arg(long, env = "BACKUP_KEEP_WEEKLY", hide_env_values = true, value_name = "N")]
    pub keep_weekly: Option<String>,
    /// Keep the newest of each of the last N months that have backups
    #[arg(long, env = "BACKUP_KEEP_MONTHLY", hide_env_values = true, value_name = "N")]
    pub keep_monthly: Option<String>,
    /// Keep the newest of each of the last N years that have backups
    #[arg(long, env = "BACKUP_KEEP_YEARLY", hide_env_values = true, value_name = "N")]
    pub keep_yearly: Option<String>,
    /// Keep all that are no older than this before the newest good one, such as 1y5m7d2h
    #[arg(long, env = "BACKUP_KEEP_WITHIN", hide_env_values = true, value_name = "DURATION")]
    pub keep_within: Option<String>,
}

/// The same for the bucket; what is not set is as it is for the folder.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Retention in the bucket [default: each as set above]")]
pub struct KeepS3Args {
    /// Keep this many days back from the newest good backup
    #[arg(long, env = "BACKUP_S3_RETENTION_DAYS", hide_env_values = true, value_name = "DAYS")]
    pub s3_retention_days: Option<String>,
    /// Keep the newest N
    #[arg(long, env = "BACKUP_S3_KEEP_LAST", hide_env_values = true, value_name = "N")]
    pub s3_keep_last: Option<String>,
    /// Keep the newest of each of the last N hours that have backups
    #[arg(long, env = "BACKUP_S3_KEEP_HOURLY", hide_env_values = true, value_name = "N")]
    pub s3_keep_hourly: Option<String>,
    /// Keep the newest of each of the last N days that have backups
    #[arg(long, env = "BACKUP_S3_KEEP_DAILY", hide_env_values = true, value_name = "N")]
    pub s3_keep_daily: Option<String>,
    /// Keep the newest of each of the last N weeks that have backups
    #[arg(long, env = "BACKUP_S3_KEEP_WEEKLY", hide_env_values = true, value_name = "N")]
    pub s3_keep_weekly: Option<String>,
    /// Keep the newest of each of the last N months that have backups
    #[arg(long, env = "BACKUP_S3_KEEP_MONTHLY", hide_env_values = true, value_name = "N")]
    pub s3_keep_monthly: Option<String>,
    /// Keep the newest of each of the last N years that have backups
    #[arg(long, env = "BACKUP_S3_KEEP_YEARLY", hide_env_values = true, value_name = "N")]
    pub s3_keep_yearly: Option<String>,
    /// Keep all that are no older than this before the newest good one
    #[arg(long, env = "BACKUP_S3_KEEP_WITHIN", hide_env_values = true, value_name = "DURATION")]
    pub s3_keep_within: Option<String>,
}

/// `pgcellar pin`.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// Backup's id, the unique beginning of one, latest, or latest~N, the Nth good one before it
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Why it is kept
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `pgcellar unpin`.
#[derive(Debug, Args)]
pub struct UnpinArgs {
    /// Backup's id, the unique beginning of one, latest, or latest~N, the Nth good one before it
    #[arg(value_name = "ID", value_parser = NonEmptyStringValueParser::new())]
    pub id: String,
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

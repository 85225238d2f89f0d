//! Options of `pgcellar backup`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::connection::{ConnectionArgs, DatabaseArgs};
use crate::cli::encryption::RecipientArgs;
use crate::cli::mail::PingArgs;
use crate::cli::place::{PlaceArgs, WaitArgs};
use crate::cli::retention::RuleArgs;

/// `pgcellar backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Which databases.
    #[command(flatten)]
    pub databases: DatabaseArgs,
    /// custom, directory, tar or plain
    #[arg(short = 'F', long, env = "BACKUP_FORMAT", hide_env_values = true, default_value = "custom")]
    pub format: String,
    /// gzip, bzip2, xz, zstd or none
    #[arg(
        short = 'Z',
        long,
        env = "BACKUP_COMPRESSION",
        hide_env_values = true,
        value_name = "METHOD",
        default_value = "gzip"
    )]
    pub compression: String,
    /// Level of the compression [default: a fast one]
    #[arg(long, env = "BACKUP_COMPRESSION_LEVEL", hide_env_values = true, value_name = "LEVEL")]
    pub compression_level: Option<String>,
    /// Number of sessions that read in parallel, or auto for the number of processors: tables for the directory format, and parts
    /// of large tables for the custom format [default: auto for the directory format, 1 for the custom format]
    #[arg(short, long, env = "BACKUP_JOBS", hide_env_values = true)]
    pub jobs: Option<String>,
    /// Minimum size of a table whose parts are read in parallel for the custom format
    #[arg(long, env = "BACKUP_SPLIT_SIZE", hide_env_values = true, value_name = "SIZE", default_value = "64M")]
    pub split_size: String,
    /// Who can decrypt.
    #[command(flatten)]
    pub recipients: RecipientArgs,
    /// Folder in memory where a directory archive is stored until it is encrypted
    #[arg(long, env = "BACKUP_STAGING_DIR", hide_env_values = true, value_name = "FOLDER", default_value = "/dev/shm")]
    pub staging_dir: PathBuf,
    /// Further options of pg_dump, by their long names
    #[arg(
        long,
        env = "BACKUP_DUMP_OPTIONS",
        hide_env_values = true,
        value_name = "OPTIONS",
        allow_hyphen_values = true
    )]
    pub dump_options: Option<String>,
    /// Dump the planner's statistics, which have values of rows: true or false. With pg_dump 18 and newer, in the formats custom,
    /// directory and tar, unless --dump-options leaves rows out
    #[arg(long, env = "BACKUP_STATISTICS", hide_env_values = true, value_name = "BOOLEAN", default_value = "true")]
    pub statistics: String,
    /// Maximum wait for a table's lock, in seconds
    #[arg(
        long,
        env = "BACKUP_LOCK_WAIT_TIMEOUT",
        hide_env_values = true,
        value_name = "SECONDS",
        default_value = "600"
    )]
    pub lock_wait_timeout: String,
    /// Print the manifests as JSON, each with the stores that have it
    #[arg(long)]
    pub json: bool,
    /// How long to wait for another run.
    #[command(flatten)]
    pub patience: WaitArgs,
    /// The rules of retention: only what they keep in the bucket is copied there.
    #[command(flatten)]
    pub rules: RuleArgs,
    /// The dead man's switch.
    #[command(flatten)]
    pub ping: PingArgs,
    /// The server.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

//! Options of the instance, its stores, and its runs.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::cli::s3::S3Args;

/// The instance, and where its backups are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Backups")]
pub struct PlaceArgs {
    /// Name of the instance, recorded in each backup
    #[arg(short, long, env = "PGCELLAR_INSTANCE", hide_env_values = true, value_name = "NAME", default_value = "main")]
    pub instance: String,
    /// Name of this host, recorded in each backup; for containers, whose names change or are not unique [default: the system's]
    #[arg(long, env = "PGCELLAR_HOST", hide_env_values = true, value_name = "NAME")]
    pub host_name: Option<String>,
    /// Folder of the backups; for units, a folder other than the default must be created first: install -d -o pgcellar -m 700
    /// FOLDER [default: /var/backups/pgcellar/INSTANCE]
    #[arg(
        long,
        env = "BACKUP_DIR",
        hide_env_values = true,
        value_name = "FOLDER",
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub backup_dir: Option<PathBuf>,
    /// The bucket.
    #[command(flatten)]
    pub s3: S3Args,
}

/// How long a run waits for another one of the same instance.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Wait this many seconds for another run to end, as units do; by default, another run is an error
    #[arg(long, value_name = "SECONDS", default_value_t = 0, hide_default_value = true)]
    pub wait: u32,
}

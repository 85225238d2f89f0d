//! Options of `pgcellar adopt`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::encryption::IdentityArgs;
use crate::cli::place::PlaceArgs;

/// `pgcellar adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// Files and folders in BACKUP_DIR, or objects of the bucket (by their names, or s3://BUCKET/PREFIX/NAME), named
    /// DATABASE_YYYYMMDD_HHMMSS…
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Time zone of the times in their names, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub timezone: String,
    /// Database of the dumps [default: the one that they name]
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Check the dumps, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Private keys.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

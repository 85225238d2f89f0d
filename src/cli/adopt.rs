//! The command line of `pgcellar adopt`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{IdentityArgs, PlaceArgs};

/// `pgcellar adopt`.
#[derive(Debug, Args)]
pub struct AdoptArgs {
    /// Files and folders in BACKUP_DIR, or objects of the bucket (by their names, or s3://BUCKET/PREFIX/NAME), named
    /// DATABASE_YYYYMMDD_HHMMSS…
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Zone of the times in their names, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub timezone: String,
    /// Database that they are of [default: the one that they tell]
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Check them, and write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Private keys.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

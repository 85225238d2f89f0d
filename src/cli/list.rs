//! Options of `pgcellar list`.

use clap::Args;

use crate::cli::place::PlaceArgs;

/// `pgcellar list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only backups in this store: local or s3
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Also backups of other instances and hosts
    #[arg(long)]
    pub all_instances: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

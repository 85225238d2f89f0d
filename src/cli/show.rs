//! Options of `pgcellar show`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::encryption::IdentityArgs;
use crate::cli::place::PlaceArgs;

/// `pgcellar show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Backup's id, the unique beginning of one, latest, latest~N, the Nth good one before it, or an archive's path or address
    /// s3://BUCKET/KEY
    #[arg(value_name = "ID|latest|PATH", value_parser = NonEmptyStringValueParser::new(), default_value = "latest")]
    pub id: String,
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Private keys.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

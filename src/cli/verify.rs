//! Options of `pgcellar verify`.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::connection::ConnectionArgs;
use crate::cli::encryption::IdentityArgs;
use crate::cli::place::PlaceArgs;

/// `pgcellar verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Backup's id, the unique beginning of one, latest, latest~N, the Nth good one before it, or the path or address
    /// s3://BUCKET/KEY of an archive, whose result is not recorded if it has no manifest
    #[arg(value_name = "ID|latest|PATH", value_parser = NonEmptyStringValueParser::new(), default_value = "latest", conflicts_with = "all")]
    pub id: String,
    /// Every backup
    #[arg(long)]
    pub all: bool,
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only backups in this store: local or s3
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Compare the backup's fingerprints with the present contents of this database: every row, sequence and large object. The
    /// result is not recorded, and the archive is not read. A database that was changed since the backup differs
    #[arg(long, value_name = "DATABASE", conflicts_with = "all")]
    pub against_live: Option<String>,
    /// With --against-live: read this many tables, or parts of a large one, in parallel [default: 1]
    #[arg(short, long, value_name = "JOBS", requires = "against_live")]
    pub jobs: Option<String>,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
    /// Private keys.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The server of --against-live, and the folder of pg_restore, for tar archives.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

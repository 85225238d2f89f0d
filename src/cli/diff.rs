//! Options of `pgcellar diff`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::connection::ConnectionArgs;
use crate::cli::encryption::IdentityArgs;
use crate::cli::place::PlaceArgs;

/// `pgcellar diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Earlier backup: its id, the unique beginning of one, latest, latest~N, the Nth good one before it, or an archive's path
    /// or address s3://BUCKET/KEY [default: latest~1; latest with --against-live]
    #[arg(value_name = "BEFORE", value_parser = NonEmptyStringValueParser::new())]
    pub before: Option<String>,
    /// Later backup, named likewise [default: latest]
    #[arg(value_name = "AFTER", value_parser = NonEmptyStringValueParser::new(), conflicts_with = "against_live")]
    pub after: Option<String>,
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Compare the backup with the present contents of this database: its definitions, and every row, sequence and large object
    #[arg(long, value_name = "DATABASE", conflicts_with = "rows")]
    pub against_live: Option<String>,
    /// Show the rows of this table that were inserted, deleted or updated: TABLE or SCHEMA.TABLE
    #[arg(long, value_name = "TABLE", value_parser = NonEmptyStringValueParser::new())]
    pub rows: Option<String>,
    /// With --rows: pair the rows by these columns, separated by commas [default: the primary key; without one, rows are only
    /// inserted and deleted]
    #[arg(long, value_name = "COLUMNS", requires = "rows")]
    pub key: Option<String>,
    /// With --rows: table, csv, json-lines, copy, or insert, which are statements that make the earlier rows the later ones
    /// [default: table]
    #[arg(long, value_name = "FORMAT", requires = "rows", conflicts_with = "json")]
    pub format: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Exit with 1 if there are differences and with 0 if there are none, as git diff does; failures exit with 64 or more
    #[arg(long)]
    pub exit_code: bool,
    /// With --against-live: read this many tables, or parts of a large one, in parallel [default: 1]
    #[arg(short, long, value_name = "JOBS", requires = "against_live")]
    pub jobs: Option<String>,
    /// With --rows: folder for rows that have to be sorted and do not fit into memory; those of an encrypted backup are encrypted
    /// with a key that is never stored [default: TMPDIR or /var/tmp]
    #[arg(long, env = "RESTORE_STAGING_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub staging_dir: Option<PathBuf>,
    /// Private keys.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The server of --against-live.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

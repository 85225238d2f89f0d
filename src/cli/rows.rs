//! Options of `pgcellar rows`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::connection::ConnectionArgs;
use crate::cli::encryption::IdentityArgs;
use crate::cli::place::PlaceArgs;

/// `pgcellar rows`.
#[derive(Debug, Args)]
pub struct RowsArgs {
    /// Table, by its name if only one has it, or by SCHEMA.TABLE; names are exact. A partitioned table stands for all its
    /// partitions
    #[arg(value_name = "TABLE", value_parser = NonEmptyStringValueParser::new())]
    pub table: String,
    /// Backup's id, the unique beginning of one, latest, latest~N, the Nth good one before it, or an archive's path or address
    /// s3://BUCKET/KEY
    #[arg(value_name = "ID|latest|PATH", value_parser = NonEmptyStringValueParser::new(), default_value = "latest")]
    pub id: String,
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only rows for which this holds: COLUMN=VALUE, with = <> < <= > >= or LIKE, or 'COLUMN is null', 'COLUMN is not null'; may be
    /// given several times, and all must hold. Numbers, dates, times, uuids, booleans and bytea are compared as such, and text
    /// byte by byte, unless --collation is given. Without an offset a time is one of the time zone TZ
    #[arg(long = "where", id = "where", value_name = "CONDITION")]
    pub conditions: Vec<String>,
    /// Compare text with < and > in the order of this locale, such as de or sv-SE [default: byte by byte, as the collation C]
    #[arg(long, value_name = "LOCALE")]
    pub collation: Option<String>,
    /// Only these columns, in this order, separated by commas
    #[arg(long, value_name = "NAMES")]
    pub columns: Option<String>,
    /// At most this many rows
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<u64>,
    /// table, csv, json-lines, copy (as pg_dump wrote the rows) or insert
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub format: String,
    /// File to write, readable by this user alone, which is replaced atomically [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Each version that the rows had in any good backup, with the first and the last backup that has it
    #[arg(long, conflicts_with_all = ["id", "into", "limit"])]
    pub all: bool,
    /// Put the rows into a new table of this database, and print the SQL that would bring them back from there
    #[arg(long, value_name = "DATABASE", conflicts_with_all = ["output", "format"])]
    pub into: Option<String>,
    /// With --into: the new table, NAME in the schema of the old one or SCHEMA.NAME [default: TABLE_YYYYMMDD_HHMMSS, the time of
    /// the backup]
    #[arg(long, value_name = "NAME", requires = "into")]
    pub into_table: Option<String>,
    /// With root's -i: user to run as, such as postgres, which may make tables; it reads the backups, and connects under its own
    /// name unless --username says another
    #[arg(long = "as", value_name = "USER")]
    pub as_user: Option<String>,
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

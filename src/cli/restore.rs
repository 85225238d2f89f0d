//! Options of `pgcellar restore`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{FalseyValueParser, NonEmptyStringValueParser};

use crate::cli::connection::ConnectionArgs;
use crate::cli::encryption::IdentityArgs;
use crate::cli::place::PlaceArgs;

/// `pgcellar restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// Backup's id, the unique beginning of one, latest, latest~N, the Nth good one before it, or an archive's path or address
    /// s3://BUCKET/KEY [default: asks at a terminal]
    #[arg(value_name = "ID|latest|PATH", value_parser = NonEmptyStringValueParser::new())]
    pub id: Option<String>,
    /// Restore the newest good backup of every database, each under its own name, and first the roles that the server lacks
    #[arg(long, conflicts_with_all = ["id", "database", "target_database", "schema", "table", "list", "recipe"])]
    pub all_databases: bool,
    /// With --all-databases or latest: only backups of this time or before, such as '2026-11-28 14:00', 14:00 for today, or
    /// 2026-11-28T14:00:00Z; without an offset, in the time zone TZ [default: now]
    #[arg(long, value_name = "TIME")]
    pub at: Option<String>,
    /// Only backups of this database, for latest
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Database to make [default: the one that was backed up]
    #[arg(short, long, value_name = "NAME")]
    pub target_database: Option<String>,
    /// Replace the target if it exists; it is kept as NAME_replaced_TIME
    #[arg(short, long, env = "FORCE_RESTORE", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub force: bool,
    /// With --force: drop the replaced database once the new one is in its place
    #[arg(long)]
    pub drop_replaced: bool,
    /// Load this many tables, or parts of a large one, at once, and build as many indexes; a compressed or encrypted custom
    /// archive is unpacked into the staging folder meanwhile. Tar and plain archives load serially [default: 1; directory:
    /// number of processors]
    #[arg(short, long, value_name = "JOBS")]
    pub jobs: Option<String>,
    /// Only this schema, with all that is in it, into a new database; may be given several times
    #[arg(short = 'n', long, value_name = "NAME")]
    pub schema: Vec<String>,
    /// Only this table (or view, or sequence; SCHEMA.TABLE, if one name is in several schemas), without its indexes,
    /// constraints, defaults and triggers, into a new database; may be given several times
    #[arg(long, value_name = "NAME")]
    pub table: Vec<String>,
    /// Compare only numbers of rows and large objects with the backup's fingerprints, and not every row
    #[arg(long)]
    pub quick: bool,
    /// First make the roles of the backup's globals that the server lacks
    #[arg(long)]
    pub globals: bool,
    /// Show what the backup contains, and restore nothing
    #[arg(short, long, conflicts_with_all = ["dry_run", "recipe"])]
    pub list: bool,
    /// Show what would be done, and do nothing
    #[arg(long, conflicts_with = "recipe")]
    pub dry_run: bool,
    /// Print the commands that restore this backup without pgcellar
    #[arg(long)]
    pub recipe: bool,
    /// Go on after errors, into a new database; every error is listed, and the exit code is 65
    #[arg(long)]
    pub keep_going: bool,
    /// Leave owners out: everything belongs to the role that restores, as with pg_restore; not for SQL scripts
    #[arg(short = 'O', long)]
    pub no_owner: bool,
    /// Leave privileges (GRANT, REVOKE, default privileges) out, as with pg_restore; not for SQL scripts
    #[arg(short = 'x', long, visible_alias = "no-acl")]
    pub no_privileges: bool,
    /// Folder for what has to be unpacked; must be in memory if the backup is encrypted [default: /dev/shm; TMPDIR
    /// or /var/tmp for an unencrypted backup that would fill a quarter of the free memory]
    #[arg(long, env = "RESTORE_STAGING_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub staging_dir: Option<PathBuf>,
    /// With root's -i: user to run as, such as postgres, the server's superuser; it reads the backups, and connects under
    /// its own name unless --username says another
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

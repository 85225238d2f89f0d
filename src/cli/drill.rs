//! Options of `pgcellar drill` and of its sandbox.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::encryption::IdentityArgs;
use crate::cli::place::{PlaceArgs, WaitArgs};

/// The socket at which systemd listens for drills.
pub const SOCKET: &str = "/run/pgcellar-drill.socket";

/// `pgcellar drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// Backup's id, the unique beginning of one, latest, or latest~N, the Nth good one before it
    #[arg(value_name = "ID|latest", value_parser = NonEmptyStringValueParser::new(), default_value = "latest", conflicts_with = "each")]
    pub id: String,
    /// The newest good backup of each database
    #[arg(long)]
    pub each: bool,
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only backups in this store: local or s3
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Rehearse the upgrade to this major version instead: restore into its server, and report what it refuses and what differs. This
    /// is no drill of the backup
    #[arg(long, value_name = "MAJOR")]
    pub server: Option<String>,
    /// After the drills of --each, rehearse the upgrade of each database to this major version, for the monitor's report
    #[arg(long, env = "DRILL_SERVER_NEXT", hide_env_values = true, value_name = "MAJOR")]
    pub server_next: Option<String>,
    /// Load, and then compare, this many tables in parallel [default: number of processors]
    #[arg(short, long, env = "DRILL_JOBS", hide_env_values = true, value_name = "JOBS")]
    pub jobs: Option<String>,
    /// Libraries that the temporary server preloads, separated by commas; off for none [default: those that the server preloaded
    /// when the backup was made, as far as this host has them]
    #[arg(long, env = "DRILL_PRELOAD", hide_env_values = true, value_name = "LIBRARIES")]
    pub preload: Option<String>,
    /// Parameters of the temporary server, NAME=VALUE, separated by blanks and quoted as in a shell [default: those of extensions'
    /// libraries when the backup was made]
    #[arg(long, env = "DRILL_SETTINGS", hide_env_values = true, value_name = "SETTINGS")]
    pub settings: Option<String>,
    /// Run the restored code with the permissions of pgcellar: it can read what pgcellar can read. For a machine without the
    /// sandbox
    #[arg(long)]
    pub unisolated: bool,
    /// Socket of the sandbox
    #[arg(long, env = "DRILL_SOCKET", hide_env_values = true, value_name = "SOCKET", default_value = SOCKET)]
    pub socket: PathBuf,
    /// Folder for the temporary cluster, with --unisolated [default: TMPDIR or /var/tmp]
    #[arg(long, env = "DRILL_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub drill_dir: Option<PathBuf>,
    /// Folder of PostgreSQL's server programs, with --unisolated [default: those in /usr/lib/postgresql and PATH]
    #[arg(long, env = "PG_BINDIR", hide_env_values = true, value_name = "FOLDER")]
    pub pg_bindir: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
    /// How long to wait for another drill.
    #[command(flatten)]
    pub patience: WaitArgs,
    /// Private keys.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `pgcellar drill-sandbox`.
#[derive(Clone, Debug, Args)]
pub struct SandboxArgs {
    /// Wait for drills at this socket, instead of running one over standard input
    #[arg(long, value_name = "SOCKET")]
    pub listen: Option<PathBuf>,
    /// Folder for the temporary cluster [default: TMPDIR or /var/tmp]
    #[arg(long, env = "DRILL_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub directory: Option<PathBuf>,
    /// Folder of PostgreSQL's server programs [default: those in /usr/lib/postgresql and PATH]
    #[arg(long, env = "PG_BINDIR", hide_env_values = true, value_name = "FOLDER")]
    pub pg_bindir: Option<PathBuf>,
}

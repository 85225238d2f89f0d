//! Options of `pgcellar drill` and of its sandbox.

use std::path::PathBuf;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;

use crate::cli::{IdentityArgs, PlaceArgs, WaitArgs};

/// Where systemd listens for drills.
pub const SOCKET: &str = "/run/pgcellar-drill.socket";

/// `pgcellar drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// Backup's id, the unique beginning of one, or latest
    #[arg(value_name = "ID|latest", value_parser = NonEmptyStringValueParser::new(), default_value = "latest", conflicts_with = "each")]
    pub id: String,
    /// The newest good backup of each database
    #[arg(long)]
    pub each: bool,
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only what is in this store: local or s3
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Load this many tables, and look at as many, at once [default: number of processors]
    #[arg(short, long, env = "DRILL_JOBS", hide_env_values = true, value_name = "JOBS")]
    pub jobs: Option<String>,
    /// Let the restored code run with our own rights: it can read what we can read. For a machine that has no sandbox
    #[arg(long)]
    pub unisolated: bool,
    /// Socket of the sandbox
    #[arg(long, env = "DRILL_SOCKET", hide_env_values = true, value_name = "SOCKET", default_value = SOCKET)]
    pub socket: PathBuf,
    /// Folder for the throwaway cluster, with --unisolated [default: TMPDIR or /var/tmp]
    #[arg(long, env = "DRILL_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub drill_dir: Option<PathBuf>,
    /// Folder of PostgreSQL's server programs, with --unisolated [default: those in /usr/lib/postgresql and PATH]
    #[arg(long, env = "PG_BINDIR", hide_env_values = true, value_name = "FOLDER")]
    pub pg_bindir: Option<PathBuf>,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
    /// Patience with another drill.
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
    /// Wait for drills at this socket, instead of holding one at standard input
    #[arg(long, value_name = "SOCKET")]
    pub listen: Option<PathBuf>,
    /// Folder for the throwaway cluster [default: TMPDIR or /var/tmp]
    #[arg(long, env = "DRILL_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub directory: Option<PathBuf>,
    /// Folder of PostgreSQL's server programs [default: those in /usr/lib/postgresql and PATH]
    #[arg(long, env = "PG_BINDIR", hide_env_values = true, value_name = "FOLDER")]
    pub pg_bindir: Option<PathBuf>,
}

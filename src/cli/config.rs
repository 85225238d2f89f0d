//! Options of `pgcellar config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `pgcellar config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// The action.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// The actions of `pgcellar config`.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Report all errors in the settings: the exit code is 0, or 78 if there are any; no connection is made
    Check(ConfigCheckArgs),
}

/// `pgcellar config check`.
#[derive(Debug, Args)]
pub struct ConfigCheckArgs {
    /// Files to check [default: /etc/pgcellar/NAME.env with --instance NAME, else the environment]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Check only the names of the variables in FILE, not their values: for a file that compose reads. - is standard input
    #[arg(long, requires = "files")]
    pub names: bool,
    /// Instance of the settings; the files are then checked as those of its units
    #[arg(short, long, env = "PGCELLAR_INSTANCE", hide_env_values = true, value_name = "NAME")]
    pub instance: Option<String>,
    /// Whether the command line names it, rather than the environment.
    #[arg(skip)]
    pub instance_is_named: bool,
}

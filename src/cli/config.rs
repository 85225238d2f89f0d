//! The command line of `pgcellar config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `pgcellar config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: ConfigAction,
}

/// The actions of `pgcellar config`.
#[derive(Debug, Subcommand)]
pub enum ConfigAction {
    /// Say everything that is wrong with settings: the exit code is 0, or 78 if something is; no server is asked
    Check(ConfigCheckArgs),
}

/// `pgcellar config check`.
#[derive(Debug, Args)]
pub struct ConfigCheckArgs {
    /// Files to check [default: /etc/pgcellar/NAME.env with --instance NAME, else the environment]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Look at the names of the variables in FILE alone, whatever they are set to: for a file that compose reads. - is standard
    /// input
    #[arg(long, requires = "files")]
    pub names: bool,
    /// Instance that the settings are of; the files are then checked as those of its units
    #[arg(short, long, env = "PGCELLAR_INSTANCE", hide_env_values = true, value_name = "NAME")]
    pub instance: Option<String>,
    /// Whether the command line names it, and not the environment.
    #[arg(skip)]
    pub instance_is_named: bool,
}

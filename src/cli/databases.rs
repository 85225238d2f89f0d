//! Options of the databases that backups are made of.

use clap::Args;

/// Which databases are backed up.
#[derive(Clone, Debug, Args)]
pub struct DatabaseArgs {
    /// Database, several separated by commas, or * for every database that allows connections
    #[arg(short, long, env = "DB_NAME", hide_env_values = true, value_name = "NAMES")]
    pub dbname: Option<String>,
    /// Databases that * leaves out, separated by commas
    #[arg(long, env = "BACKUP_EXCLUDE_DATABASES", hide_env_values = true, value_name = "NAMES")]
    pub exclude_databases: Option<String>,
}

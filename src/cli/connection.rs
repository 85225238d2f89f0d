//! Options of the connection to the server, and of its databases.

use std::path::PathBuf;

use clap::Args;

/// The server and the role. The flags are those of psql.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectionArgs {
    /// Server's host name, or the folder of its socket [default: the local socket]
    #[arg(short = 'h', long, env = "DB_HOST", hide_env_values = true)]
    pub host: Option<String>,
    /// Server's port
    #[arg(short, long, env = "DB_PORT", hide_env_values = true, default_value = "5432")]
    pub port: String,
    /// Role to connect as [default: the name of the user that runs pgcellar]
    #[arg(short = 'U', long, env = "DB_USER", hide_env_values = true, value_name = "ROLE")]
    pub username: Option<String>,
    /// File with the password
    #[arg(long, env = "DB_PASSWORD_FILE", hide_env_values = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// disable, prefer, require, verify-ca or verify-full
    #[arg(long, env = "DB_SSLMODE", hide_env_values = true, value_name = "MODE", default_value = "prefer")]
    pub sslmode: String,
    /// Certificates of the authorities that may sign the server's certificate (PEM) [default: ~/.postgresql/root.crt, or for
    /// verify-ca and verify-full the system's]
    #[arg(long, env = "DB_SSLROOTCERT", hide_env_values = true, value_name = "FILE")]
    pub sslrootcert: Option<PathBuf>,
    /// Client certificate (PEM) [default: ~/.postgresql/postgresql.crt]
    #[arg(long, env = "DB_SSLCERT", hide_env_values = true, value_name = "FILE")]
    pub sslcert: Option<PathBuf>,
    /// Key of the client certificate (PEM, unencrypted) [default: ~/.postgresql/postgresql.key]
    #[arg(long, env = "DB_SSLKEY", hide_env_values = true, value_name = "FILE")]
    pub sslkey: Option<PathBuf>,
    /// Folder of pg_dump and pg_restore [default: those that match the server, in /usr/lib/postgresql and PATH]
    #[arg(long, env = "PG_BINDIR", hide_env_values = true, value_name = "FOLDER")]
    pub pg_bindir: Option<PathBuf>,
}

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

//! Options of `pgcellar backup`, and those that other verbs share with it.

use std::path::PathBuf;

use clap::Args;

use crate::cli::{ConnectionArgs, PingArgs, PlaceArgs, RuleArgs};

/// Which databases are backed up.
#[derive(Clone, Debug, Args)]
pub struct DatabaseArgs {
    /// Database, several with commas between, or * for every database that allows connections
    #[arg(short, long, env = "DB_NAME", hide_env_values = true, value_name = "NAMES")]
    pub dbname: Option<String>,
    /// Databases that * leaves out, with commas between
    #[arg(long, env = "BACKUP_EXCLUDE_DATABASES", hide_env_values = true, value_name = "NAMES")]
    pub exclude_databases: Option<String>,
}

/// Who can decrypt the backups.
#[derive(Clone, Debug, Args)]
pub struct RecipientArgs {
    /// Encrypt to these age1…, ssh-ed25519 or ssh-rsa keys, with commas between
    #[arg(long, env = "BACKUP_AGE_RECIPIENTS", hide_env_values = true, value_name = "KEYS")]
    pub age_recipients: Option<String>,
    /// File with recipients, one a line
    #[arg(long, env = "BACKUP_AGE_RECIPIENTS_FILE", hide_env_values = true, value_name = "FILE")]
    pub age_recipients_file: Option<PathBuf>,
}

impl RecipientArgs {
    /// Whether backups are to be encrypted.
    pub fn are_set(&self) -> bool {
        self.age_recipients.is_some() || self.age_recipients_file.is_some()
    }
}

/// How long a run waits for another one of the same instance.
#[derive(Clone, Debug, Args)]
pub struct WaitArgs {
    /// Wait so many seconds for another run to end, which units do; without it, such a run is an error at once
    #[arg(long, value_name = "SECONDS", default_value_t = 0, hide_default_value = true)]
    pub wait: u32,
}

/// `pgcellar backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Which databases.
    #[command(flatten)]
    pub databases: DatabaseArgs,
    /// custom, directory, tar or plain
    #[arg(short = 'F', long, env = "BACKUP_FORMAT", hide_env_values = true, default_value = "custom")]
    pub format: String,
    /// gzip, bzip2, xz, zstd or none
    #[arg(
        short = 'Z',
        long,
        env = "BACKUP_COMPRESSION",
        hide_env_values = true,
        value_name = "METHOD",
        default_value = "gzip"
    )]
    pub compression: String,
    /// Level of the compression [default: a quick one]
    #[arg(long, env = "BACKUP_COMPRESSION_LEVEL", hide_env_values = true, value_name = "LEVEL")]
    pub compression_level: Option<String>,
    /// Tables that the directory format dumps at once [default: number of processors]
    #[arg(short, long, env = "BACKUP_JOBS", hide_env_values = true)]
    pub jobs: Option<String>,
    /// Who can decrypt.
    #[command(flatten)]
    pub recipients: RecipientArgs,
    /// Folder in memory where a directory archive waits for its encryption
    #[arg(long, env = "BACKUP_STAGING_DIR", hide_env_values = true, value_name = "FOLDER", default_value = "/dev/shm")]
    pub staging_dir: PathBuf,
    /// Further options of pg_dump, by their long names
    #[arg(
        long,
        env = "BACKUP_DUMP_OPTIONS",
        hide_env_values = true,
        value_name = "OPTIONS",
        allow_hyphen_values = true
    )]
    pub dump_options: Option<String>,
    /// Longest wait for a table's lock, in seconds
    #[arg(
        long,
        env = "BACKUP_LOCK_WAIT_TIMEOUT",
        hide_env_values = true,
        value_name = "SECONDS",
        default_value = "600"
    )]
    pub lock_wait_timeout: String,
    /// Print the manifests as JSON, each with the stores that have it
    #[arg(long)]
    pub json: bool,
    /// Patience with another run.
    #[command(flatten)]
    pub patience: WaitArgs,
    /// What retention keeps in the bucket: nothing else is copied there.
    #[command(flatten)]
    pub rules: RuleArgs,
    /// The dead man's switch.
    #[command(flatten)]
    pub ping: PingArgs,
    /// The server.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

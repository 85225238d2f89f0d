//! The command line: each option is declared here once, with its flag, its environment variable and its help.
//!
//! Values stay texts here, because most of them come from a configuration file: `config` checks them and names the
//! variable and the flag in its errors. Secrets have a variable and a file, and never a flag.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::builder::{FalseyValueParser, OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

mod adopt;
mod mail;
mod monitor;
mod retention;

pub use adopt::AdoptArgs;
pub use mail::{AlertArgs, MailArgs, NotifyArgs, PingArgs, TestMailArgs};
pub use monitor::{CheckArgs, HealthArgs, MonitorAction, MonitorArgs, ReportArgs, ThresholdArgs};
pub use retention::{KeepArgs, KeepS3Args, PinArgs, RetentionArgs, RuleArgs, UnpinArgs};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "pgcellar",
    version,
    about = "Backs up PostgreSQL databases, keeps the backups, and restores them",
    long_about = "Backs up PostgreSQL databases, keeps the backups, and restores them.\n\n\
        Every option can be given as a flag or as the environment variable beside it; a flag wins.",
    disable_help_flag = true,
    disable_help_subcommand = true,
    infer_subcommands = false,
    max_term_width = 110,
    after_help = EXIT_CODES
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// How much to say.
    #[command(flatten)]
    pub voice: Voice,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 64 usage, 65 bad data, 66 no such backup or database, 69 server unreachable, \
    71 system, 73 cannot write, 75 locked or interrupted (try again), 77 not permitted, 78 configuration.\n\
    Secrets have no flag: DB_PASSWORD, or DB_PASSWORD_FILE, or the systemd credential db-password; SMTP_PASS alike.";

impl Cli {
    /// Reads the command line and the environment. An empty variable counts as one that is not set, as in a compose
    /// file's `DB_HOST=`; only an empty BACKUP_DIR says something.
    pub fn read() -> Result<Self, clap::Error> {
        let command = each_option(Cli::command(), &mut |arg| match arg.get_env().and_then(std::env::var_os) {
            Some(value) if value.is_empty() && arg.get_id() != "backup_dir" => arg.env(None),
            _ => arg,
        });
        Cli::from_arg_matches(&command.try_get_matches()?)
    }

    /// Every environment variable that is declared here.
    pub fn variables() -> BTreeSet<String> {
        let mut variables = BTreeSet::new();
        each_option(Cli::command(), &mut |arg| {
            variables.extend(arg.get_env().map(|name| name.to_string_lossy().into_owned()));
            arg
        });
        variables
    }
}

fn each_option(command: Command, change: &mut dyn FnMut(Arg) -> Arg) -> Command {
    let command = command.mut_args(&mut *change);
    command.mut_subcommands(|verb| each_option(verb, change))
}

/// The verbs, one file each in `task/`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Back up the configured databases
    Backup(BackupArgs),
    /// Show which backups there are
    List(ListArgs),
    /// Read a backup's bytes back and check them
    Verify(VerifyArgs),
    /// Restore a backup into a database
    Restore(RestoreArgs),
    /// Make backups of the dumps that other scripts have left: check them, and write their manifests
    Adopt(AdoptArgs),
    /// Check whether the backups are as they should be, and report their state
    Monitor(Box<MonitorArgs>),
    /// Remove backups that are old enough, and what killed runs have left
    Retention(RetentionArgs),
    /// Keep a backup until it is unpinned
    Pin(PinArgs),
    /// Let a backup that was pinned grow old again
    Unpin(UnpinArgs),
    /// Mail that a task has failed; alert units and schedulers call it
    Alert(Box<AlertArgs>),
}

/// Options of every verb.
#[derive(Debug, Args)]
pub struct Voice {
    /// Say only what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 900)]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, display_order = 901)]
    pub verbose: bool,
    /// Print help
    #[arg(short = '?', long, global = true, display_order = 902, action = ArgAction::Help)]
    pub help: Option<bool>,
}

/// Which server, and as whom; the flags are those of psql.
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
    /// File that holds the password
    #[arg(long, env = "DB_PASSWORD_FILE", hide_env_values = true, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// disable, prefer, require, verify-ca or verify-full
    #[arg(long, env = "DB_SSLMODE", hide_env_values = true, value_name = "MODE", default_value = "prefer")]
    pub sslmode: String,
    /// Certificates of the authorities that may sign the server's certificate (PEM)
    #[arg(long, env = "DB_SSLROOTCERT", hide_env_values = true, value_name = "FILE")]
    pub sslrootcert: Option<PathBuf>,
    /// Client certificate (PEM)
    #[arg(long, env = "DB_SSLCERT", hide_env_values = true, value_name = "FILE")]
    pub sslcert: Option<PathBuf>,
    /// Key of the client certificate (PEM, unencrypted)
    #[arg(long, env = "DB_SSLKEY", hide_env_values = true, value_name = "FILE")]
    pub sslkey: Option<PathBuf>,
    /// Folder of pg_dump and pg_restore [default: the one that fits the server, in /usr/lib/postgresql and PATH]
    #[arg(long, env = "PG_BINDIR", hide_env_values = true, value_name = "FOLDER")]
    pub pg_bindir: Option<PathBuf>,
}

/// Which configuration, and where its backups are.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Backups")]
pub struct PlaceArgs {
    /// Name of this configuration; backups carry it
    #[arg(short, long, env = "PGCELLAR_INSTANCE", hide_env_values = true, value_name = "NAME", default_value = "main")]
    pub instance: String,
    /// Folder of the backups [default: /var/backups/pgcellar/INSTANCE]
    #[arg(
        long,
        env = "BACKUP_DIR",
        hide_env_values = true,
        value_name = "FOLDER",
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub backup_dir: Option<PathBuf>,
    /// The bucket.
    #[command(flatten)]
    pub s3: S3Args,
}

/// Which bucket has the copies, and how it is reached.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "S3")]
pub struct S3Args {
    /// Bucket for a copy of each backup; with an empty BACKUP_DIR, for the backups themselves
    #[arg(long = "s3-bucket", env = "AWS_S3_BUCKET", hide_env_values = true, value_name = "BUCKET")]
    pub bucket: Option<String>,
    /// Prefix of every key in the bucket
    #[arg(
        long = "s3-prefix",
        env = "AWS_S3_PREFIX",
        hide_env_values = true,
        value_name = "PREFIX",
        default_value = "database-backups"
    )]
    pub prefix: String,
    /// Region of the bucket
    #[arg(
        long = "s3-region",
        env = "AWS_REGION",
        hide_env_values = true,
        value_name = "REGION",
        default_value = "us-east-1"
    )]
    pub region: String,
    /// URL of an S3 server that is not Amazon's, such as MinIO, Garage, Ceph, R2 or B2
    #[arg(long = "s3-endpoint-url", env = "AWS_ENDPOINT_URL", hide_env_values = true, value_name = "URL")]
    pub endpoint_url: Option<String>,
    /// File that holds the id of the access key [default: the SDK's chain: profile, web identity, instance]
    #[arg(long = "s3-access-key-id-file", env = "AWS_ACCESS_KEY_ID_FILE", hide_env_values = true, value_name = "FILE")]
    pub access_key_id_file: Option<PathBuf>,
    /// File that holds the secret part of the access key
    #[arg(
        long = "s3-secret-access-key-file",
        env = "AWS_SECRET_ACCESS_KEY_FILE",
        hide_env_values = true,
        value_name = "FILE"
    )]
    pub secret_access_key_file: Option<PathBuf>,
    /// Storage class of the archives, such as STANDARD_IA [default: the bucket's]
    #[arg(long = "s3-storage-class", env = "AWS_S3_STORAGE_CLASS", hide_env_values = true, value_name = "CLASS")]
    pub storage_class: Option<String>,
    /// Encryption by the server: AES256 or aws:kms [default: the bucket's]
    #[arg(long = "s3-sse", env = "AWS_S3_SSE", hide_env_values = true, value_name = "METHOD")]
    pub sse: Option<String>,
    /// Key for aws:kms [default: the account's]
    #[arg(long = "s3-sse-kms-key-id", env = "AWS_S3_SSE_KMS_KEY_ID", hide_env_values = true, value_name = "KEY")]
    pub sse_kms_key_id: Option<String>,
    /// Days for which the server refuses to delete a new object; the bucket must have Object Lock
    #[arg(long = "s3-object-lock-days", env = "AWS_S3_OBJECT_LOCK_DAYS", hide_env_values = true, value_name = "DAYS")]
    pub object_lock_days: Option<String>,
    /// GOVERNANCE, or COMPLIANCE, which nobody can lift
    #[arg(
        long = "s3-object-lock-mode",
        env = "AWS_S3_OBJECT_LOCK_MODE",
        hide_env_values = true,
        value_name = "MODE",
        default_value = "GOVERNANCE"
    )]
    pub object_lock_mode: String,
    /// Certificates of the authorities that may sign the server's certificate (PEM) [default: the system's]
    #[arg(long = "s3-ca-bundle", env = "AWS_CA_BUNDLE", hide_env_values = true, value_name = "FILE")]
    pub ca_bundle: Option<PathBuf>,
    /// Upper bound of uploads in bytes a second, such as 500K or 10M
    #[arg(long = "s3-rate-limit", env = "BACKUP_S3_RATE_LIMIT", hide_env_values = true, value_name = "RATE")]
    pub rate_limit: Option<String>,
}

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

/// `pgcellar list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only what is in this store: local or s3
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// The backups of other instances and hosts too
    #[arg(long)]
    pub all_instances: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// The private keys of encrypted backups.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Encryption")]
pub struct IdentityArgs {
    /// File with the age or SSH private keys that decrypt backups (or the systemd credential age-identity)
    #[arg(long, env = "BACKUP_AGE_IDENTITY_FILE", hide_env_values = true, value_name = "FILE")]
    pub age_identity_file: Option<PathBuf>,
}

/// `pgcellar verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Backup's id, the unique beginning of one, latest, or the path or address s3://BUCKET/KEY of an archive, of which
    /// nothing is recorded if it has no manifest
    #[arg(value_name = "ID|latest|PATH", default_value = "latest", conflicts_with = "all")]
    pub id: String,
    /// Every backup
    #[arg(long)]
    pub all: bool,
    /// Only backups of this database
    #[arg(short, long, value_name = "NAME")]
    pub database: Option<String>,
    /// Only what is in this store: local or s3
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
    /// Private keys.
    #[command(flatten)]
    pub identity: IdentityArgs,
    /// Folder of pg_restore, for tar archives [default: the newest in /usr/lib/postgresql and PATH]
    #[arg(long, env = "PG_BINDIR", hide_env_values = true, value_name = "FOLDER")]
    pub pg_bindir: Option<PathBuf>,
    /// The store.
    #[command(flatten)]
    pub place: PlaceArgs,
}

/// `pgcellar restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// Backup's id, the unique beginning of one, latest, or an archive's path or address s3://BUCKET/KEY [default: asks at
    /// a terminal]
    #[arg(value_name = "ID|latest|PATH")]
    pub id: Option<String>,
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
    /// Folder for what has to be unpacked; must be in memory if the backup is encrypted [default: /dev/shm; TMPDIR
    /// or /var/tmp for an unencrypted backup that would fill a quarter of the free memory]
    #[arg(long, env = "RESTORE_STAGING_DIR", hide_env_values = true, value_name = "FOLDER")]
    pub staging_dir: Option<PathBuf>,
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

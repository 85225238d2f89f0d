//! The command line: each option is declared here once, with its flag, its environment variable and its help.
//!
//! Values stay texts here, because most of them come from a configuration file: `config` checks them and names the
//! variable and the flag in its errors. Secrets have a variable and a file, and never a flag.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

mod adopt;
mod backup;
mod config;
mod doctor;
mod drill;
mod help;
mod mail;
mod monitor;
mod named;
mod restore;
mod retention;
mod s3;
mod s3_ls;
mod schedule;
pub mod seed_names;
mod show;
mod takeover;
mod verify;

pub use adopt::AdoptArgs;
pub use backup::{BackupArgs, DatabaseArgs, RecipientArgs, WaitArgs};
pub use config::{ConfigAction, ConfigArgs, ConfigCheckArgs};
pub use doctor::{DoctorArgs, DoctorPart};
pub use drill::{DrillArgs, SOCKET as DRILL_SOCKET, SandboxArgs};
pub use mail::{AlertArgs, MailArgs, NotifyArgs, PingArgs, TestMailArgs};
pub use monitor::{AcknowledgeArgs, CheckArgs, HealthArgs, MonitorAction, MonitorArgs, ReportArgs, ThresholdArgs};
pub use named::NamedInstance;
pub use restore::RestoreArgs;
pub use retention::{KeepArgs, KeepS3Args, PinArgs, RetentionArgs, RuleArgs, UnpinArgs};
pub use s3::S3Args;
pub use s3_ls::S3LsArgs;
pub use schedule::ScheduleArgs;
pub use show::ShowArgs;
pub use takeover::TakeoverArgs;
pub use verify::VerifyArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "pgcellar",
    version,
    about = "Backs up PostgreSQL databases, keeps the backups, and restores them",
    long_about = "Backs up PostgreSQL databases, keeps the backups, and restores them.\n\n\
        Most options can be given as a flag or as the environment variable beside it; a flag wins.",
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
    /// Instance to run as; for root on a systemd host with its settings, user, credentials and confinement
    #[arg(short = 'i', long = "instance", id = "as_instance", value_name = "NAME")]
    pub instance: Option<String>,
    /// How much to say.
    #[command(flatten)]
    pub voice: Voice,
    /// What the command line itself says of an instance.
    #[arg(skip)]
    pub named: Option<NamedInstance>,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 64 usage, 65 bad data, 66 no such backup or database, 69 server unreachable, \
    70 a fault in pgcellar, 71 system, 72 no drill possible here, 73 cannot write, 75 locked or interrupted (try again), 77 not permitted, 78 configuration.\n\
    Secrets have no flag: DB_PASSWORD, or DB_PASSWORD_FILE, or the systemd credential db-password; SMTP_PASS alike.";

impl Cli {
    /// Reads a command line and the environment. An empty variable counts as one that is not set, as in a compose
    /// file's `DB_HOST=`; only an empty BACKUP_DIR says something.
    pub fn read(line: Vec<OsString>) -> Result<Self, clap::Error> {
        let mut command = each_option(Cli::command(), &mut |arg| match arg.get_env().and_then(std::env::var_os) {
            Some(value) if value.is_empty() && arg.get_id() != "backup_dir" => arg.env(None),
            _ => arg,
        });
        command.build();
        let line = help::translated(&command, line);
        let matches = command.try_get_matches_from_mut(&line);
        let matches = matches.map_err(|error| help::of_h(&mut command, &line).unwrap_or(error))?;
        let mut cli = Cli::from_arg_matches(&matches)?;
        match (&cli.instance, &mut cli.verb) {
            (None, _) => {}
            (instance, Verb::Config(ConfigArgs { action: ConfigAction::Check(args) })) => {
                args.instance.clone_from(instance);
            }
            (Some(instance), Verb::Schedule(args)) => args.instance.clone_from(instance),
            (Some(instance), verb) => {
                if let Some(place) = verb.place_mut() {
                    place.instance.clone_from(instance);
                }
            }
        }
        cli.named = NamedInstance::of(&matches, cli.instance.as_deref());
        if let Verb::Config(ConfigArgs { action: ConfigAction::Check(args) }) = &mut cli.verb {
            args.instance_is_named = cli.named.is_some();
        }
        Ok(cli)
    }

    /// A verb with the arguments that these variables alone give it: neither the process's environment nor its command line
    /// has a say.
    pub fn of_variables(verb: &[&str], value: &dyn Fn(&str) -> Option<String>) -> Result<Verb, clap::Error> {
        let declared = Cli::command();
        let known = verb.iter().try_fold(&declared, |command, name| command.find_subcommand(name));
        let mut line: Vec<OsString> = std::iter::once(&"pgcellar").chain(verb).map(OsString::from).collect();
        line.extend(known.into_iter().flat_map(Command::get_arguments).filter_map(|arg| {
            let text = value(&arg.get_env()?.to_string_lossy()).filter(|_| arg.get_action().takes_values())?;
            Some(OsString::from(format!("--{}={text}", arg.get_long()?)))
        }));
        let command = each_option(Cli::command(), &mut |arg| arg.env(None));
        Ok(Cli::from_arg_matches(&command.try_get_matches_from(line)?)?.verb)
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
    Backup(Box<BackupArgs>),
    /// Show which backups there are
    List(ListArgs),
    /// Show what a backup contains, and what is known of it
    Show(ShowArgs),
    /// Read a backup's bytes back and check them
    Verify(Box<VerifyArgs>),
    /// Restore a backup into a database
    Restore(Box<RestoreArgs>),
    /// Prove a backup: restore it into a throwaway cluster, and compare every row
    Drill(Box<DrillArgs>),
    /// The part of a drill that runs restored code
    #[command(hide = true)]
    DrillSandbox(SandboxArgs),
    /// Say what a schedule means to systemd, and when it comes next
    Calendar(CalendarArgs),
    /// Make backups of the dumps that other scripts have left: check them, and write their manifests
    Adopt(AdoptArgs),
    /// Check settings
    Config(ConfigArgs),
    /// Try out the server, the bucket, the mail server and all else that backups need, and say how to mend what fails
    Doctor(Box<DoctorArgs>),
    /// Check whether the backups are as they should be, and report their state
    Monitor(Box<MonitorArgs>),
    /// Remove backups that no retention rule keeps, and leftovers of killed runs
    Retention(Box<RetentionArgs>),
    /// Keep a backup until it is unpinned
    Pin(PinArgs),
    /// Unpin a backup: retention may remove it again
    Unpin(UnpinArgs),
    /// Adopt the backups of a lost host, or of this server before an upgrade: from then on they count as this instance's
    Takeover(TakeoverArgs),
    /// What aws s3 ls is where pgcellar stands in for it
    #[command(hide = true)]
    S3Ls(S3LsArgs),
    /// Mail that a task has failed; alert units and schedulers call it
    Alert(Box<AlertArgs>),
    /// Run the tasks by their schedules, in the foreground, where no systemd does
    Schedule(ScheduleArgs),
}

impl Verb {
    /// Name of the instance that the verb is about.
    pub fn instance(&mut self) -> Option<&str> {
        match self {
            Verb::Schedule(args) => Some(&args.instance),
            verb => verb.place_mut().map(|place| place.instance.as_str()),
        }
    }

    /// Which instance the verb is about.
    fn place_mut(&mut self) -> Option<&mut PlaceArgs> {
        match self {
            Verb::Backup(args) => Some(&mut args.place),
            Verb::List(args) => Some(&mut args.place),
            Verb::Show(args) => Some(&mut args.place),
            Verb::Verify(args) => Some(&mut args.place),
            Verb::Restore(args) => Some(&mut args.place),
            Verb::Drill(args) => Some(&mut args.place),
            Verb::Monitor(args) => Some(args.place_mut()),
            Verb::Adopt(args) => Some(&mut args.place),
            Verb::Retention(args) => Some(&mut args.place),
            Verb::Pin(args) => Some(&mut args.place),
            Verb::Unpin(args) => Some(&mut args.place),
            Verb::Takeover(args) => Some(&mut args.place),
            Verb::Alert(args) => Some(&mut args.place),
            Verb::Doctor(args) => Some(&mut args.place),
            Verb::Calendar(_) | Verb::Config(_) | Verb::Schedule(_) | Verb::DrillSandbox(_) | Verb::S3Ls(_) => None,
        }
    }

    /// User to run as instead of the instance's own.
    pub fn user(&self) -> Option<&str> {
        match self {
            Verb::Restore(args) => args.as_user.as_deref(),
            _ => None,
        }
    }
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
    /// Certificates of the authorities that may sign the server's certificate (PEM) [default: ~/.postgresql/root.crt; for
    /// verify-ca and verify-full else the system's]
    #[arg(long, env = "DB_SSLROOTCERT", hide_env_values = true, value_name = "FILE")]
    pub sslrootcert: Option<PathBuf>,
    /// Client certificate (PEM) [default: ~/.postgresql/postgresql.crt]
    #[arg(long, env = "DB_SSLCERT", hide_env_values = true, value_name = "FILE")]
    pub sslcert: Option<PathBuf>,
    /// Key of the client certificate (PEM, unencrypted) [default: ~/.postgresql/postgresql.key]
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
    /// Name of this host, recorded in each backup; for containers, whose own name changes or is not unique [default: the system's]
    #[arg(long, env = "PGCELLAR_HOST", hide_env_values = true, value_name = "NAME")]
    pub host_name: Option<String>,
    /// Folder of the backups; for units, another one than the default must be made first: install -d -o pgcellar -m 700 FOLDER
    /// [default: /var/backups/pgcellar/INSTANCE]
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

/// `pgcellar calendar`.
#[derive(Debug, Args)]
pub struct CalendarArgs {
    /// Cron line, or calendar expression of systemd.time(7), or several with ; between
    #[arg(value_name = "SCHEDULE")]
    pub schedule: String,
    /// Number of runs to show
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub iterations: u16,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_alone_make_a_verb() {
        let value = |name: &str| match name {
            "DB_PORT" => Some("1".to_owned()),
            "BACKUP_DUMP_OPTIONS" => Some("--no-owner -x=y".to_owned()),
            "BACKUP_DIR" => Some(String::new()),
            "SMTP_HOST" => Some("of another verb".to_owned()),
            _ => None,
        };
        let Verb::Backup(args) = Cli::of_variables(&["backup"], &value).unwrap() else { panic!("another verb") };
        assert_eq!((args.connection.port.as_str(), args.connection.host), ("1", None));
        assert_eq!(args.dump_options.as_deref(), Some("--no-owner -x=y"));
        assert_eq!(args.place.backup_dir, Some(PathBuf::new()));
        assert_eq!(args.format, "custom");
    }
}

//! The command line: the verbs here, and one file for each verb and for each group of options that verbs share. Each option is
//! declared once, with its flag, its environment variable and its help.
//!
//! Values remain texts, because most of them come from a configuration file: `config` checks them and names the variable and
//! the flag in its errors. Secrets have a variable and a file, and never a flag.

use std::collections::BTreeSet;
use std::ffi::OsString;

use clap::{Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand};

mod adopt;
mod backup;
mod config;
mod connection;
mod diff;
mod doctor;
mod drill;
mod encryption;
mod help;
mod list;
mod mail;
mod monitor;
mod named;
mod place;
mod restore;
mod retention;
mod rows;
mod s3;
mod schedule;
pub mod seed_names;
mod show;
mod takeover;
mod verify;

pub use adopt::AdoptArgs;
pub use backup::BackupArgs;
pub use config::{ConfigAction, ConfigArgs, ConfigCheckArgs};
pub use connection::{ConnectionArgs, DatabaseArgs};
pub use diff::DiffArgs;
pub use doctor::{DoctorArgs, DoctorPart};
pub use drill::{DrillArgs, SOCKET as DRILL_SOCKET, SandboxArgs};
pub use encryption::{IdentityArgs, RecipientArgs};
pub use list::ListArgs;
pub use mail::{AlertArgs, MailArgs, NotifyArgs, PingArgs, TestMailArgs};
pub use monitor::{AcknowledgeArgs, CheckArgs, HealthArgs, MonitorAction, MonitorArgs, ReportArgs, ThresholdArgs};
pub use named::NamedInstance;
pub use place::PlaceArgs;
pub use restore::RestoreArgs;
pub use retention::{KeepArgs, KeepS3Args, PinArgs, RetentionArgs, RuleArgs, ShrinkArgs, UnpinArgs};
pub use rows::RowsArgs;
pub use s3::{S3Args, S3LsArgs};
pub use schedule::{CalendarArgs, ScheduleArgs};
pub use show::ShowArgs;
pub use takeover::TakeoverArgs;
pub use verify::VerifyArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "pgcellar",
    version,
    about = "Backs up PostgreSQL databases, keeps the backups, and restores them",
    long_about = "Backs up databases of PostgreSQL 13 to 19, keeps the backups, and restores them.\n\n\
        Most options can be given as a flag or as the environment variable beside it; a flag wins.",
    disable_help_flag = true,
    disable_help_subcommand = true,
    infer_subcommands = false,
    max_term_width = 110,
    after_help = EXIT_CODES
)]
pub struct Cli {
    /// The verb.
    #[command(subcommand)]
    pub verb: Verb,
    /// Instance to run as; for root on a systemd host with its settings, user, credentials and confinement
    #[arg(short = 'i', long = "instance", id = "as_instance", value_name = "NAME")]
    pub instance: Option<String>,
    /// How much is logged.
    #[command(flatten)]
    pub voice: Voice,
    /// The instance that the command line itself names.
    #[arg(skip)]
    pub named: Option<NamedInstance>,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 differences (diff --exit-code), 64 usage, 65 bad data, 66 no such backup or database, 69 server unreachable, \
    70 a fault in pgcellar, 71 system, 72 no drill possible here, 73 cannot write, 75 locked or interrupted (try again), 77 not permitted, 78 configuration.\n\
    Secrets have no flag: DB_PASSWORD, or DB_PASSWORD_FILE, or the systemd credential db-password; SMTP_PASS alike.";

impl Cli {
    /// Reads a command line and the environment. An empty variable counts as not set, as `DB_HOST=` in a compose file; only an
    /// empty BACKUP_DIR has a meaning.
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
        cli.named = NamedInstance::of(&Cli::command(), &matches, cli.instance.as_deref());
        if let Verb::Config(ConfigArgs { action: ConfigAction::Check(args) }) = &mut cli.verb {
            args.instance_is_named = cli.named.is_some();
        }
        Ok(cli)
    }

    /// A verb with the arguments that these variables give it, without the environment and the command line of the process.
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

    /// All environment variables of options.
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
    /// List the backups
    List(ListArgs),
    /// Show the contents and the properties of a backup
    Show(ShowArgs),
    /// Show what changed between two backups, or between a backup and a database
    Diff(Box<DiffArgs>),
    /// Print rows of a table out of a backup, without a server
    Rows(Box<RowsArgs>),
    /// Read a backup back and check its bytes
    Verify(Box<VerifyArgs>),
    /// Restore a backup into a database
    Restore(Box<RestoreArgs>),
    /// Prove a backup: restore it into a temporary cluster, and compare every row
    Drill(Box<DrillArgs>),
    /// The part of a drill that runs restored code
    #[command(hide = true)]
    DrillSandbox(SandboxArgs),
    /// Show what a schedule means to systemd, and its next runs
    Calendar(CalendarArgs),
    /// Turn dumps of other scripts into backups: check them, and write their manifests
    Adopt(AdoptArgs),
    /// Check settings
    Config(ConfigArgs),
    /// Test the server, the bucket, the mail server and everything else that backups need, and say how to fix what fails
    Doctor(Box<DoctorArgs>),
    /// Check the state of the backups, and report it
    Monitor(Box<MonitorArgs>),
    /// Remove backups that no retention rule keeps, and leftovers of killed runs
    Retention(Box<RetentionArgs>),
    /// Keep a backup until it is unpinned
    Pin(PinArgs),
    /// Let retention remove a pinned backup again
    Unpin(UnpinArgs),
    /// Take over the backups of a lost host, or of this server before an upgrade, as backups of this instance
    Takeover(TakeoverArgs),
    /// List buckets or objects, in place of aws s3 ls
    #[command(hide = true)]
    S3Ls(S3LsArgs),
    /// Report a failed task by mail; called by alert units and schedulers
    Alert(Box<AlertArgs>),
    /// Run the tasks by their schedules in the foreground, for hosts without systemd
    Schedule(ScheduleArgs),
}

impl Verb {
    /// Name of the instance of the verb.
    pub fn instance(&mut self) -> Option<&str> {
        match self {
            Verb::Schedule(args) => Some(&args.instance),
            verb => verb.place_mut().map(|place| place.instance.as_str()),
        }
    }

    /// The instance and the stores of the verb.
    fn place_mut(&mut self) -> Option<&mut PlaceArgs> {
        match self {
            Verb::Backup(args) => Some(&mut args.place),
            Verb::List(args) => Some(&mut args.place),
            Verb::Show(args) => Some(&mut args.place),
            Verb::Diff(args) => Some(&mut args.place),
            Verb::Rows(args) => Some(&mut args.place),
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
            Verb::Rows(args) => args.as_user.as_deref(),
            _ => None,
        }
    }
}

/// Options of all verbs.
#[derive(Debug, Args)]
pub struct Voice {
    /// Log only warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", display_order = 900)]
    pub quiet: bool,
    /// Log more
    #[arg(short, long, global = true, display_order = 901)]
    pub verbose: bool,
    /// Print help
    #[arg(short = '?', long, global = true, display_order = 902, action = ArgAction::Help)]
    pub help: Option<bool>,
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

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

//! Settings of a restore: the options of the command line and of the environment, checked once. The restore, its plan, its
//! recipe and its list of contents all use the same value.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::cli::RestoreArgs;
use crate::config::{Connection, IdentitySource, Place, S3Access, jobs, local_zone, moment};
use crate::error::{Error, Kind, Result};

/// What to do instead, where a replacement is refused.
pub const WITHOUT_FORCE: &str = "leave --force (FORCE_RESTORE) out, and name a new database with --target-database";

/// What `restore` does with the backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreAction {
    /// Restores it.
    Restore,
    /// Shows its contents (`--list`).
    List,
    /// Shows what a restore would do (`--dry-run`).
    Plan,
    /// Prints the commands that restore it without pgcellar (`--recipe`).
    Recipe,
}

/// What of a backup a restore leaves out (`pg_restore --no-owner`, `--no-privileges`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Owners: everything belongs to the role that restores.
    pub owners: bool,
    /// Privileges, default privileges among them.
    pub privileges: bool,
}

/// The names of the part of a backup that is restored.
#[derive(Clone, Debug)]
pub enum SelectionNames {
    /// Schemas (`--schema`).
    Schemas(Vec<String>),
    /// Tables, views and sequences (`--table`).
    Tables(Vec<String>),
}

/// Settings of a restore.
#[derive(Clone, Debug)]
pub struct RestoreSettings {
    /// What to do.
    pub action: RestoreAction,
    /// Id, the unique beginning of one, `latest`, a path or an address; none to ask at the terminal.
    pub backup: Option<String>,
    /// Whether every database is restored.
    pub all_databases: bool,
    /// Only backups of this time or before.
    pub at: Option<Timestamp>,
    /// Only backups of this database.
    pub database: Option<String>,
    /// The database to make; none for the one that was backed up.
    pub target: Option<String>,
    /// Whether a target that exists is replaced (`--force`).
    pub force: bool,
    /// Whether the replaced database is dropped.
    pub drop_replaced: bool,
    /// Whether the target exists and is empty, and is replaced and dropped.
    pub replace_empty: bool,
    /// The part to restore; none for the whole backup.
    pub selection: Option<SelectionNames>,
    /// Number of parallel jobs as it was given, see [`RestoreSettings::jobs`]; none for the format's default.
    pub jobs: Option<String>,
    /// Whether only numbers of rows and large objects are compared with the fingerprints.
    pub quick: bool,
    /// Whether missing roles of the backup's globals are made first.
    pub globals: bool,
    /// Whether errors are skipped and listed at the end.
    pub keep_going: bool,
    /// What is left out.
    pub left_out: LeftOut,
    /// Folder for unpacked files; none for the default.
    pub staging_dir: Option<PathBuf>,
    /// Where the private keys are.
    pub identities: IdentitySource,
    /// How a bucket of an address is reached.
    pub s3: S3Access,
    /// The server.
    pub connection: Connection,
    /// Where the backups are.
    pub place: Place,
}

impl RestoreSettings {
    /// Checks each option by itself.
    ///
    /// # Errors
    /// `Usage` or `Config`: a value that cannot be used, named with its option.
    pub fn new(args: &RestoreArgs) -> Result<Self> {
        let place = Place::new(&args.place)?;
        let connection = Connection::new(&args.connection)?;
        let at = args.at.as_deref().map(|text| moment::of(text, &local_zone(), Timestamp::now())).transpose()?;
        Ok(RestoreSettings {
            action: action(args),
            backup: args.id.clone(),
            all_databases: args.all_databases,
            at,
            database: args.database.clone(),
            target: args.target_database.clone(),
            force: args.force,
            drop_replaced: args.drop_replaced,
            replace_empty: false,
            selection: selection(args)?,
            jobs: args.jobs.clone(),
            quick: args.quick,
            globals: args.globals,
            keep_going: args.keep_going,
            left_out: LeftOut { owners: args.no_owner, privileges: args.no_privileges },
            staging_dir: args.staging_dir.clone(),
            identities: IdentitySource::from(&args.identity),
            s3: S3Access::from(&args.place.s3),
            connection,
            place,
        })
    }

    /// Number of parallel jobs; none for the format's default. Only a load checks it: what shows a backup runs no jobs.
    ///
    /// # Errors
    /// `Usage`: no number from 1 to 1000.
    pub fn jobs(&self) -> Result<Option<NonZeroUsize>> {
        jobs("--jobs", self.jobs.as_deref()).map_err(|error| Error::new(Kind::Usage, error.message()))
    }

    /// Whether a target that exists is replaced.
    pub fn replaces(&self) -> bool {
        self.force || self.replace_empty
    }

    /// Whether a backup is used without its details if they are damaged: for showing it, and with `--keep-going`.
    pub fn tolerates_damaged_details(&self) -> bool {
        self.keep_going || matches!(self.action, RestoreAction::List | RestoreAction::Recipe)
    }

    /// Refuses combinations of options that would replace a database by less than a whole one.
    ///
    /// The command line's parser cannot do this: a FORCE_RESTORE=false in the environment would count as a given option.
    ///
    /// # Errors
    /// `Usage`.
    pub fn check_replacement(&self) -> Result<()> {
        let (message, hint) = if self.force && self.keep_going {
            let message = "--keep-going cannot be used with --force (FORCE_RESTORE): a restore with errors never replaces a \
                 database";
            (message, WITHOUT_FORCE)
        } else if self.force && self.selection.is_some() {
            let message = "parts of a backup cannot be restored with --force (FORCE_RESTORE): they would replace the whole \
                 database";
            (message, WITHOUT_FORCE)
        } else if self.drop_replaced && !self.force {
            ("--drop-replaced needs --force (FORCE_RESTORE)", "without it no database is replaced")
        } else {
            return Ok(());
        };
        Err(Error::new(Kind::Usage, message).hint(hint))
    }
}

fn action(args: &RestoreArgs) -> RestoreAction {
    match (args.list, args.recipe, args.dry_run) {
        (true, _, _) => RestoreAction::List,
        (_, true, _) => RestoreAction::Recipe,
        (_, _, true) => RestoreAction::Plan,
        _ => RestoreAction::Restore,
    }
}

fn selection(args: &RestoreArgs) -> Result<Option<SelectionNames>> {
    match (args.schema.as_slice(), args.table.as_slice()) {
        ([], []) => Ok(None),
        (schemas, []) => Ok(Some(SelectionNames::Schemas(schemas.to_vec()))),
        ([], tables) => Ok(Some(SelectionNames::Tables(tables.to_vec()))),
        _ => Err(Error::new(Kind::Usage, "--schema and --table name two different parts")
            .hint("give a table of one schema as --table SCHEMA.TABLE")),
    }
}

impl SelectionNames {
    /// The names.
    pub fn names(&self) -> &[String] {
        match self {
            SelectionNames::Schemas(names) | SelectionNames::Tables(names) => names,
        }
    }

    /// Whether they name tables.
    pub fn is_tables(&self) -> bool {
        matches!(self, SelectionNames::Tables(_))
    }

    /// What each of them names.
    pub fn kind(&self) -> &'static str {
        if self.is_tables() { "table" } else { "schema" }
    }

    /// `table 'a', 'b'`.
    pub fn words(&self) -> String {
        let names: Vec<String> = self.names().iter().map(|name| format!("'{}'", name.escape_debug())).collect();
        format!("{} {}", self.kind(), names.join(", "))
    }
}

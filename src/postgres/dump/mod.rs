//! pg_dump and pg_dumpall: their command lines, and how their output is stored.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use tokio::process::Command;

use crate::config::dump_options::{DumpOptions, HAS_STATISTICS, STATISTICS};
use crate::config::{BackupSettings, Connection, Format};
use crate::error::{Error, Kind, Result};
use crate::pipeline::compress::Method;
use crate::postgres::archive::Contents;
use crate::postgres::client::NO_TIMEOUTS;
use crate::postgres::programs::Programs;
use crate::postgres::script::Script;
use crate::postgres::snapshot::later_timeouts;

mod candidates;
pub mod directory;
pub mod fingerprints;
pub mod parallel;
pub mod range_rows;
pub mod readers;
pub mod split_table;
pub mod stream;

/// Options that override parameters of the database and the role which would change how values are written, or end the session.
pub fn parameters(server: u32) -> String {
    let later: String = later_timeouts(server).map(|timeout| format!(" -c {timeout}=0")).collect();
    let pinned: String = fingerprints::PINNED.iter().map(|(name, value)| format!("-c {name}={value} ")).collect();
    format!("{pinned}{NO_TIMEOUTS}{later}")
}

/// What a dump contains.
#[derive(Debug)]
pub struct Dumped {
    tables: Tables,
    /// Large objects.
    pub large_objects: u64,
    /// Subscriptions; unknown for a script.
    pub subscriptions: Option<u64>,
}

#[derive(Debug)]
enum Tables {
    Archive(Contents),
    Script(Script),
}

impl Dumped {
    /// Whether the rows of a table are in the dump. `names` are its schema and name in each encoding that the dump may have.
    pub fn has_table<'a>(&self, oid: u32, names: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> bool {
        match &self.tables {
            Tables::Archive(contents) => contents.table_data.contains(oid),
            Tables::Script(_) => self.has_table_named(names),
        }
    }

    /// Whether a script fills a table with one of these names; archives identify tables by their OIDs.
    pub fn has_table_named<'a>(&self, names: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> bool {
        match &self.tables {
            Tables::Archive(_) => false,
            Tables::Script(script) => names.into_iter().any(|(schema, table)| script.has_table(schema, table)),
        }
    }

    /// The table of contents; a script has none.
    pub fn contents(&self) -> Option<&Contents> {
        match &self.tables {
            Tables::Archive(contents) => Some(contents),
            Tables::Script(_) => None,
        }
    }

    /// Number of tables whose rows are in the dump.
    pub fn tables(&self) -> u64 {
        match &self.tables {
            Tables::Archive(contents) => contents.table_data.len() as u64,
            Tables::Script(script) => script.tables() as u64,
        }
    }
}

impl From<Contents> for Dumped {
    fn from(contents: Contents) -> Self {
        Dumped {
            large_objects: contents.large_objects,
            subscriptions: Some(contents.count_of("SUBSCRIPTION")),
            tables: Tables::Archive(contents),
        }
    }
}

impl From<Script> for Dumped {
    fn from(script: Script) -> Self {
        Dumped { large_objects: script.large_objects, subscriptions: None, tables: Tables::Script(script) }
    }
}

/// A call of pg_dump for a snapshot.
#[derive(Debug)]
pub struct DumpCommand<'a> {
    /// The programs to use.
    pub programs: &'a Programs,
    /// The server's major version.
    pub server: u32,
    /// The server.
    pub connection: &'a Connection,
    /// The database.
    pub database: &'a str,
    /// Name of the exported snapshot.
    pub snapshot: &'a str,
    /// Longest wait for a lock.
    pub lock_wait: Duration,
    /// The user's options.
    pub options: &'a DumpOptions,
}

impl DumpCommand<'_> {
    fn command(&self, format: Format) -> Command {
        let mut command = self.programs.client("pg_dump", self.connection, self.database);
        command.env("PGOPTIONS", parameters(self.server));
        command.arg(format!("--format={format}")).arg("--no-password");
        command.arg(format!("--snapshot={}", self.snapshot));
        command.arg(format!("--lock-wait-timeout={}", self.lock_wait.as_millis()));
        command.args(&self.options.arguments);
        if self.options.statistics && self.programs.major >= HAS_STATISTICS {
            command.arg(STATISTICS);
        }
        command
    }

    /// pg_dump that writes to its standard output, uncompressed.
    pub fn stream(&self, format: Format) -> Command {
        let mut command = self.command(format);
        if format == Format::Custom {
            command.arg("--compress=0");
        }
        command
    }

    /// The same custom archive without the rows of tables, by options of [`split_table::exclusion`].
    pub fn stream_without(&self, exclusions: impl Iterator<Item = OsString>) -> Command {
        let mut command = self.stream(Format::Custom);
        command.args(exclusions);
        command
    }

    /// pg_dump that writes a folder with several jobs, and compresses its files itself.
    pub fn directory(&self, folder: &Path, jobs: NonZeroUsize, settings: &BackupSettings) -> Result<Command> {
        let mut command = self.command(Format::Directory);
        command.arg(format!("--jobs={jobs}")).arg("--no-sync");
        command.arg(self.compression(settings)?).arg("--file").arg(folder);
        Ok(command)
    }

    /// `--compress` in the form of this pg_dump: a level for zlib before version 16, a method and a level since.
    fn compression(&self, settings: &BackupSettings) -> Result<String> {
        let level = settings.compression.level(settings.level).unwrap_or_default();
        match settings.compression {
            Method::None => Ok("--compress=0".to_owned()),
            Method::Gzip => Ok(format!("--compress={}", level.min(9))),
            Method::Zstd if self.programs.major >= 16 => Ok(format!("--compress=zstd:{level}")),
            method => Err(Error::new(
                Kind::Config,
                format!(
                    "BACKUP_COMPRESSION={method} is not possible with BACKUP_FORMAT=directory and pg_dump {}",
                    self.programs.version
                ),
            )
            .hint("pg_dump itself compresses the files of a directory, with gzip, or zstd since version 16")),
        }
    }
}

/// pg_dumpall for roles and tablespaces; without passwords where our role may not read them.
pub fn globals(call: &DumpCommand<'_>, passwords: bool) -> Command {
    let DumpCommand { connection, database, .. } = call;
    let mut command = call.programs.client("pg_dumpall", connection, database);
    // pg_dumpall writes VALID UNTIL as its session shows times, in any order of day and month.
    command.env("PGOPTIONS", format!("{} -c DateStyle=ISO", parameters(call.server)));
    command.arg("--globals-only").arg("--no-password");
    // Otherwise pg_dumpall connects to `postgres`. In a connection string the name can be quoted.
    let name = database.replace('\\', "\\\\").replace('\'', "\\'");
    command.arg(format!("--database=dbname='{name}'"));
    if !passwords {
        command.arg("--no-role-passwords");
    }
    command
}

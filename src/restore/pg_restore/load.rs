//! Calls pg_restore and psql, writes their input, and reads their errors.

use std::fs::File;
use std::io::{self, Read};
use std::num::NonZeroUsize;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use tokio::process::Command;

use crate::config::dump_options::HAS_STATISTICS;
use crate::config::restore::LeftOut;
use crate::config::{Connection, Format};
use crate::error::{Error, Kind, Result};
use crate::pipeline::{Digests, Source};
use crate::postgres::child::{Child, Messages, killed};
use crate::postgres::pipes::enlarge;
use crate::postgres::programs::Programs;
use crate::restore::pg_restore::errors::{ErrorWatcher, failure};
use crate::restore::pg_restore::feed::{Fed, GiveUp, feed};
use crate::restore::pg_restore::refused_owners::RefusedOwners;
use crate::restore::pg_restore::skipped_errors::SkippedErrors;
use crate::stop::Stop;

/// A line that pg_dump 17 and newer write into a script and older servers do not know.
pub const TRANSACTION_TIMEOUT: &[u8] = b"SET transaction_timeout = 0;";

/// First version of the server that knows it.
pub const KNOWS_TRANSACTION_TIMEOUT: u32 = 17;

const PRE_DATA: &str = "--section=pre-data";
const DATA: &str = "--section=data";
const POST_DATA: &str = "--section=post-data";

/// A load of an archive into a new database.
#[derive(Clone, Copy, Debug)]
pub struct Load<'a> {
    /// Programs that can read the archive.
    pub programs: &'a Programs,
    /// The server, with the parameters of the sessions that load.
    pub connection: &'a Connection,
    /// The server's major version.
    pub server: u32,
    /// The new database.
    pub database: &'a str,
    /// Format of the archive.
    pub format: Format,
    /// Whether tables and indexes go to the database's own tablespace.
    pub no_tablespaces: bool,
    /// What pg_restore leaves out of the archive; nothing is left out of a script.
    pub left_out: LeftOut,
    /// Whether our role is a superuser.
    pub superuser: bool,
    /// Changes of owners that are to be tried again when everything is loaded.
    pub owners: &'a RefusedOwners,
    /// The file of the dump ids to restore, for `--use-list`; none for all.
    pub list: Option<&'a Path>,
    /// Errors skipped because of `--keep-going`.
    pub going_on: Option<&'a SkippedErrors>,
    /// Whether to stop.
    pub stop: &'a Stop,
}

/// Why a load failed.
#[derive(Debug)]
pub enum LoadFailure {
    /// The archive could not be read, or its bytes are not those of the manifest.
    Stream(std::io::Error),
    /// Any other error.
    Other(Error),
}

impl From<Error> for LoadFailure {
    fn from(error: Error) -> Self {
        LoadFailure::Other(error)
    }
}

/// A running program.
struct Running {
    child: Child,
    judge: ErrorWatcher,
}

impl Load<'_> {
    /// The program's name.
    fn program(&self) -> &'static str {
        match self.format {
            Format::Plain => "psql",
            Format::Custom | Format::Directory | Format::Tar => "pg_restore",
        }
    }

    fn command(&self, list: Option<&Path>) -> Command {
        let mut command = self.programs.client(self.program(), self.connection, self.database);
        command.env("PGOPTIONS", self.connection.options()).stdout(Stdio::null()).arg("--no-password");
        if self.format == Format::Plain {
            command.args(["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"]);
            return command;
        }
        command.arg(format!("--format={}", self.format)).arg(format!("--dbname={}", connection_string(self.database)));
        let leave_out = [
            (self.no_tablespaces, "--no-tablespaces"),
            (self.left_out.owners, "--no-owner"),
            (self.left_out.privileges, "--no-privileges"),
            (self.programs.major >= HAS_STATISTICS && self.server < HAS_STATISTICS, "--no-statistics"),
            (self.going_on.is_some_and(|faults| faults.names_entries), "--verbose"),
        ];
        command.args(leave_out.into_iter().filter_map(|(is_left_out, option)| is_left_out.then_some(option)));
        if let Some(list) = list {
            command.arg("--use-list").arg(list);
        }
        command
    }

    fn start(&self, command: Command) -> Result<Running> {
        let judge = ErrorWatcher::new(self.going_on.cloned(), self.superuser, self.owners.clone());
        let watcher = judge.clone();
        let child = Child::start_with(self.program(), command, move |line| watcher.read(line))?;
        Ok(Running { child, judge })
    }

    /// Loads a file or folder that pg_restore reads itself.
    pub async fn file(&self, path: &Path) -> Result<Messages> {
        self.call(path, self.list, &[]).await
    }

    /// Loads what comes before the data of a file or folder. A file may still lack the data.
    ///
    /// In one parallel call for all sections grants can get lost, and triggers fire on partitions that are still being
    /// loaded. An entry of no section belongs to the section in which it stands (`ProcessArchiveRestoreOptions` in
    /// `src/bin/pg_dump/pg_backup_archiver.c`), so that the sections together leave nothing out.
    pub async fn before_data(&self, path: &Path) -> Result<Messages> {
        self.call(path, self.list, &[PRE_DATA]).await
    }

    /// Loads the listed entries of the data and of what comes after it, with several jobs.
    pub async fn data_and_after(&self, path: &Path, list: &Path, jobs: NonZeroUsize) -> Result<Messages> {
        self.call(path, Some(list), &[DATA, POST_DATA, &format!("--jobs={jobs}")]).await
    }

    /// Loads the listed entries of what comes after the data, with several jobs.
    pub async fn after_data(&self, path: &Path, list: &Path, jobs: NonZeroUsize) -> Result<Messages> {
        self.call(path, Some(list), &[POST_DATA, &format!("--jobs={jobs}")]).await
    }

    async fn call(&self, path: &Path, list: Option<&Path>, options: &[&str]) -> Result<Messages> {
        let mut command = self.command(list);
        command.args(options).arg(path);
        let running = self.start(command)?;
        self.finish(running).await
    }

    /// Loads a stream. The program gets the end of its input only when the stream has been read to its end and `whole` accepts
    /// its digests; otherwise it is killed.
    pub async fn stream<R: Read + Send + 'static>(
        &self,
        source: Source<R>,
        whole: impl FnOnce(&Digests) -> Result<()>,
    ) -> std::result::Result<Messages, LoadFailure> {
        let without = self.without();
        // pg_restore stops after the last block of an archive; psql reads to the end.
        let takes_all = self.format == Format::Plain;
        let feed = move |pipe, give_up: &GiveUp| feed(source, pipe, without, give_up);
        self.fed(self.command(self.list), feed, takes_all, whole).await
    }

    /// Loads the data in the list, which `pour` writes as an archive with that data alone. The program gets the end of its
    /// input only when `pour` has succeeded.
    pub async fn data(
        &self,
        list: &Path,
        pour: impl FnOnce(&mut File) -> io::Result<()> + Send + 'static,
    ) -> std::result::Result<Messages, LoadFailure> {
        let mut command = self.command(Some(list));
        command.arg(DATA);
        let feed = move |mut pipe: File, _: &GiveUp| {
            enlarge(&pipe);
            match pour(&mut pipe) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Fed { pipe, outcome: Ok(()), taken: false },
                outcome => Fed { pipe, outcome, taken: true },
            }
        };
        self.fed(command, feed, true, |()| Ok(())).await
    }

    async fn fed<T: Send + 'static>(
        &self,
        mut command: Command,
        feed: impl FnOnce(File, &GiveUp) -> Fed<T> + Send + 'static,
        takes_all: bool,
        whole: impl FnOnce(&T) -> Result<()>,
    ) -> std::result::Result<Messages, LoadFailure> {
        command.stdin(Stdio::piped());
        let mut running = self.start(command)?;
        let pipe = running.child.stdin()?;
        let give_up = GiveUp::default();
        let theirs = give_up.clone();
        let mut feeding = tokio::task::spawn_blocking(move || feed(pipe, &theirs));

        let mut exited = None;
        let fed = loop {
            tokio::select! {
                biased;
                () = self.stop.wait() => break Err(self.stop.error()),
                () = running.judge.condemned() => break Err(self.condemn(&mut running).await),
                fed = &mut feeding => {
                    break fed.map_err(|error| Error::new(Kind::Internal, format!("a thread panicked: {error}")));
                }
                end = running.child.wait(), if exited.is_none() => match end.and_then(|end| self.outcome(&running.judge, end)) {
                    Ok(messages) => exited = Some(messages),
                    Err(error) => break Err(error),
                },
            }
        };
        give_up.now();
        let Fed { pipe, outcome, taken } = match fed {
            Ok(fed) => fed,
            Err(error) => {
                running.child.kill().await;
                return Err(error.into());
            }
        };
        let verdict = match outcome {
            Ok(digests) => whole(&digests).map_err(LoadFailure::Other),
            Err(error) => Err(LoadFailure::Stream(error)),
        };
        if verdict.is_err() {
            running.child.kill().await;
        }
        // Only after the program has ended: it would take a closed pipe for the end of its input.
        drop(pipe);
        verdict?;
        let messages = match exited {
            Some(messages) => messages,
            None => self.finish(running).await?,
        };
        match takes_all && !taken {
            true => Err(self.ended_early().into()),
            false => Ok(messages),
        }
    }

    /// The line that psql must not get for this server.
    fn without(&self) -> Option<&'static [u8]> {
        (self.format == Format::Plain && self.server < KNOWS_TRANSACTION_TIMEOUT).then_some(TRANSACTION_TIMEOUT)
    }

    /// Waits for a program that has got all its input.
    async fn finish(&self, mut running: Running) -> Result<Messages> {
        tokio::select! {
            biased;
            () = self.stop.wait() => {
                running.child.kill().await;
                Err(self.stop.error())
            }
            () = running.judge.condemned() => Err(self.condemn(&mut running).await),
            exited = running.child.wait() => self.outcome(&running.judge, exited?),
        }
    }

    /// Kills a program that goes on after an error.
    async fn condemn(&self, running: &mut Running) -> Error {
        running.child.kill().await;
        match running.child.wait().await {
            Ok((_, messages)) => self.failure(&running.judge, "failed", &messages),
            Err(error) => error,
        }
    }

    fn ended_early(&self) -> Error {
        match self.format {
            Format::Plain => Error::new(Kind::Data, "psql ended before the end of the script")
                .hint("does the script have a \\q in it?"),
            _ => Error::new(Kind::Internal, "pg_restore ended before the end of the data that it was given"),
        }
    }

    fn outcome(&self, judge: &ErrorWatcher, (status, messages): (ExitStatus, Messages)) -> Result<Messages> {
        if judge.accepts(status) {
            return Ok(messages);
        }
        Err(match (status.signal(), status.code()) {
            (Some(signal), _) => killed(self.program(), signal),
            (None, code) => {
                let how = format!("failed with exit status {}", code.unwrap_or_default());
                self.failure(judge, &how, &messages)
            }
        })
    }

    fn failure(&self, judge: &ErrorWatcher, how: &str, messages: &Messages) -> Error {
        failure(self.program(), &self.programs.version, how, &judge.decisive(messages))
    }
}

/// A connection string that names this database and nothing else: a bare name with `=` in it would be taken for one
/// (PostgreSQL documentation, "Connection Strings").
fn connection_string(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_connection_strings() {
        assert_eq!(connection_string("host=evil"), "dbname='host=evil'");
        assert_eq!(connection_string("it's \\"), "dbname='it\\'s \\\\'");
    }
}

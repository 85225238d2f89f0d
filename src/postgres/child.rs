//! PostgreSQL's programs as child processes. Their output is valid only after they have exited with status 0.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::error::{Cause, Error, Kind, Result};

/// Lines of a program's messages that are kept, from the beginning and from the end each.
const KEPT_LINES: usize = 100;

/// Longest line that is kept, in bytes.
const KEPT_LINE: u64 = 4096;

/// How long a program may take to end after SIGTERM.
const PATIENCE: Duration = Duration::from_secs(4);

/// How long processes that a program has started may outlive it.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// How often their end is checked.
const POLL: Duration = Duration::from_millis(5);

/// A running program.
#[derive(Debug)]
pub struct Child {
    name: String,
    child: tokio::process::Child,
    group: Option<Pid>,
    messages: JoinHandle<Messages>,
}

/// The messages of a program on standard error.
#[derive(Clone, Debug, Default)]
pub struct Messages {
    first: Vec<String>,
    last: VecDeque<String>,
    left_out: u64,
}

impl Messages {
    /// All lines that were kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.first.iter().chain(&self.last).map(String::as_str)
    }

    /// Warnings, without the program's name. Of very many lines some were left out.
    pub fn warnings(&self) -> Vec<String> {
        let warning = |line: &str| line.split_once(": warning: ").map(|(_, text)| text.to_owned());
        let mut warnings: Vec<String> = self.lines().filter_map(warning).collect();
        if self.left_out > 0 {
            warnings.push(format!("{} lines of the messages were not searched for warnings", self.left_out));
        }
        warnings
    }

    /// The first error message and the lines that follow it.
    pub fn failure(&self) -> Option<String> {
        let lines: Vec<&str> = self.lines().filter(|line| !line.trim().is_empty()).collect();
        let bad = lines.iter().position(|line| {
            // The server that initdb starts writes the messages of a server.
            ["error: ", "fatal: ", "FATAL: ", "PANIC: "].iter().any(|word| line.contains(word))
        });
        let from = bad.unwrap_or(lines.len().saturating_sub(2));
        let failure: Vec<&str> = lines.get(from..)?.iter().take(3).copied().collect();
        (!failure.is_empty()).then(|| failure.join(" | "))
    }

    /// Messages for tests.
    #[cfg(test)]
    pub fn of(lines: &[&str]) -> Self {
        let mut messages = Messages::default();
        lines.iter().for_each(|line| messages.keep((*line).to_owned()));
        messages
    }

    /// Appends later messages.
    pub fn append(&mut self, later: Messages) {
        self.left_out += later.left_out;
        later.first.into_iter().chain(later.last).for_each(|line| self.keep(line));
    }

    fn keep(&mut self, line: String) {
        if self.first.len() < KEPT_LINES {
            return self.first.push(line);
        }
        if self.last.len() == KEPT_LINES {
            self.last.pop_front();
            self.left_out += 1;
        }
        self.last.push_back(line);
    }
}

impl Child {
    /// Starts a program that [`Programs`](crate::postgres::programs::Programs) prepared.
    pub fn start(name: &str, command: Command) -> Result<Self> {
        Child::start_with(name, command, |_| {})
    }

    /// The same; `on_line` is called for each line of its messages.
    pub fn start_with(name: &str, mut command: Command, on_line: impl FnMut(&str) + Send + 'static) -> Result<Self> {
        let name = name.to_owned();
        // Ctrl-C at a terminal then reaches only pgcellar, which ends its children in order.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| {
            Error::new(Kind::System, format!("cannot start {name}: {}", crate::error::reason(&error)))
        })?;
        let (stderr, program) = (child.stderr.take(), name.clone());
        let messages = tokio::spawn(async move {
            match stderr {
                Some(stderr) => collect(&program, stderr, on_line).await,
                None => Messages::default(),
            }
        });
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        Ok(Child { name, child, group, messages })
    }

    /// The program's standard output, for a thread that reads it.
    pub fn stdout(&mut self) -> Result<File> {
        let fd = self.child.stdout.take().map(tokio::process::ChildStdout::into_owned_fd);
        self.pipe(fd)
    }

    /// The program's standard input, for a thread that writes it.
    pub fn stdin(&mut self) -> Result<File> {
        let fd = self.child.stdin.take().map(tokio::process::ChildStdin::into_owned_fd);
        self.pipe(fd)
    }

    fn pipe(&self, fd: Option<std::io::Result<std::os::fd::OwnedFd>>) -> Result<File> {
        match fd {
            Some(Ok(fd)) => Ok(File::from(fd)),
            Some(Err(error)) => Err(Error::new(Kind::System, format!("cannot use the pipe of {}: {error}", self.name))),
            None => Err(Error::new(Kind::Internal, format!("{} has no such pipe", self.name))),
        }
    }

    /// Waits for the program's end, and returns its exit status and messages.
    pub async fn wait(&mut self) -> Result<(ExitStatus, Messages)> {
        let status = self
            .child
            .wait()
            .await
            .map_err(|error| Error::new(Kind::System, format!("cannot wait for {}: {error}", self.name)))?;
        // Jobs of a killed program go on, and keep its standard error open.
        if !status.success() {
            self.signal(Signal::TERM);
            if !self.left().await {
                self.signal(Signal::KILL);
            }
        }
        let messages = (&mut self.messages).await.unwrap_or_default();
        Ok((status, messages))
    }

    /// Waits for the program's end, and returns its messages.
    ///
    /// # Errors
    /// For any exit status other than 0, by the messages.
    pub async fn succeed(&mut self) -> Result<Messages> {
        match self.wait().await? {
            (status, messages) if status.success() => Ok(messages),
            (status, messages) => Err(failed(&self.name, status, &messages)),
        }
    }

    /// Ends the program and the processes that it has started: SIGTERM, then SIGKILL if it does not end in time.
    pub async fn end(&mut self) {
        self.signal(Signal::TERM);
        if tokio::time::timeout(PATIENCE, self.child.wait()).await.is_err() || !self.left().await {
            self.kill().await;
        }
    }

    /// Ends a server immediately: SIGQUIT, on which it ends its sessions, then SIGKILL if it does not end in time.
    pub async fn quit(&mut self) {
        self.signal(Signal::QUIT);
        if tokio::time::timeout(PATIENCE * 2, self.child.wait()).await.is_err() || !self.left().await {
            self.kill().await;
        }
    }

    /// Kills the program, so that it cannot take the end of its input for a success.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        drop(self.child.wait().await);
        self.left().await;
    }

    /// Waits for processes that the program has started, such as parallel jobs, which may outlive it for a moment and still
    /// write. Returns whether they ended in time.
    async fn left(&self) -> bool {
        let gone = async {
            while self.group.is_some_and(|group| test_kill_process_group(group).is_ok()) {
                tokio::time::sleep(POLL).await;
            }
        };
        tokio::time::timeout(STRAGGLERS, gone).await.is_ok()
    }

    /// Signals the program's own process group, which may have ended in the meantime.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal);
        }
    }
}

async fn collect(name: &str, stderr: tokio::process::ChildStderr, mut on_line: impl FnMut(&str)) -> Messages {
    let mut messages = Messages::default();
    let mut reader = BufReader::new(stderr);
    loop {
        let mut line = Vec::new();
        match (&mut reader).take(KEPT_LINE).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return messages,
            Ok(_) => {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                // Other lines may be a statement that failed, with a password in it.
                if text.starts_with(name) {
                    log::debug!("{text}");
                }
                on_line(&text);
                messages.keep(text);
            }
        }
    }
}

/// Hint for a program, or a job of it, that was ended by a signal.
pub const KILLED_HINT: &str = "it was killed by another process, or memory ran out: see the kernel's log";

/// The message of pg_dump and pg_restore for a job that ended without one, that is, by a signal (`src/bin/pg_dump/parallel.c`).
pub const WORKER_DIED: &str = "a worker process died unexpectedly";

/// The error of a program that was ended by a signal.
pub fn killed(name: &str, signal: i32) -> Error {
    Error::new(Kind::System, format!("{name} was killed by signal {signal}")).hint(KILLED_HINT)
}

fn failed(name: &str, status: ExitStatus, messages: &Messages) -> Error {
    if let Some(signal) = status.signal() {
        return killed(name, signal);
    }
    let how = format!("{name} failed with exit status {}", status.code().unwrap_or_default());
    let Some(why) = messages.failure() else { return Error::new(Kind::Unavailable, how) };
    let error = |kind| Error::new(kind, format!("{how}: {why}"));
    let says = |text: &str| why.contains(text);
    // A job that fails reports its error before.
    if why.strip_prefix(name) == Some(&format!(": error: {WORKER_DIED}")) {
        return error(Kind::System).hint(KILLED_HINT);
    }
    if says("permission denied for large object") {
        return error(Kind::NotPermitted).hint(
            "GRANT SELECT ON LARGE OBJECT … to the role, because pg_read_all_data does not include them, or dump as their \
             owner",
        );
    }
    if says("permission denied") || says("must be superuser") || says("row-level security") {
        return error(Kind::NotPermitted)
            .hint(
            "GRANT pg_read_all_data TO the role (PostgreSQL 13 has none: GRANT USAGE ON SCHEMA, and SELECT ON ALL TABLES and \
             ALL SEQUENCES IN SCHEMA, of each schema), and ALTER ROLE … BYPASSRLS where tables have row security; pgcellar \
             doctor lists what it may not read",
        );
    }
    if says("too many connections for") {
        return error(Kind::Unavailable).hint(
            "pg_dump needs one more session, and for the directory format one for each job: raise it with ALTER DATABASE or \
             ALTER ROLE … CONNECTION LIMIT, or end other sessions",
        );
    }
    // pg_dump waits for its locks under a statement_timeout (`getTables` in `src/bin/pg_dump/pg_dump.c`).
    let waited = says("statement timeout") && says("LOCK TABLE");
    if waited || says("lock timeout") || says("could not obtain lock") {
        return error(Kind::TryAgain)
            .hint("another session holds a lock on a table; BACKUP_LOCK_WAIT_TIMEOUT sets how long to wait")
            .caused_by(Cause::TableLock);
    }
    if says("No space left on device") {
        return error(Kind::CannotWrite).hint("free space there");
    }
    if says("connection") || says("terminating") || says("shutting down") {
        return error(Kind::Unavailable).hint("the server closed the connection: see its log");
    }
    error(Kind::Unavailable)
}

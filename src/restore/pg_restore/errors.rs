//! The errors that pg_restore and psql print, and what they mean for a restore.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind};
use crate::postgres::child::{KILLED_HINT, Messages, WORKER_DIED};
use crate::restore::pg_restore::refused_owners::RefusedOwners;
use crate::restore::pg_restore::skipped_errors::{SkippedError, SkippedErrors};
use crate::restore::server::REFUSED;

/// The only command whose error is ignored: since version 17 pg_restore sets a parameter that older servers do not
/// know (`_doSetFixedOutputState` in `src/bin/pg_dump/pg_backup_archiver.c`). The error's own text is in the server's language.
const KNOWN: &str = "Command was: SET transaction_timeout = 0;";

/// How pg_restore names the entry of the errors that follow, in verbose mode (`warn_or_exit_horribly` in
/// `src/bin/pg_dump/pg_backup_archiver.c`).
const OF_ENTRY: &str = "pg_restore: from TOC entry ";

/// The beginning of an error of a command, which pg_restore prints on the next line.
const OF_COMMAND: &str = "could not execute query: ";

/// pg_restore's last line if it has ignored errors and reached the end.
const REACHED_END: &str = "pg_restore: warning: errors ignored on restore: ";

/// What libpq prints when a session has ended, and the server for errors that end one. libpq's texts are in English, since
/// the programs run in the C locale. libpq answers every command after the end of a session with the second text.
const ENDED: &[&str] = &[
    "server closed the connection unexpectedly",
    "no connection to the server",
    "SSL connection has been closed unexpectedly",
    "SSL SYSCALL error",
    "SSL error: ",
    "could not receive data from server",
    "could not send data to server",
    "lost synchronization with server",
    "FATAL:  ",
    "PANIC:  ",
];

/// How pg_restore prints a failed comment on an extension, on the line after the error. Only the extension's owner may
/// comment on it, and some servers make extensions in another role's name. Archives of pg_dump 10 and older have a comment
/// on plpgsql.
const COMMENT: &str = "Command was: COMMENT ON EXTENSION ";

/// How pg_restore prints a refused statement about the planner's statistics (`dumpRelationStats` in
/// `src/bin/pg_dump/pg_dump.c`). ANALYZE gathers what is missing. The error may quote values of rows.
const STATISTICS: &str = "Command was: SELECT * FROM pg_catalog.pg_restore_";

/// The beginning of pg_restore's errors.
const ERROR: &str = "pg_restore: error: ";

/// Reads pg_restore's messages, and stops it at an error that is not excused; with `--keep-going` only at an error after which
/// every command fails. `pg_restore --exit-on-error` would also stop at the known error and at the excused ones.
#[derive(Clone, Debug, Default)]
pub struct ErrorWatcher {
    going_on: Option<SkippedErrors>,
    owners: RefusedOwners,
    superuser: bool,
    messages: Arc<Mutex<MessageCounts>>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct MessageCounts {
    known: u64,
    others: u64,
    /// Errors that their command excuses.
    excused: u64,
    reached_end: bool,
    /// Whether the line before was an error.
    after_error: bool,
    /// The entry of the table of contents that was named last.
    entry: Option<u32>,
    /// An error whose command is not printed yet.
    open: Option<String>,
    /// The error that stopped pg_restore.
    last: Option<String>,
}

impl ErrorWatcher {
    /// With `going_on`, adds errors to it and lets pg_restore go on. Changes of owners that a role without superuser rights is
    /// refused go to `owners`.
    pub fn new(going_on: Option<SkippedErrors>, superuser: bool, owners: RefusedOwners) -> Self {
        ErrorWatcher { going_on, superuser, owners, ..ErrorWatcher::default() }
    }

    /// Reads a line.
    pub fn read(&self, line: &str) {
        let mut counts = self.messages();
        counts.reached_end |= line.starts_with(REACHED_END);
        let after_error = std::mem::take(&mut counts.after_error);
        let error = line.strip_prefix(ERROR);
        if let Some((id, _)) = line.strip_prefix(OF_ENTRY).and_then(|rest| rest.split_once(';')) {
            counts.entry = id.parse().ok();
        } else if line.starts_with(COMMAND) {
            match counts.open.take() {
                Some(open) => self.read_command(&mut counts, &open, line),
                None => self.going_on.iter().for_each(|faults| faults.explain(&shorten(line))),
            }
        } else if let Some(error) = error {
            if let Some(open) = counts.open.take() {
                self.judge(&mut counts, &open);
            }
            counts.after_error = true;
            match error.starts_with(OF_COMMAND) && !is_over(of_server(error)) {
                true => counts.open = Some(line.to_owned()),
                false => self.judge(&mut counts, line),
            }
        } else if after_error && self.going_on.is_some() && has_ended(line) {
            self.condemn(&mut counts, line);
        }
    }

    /// Reads the command of an error.
    fn read_command(&self, counts: &mut MessageCounts, error: &str, command: &str) {
        // The extension has the comment of its control file.
        let is_comment = !self.superuser && command.starts_with(COMMENT);
        if command == KNOWN {
            counts.known += 1;
        } else if command.starts_with(STATISTICS) {
            counts.excused += 1;
            log::debug!("the server has refused statistics of the archive");
        } else if !self.superuser && self.owners.keep(command) {
            counts.excused += 1;
        } else if is_comment {
            counts.excused += 1;
            log::warn!("left as the extension has it: {} | {}", shorten(error), shorten(command));
        } else {
            self.judge(counts, error);
            self.going_on.iter().for_each(|faults| faults.explain(&shorten(command)));
        }
    }

    fn judge(&self, counts: &mut MessageCounts, line: &str) {
        let message = of_server(line.strip_prefix(ERROR).unwrap_or(line));
        match &self.going_on {
            // On a server that has ended or is full everything that follows fails.
            Some(faults) if !is_over(message) => {
                faults.add_error(SkippedError {
                    entry: counts.entry,
                    text: shorten(message),
                    ..SkippedError::default()
                });
            }
            _ => self.condemn(counts, line),
        }
    }

    fn condemn(&self, counts: &mut MessageCounts, line: &str) {
        counts.others += 1;
        counts.last.get_or_insert_with(|| line.to_owned());
        self.stop.cancel();
    }

    /// The messages from the error on that stopped pg_restore; those before it were skipped.
    pub fn decisive(&self, messages: &Messages) -> Vec<String> {
        let counts = self.messages();
        let all: Vec<&str> = messages.lines().collect();
        let from = match &counts.last {
            Some(last) => all.iter().position(|line| line == last),
            // The last error is not a skipped one.
            None if self.going_on.is_some() => all.iter().rposition(|line| line.starts_with(ERROR)),
            None => Some(0),
        };
        match (from.and_then(|from| all.get(from..)), &counts.last) {
            (Some(lines), _) => lines.iter().map(|line| (*line).to_owned()).collect(),
            (None, Some(last)) => vec![last.clone()],
            (None, None) => all.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    /// The messages so far. They are valid even if a thread has panicked with the lock.
    fn messages(&self) -> std::sync::MutexGuard<'_, MessageCounts> {
        self.messages.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for an error that stops pg_restore.
    pub async fn condemned(&self) {
        self.stop.cancelled().await;
    }

    /// Whether pg_restore has succeeded, by its exit status and its messages.
    pub fn accepts(&self, status: ExitStatus) -> bool {
        let mut counts = self.messages();
        if let Some(open) = counts.open.take() {
            self.judge(&mut counts, &open);
        }
        match status.code() {
            Some(0) => counts.others == 0,
            Some(1) => {
                let may_ignore = counts.known > 0 || counts.excused > 0 || self.going_on.is_some();
                counts.others == 0 && may_ignore && counts.reached_end
            }
            _ => false,
        }
    }
}

/// The error of a program that failed: the first error that it printed, its kind, and what to do.
pub fn failure(program: &str, version: &str, how: &str, messages: &[String]) -> Error {
    let Some(why) = first_error(messages.iter().map(String::as_str)) else {
        return Error::new(Kind::Unavailable, format!("{program} {how}")).hint("see the server's log");
    };
    let (kind, hint) = meaning(program, version, &why);
    Error::new(kind, format!("{program} {how}: {why}")).hint(hint)
}

/// The server's or libpq's own text, without pg_restore's words before it.
fn of_server(error: &str) -> &str {
    if let Some(message) = error.strip_prefix(OF_COMMAND) {
        return message;
    }
    let rows = error.strip_prefix("COPY failed for table \"").and_then(|rest| rest.split_once("\": "));
    rows.map_or(error, |(_, message)| message)
}

/// Whether this error has ended the session.
fn has_ended(message: &str) -> bool {
    ENDED.iter().any(|text| message.starts_with(text))
}

/// Whether the server's disk is full. A value of a row would stand in quotes.
fn is_disk_full(message: &str) -> bool {
    message.starts_with("ERROR:  could not ") && message.ends_with(": No space left on device")
}

/// Whether nothing that follows such an error can go well.
fn is_over(message: &str) -> bool {
    has_ended(message) || is_disk_full(message)
}

/// The first line that is an error, with the lines that explain it. psql names its input before an error of the server, whose
/// severity is in the server's language.
fn first_error<'a>(lines: impl Iterator<Item = &'a str>) -> Option<String> {
    let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    let is_error = |line: &str| {
        line.starts_with("psql:<stdin>:")
            || ["error: ", "ERROR: ", "FATAL: ", "fatal: ", "PANIC: "].iter().any(|word| line.contains(word))
    };
    let is_known = |at: usize| {
        let rest = lines.get(at + 1..).unwrap_or_default();
        rest.iter().take_while(|line| !is_error(line)).any(|line| *line == KNOWN)
    };
    let mut errors = (0..lines.len()).filter(|at| lines.get(*at).is_some_and(|line| is_error(line)) && !is_known(*at));
    let from = errors.next().unwrap_or(lines.len().saturating_sub(1));
    let explains =
        |line: &&&str| ["DETAIL: ", "HINT: ", COMMAND, "CONTEXT: "].iter().any(|word| line.starts_with(word));
    let first = lines.get(from)?;
    let rest = lines.get(from + 1..)?.iter().take(4).take_while(explains);
    Some(std::iter::once(first).chain(rest).map(|line| shorten(line)).collect::<Vec<_>>().join(NEXT))
}

/// The text between an error and each line that explains it.
const NEXT: &str = " | ";

/// An error of PostgreSQL's programs without the lines that explain it: details, contexts and commands contain values of rows,
/// and so any text.
pub fn without_details(message: &str) -> &str {
    message.split(NEXT).next().unwrap_or_default()
}

/// How pg_restore prints the command that failed.
const COMMAND: &str = "Command was: ";

/// The beginning of a line, for messages; of a command only up to its first string: that of a subscription or a user mapping
/// contains a password.
fn shorten(line: &str) -> String {
    const ENOUGH: usize = 300;
    let shown = match line.starts_with(COMMAND) {
        true => line.find(['\'', '$']).map_or(line, |text| &line[..text]),
        false => line,
    };
    match shown.char_indices().nth(ENOUGH) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None if shown.len() < line.len() => format!("{shown}…"),
        None => shown.to_owned(),
    }
}

/// Whether a library reports that the server must load it when it starts. PostgreSQL has no error code of
/// its own for that. pg_stat_statements, pg_cron, Citus and most others name the parameter; TimescaleDB prints
/// `extension "timescaledb" must be preloaded`; the server itself requires providers of security labels (`ExecSecLabelStmt` of
/// src/backend/commands/seclabel.c).
pub fn is_not_preloaded(message: &str) -> bool {
    let error = without_details(message);
    let has = |text: &str| error.contains(text);
    has("shared_preload_libraries")
        || has("must be preloaded")
        || has("no security label providers have been loaded")
        || has("security label provider") && has("is not loaded")
}

/// The hint for a session that has ended.
const ENDED_HINT: &str = "the server closed the connection; see its log";

/// Texts of errors, with the kind and the hint of an error that contains one of them.
const MEANINGS: [(&[&str], Kind, &str); 4] = [
    (&["No space left on device"], Kind::CannotWrite, "free space on the server, and restore again"),
    (
        &["permission denied", "must be owner", "must be superuser", "must be able to SET ROLE"],
        Kind::NotPermitted,
        REFUSED,
    ),
    (
        &["unsupported version", "unsupported compression", "not built with support", "does not support compression"],
        Kind::System,
        "install the PostgreSQL client of the version that made the backup, or set PG_BINDIR",
    ),
    (
        &[
            "server closed the connection",
            "terminating connection",
            "connection to server",
            "could not connect",
            "no connection to the server",
            "the database system is",
            "SSL SYSCALL error",
            "could not receive data",
        ],
        Kind::Unavailable,
        ENDED_HINT,
    ),
];

/// The errors of a session that waited for locks of others.
const LOCKED: [&str; 4] = [
    "deadlock detected",
    "could not serialize access",
    "canceling statement due to lock timeout",
    "could not obtain lock on",
];

/// The kind of an error and what to do, by the words that the programs use for it.
fn meaning(program: &str, version: &str, why: &str) -> (Kind, String) {
    if why.contains("invalid command \\restrict") || why.contains("invalid command \\unrestrict") {
        let hint = format!(
            "install the newest minor version of it: {program} {version} is older than the pg_dump that wrote the script"
        );
        return (Kind::System, hint);
    }
    let line = without_details(why);
    let (kind, hint) = if is_not_preloaded(why) {
        (
            Kind::Missing,
            "add the library that it names to shared_preload_libraries of the server, restart it, and restore again",
        )
    } else if line.strip_prefix(ERROR) == Some(WORKER_DIED) {
        (Kind::System, KILLED_HINT)
    } else if LOCKED.into_iter().any(|text| line.contains(text)) {
        (Kind::Conflict, "other sessions held locks in the new database; restore again")
    } else if has_ended(of_server(line.strip_prefix(ERROR).unwrap_or(line))) {
        (Kind::Unavailable, ENDED_HINT)
    } else {
        let known = MEANINGS.into_iter().find(|(texts, ..)| texts.iter().any(|text| why.contains(text)));
        known.map_or(
            (
                Kind::Data,
                "--keep-going continues after errors, into a new database; pgcellar verify checks whether the archive is whole",
            ),
            |(_, kind, hint)| (kind, hint),
        )
    };
    (kind, hint.to_owned())
}

#[cfg(test)]
mod tests;

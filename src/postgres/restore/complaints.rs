//! What pg_restore and psql complain of, and what that means for a restore.

use std::process::ExitStatus;
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind};
use crate::postgres::child::Messages;
use crate::postgres::restore::faults::Faults;

/// The one command of which the error is passed over: since version 17 pg_restore sets a parameter that older servers do not
/// know (`_doSetFixedOutputState` in `src/bin/pg_dump/pg_backup_archiver.c`). The error's own text is in the server's language.
const KNOWN: &str = "Command was: SET transaction_timeout = 0;";

/// How pg_restore begins an error that the server made of a command, which it shows behind it.
const OF_COMMAND: &str = "could not execute query: ";

/// pg_restore's last line after errors that it went on after: it has reached the end.
const REACHED_END: &str = "pg_restore: warning: errors ignored on restore: ";

/// Hears pg_restore's messages where it must go on after the known error, and says stop at any other one; where it was
/// told to go on after all of them, only at one that comes from the server's state.
#[derive(Clone, Debug, Default)]
pub struct Judge {
    going_on: Option<Faults>,
    heard: Arc<Mutex<Heard>>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct Heard {
    known: u64,
    others: u64,
    reached_end: bool,
    /// An error of a command that has not been shown yet.
    open: Option<String>,
}

impl Judge {
    /// One who lets pg_restore go on, if there is somebody to tell the errors to.
    pub fn new(going_on: Option<Faults>) -> Self {
        Judge { going_on, ..Judge::default() }
    }

    /// Hears a line.
    pub fn hear(&self, line: &str) {
        let mut heard = self.heard();
        heard.reached_end |= line.starts_with(REACHED_END);
        let error = line.strip_prefix("pg_restore: error: ");
        if line.starts_with(COMMAND) {
            match heard.open.take() {
                Some(_) if line == KNOWN => heard.known += 1,
                open => {
                    open.iter().for_each(|error| self.judge(error, &mut heard));
                    self.going_on.iter().for_each(|faults| faults.explain(&shorten(line)));
                }
            }
        } else if let Some(error) = error {
            if let Some(open) = heard.open.take() {
                self.judge(&open, &mut heard);
            }
            match error.strip_prefix(OF_COMMAND) {
                Some(error) => heard.open = Some(error.to_owned()),
                None => self.judge(error, &mut heard),
            }
        }
    }

    fn judge(&self, error: &str, heard: &mut Heard) {
        match &self.going_on {
            // A server that is gone or full would spoil everything that follows.
            Some(faults) if matches!(meaning("pg_restore", "", error).0, Kind::Data | Kind::Missing) => {
                faults.add(shorten(error));
            }
            _ => {
                heard.others += 1;
                self.stop.cancel();
            }
        }
    }

    /// A thread that broke down while it held the lock has left numbers that are right.
    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits for an error that is not the known one.
    pub async fn condemned(&self) {
        self.stop.cancelled().await;
    }

    /// Whether a pg_restore that exited so has done all that it should.
    pub fn accepts(&self, status: ExitStatus) -> bool {
        let mut heard = self.heard();
        if let Some(open) = heard.open.take() {
            self.judge(&open, &mut heard);
        }
        match status.code() {
            Some(0) => heard.others == 0,
            Some(1) => heard.others == 0 && (heard.known > 0 || self.going_on.is_some()) && heard.reached_end,
            _ => false,
        }
    }
}

/// The error of a program that failed: what it said first that is an error, its kind, and what to do.
pub fn failure(program: &str, version: &str, how: &str, messages: &Messages) -> Error {
    let Some(why) = first_error(messages.lines()) else {
        return Error::new(Kind::Unavailable, format!("{program} {how}")).hint("look at the server's log");
    };
    let (kind, hint) = meaning(program, version, &why);
    Error::new(kind, format!("{program} {how}: {why}")).hint(hint)
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

/// What stands between an error and each line that explains it.
const NEXT: &str = " | ";

/// An error of PostgreSQL's programs without what explains it: details, contexts and commands have values of rows in them,
/// and so any words.
pub fn said(message: &str) -> &str {
    message.split(NEXT).next().unwrap_or_default()
}

/// How pg_restore shows the command that failed.
const COMMAND: &str = "Command was: ";

/// Enough of a line to know what it is about. Of a command nothing from its first text on: that of a subscription or a
/// user mapping has a password in it.
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

/// Whether a library refuses to work because the server has not loaded it when it started. PostgreSQL has no error code of
/// its own for that. pg_stat_statements, pg_cron, Citus and most others name the parameter; TimescaleDB says
/// `extension "timescaledb" must be preloaded`; who gives labels is asked for by the server itself (`ExecSecLabelStmt` of
/// src/backend/commands/seclabel.c).
pub fn is_not_preloaded(message: &str) -> bool {
    let said = said(message);
    let says = |text: &str| said.contains(text);
    says("shared_preload_libraries")
        || says("must be preloaded")
        || says("no security label providers have been loaded")
        || says("security label provider") && says("is not loaded")
}

/// The kind of an error and what to do, by the words that the programs use for it.
fn meaning(program: &str, version: &str, why: &str) -> (Kind, String) {
    let says = |text: &str| why.contains(text);
    if says("invalid command \\restrict") || says("invalid command \\unrestrict") {
        let hint = format!(
            "install the newest minor version of it: {program} {version} is older than the pg_dump that wrote the script"
        );
        return (Kind::System, hint);
    }
    if is_not_preloaded(why) {
        let hint =
            "add the library that it names to shared_preload_libraries of the server, restart it, and restore again";
        return (Kind::Missing, hint.to_owned());
    }
    let locks = [
        "deadlock detected",
        "could not serialize access",
        "canceling statement due to lock timeout",
        "could not obtain lock on",
    ];
    if locks.into_iter().any(|text| said(why).contains(text)) {
        return (Kind::Conflict, "other sessions held locks in the new database; restore again".to_owned());
    }
    if says("No space left on device") {
        return (Kind::CannotWrite, "free space on the server, and restore again".to_owned());
    }
    if says("permission denied")
        || says("must be owner")
        || says("must be superuser")
        || says("must be able to SET ROLE")
    {
        return (Kind::NotPermitted, "name a superuser with --username".to_owned());
    }
    if says("unsupported version")
        || says("unsupported compression")
        || says("not built with support")
        || says("does not support compression")
    {
        return (
            Kind::System,
            "install the PostgreSQL client of the version that made the backup, or set PG_BINDIR".to_owned(),
        );
    }
    let gone = [
        "server closed the connection",
        "terminating connection",
        "connection to server",
        "could not connect",
        "no connection to the server",
        "the database system is",
        "SSL SYSCALL error",
        "could not receive data",
    ];
    if gone.into_iter().any(says) {
        return (Kind::Unavailable, "the server broke off; look at its log".to_owned());
    }
    let hint = match program {
        "pg_restore" => {
            "pgcellar verify tells whether the archive is whole; if it is, --keep-going goes on after errors"
        }
        _ => "pgcellar verify tells whether the archive is whole",
    };
    (Kind::Data, hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn judge(lines: &[&str]) -> Judge {
        let judge = Judge::default();
        lines.iter().for_each(|line| judge.hear(line));
        judge
    }

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn only_the_known_error_is_accepted() {
        let end = "pg_restore: warning: errors ignored on restore: 1";
        let english = "pg_restore: error: could not execute query: ERROR:  unrecognized configuration parameter \"transaction_timeout\"";
        let german = "pg_restore: error: could not execute query: FEHLER:  unbekannter Konfigurationsparameter »transaction_timeout«";
        let near = "Command was: SET transaction_timeouts = 0;";
        assert!(judge(&[]).accepts(exited(0)));
        for error in [english, german] {
            let lines = ["pg_restore: while INITIALIZING:", error, KNOWN, end];
            assert!(judge(&lines).accepts(exited(1)), "{error}");
            for lines in [
                &[error, KNOWN][..],
                &[end],
                &[],
                &[error, KNOWN, error, near, end],
                &[error, near, end],
                &[error, end],
                &[error, error, KNOWN, end],
                &[error, KNOWN, "pg_restore: error: COPY failed", end],
            ] {
                assert!(!judge(lines).accepts(exited(1)), "{lines:?}");
            }
            assert!(!judge(&[error, KNOWN, end]).accepts(ExitStatus::from_raw(9)), "killed");
            assert!(judge(&[error, near]).stop.is_cancelled() && !judge(&[error, KNOWN, end]).stop.is_cancelled());
            let told = first_error([error, KNOWN, "", "pg_restore: error: FEHLER:  x", near].into_iter()).unwrap();
            assert!(told.starts_with("pg_restore: error: FEHLER:  x"), "{told}");
        }
    }

    #[test]
    fn going_on_after_errors() {
        let error = "pg_restore: error: could not execute query: ERROR:  relation \"x\" does not exist";
        let end = "pg_restore: warning: errors ignored on restore: 2";
        let faults = Faults::default();
        let judge = Judge::new(Some(faults.clone()));
        let command = "Command was: REFRESH MATERIALIZED VIEW nap;";
        for line in [error, "LINE 1: x", command, error, command, error, KNOWN, end] {
            judge.hear(line);
        }
        let told = format!("ERROR:  relation \"x\" does not exist | {command}");
        assert_eq!(faults.told(), (vec![told.clone(), told], 2));
        assert!(judge.accepts(exited(1)) && judge.accepts(exited(0)) && !judge.stop.is_cancelled());
        judge
            .hear("pg_restore: error: could not execute query: ERROR:  could not extend file: No space left on device");
        judge.hear(command);
        assert!(judge.stop.is_cancelled() && !judge.accepts(exited(1)));
        assert!(!Judge::new(Some(faults)).accepts(exited(1)), "it did not reach the end");
    }

    #[test]
    fn meanings() {
        let cases = [
            ("psql:<stdin>:5: error: invalid command \\restrict", Kind::System),
            ("pg_restore: error: could not execute query: ERROR:  permission denied for schema x", Kind::NotPermitted),
            ("ERROR:  could not extend file \"base/1/2\": No space left on device", Kind::CannotWrite),
            (
                "pg_restore: error: COPY failed for table \"t\": server closed the connection unexpectedly",
                Kind::Unavailable,
            ),
            ("pg_restore: error: unsupported version (1.16) in file header", Kind::System),
            ("pg_restore: error: could not execute query: ERROR:  deadlock detected", Kind::Conflict),
            (
                "pg_restore: error: COPY failed for table \"t\": ERROR:  x | CONTEXT:  COPY t: \"deadlock detected\"",
                Kind::Data,
            ),
            ("pg_restore: error: could not execute query: ERROR:  relation \"x\" does not exist", Kind::Data),
        ];
        for (why, kind) in cases {
            assert_eq!(meaning("psql", "15.1", why).0, kind, "{why}");
        }
    }

    #[test]
    fn libraries_that_must_be_preloaded() {
        for said in [
            "pg_restore: error: could not execute query: ERROR:  pg_cron can only be loaded via shared_preload_libraries",
            "ERROR:  pg_stat_statements must be loaded via \"shared_preload_libraries\"",
            "ERROR:  pg_stat_statements must be loaded via shared_preload_libraries",
            "ERROR:  pg_net is not in shared_preload_libraries",
            "FATAL:  extension \"timescaledb\" must be preloaded",
            "ERROR:  security label provider \"anon\" is not loaded",
            "ERROR:  no security label providers have been loaded",
        ] {
            assert!(is_not_preloaded(said), "{said}");
            assert_eq!(meaning("pg_restore", "15.1", said).0, Kind::Missing, "{said}");
        }
        for said in [
            "ERROR:  permission denied | Command was: ALTER SYSTEM SET shared_preload_libraries = ",
            "ERROR:  could not create unique index | DETAIL:  Key (query)=(SHOW shared_preload_libraries) is duplicated.",
            "ERROR:  security label provider is unknown",
            "ERROR:  column x is not loaded",
        ] {
            assert!(!is_not_preloaded(said), "{said}");
        }
    }

    #[test]
    fn hints_of_the_server_are_told() {
        let lines = [
            "pg_restore: while PROCESSING TOC:",
            "pg_restore: error: could not execute query: ERROR:  pg_cron can only be loaded via shared_preload_libraries",
            "HINT:  Add pg_cron to the shared_preload_libraries configuration variable in postgresql.conf.",
            "Command was: CREATE EXTENSION IF NOT EXISTS pg_cron WITH SCHEMA pg_catalog;",
            "",
        ];
        let told = first_error(lines.into_iter()).unwrap();
        assert!(
            told.ends_with(" | Command was: CREATE EXTENSION IF NOT EXISTS pg_cron WITH SCHEMA pg_catalog;"),
            "{told}"
        );
    }

    #[test]
    fn long_lines_are_cut() {
        let line = "ö".repeat(400);
        assert_eq!(shorten(&line).chars().count(), 301);
        assert_eq!(shorten("ERROR:  it's short"), "ERROR:  it's short");
        assert_eq!(
            shorten("Command was: CREATE SUBSCRIPTION s CONNECTION 'password=x' y"),
            "Command was: CREATE SUBSCRIPTION s CONNECTION …"
        );
    }
}

//! Runs a script statement by statement in a session of our own. If a statement fails, its SQLSTATE decides whether to go on.
//! The rows of a refused COPY are skipped; psql would take them for commands.

use std::io::{self, BufRead, Read};
use std::pin::Pin;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::{Client, CopyInSink};

use crate::blocking::joined;
use crate::config::dump_options::HAS_STATISTICS;
use crate::error::{Error, Kind, Result};
use crate::pipeline::{Digests, Source};
use crate::postgres::child::Messages;
use crate::postgres::client::{connect_for_script, failed, literal, reason};
use crate::postgres::columns::text;
use crate::postgres::live::Positions;
use crate::postgres::script::{Command, Excuse, ScriptPiece, ScriptPieces, WhenRun};
use crate::restore::pg_restore::errors::is_not_preloaded;
use crate::restore::pg_restore::feed::GiveUp;
use crate::restore::pg_restore::load::{KNOWS_TRANSACTION_TIMEOUT, Load, LoadFailure, TRANSACTION_TIMEOUT};
use crate::restore::pg_restore::skipped_errors::SkippedError;
use crate::restore::refresh::{Refreshed, refresh};

/// Pieces that may wait to be run.
const WAITING: usize = 4;

/// SQLSTATEs of missing objects.
const MISSING: &[SqlState] = &[
    SqlState::UNDEFINED_TABLE,
    SqlState::UNDEFINED_OBJECT,
    SqlState::INVALID_SCHEMA_NAME,
    SqlState::UNDEFINED_FUNCTION,
    SqlState::UNDEFINED_COLUMN,
];

/// SQLSTATEs of a server that accepts nothing more.
const OVER: &[SqlState] =
    &[SqlState::DISK_FULL, SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];

impl Load<'_> {
    /// Loads a script as psql would, with three differences: what a new database may refuse ([`Excuse`]) is excused, errors may
    /// be skipped, and the statements that make event triggers are put into `last`. The load succeeds only if the stream has been
    /// read to its end and `whole` accepts its digests.
    pub async fn statements<R: Read + Send + 'static>(
        &self,
        source: Source<R>,
        whole: impl FnOnce(&Digests) -> Result<()>,
        last: &mut Vec<String>,
    ) -> std::result::Result<Messages, LoadFailure> {
        let mut session = Session::open(self).await?;
        let (to, mut pieces) = mpsc::channel(WAITING);
        let give_up = GiveUp::default();
        let theirs = give_up.clone();
        let reading = tokio::task::spawn_blocking(move || Ok(take_apart(source, &to, &theirs)));
        let mut run = Ok(());
        while run.is_ok() {
            let piece = async { Ok(pieces.recv().await) };
            run = match self.stop.or(piece).await {
                Ok(Some(piece)) => self.stop.or(session.run(piece)).await,
                Ok(None) => break,
                Err(error) => Err(error),
            };
        }
        give_up.now();
        drop(pieces);
        let read = joined(reading.await);
        run?;
        whole(&read?.map_err(LoadFailure::Stream)?)?;
        last.append(&mut session.last);
        Ok(Messages::default())
    }
}

/// Reads the script to its end, and sends its pieces. Blocks.
fn take_apart<R: Read + Send + 'static>(
    mut source: Source<R>,
    to: &mpsc::Sender<ScriptPiece>,
    give_up: &GiveUp,
) -> io::Result<Digests> {
    let unwanted = || io::Error::new(io::ErrorKind::Interrupted, "the load has stopped");
    let mut pieces = ScriptPieces::default();
    loop {
        if give_up.requested() {
            return Err(unwanted());
        }
        let bytes = source.fill_buf()?;
        let length = bytes.len();
        if length == 0 {
            return source.finish();
        }
        pieces.feed(bytes, &mut |piece| to.blocking_send(piece).map_err(|_| unwanted()))?;
        source.consume(length);
    }
}

/// A session that runs a script.
struct Session<'a> {
    load: &'a Load<'a>,
    client: Client,
    /// The script's encoding, if it is not the session's own.
    encoding: Option<String>,
    /// The statements that set the session's parameters, one for each parameter.
    settings: Vec<(String, String)>,
    /// Whether the script has begun a transaction of its own.
    in_transaction: bool,
    /// Statements that make event triggers.
    last: Vec<String>,
    /// The current COPY, and the sink of its rows; none if it was refused.
    copy: Option<(Command, Pin<Box<CopyInSink<Bytes>>>)>,
}

impl<'a> Session<'a> {
    async fn open(load: &'a Load<'a>) -> Result<Self> {
        let client = connect_for_script(load.connection, load.database).await?;
        Ok(Session {
            load,
            client,
            encoding: None,
            settings: Vec::new(),
            in_transaction: false,
            last: Vec::new(),
            copy: None,
        })
    }

    /// Opens a new session with the parameters that the script has set: after a refused COPY tokio-postgres assigns answers to
    /// the wrong statements (`copy_in.rs`: it sends Sync twice).
    async fn renew(&mut self) -> Result<()> {
        self.client = connect_for_script(self.load.connection, self.load.database).await?;
        for (_, sql) in &self.settings {
            self.client.batch_execute(sql).await.map_err(failed("the session cannot be prepared"))?;
        }
        Ok(())
    }

    async fn run(&mut self, piece: ScriptPiece) -> Result<()> {
        match piece {
            ScriptPiece::Statement(command) => self.execute(&command).await,
            ScriptPiece::Copy(command) => self.begin_copy(command).await,
            ScriptPiece::Rows(rows) => {
                let Some((command, sink)) = &mut self.copy else { return Ok(()) };
                match sink.send(Bytes::from(rows)).await {
                    Ok(()) => Ok(()),
                    Err(error) => judge(self.load, command, &error),
                }
            }
            ScriptPiece::EndOfRows => {
                let Some((command, mut sink)) = self.copy.take() else { return Ok(()) };
                match sink.as_mut().finish().await {
                    Ok(_) => Ok(()),
                    Err(error) => judge(self.load, &command, &error),
                }
            }
        }
    }

    async fn execute(&mut self, command: &Command) -> Result<()> {
        let is_unknown = command.text == TRANSACTION_TIMEOUT && self.load.server < KNOWS_TRANSACTION_TIMEOUT;
        if is_unknown || self.sets_encoding(&command.text) {
            return Ok(());
        }
        // A refused statement would end a transaction of the script.
        let has_statistics = command.excuse == Some(Excuse::Statistics);
        if has_statistics && (self.load.server < HAS_STATISTICS || self.in_transaction) {
            return Ok(());
        }
        let Some(sql) = self.sql(command).await? else { return Ok(()) };
        match command.turn {
            WhenRun::Last => {
                self.hold_back(sql);
                return Ok(());
            }
            WhenRun::Refresh if !self.in_transaction => return self.refresh(command, &sql).await,
            WhenRun::Transaction => self.in_transaction = true,
            WhenRun::Refresh | WhenRun::InPlace => {}
        }
        match self.client.batch_execute(&sql).await {
            Ok(()) => {
                if let Some(parameter) = parameter(&sql) {
                    self.settings.retain(|(known, _)| *known != parameter);
                    self.settings.push((parameter, sql));
                }
                Ok(())
            }
            Err(error) => judge(self.load, command, &error),
        }
    }

    /// Keeps a statement for later, with the parameters that it depends on.
    fn hold_back(&mut self, sql: String) {
        let is_needed = |name: &str| ["standard_conforming_strings", "session authorization"].contains(&name);
        self.last.extend(self.settings.iter().filter(|(name, _)| is_needed(name)).map(|(_, sql)| sql.clone()));
        self.last.push(sql);
    }

    /// Refreshes a materialized view, and undoes what its functions write.
    async fn refresh(&mut self, command: &Command, sql: &str) -> Result<()> {
        let positions = Positions::read(&self.client).await?;
        let refreshed = refresh(&self.client, sql).await;
        positions.restore(&self.client).await?;
        match refreshed {
            Ok(Refreshed::Alone) => Ok(()),
            Ok(Refreshed::WithTables(tables)) => {
                log::warn!("{} writes rows into {tables} tables: they are in the new database", shown(command));
                Ok(())
            }
            Err(error) => judge(self.load, command, &error),
        }
    }

    async fn begin_copy(&mut self, command: Command) -> Result<()> {
        let Some(mut sql) = self.sql(&command).await? else { return Ok(()) };
        if let Some(encoding) = &self.encoding {
            let head = sql.trim_end_matches(|letter: char| letter == ';' || letter.is_ascii_whitespace());
            sql = match head.to_ascii_lowercase().ends_with("from stdin") {
                true => format!("{head} WITH (ENCODING {})", literal(encoding)),
                false => head.to_owned(),
            };
        }
        match self.client.copy_in(&sql).await {
            Ok(sink) => self.copy = Some((command, Box::pin(sink))),
            Err(error) => {
                judge(self.load, &command, &error)?;
                self.renew().await?;
            }
        }
        Ok(())
    }

    /// Whether it is `SET client_encoding = 'LATIN1';`, as pg_dump writes it, with another encoding than the session's.
    fn sets_encoding(&mut self, statement: &[u8]) -> bool {
        let named = statement.strip_prefix(b"SET client_encoding = '").and_then(|rest| rest.strip_suffix(b"';"));
        let Some(name) = named else { return false };
        let name = String::from_utf8_lossy(name).into_owned();
        self.encoding = (!name.eq_ignore_ascii_case("UTF8")).then_some(name);
        self.encoding.is_some()
    }

    /// The statement in the session's encoding; none, after a logged error, if it cannot be converted.
    async fn sql(&self, command: &Command) -> Result<Option<String>> {
        let encoding = match &self.encoding {
            None => "UTF8",
            Some(_) if command.text.is_ascii() => "UTF8",
            Some(encoding) => encoding,
        };
        if encoding == "UTF8"
            && let Ok(sql) = String::from_utf8(command.text.clone())
        {
            return Ok(Some(sql));
        }
        let query = "SELECT pg_catalog.convert_from($1::bytea, $2::text)";
        match self.client.query_one(query, &[&command.text, &encoding]).await {
            Ok(row) => text(&row, 0).map(Some),
            Err(error) => judge(self.load, command, &error).map(|()| None),
        }
    }
}

/// The parameter that a statement sets for its session, as pg_dump writes it: `SET x = y;`, `SELECT pg_catalog.set_config('x', …, false);`,
/// `SET SESSION AUTHORIZATION x;`.
fn parameter(sql: &str) -> Option<String> {
    if let Some(rest) = sql.strip_prefix("SELECT pg_catalog.set_config('") {
        return rest.split('\'').next().map(str::to_ascii_lowercase);
    }
    let words: Vec<String> =
        sql.split([' ', '=', ';']).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["set", "local" | "transaction" | "constraints", ..] => None,
        ["set" | "reset", "session", "authorization", ..] => Some("session authorization".to_owned()),
        ["set", "session", name, ..] | ["set" | "reset", name, ..] => Some((*name).to_owned()),
        _ => None,
    }
}

/// Whether to go on after this error: if it is excused, or errors are skipped.
fn judge(load: &Load<'_>, command: &Command, error: &tokio_postgres::Error) -> Result<()> {
    let (what, why) = (shown(command), reason(error));
    let Some(code) = error.code() else {
        let message = format!("the script failed at line {}: {why} | {what}", command.line);
        return Err(Error::new(Kind::Unavailable, message).hint("the server closed the connection; see its log"));
    };
    let excused = match command.excuse {
        Some(Excuse::Missing) => MISSING.contains(code),
        Some(Excuse::Present) => *code == SqlState::DUPLICATE_SCHEMA,
        Some(Excuse::Comment) => *code == SqlState::INSUFFICIENT_PRIVILEGE && load.going_on.is_none(),
        Some(Excuse::Statistics) => !is_over(error, code),
        None => false,
    };
    if excused {
        match command.excuse {
            Some(Excuse::Comment) => log::warn!("left as the extension has it: {why} | {what}"),
            // The error may quote values of rows.
            Some(Excuse::Statistics) => log::debug!("the server has refused statistics of the script"),
            _ => log::debug!("{why} | {what}"),
        }
        return Ok(());
    }
    match load.going_on {
        Some(faults) if !is_over(error, code) => {
            let text = format!("line {}: {why} | {what}", command.line);
            faults.add_error(SkippedError { sqlstate: code.code().to_owned(), text, ..SkippedError::default() });
            Ok(())
        }
        _ => Err(failure(command, code, &why, &what)),
    }
}

/// Whether the server accepts nothing more.
fn is_over(error: &tokio_postgres::Error, code: &SqlState) -> bool {
    let severity = error.as_db_error().and_then(tokio_postgres::error::DbError::parsed_severity);
    matches!(severity, Some(Severity::Fatal | Severity::Panic)) || OVER.contains(code)
}

fn failure(command: &Command, code: &SqlState, why: &str, what: &str) -> Error {
    let (kind, hint) = if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        (Kind::NotPermitted, "name another role with --username, or skip what is refused with --keep-going")
    } else if *code == SqlState::DISK_FULL {
        (Kind::CannotWrite, "free space on the server, and restore again")
    } else if OVER.contains(code) {
        (Kind::Unavailable, "the server closed the connection; see its log")
    } else if is_not_preloaded(why) {
        (
            Kind::Missing,
            "add the library that it names to shared_preload_libraries of the server, restart it, and restore again",
        )
    } else {
        (Kind::Data, "--keep-going continues after it, into a new database")
    };
    Error::new(kind, format!("the script failed at line {}: {why} | {what}", command.line)).hint(hint)
}

/// The beginning of a statement up to its first string: that of a subscription or a user mapping contains a password.
fn shown(command: &Command) -> String {
    const ENOUGH: usize = 120;
    let head = command.text.split(|byte| matches!(byte, b'\'' | b'$')).next().unwrap_or_default();
    let text = String::from_utf8_lossy(head);
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(ENOUGH) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if head.len() < command.text.len() => format!("{line}…"),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_sets() {
        let cases = [
            ("SET default_tablespace = '';", Some("default_tablespace")),
            ("SELECT pg_catalog.set_config('search_path', '', false);", Some("search_path")),
            ("set Search_Path=a;", Some("search_path")),
            ("SET SESSION AUTHORIZATION x;", Some("session authorization")),
            ("RESET SESSION AUTHORIZATION;", Some("session authorization")),
            ("SET LOCAL x = 1;", None),
            ("SELECT pg_catalog.setval('s', 1);", None),
            ("CREATE TABLE t ();", None),
        ];
        for (sql, name) in cases {
            assert_eq!(parameter(sql).as_deref(), name, "{sql}");
        }
    }

    #[test]
    fn no_value_of_a_statement_is_shown() {
        let command =
            |text: &str| Command { text: text.as_bytes().to_vec(), line: 1, excuse: None, turn: WhenRun::InPlace };
        assert_eq!(shown(&command("DROP TABLE\n  x;")), "DROP TABLE x;");
        let secret = "CREATE USER MAPPING FOR x SERVER s OPTIONS (password 'geheim');";
        assert_eq!(shown(&command(secret)), "CREATE USER MAPPING FOR x SERVER s OPTIONS (password…");
    }
}

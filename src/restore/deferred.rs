//! Restores the last entries after the rows have been compared: refreshes materialized views, and then makes event triggers.
//!
//! pg_dump writes both after everything else, but the event triggers first (`pg_dump_sort.c`), so each REFRESH would fire
//! them: an audit of DDL would begin with statements of the restore. Rows that a refresh writes into tables are not part of
//! the backup, and are not kept.

use std::collections::HashSet;
use std::sync::Arc;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::blocking::{self, joined};
use crate::config::restore::LeftOut;
use crate::error::{Error, Kind, Result};
use crate::postgres::archive::TocEntry;
use crate::postgres::client::{failed, reason};
use crate::postgres::columns::text;
use crate::restore::archive::{Archive, encoding_of};
use crate::restore::completeness::missing_objects;
use crate::restore::refresh::Refresh;
use crate::restore::selection::Selection;
use crate::restore::server::REFUSED;

/// Entries of an archive that are restored last.
#[derive(Debug, Default)]
pub struct Deferred {
    /// All other entries; none if nothing is deferred.
    pub rest: Option<Selection>,
    /// The materialized views in the order of the archive: each comes after those that it reads.
    pub refreshes: Vec<Refresh>,
    /// The statements that make event triggers, with their comments, labels and owners.
    pub event_triggers: Vec<String>,
    /// The entries of the event triggers.
    ids: HashSet<u32>,
    standard_strings: bool,
}

/// The deferred entries of the table of contents, in the archive's encoding.
struct Read {
    refreshes: Vec<(u32, Vec<u8>)>,
    event_triggers: Vec<(u32, Vec<u8>)>,
    encoding: String,
    standard_strings: bool,
}

impl Deferred {
    /// Reads them from the table of contents. Scripts have none here. Statements that cannot be written in the encoding of this
    /// server are left to pg_restore.
    pub async fn of(
        archive: &Arc<Archive>,
        part: Option<&Selection>,
        left_out: LeftOut,
        client: &Client,
    ) -> Result<Self> {
        let (ours, base) = (Arc::clone(archive), part.cloned());
        let Read { refreshes, event_triggers, encoding, standard_strings } =
            blocking::to_end(move || Read::of(&ours, base.as_ref(), left_out)).await?;
        let mut ids = HashSet::new();
        let refreshes = converted(client, &encoding, refreshes, &mut ids).await?;
        let event_triggers = converted(client, &encoding, event_triggers, &mut ids).await?;
        if ids.is_empty() {
            return Ok(Deferred { standard_strings, ..Deferred::default() });
        }
        let (ours, base, left_out) = (Arc::clone(archive), part.cloned(), ids.clone());
        let rest = tokio::task::spawn_blocking(move || Selection::without(&ours, base.as_ref(), &left_out));
        let refresh = |sql: String| {
            let view = sql.trim().trim_start_matches("REFRESH MATERIALIZED VIEW ").trim_end_matches(';').to_owned();
            Refresh { view, sql }
        };
        let refreshes = refreshes.into_iter().map(refresh).collect();
        Ok(Deferred { rest: Some(joined(rest.await)?), refreshes, event_triggers, ids, standard_strings })
    }

    /// Whether nothing is deferred.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Sets the session's parameters as the archive does.
    pub async fn prepare(&self, client: &Client) -> Result<()> {
        let strings = if self.standard_strings { "on" } else { "off" };
        let sql = format!("SET standard_conforming_strings = {strings}; SET client_min_messages = warning");
        client.batch_execute(&sql).await.map_err(failed("the session cannot be set up"))
    }

    /// Makes the event triggers, and those of a script. Returns the errors, and what is missing without an error. A login event
    /// trigger would fire in another session of the restore, so this session also checks that all of them exist.
    pub async fn make_event_triggers(
        &self,
        of_script: &[String],
        archive: &Arc<Archive>,
        client: &Client,
    ) -> Result<(Vec<Error>, Vec<String>)> {
        let mut errors = Vec::new();
        for sql in self.event_triggers.iter().chain(of_script) {
            match client.batch_execute(sql).await {
                Err(error) if error.is_closed() => return Err(failed("event triggers cannot be made")(error)),
                Err(error) => errors.push(cannot_make(sql, &error)),
                Ok(()) => {}
            }
        }
        if self.event_triggers.is_empty() {
            return Ok((errors, Vec::new()));
        }
        let ids = self.ids.clone();
        let holds = move |entry: &TocEntry<'_>| entry.desc.bytes == EVENT_TRIGGER && ids.contains(&entry.dump_id);
        let missing = missing_objects(archive, holds, usize::MAX, client).await?;
        Ok((errors, missing.into_iter().map(|object| object.name).collect()))
    }
}

fn cannot_make(sql: &str, error: &tokio_postgres::Error) -> Error {
    let first = sql.trim_start().lines().next().unwrap_or_default();
    let message = format!("an event trigger cannot be made: {} | {first}", reason(error));
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            Error::new(Kind::NotPermitted, message).hint(REFUSED)
        }
        _ => Error::new(Kind::Data, message),
    }
}

const EVENT_TRIGGER: &[u8] = b"EVENT TRIGGER";

impl Read {
    fn of(archive: &Archive, part: Option<&Selection>, left_out: LeftOut) -> Result<Self> {
        let mut read = Read {
            refreshes: Vec::new(),
            event_triggers: Vec::new(),
            encoding: String::from("UTF8"),
            standard_strings: true,
        };
        let mut triggers = HashSet::new();
        archive.contents(|entry| {
            if let Some(encoding) = encoding_of(entry) {
                read.encoding = encoding;
            }
            if entry.desc.bytes == b"STDSTRINGS" {
                read.standard_strings = !entry.defn.bytes.ends_with(b"'off';\n");
            }
            if part.is_some_and(|part| !part.holds(entry)) {
                return;
            }
            match entry.desc.bytes {
                // A truncated statement is left to pg_restore.
                b"MATERIALIZED VIEW DATA" if entry.defn.truncated => read.refreshes.push((entry.dump_id, vec![0xff])),
                b"MATERIALIZED VIEW DATA" => read.refreshes.push((entry.dump_id, entry.defn.bytes.to_vec())),
                EVENT_TRIGGER => {
                    triggers.insert(entry.dump_id);
                    read.event_triggers.push((entry.dump_id, with_owner(entry, left_out)));
                }
                b"COMMENT" | b"SECURITY LABEL" if entry.dependencies.iter().any(|of| triggers.contains(of)) => {
                    read.event_triggers.push((entry.dump_id, entry.defn.bytes.to_vec()));
                }
                _ => {}
            }
        })?;
        Ok(read)
    }
}

/// The statements of an event trigger, with the change of its owner that pg_restore adds.
fn with_owner(entry: &TocEntry<'_>, left_out: LeftOut) -> Vec<u8> {
    let mut sql = entry.defn.bytes.to_vec();
    if !left_out.owners && !entry.owner.bytes.is_empty() {
        sql.extend_from_slice(b"\nALTER EVENT TRIGGER ");
        sql.extend(quoted(entry.tag.bytes));
        sql.extend_from_slice(b" OWNER TO ");
        sql.extend(quoted(entry.owner.bytes));
        sql.push(b';');
    }
    sql
}

/// A name of any encoding as an identifier: in the encodings of servers no byte of a multibyte character is a quote.
fn quoted(name: &[u8]) -> Vec<u8> {
    let doubled = name.iter().flat_map(|byte| std::iter::repeat_n(*byte, if *byte == b'"' { 2 } else { 1 }));
    std::iter::once(b'"').chain(doubled).chain([b'"']).collect()
}

/// The statements converted by the server; none if the server's encoding lacks a character of one.
async fn converted(
    client: &Client,
    encoding: &str,
    statements: Vec<(u32, Vec<u8>)>,
    ids: &mut HashSet<u32>,
) -> Result<Vec<String>> {
    let mut texts = Vec::with_capacity(statements.len());
    for (_, bytes) in &statements {
        if bytes.is_ascii() || matches!(encoding, "UTF8" | "SQL_ASCII") {
            match std::str::from_utf8(bytes) {
                Ok(sql) => texts.push(sql.to_owned()),
                Err(_) => return Ok(Vec::new()),
            }
            continue;
        }
        let query = "SELECT pg_catalog.convert_from($1, $2::text)";
        match client.query_one(query, &[bytes, &encoding]).await {
            Ok(row) => texts.push(text(&row, 0)?),
            Err(error) if error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN) => {
                return Err(failed("statements of the archive cannot be converted")(error));
            }
            Err(_) => return Ok(Vec::new()),
        }
    }
    ids.extend(statements.iter().map(|(id, _)| *id));
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::client::identifier;

    #[test]
    fn names_are_quoted_as_bytes() {
        assert_eq!(quoted(b"a\"b\xe4"), b"\"a\"\"b\xe4\"");
        assert_eq!(quoted("ö".as_bytes()), identifier("ö").into_bytes());
    }
}

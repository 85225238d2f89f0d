//! Puts rows into a new, plain table of a living database, beside the one that they came from.
//!
//! The table has columns and types and nothing else, so that no code of a table's owner runs: no constraint, trigger, index or
//! default, and in place of a domain, whose constraints may call functions, its base type. What a person would run next is only
//! printed.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::blocking;
use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Quoted;
use crate::host::progress::Counter;
use crate::postgres::client::{connect, failed, identifier};
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::rows::read::read;
use crate::restore::rows::select::{RowOutput, RowSelection, SelectedRows};
use crate::restore::rows::table::{ArchivedColumn, ArchivedTable, RowView};
use crate::stop::Stop;

mod types;

use types::NewColumn;

/// Bytes of rows in one message.
const BATCH: usize = 256 << 10;

/// Longest name (`NAMEDATALEN` of `src/include/pg_config_manual.h`, less one).
const NAME: usize = 63;

/// Parameters of pg_dump's session by which it writes values (`setup_connection` of `src/bin/pg_dump/pg_dump.c`), and that the
/// reader of these must have.
const AS_WRITTEN: &str =
    "SET LOCAL DateStyle = 'ISO, MDY'; SET LOCAL IntervalStyle = postgres; SET LOCAL xmloption = content";

/// A table to make.
#[derive(Debug)]
pub struct NewTable<'a> {
    /// The server.
    pub connection: &'a Connection,
    /// The database.
    pub database: &'a str,
    /// `NAME` or `SCHEMA.NAME`; none for the default.
    pub requested: Option<&'a str>,
    /// What follows the old table's name in the default: `_YYYYMMDD_HHMMSS`.
    pub suffix: &'a str,
}

/// A table that was made.
#[derive(Debug)]
pub struct FilledTable {
    /// Schema and name, quoted.
    pub name: String,
    /// Its rows.
    pub rows: u64,
    /// Its columns.
    pub columns: Vec<NewColumn>,
    /// Major version of the server.
    pub major: u32,
}

/// Makes the table and fills it, in one transaction: if anything fails, there is no table.
///
/// # Errors
/// `CannotWrite` for a table that exists, `Missing` for a schema that does not; those of the archive and of the server.
pub async fn put_into(
    new: &NewTable<'_>,
    archive: Arc<Archive>,
    table: Arc<ArchivedTable>,
    selection: RowSelection,
    (moved, stop): (&Counter, &Stop),
) -> Result<FilledTable> {
    let chosen = selection.columns_of(&table);
    if chosen.is_empty() {
        return Err(Error::new(Kind::Usage, format!("{} has no columns, and no new table is made of it", table.name)));
    }
    let mut client = connect(new.connection, new.database).await?;
    let name = name_of(new, &table)?;
    let columns = types::resolve(&client, chosen).await?;
    let cannot_make = |error: tokio_postgres::Error| refused(error, new, &name);
    let transaction = client.transaction().await.map_err(cannot_make)?;
    transaction.batch_execute(AS_WRITTEN).await.map_err(cannot_make)?;
    let definitions: Vec<String> =
        columns.iter().map(|column| format!("{} {}", identifier(&column.name), column.type_name)).collect();
    let create = format!("CREATE TABLE {name} ({})", definitions.join(", "));
    transaction.batch_execute(&create).await.map_err(cannot_make)?;
    let names: Vec<String> = columns.iter().map(|column| identifier(&column.name)).collect();
    let copy = format!("COPY {name} ({}) FROM STDIN", names.join(", "));
    let sink = transaction.copy_in::<_, Bytes>(&copy).await.map_err(cannot_make)?;
    let rows = fill(sink, archive, table, selection, (moved, stop)).await?;
    transaction.commit().await.map_err(cannot_make)?;
    let major = major(&client).await?;
    Ok(FilledTable { name, rows, columns, major })
}

/// Sends the rows. They are read on a thread of their own.
async fn fill(
    sink: tokio_postgres::CopyInSink<Bytes>,
    archive: Arc<Archive>,
    table: Arc<ArchivedTable>,
    selection: RowSelection,
    (moved, stop): (&Counter, &Stop),
) -> Result<u64> {
    let (to, mut batches) = mpsc::channel(4);
    let (moved, stopped) = (moved.clone(), stop.clone());
    let reading = blocking::to_end(move || {
        let columns = selection.positions(&table);
        let output = Batches { columns, batch: Vec::new(), to };
        let mut rows = SelectedRows::new(&table, &selection, output);
        let done = read(&archive, &table, &moved, &stopped, &mut rows);
        done.and_then(|()| rows.output.send().map_err(|_| stopped.error()))
    });
    // The reader ends when the receiver does, whichever of them fails.
    let sending = async move {
        let mut sink = std::pin::pin!(sink);
        while let Some(batch) = batches.recv().await {
            sink.send(batch).await?;
        }
        sink.as_mut().finish().await
    };
    match tokio::join!(reading, sending) {
        (Ok(()), Ok(rows)) => Ok(rows),
        (_, Err(error)) if !stop.requested() => {
            // Values that the types or the encoding of the database do not have.
            let is_about_data = error.code().is_some_and(|code| code.code().starts_with("22"));
            let failed = failed("the rows cannot be put into the new table")(error);
            Err(if is_about_data { Error::new(Kind::Data, failed.message()) } else { failed })
        }
        (Err(error), _) => Err(error),
        (Ok(()), Err(_)) => Err(stop.error()),
    }
}

/// Sends rows as COPY text in UTF-8.
struct Batches {
    columns: Vec<usize>,
    batch: Vec<u8>,
    to: mpsc::Sender<Bytes>,
}

impl Batches {
    fn send(&mut self) -> io::Result<()> {
        let batch = Bytes::from(std::mem::take(&mut self.batch));
        self.to.blocking_send(batch).map_err(|_| io::Error::other("the server takes no more rows"))
    }
}

impl RowOutput for Batches {
    fn row(&mut self, _line: &[u8], row: &RowView<'_>) -> io::Result<()> {
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                self.batch.push(b'\t');
            }
            self.batch.extend_from_slice(row.raw(*column));
        }
        self.batch.push(b'\n');
        if self.batch.len() >= BATCH { self.send() } else { Ok(()) }
    }
}

/// The new table's schema and name, quoted.
fn name_of(new: &NewTable<'_>, table: &ArchivedTable) -> Result<String> {
    let part = |name: &[u8]| table.encoding.shown(name);
    let (schema, name) = (part(&table.relation.0), part(&table.relation.1));
    let (schema, name) = match new.requested {
        None => {
            let room = NAME.saturating_sub(new.suffix.len());
            let end = (0..=room.min(name.len())).rev().find(|end| name.is_char_boundary(*end)).unwrap_or_default();
            (schema, format!("{}{}", name.get(..end).unwrap_or_default(), new.suffix))
        }
        Some(requested) => {
            let parts: Vec<String> = match requested.contains('"') {
                true => Quoted::from(requested)
                    .parts()
                    .into_iter()
                    .map(|part| String::from_utf8_lossy(&part).into_owned())
                    .collect(),
                false => requested.split('.').map(str::to_owned).collect(),
            };
            match <[String; 2]>::try_from(parts) {
                Ok([schema, name]) => (schema, name),
                Err(parts) if parts.len() == 1 => (schema, parts.concat()),
                Err(_) => {
                    let message = format!("'{}' is not the name of a table", requested.escape_debug());
                    return Err(Error::new(Kind::Usage, message).hint("write NAME or SCHEMA.NAME"));
                }
            }
        }
    };
    if name.is_empty() || name.len() > NAME {
        return Err(Error::new(
            Kind::Usage,
            format!("the name of a table has 1 to {NAME} bytes, and '{}' not", name.escape_debug()),
        ));
    }
    let schema = if schema.is_empty() { "public".to_owned() } else { schema };
    Ok(format!("{}.{}", identifier(&schema), identifier(&name)))
}

async fn major(client: &Client) -> Result<u32> {
    let row = client.query_one("SELECT current_setting('server_version_num')::int / 10000", &[]).await;
    let row = row.map_err(failed("the version of the server cannot be read"))?;
    let major: i32 = crate::postgres::columns::get(&row, 0)?;
    Ok(u32::try_from(major).unwrap_or_default())
}

/// The error of a table that cannot be made.
fn refused(error: tokio_postgres::Error, new: &NewTable<'_>, name: &str) -> Error {
    let (name, database) = (printable(name), printable(new.database));
    match error.code() {
        Some(code) if *code == SqlState::DUPLICATE_TABLE || *code == SqlState::DUPLICATE_OBJECT => {
            Error::new(Kind::CannotWrite, format!("{name} exists in the database {database}"))
                .hint("drop it if it is not needed, or name another table with --into-table")
        }
        Some(code) if *code == SqlState::INVALID_SCHEMA_NAME => {
            Error::new(Kind::Missing, format!("the database {database} has no schema for {name}"))
                .hint("create the schema, or name a table in another one with --into-table SCHEMA.NAME")
        }
        _ => failed(&format!("{name} cannot be made"))(error),
    }
}

/// Columns whose values are compared as texts: their types have no equality of all their values.
fn is_compared_as_text(column: &ArchivedColumn) -> bool {
    const NO_EQUALITY: [&str; 9] = ["json", "xml", "point", "line", "lseg", "box", "path", "polygon", "circle"];
    let name = column.type_name.as_deref().unwrap_or_default();
    NO_EQUALITY.contains(&name.trim_end_matches("[]"))
}

/// The statements that a person would run next: what differs, and ways to bring the rows back. None of them is run.
pub fn statements(table: &ArchivedTable, selection: &RowSelection, filled: &FilledTable) -> String {
    let chosen = selection.columns_of(table);
    let positions = selection.positions(table);
    let key: Option<Vec<usize>> =
        table.key.iter().map(|column| positions.iter().position(|position| position == column)).collect();
    let names: Vec<String> = chosen.iter().map(|column| identifier(&column.name)).collect();
    let statements = Statements {
        live: table.quoted_name(),
        new: filled.name.clone(),
        overriding: if chosen.iter().any(|column| column.always_identity) { " OVERRIDING SYSTEM VALUE" } else { "" },
        chosen,
        names,
        old: &filled.columns,
    };
    match key.filter(|key| !key.is_empty()) {
        Some(key) => statements.by_key(&key, filled.major),
        None => statements.without_key(),
    }
}

struct Statements<'a> {
    live: String,
    new: String,
    overriding: &'static str,
    chosen: Vec<ArchivedColumn>,
    names: Vec<String>,
    old: &'a [NewColumn],
}

impl Statements<'_> {
    fn name(&self, at: usize) -> &str {
        self.names.get(at).map_or("", String::as_str)
    }

    /// A value of the new table, in the type of the live one.
    fn old_value(&self, at: usize) -> String {
        let cast = self.old.get(at).and_then(|column| column.cast.as_deref());
        format!("old.{}{}", self.name(at), cast.map(|cast| format!("::{cast}")).unwrap_or_default())
    }

    fn differs(&self, key: &[usize]) -> Option<String> {
        let others: Vec<usize> = (0..self.names.len()).filter(|at| !key.contains(at)).collect();
        let text = |at: &usize| if self.chosen.get(*at).is_some_and(is_compared_as_text) { "::text" } else { "" };
        let live: Vec<String> = others.iter().map(|at| format!("live.{}{}", self.name(*at), text(at))).collect();
        let old: Vec<String> = others.iter().map(|at| format!("{}{}", self.old_value(*at), text(at))).collect();
        (!others.is_empty()).then(|| format!("ROW({}) IS DISTINCT FROM ROW({})", live.join(", "), old.join(", ")))
    }

    fn by_key(&self, key: &[usize], major: u32) -> String {
        let Statements { live, new, overriding, .. } = self;
        let on: Vec<String> =
            key.iter().map(|at| format!("live.{} = {}", self.name(*at), self.old_value(*at))).collect();
        let on = on.join(" AND ");
        let (first, differs) = (self.name(key.first().copied().unwrap_or_default()), self.differs(key));
        let or_differs = differs.as_ref().map(|differs| format!(" OR {differs}")).unwrap_or_default();
        let set: Vec<String> = (0..self.names.len())
            .filter(|at| !key.contains(at) && !self.chosen.get(*at).is_some_and(|column| column.always_identity))
            .map(|at| format!("{} = {}", self.name(at), self.old_value(at)))
            .collect();
        let (names, set) = (self.names.join(", "), set.join(", "));
        let values = (0..self.names.len()).map(|at| self.old_value(at)).collect::<Vec<_>>().join(", ");
        let select = format!(
            "-- What differs: rows that the table lacks, and rows that it has with other values.\n\
             SELECT CASE WHEN live.{first} IS NULL THEN 'missing' ELSE 'changed' END AS difference, old.*\n  \
             FROM {new} AS old LEFT JOIN {live} AS live ON {on}\n  WHERE live.{first} IS NULL{or_differs};\n"
        );
        let insert = format!(
            "-- Brings back the rows that are missing, and leaves all others as they are.\n\
             INSERT INTO {live} ({names}){overriding}\n  SELECT {values} FROM {new} AS old\n  \
             WHERE NOT EXISTS (SELECT FROM {live} AS live WHERE {on});\n"
        );
        let back = match (differs.filter(|_| !set.is_empty()), major) {
            (None, _) => String::new(),
            (Some(differs), 15..) => format!(
                "\n-- Brings back the rows that are missing, and the old values of those that were changed.\n\
                 MERGE INTO {live} AS live USING {new} AS old ON {on}\n  \
                 WHEN MATCHED AND {differs} THEN UPDATE SET {set}\n  \
                 WHEN NOT MATCHED THEN INSERT ({names}){overriding} VALUES ({values});\n"
            ),
            (Some(differs), _) => format!(
                "\n-- Brings back the old values of rows that were changed.\n\
                 UPDATE {live} AS live SET {set}\n  FROM {new} AS old WHERE {on} AND {differs};\n"
            ),
        };
        format!("{select}\n{insert}{back}")
    }

    fn without_key(&self) -> String {
        let Statements { live, new, overriding, .. } = self;
        let (mut old, mut living, mut back) = (Vec::new(), Vec::new(), Vec::new());
        for (at, column) in self.chosen.iter().enumerate() {
            let (text, type_name) = match (is_compared_as_text(column), &column.type_name) {
                (true, Some(type_name)) => ("::text", format!("::{type_name}")),
                _ => ("", String::new()),
            };
            old.push(format!("{}{text}", self.old_value(at)));
            living.push(format!("live.{}{text}", self.name(at)));
            back.push(format!("lacking.{}{type_name}", self.name(at)));
        }
        let missing = format!(
            "SELECT {} FROM {new} AS old\n  EXCEPT ALL SELECT {} FROM {live} AS live",
            old.join(", "),
            living.join(", ")
        );
        format!(
            "-- What the table lacks. Without a primary key rows are compared as wholes.\n{missing};\n\n\
             -- Brings these rows back.\nINSERT INTO {live} ({}){overriding}\n  SELECT {} FROM ({missing}) AS lacking;\n",
            self.names.join(", "),
            back.join(", ")
        )
    }
}

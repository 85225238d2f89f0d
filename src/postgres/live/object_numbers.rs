//! Numbers of objects in the columns of `regclass` and its like, which print as names where there is such an object.
//!
//! A value whose object was dropped prints as its number, and so it stands in the dump. Loaded elsewhere it is that number
//! again, and prints as a name if another object has it there. So rows of a dump that are the same need not print the same:
//! what they print in this database is what the server makes of the dump's text.

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio_postgres::Client;

use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fingerprints, Quoted, Sum};
use crate::postgres::archive::{Tapped, column_names};
use crate::postgres::client::failed;
use crate::postgres::live::names::Names;
use crate::postgres::live::session::session;
use crate::postgres::snapshot::get;

/// How many names are looked up at once.
const BATCH: usize = 1000;

/// The types `regclass` and its like, and those that are made of one: an array, a domain, a composite type, a range
/// (PostgreSQL documentation, "Object Identifier Types"; `oid` itself prints as a number always). A multirange is named as
/// text, since servers before 14 have none.
const TYPES: &str = "WITH RECURSIVE part (oid, whole) AS MATERIALIZED ( \
     SELECT typelem, oid FROM pg_catalog.pg_type WHERE typelem <> 0 \
     UNION ALL SELECT typbasetype, oid FROM pg_catalog.pg_type WHERE typbasetype <> 0 \
     UNION ALL SELECT rngsubtype, rngtypid FROM pg_catalog.pg_range \
     UNION ALL SELECT rngsubtype, (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::oid FROM pg_catalog.pg_range r \
     UNION ALL SELECT a.atttypid, c.reltype FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
     WHERE c.reltype <> 0 AND a.attnum > 0 AND NOT a.attisdropped), \
     made (oid) AS (SELECT t.oid FROM pg_catalog.pg_type t \
     WHERE t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace AND t.typname IN ('regclass', 'regcollation', \
     'regconfig', 'regdictionary', 'regnamespace', 'regoper', 'regoperator', 'regproc', 'regprocedure', 'regrole', \
     'regtype', 'regdatabase') UNION SELECT p.whole FROM made m JOIN part p ON p.oid = m.oid) \
     SELECT pg_catalog.array_agg(m.oid) FROM made m JOIN pg_catalog.pg_type t ON t.oid = m.oid \
     WHERE $1 OR t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace";

/// The columns of the relations `$1` that have one of the types `$2`.
const COLUMNS: &str = "SELECT w.place, a.attname::text, pg_catalog.format_type(t.oid, NULL), t.typcategory = 'A' \
     FROM ROWS FROM (pg_catalog.unnest($1::text[])) WITH ORDINALITY w (name, place) \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = pg_catalog.to_regclass(NULLIF(w.name, '')) \
     AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     WHERE t.oid = ANY ($2::oid[])";

/// How many values of a column are remembered.
const REMEMBERED: usize = 50_000;

/// A session that prints values of a dump as this database does.
#[derive(Debug)]
pub struct Printer {
    client: Client,
    encoding: String,
    tables: HashMap<Quoted, Table>,
}

/// A table with such columns.
#[derive(Debug)]
struct Table {
    columns: Vec<Column>,
    /// Rows as they print here; none if the server does not take one of them.
    sum: Option<Sum>,
    ended: bool,
}

/// A column, and what its values print.
#[derive(Debug)]
struct Column {
    place: usize,
    query: String,
    known: HashMap<Vec<u8>, Vec<u8>>,
}

impl Printer {
    /// Connects, and looks which of the tables have such columns. Those whose rows were dumped through a root are left out.
    /// Types of users can have code of users in their domains, which has run already where all was `loaded` from the backup;
    /// elsewhere columns of such types are left out, too.
    pub async fn open(connection: &Connection, database: &str, wanted: &Fingerprints, loaded: bool) -> Result<Self> {
        let client = session(connection, database, &wanted.settings).await?;
        let names = Names::new(&wanted.settings);
        let (mut asked, mut targets) = (Vec::new(), Vec::new());
        for table in wanted.tables.iter().filter(|table| table.partitions.is_empty() && !table.foreign) {
            let (name, list) = (names.text(&client, &table.target).await?, names.text(&client, &table.columns).await?);
            if let (Some(name), Some(columns)) = (name, list.and_then(|list| column_names(list.as_bytes()))) {
                asked.push((name, columns));
                targets.push(&table.target);
            }
        }
        let found = columns(&client, &asked, loaded).await?;
        let of = |(table, columns): (usize, Vec<Column>)| {
            let begun = Table { columns, sum: Some(Sum::default()), ended: false };
            targets.get(table).map(|target| ((*target).clone(), begun))
        };
        let tables = found.into_iter().filter_map(of).collect();
        Ok(Printer { client, encoding: names.encoding, tables })
    }

    /// The tables that have such columns.
    pub fn tables(&self) -> HashSet<Quoted> {
        self.tables.keys().cloned().collect()
    }

    /// Takes rows of the dump.
    pub async fn take(&mut self, tapped: Tapped) {
        let Some(table) = self.tables.get_mut(&tapped.table) else { return };
        let mut rows: Vec<Vec<&[u8]>> = Vec::new();
        for line in tapped.lines.split(|byte| *byte == b'\n') {
            table.ended |= line == b"\\.";
            if table.ended {
                break;
            }
            rows.push(line.split(|byte| *byte == b'\t').collect());
        }
        if !table.ended {
            // Behind the last line's end there is nothing.
            rows.pop();
        }
        for column in &mut table.columns {
            if let Err(error) = column.print_names(&self.client, &self.encoding, &rows).await {
                log::debug!("{}: {error}", tapped.table);
                table.sum = None;
            }
        }
        let Some(sum) = &mut table.sum else { return };
        for mut row in rows {
            for column in &table.columns {
                if let Some(field) = row.get_mut(column.place)
                    && let Some(printed) = column.known.get(*field)
                {
                    *field = printed;
                }
            }
            sum.add(&row.join(&b'\t'));
        }
    }

    /// What the rows of a table, which have come to their end, print here.
    pub fn sum(&self, table: &Quoted) -> Option<Sum> {
        self.tables.get(table).filter(|table| table.ended).and_then(|table| table.sum)
    }
}

/// The names of tables with such columns, by their places among those that are asked for.
async fn columns(client: &Client, asked: &[(String, Vec<Vec<u8>>)], all: bool) -> Result<BTreeMap<usize, Vec<Column>>> {
    let what = "the types of columns cannot be looked up";
    let types: Vec<u32> = get(&client.query_one(TYPES, &[&all]).await.map_err(failed(what))?, 0)?;
    let mut found: BTreeMap<usize, Vec<Column>> = BTreeMap::new();
    for (batch, tables) in asked.chunks(BATCH).enumerate() {
        let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
        let rows = client.query(COLUMNS, &[&names, &types]).await;
        for row in rows.map_err(failed(what))? {
            let table = usize::try_from(get::<i64>(&row, 0)?).unwrap_or_default().saturating_sub(1);
            let (name, kind, is_array): (String, String, bool) = (get(&row, 1)?, get(&row, 2)?, get(&row, 3)?);
            let order = tables.get(table).map(|(_, columns)| columns.as_slice()).unwrap_or_default();
            if let Some(place) = order.iter().position(|column| *column == name.as_bytes()) {
                let column = Column { place, query: query(&kind, is_array), known: HashMap::new() };
                found.entry(table + batch * BATCH).or_default().push(column);
            }
        }
    }
    Ok(found)
}

/// A query that reads values of a type as COPY does, by its input function, and prints them. A cast from `text` to
/// `regclass` takes names alone, and one to an array of it takes what the input function takes.
fn query(kind: &str, is_array: bool) -> String {
    let read = match is_array {
        true => format!("w.value::{kind}"),
        false => format!(
            "((pg_catalog.concat('{{\"', pg_catalog.replace(pg_catalog.replace(w.value, '\\', '\\\\'), '\"', '\\\"'), \
             '\"}}')::{kind}[])[1])"
        ),
    };
    format!(
        "SELECT pg_catalog.convert_to({read}::text, $2::text) FROM (SELECT v.place, pg_catalog.convert_from(v.value, $2::text) \
         FROM ROWS FROM (pg_catalog.unnest($1::bytea[])) WITH ORDINALITY v (value, place)) w (place, value) ORDER BY w.place"
    )
}

impl Column {
    /// Asks what the values of these rows print. Without a digit they have no number.
    async fn print_names(&mut self, client: &Client, encoding: &str, rows: &[Vec<&[u8]>]) -> Result<()> {
        if self.known.len() > REMEMBERED {
            self.known.clear();
        }
        let fields = rows.iter().filter_map(|row| row.get(self.place));
        let new: HashSet<&[u8]> = fields
            .filter(|field| field.iter().any(u8::is_ascii_digit) && !self.known.contains_key(**field))
            .copied()
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let new: Vec<&[u8]> = new.into_iter().collect();
        let values: Vec<Vec<u8>> = new.iter().map(|field| unescaped(field)).collect();
        let printed = client.query(&self.query, &[&values, &encoding]).await;
        let printed = printed.map_err(failed("values of the dump cannot be read"))?;
        if printed.len() != new.len() {
            return Err(Error::new(Kind::Internal, "the server did not print every value"));
        }
        for (field, row) in new.into_iter().zip(printed) {
            self.known.insert(field.to_owned(), escaped(get(&row, 0)?));
        }
        Ok(())
    }
}

/// What stands behind a backslash, and what it stands for (`CopyAttributeOutText` of `src/backend/commands/copyto.c`).
const ESCAPES: [(u8, u8); 7] =
    [(b'b', 8), (b't', b'\t'), (b'n', b'\n'), (b'v', 11), (b'f', 12), (b'r', b'\r'), (b'\\', b'\\')];

/// A value of COPY's text format as it is.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let (mut value, mut bytes) = (Vec::with_capacity(field.len()), field.iter());
    while let Some(&byte) = bytes.next() {
        let stood_for =
            |letter: &u8| ESCAPES.iter().find(|(escape, _)| escape == letter).map_or(*letter, |(_, byte)| *byte);
        value.push(if byte == b'\\' { bytes.next().map_or(byte, stood_for) } else { byte });
    }
    value
}

/// A value as COPY's text format has it.
fn escaped(value: &[u8]) -> Vec<u8> {
    let mut field = Vec::with_capacity(value.len());
    for byte in value {
        match ESCAPES.iter().find(|(_, escaped)| escaped == byte) {
            Some((escape, _)) => field.extend([b'\\', *escape]),
            None => field.push(*byte),
        }
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_copy_does() {
        for (field, value) in [
            (&b"public.t"[..], &b"public.t"[..]),
            (b"{12,\"a \\\\\"b\"}", b"{12,\"a \\\"b\"}"),
            (b"\\t\\n\\r\\b\\f\\v\\\\", b"\t\n\r\x08\x0c\x0b\\"),
            (b"", b""),
        ] {
            assert_eq!(unescaped(field), value);
            assert_eq!(escaped(value), field);
        }
    }
}

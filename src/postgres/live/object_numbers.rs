//! OIDs in columns of `regclass` and similar types, which print as names if there is such an object.
//!
//! A value whose object was dropped prints as its OID, also in the dump. In the database into which the dump is loaded, another
//! object may have this OID, and the value then prints as that object's name. Equal rows may therefore have different text: the
//! server itself converts the text of the dump to what it prints in this database. It does the same for types whose text newer major
//! versions have changed ([`between`]).

use std::collections::{BTreeMap, HashMap, HashSet};

use tokio_postgres::Client;

use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::{Fingerprints, Quoted, Sum};
use crate::postgres::archive::{Tapped, column_names};
use crate::postgres::client::failed;
use crate::postgres::columns::get;
use crate::postgres::live::names::Names;
use crate::postgres::live::session::session;
use crate::postgres::live::text_changes::between;

/// Names in one query.
const BATCH: usize = 1000;

/// `regclass` and similar types, and those that contain one: arrays, domains, composite types, ranges (PostgreSQL
/// documentation, "Object Identifier Types"; `oid` itself always prints as a number). Multiranges are read through JSON,
/// because servers before 14 have no such column.
const TYPES: &str = "WITH RECURSIVE part (oid, whole) AS MATERIALIZED ( \
     SELECT typelem, oid FROM pg_catalog.pg_type WHERE typelem <> 0 \
     UNION ALL SELECT typbasetype, oid FROM pg_catalog.pg_type WHERE typbasetype <> 0 \
     UNION ALL SELECT rngsubtype, rngtypid FROM pg_catalog.pg_range \
     UNION ALL SELECT rngsubtype, (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::oid FROM pg_catalog.pg_range r \
     UNION ALL SELECT a.atttypid, c.reltype FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
     WHERE c.reltype <> 0 AND a.attnum > 0 AND NOT a.attisdropped), \
     made (oid) AS (SELECT t.oid FROM pg_catalog.pg_type t \
     WHERE t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace AND t.typname::text = ANY ($2::text[]) UNION SELECT p.whole FROM made m JOIN part p ON p.oid = m.oid) \
     SELECT pg_catalog.array_agg(m.oid) FROM made m JOIN pg_catalog.pg_type t ON t.oid = m.oid \
     WHERE $1 OR t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace";

/// The types that print as names.
const NAMED: &[&str] = &[
    "regclass",
    "regcollation",
    "regconfig",
    "regdatabase",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

/// Those of the relations `$1` that have columns of the types `$2`.
const WITH_NUMBERS: &str = "SELECT DISTINCT attrelid FROM pg_catalog.pg_attribute \
     WHERE attrelid = ANY ($1::oid[]) AND attnum > 0 AND NOT attisdropped AND atttypid = ANY ($2::oid[])";

/// The columns of the relations `$1` that have one of the types `$2`.
const COLUMNS: &str = "SELECT w.place, a.attname::text, pg_catalog.format_type(t.oid, NULL), t.typcategory = 'A' \
     FROM ROWS FROM (pg_catalog.unnest($1::text[])) WITH ORDINALITY w (name, place) \
     JOIN pg_catalog.pg_attribute a ON a.attrelid = pg_catalog.to_regclass(NULLIF(w.name, '')) \
     AND a.attnum > 0 AND NOT a.attisdropped JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
     WHERE t.oid = ANY ($2::oid[])";

const CANNOT_LOOK_UP: &str = "the types of columns cannot be looked up";

/// NULL in COPY's text format.
const NULL: &[u8] = b"\\N";

/// Most converted values of a column that are cached.
const CACHED: usize = 50_000;

/// A session that converts values of a dump to their text in this database.
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
    /// The sum of the rows as they print here; none if the server rejects one of them.
    sum: Option<Sum>,
    ended: bool,
}

/// A column with its converted values.
#[derive(Debug)]
struct Column {
    place: usize,
    query: String,
    /// Whether values without a digit are converted, too.
    every: bool,
    printed: HashMap<Vec<u8>, Vec<u8>>,
}

impl Printer {
    /// Connects, and finds the tables that have such columns, without those whose rows were dumped through a partition root.
    /// Domains of users may run their code. If everything was `loaded` from the backup it has run before; otherwise columns of
    /// such types are left out. Types whose text has changed since the major version `dumped` are among them.
    pub async fn open(
        connection: &Connection,
        database: &str,
        fingerprints: &Fingerprints,
        (loaded, dumped): (bool, u32),
    ) -> Result<Self> {
        let client = session(connection, database, &fingerprints.settings).await?;
        let names = Names::new(&fingerprints.settings);
        let (mut relations, mut targets) = (Vec::new(), Vec::new());
        for table in fingerprints.tables.iter().filter(|table| table.partitions.is_empty() && !table.foreign) {
            let (name, list) = (names.text(&client, &table.target).await?, names.text(&client, &table.columns).await?);
            if let (Some(name), Some(columns)) = (name, list.and_then(|list| column_names(list.as_bytes()))) {
                relations.push((name, columns));
                targets.push(&table.target);
            }
        }
        let changed: Vec<&str> = between(dumped, major(&client).await?).map(|change| change.kind).collect();
        let columns = columns(&client, &relations, (loaded, &changed)).await?;
        let of = |(table, columns): (usize, Vec<Column>)| {
            let begun = Table { columns, sum: Some(Sum::default()), ended: false };
            targets.get(table).map(|target| ((*target).clone(), begun))
        };
        let tables = columns.into_iter().filter_map(of).collect();
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
            // Nothing follows the end of the last line.
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
                    && let Some(printed) = column.printed.get(*field)
                {
                    *field = printed;
                }
            }
            sum.add(&row.join(&b'\t'));
        }
    }

    /// The sum of the rows of a table as they print here, once all were taken.
    pub fn sum(&self, table: &Quoted) -> Option<Sum> {
        self.tables.get(table).filter(|table| table.ended).and_then(|table| table.sum)
    }
}

/// Those of these relations whose text changes when an object is made that has the OID of a value.
pub async fn with_numbers(client: &Client, relations: &[u32]) -> Result<HashSet<u32>> {
    let types = types(client, (true, NAMED)).await?;
    let rows = client.query(WITH_NUMBERS, &[&relations, &types]).await.map_err(failed(CANNOT_LOOK_UP))?;
    rows.iter().map(|row| get(row, 0)).collect()
}

/// The types of these names in `pg_catalog`, and those that contain one; without `all` only those of `pg_catalog`.
async fn types(client: &Client, (all, kinds): (bool, &[&str])) -> Result<Vec<u32>> {
    get(&client.query_one(TYPES, &[&all, &kinds]).await.map_err(failed(CANNOT_LOOK_UP))?, 0)
}

/// The server's major version.
async fn major(client: &Client) -> Result<u32> {
    let query = "SELECT pg_catalog.current_setting('server_version_num')::int4 / 10000";
    let row = client.query_one(query, &[]).await.map_err(failed("the server's version cannot be read"))?;
    Ok(get::<i32>(&row, 0)?.unsigned_abs())
}

/// The columns of such types, by the index of their table in `relations`.
async fn columns(
    client: &Client,
    relations: &[(String, Vec<Vec<u8>>)],
    (all, changed): (bool, &[&str]),
) -> Result<BTreeMap<usize, Vec<Column>>> {
    let kinds: Vec<&str> = NAMED.iter().chain(changed).copied().collect();
    let types = types(client, (all, &kinds)).await?;
    let mut columns: BTreeMap<usize, Vec<Column>> = BTreeMap::new();
    for (batch, tables) in relations.chunks(BATCH).enumerate() {
        let names: Vec<&str> = tables.iter().map(|(name, _)| name.as_str()).collect();
        let rows = client.query(COLUMNS, &[&names, &types]).await;
        for row in rows.map_err(failed(CANNOT_LOOK_UP))? {
            let table = usize::try_from(get::<i64>(&row, 0)?).unwrap_or_default().saturating_sub(1);
            let (name, kind, is_array): (String, String, bool) = (get(&row, 1)?, get(&row, 2)?, get(&row, 3)?);
            let order = tables.get(table).map(|(_, columns)| columns.as_slice()).unwrap_or_default();
            if let Some(place) = order.iter().position(|column| *column == name.as_bytes()) {
                let (query, every) = (query(&kind, is_array), !changed.is_empty());
                let column = Column { place, query, every, printed: HashMap::new() };
                columns.entry(table + batch * BATCH).or_default().push(column);
            }
        }
    }
    Ok(columns)
}

/// A query that parses values of a type by its input function, as COPY does, and prints them. A cast from `text` to `regclass`
/// accepts only names, but one to an array of it accepts what the input function does.
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
    /// Converts the values of these rows. Those without a digit have no OID.
    async fn print_names(&mut self, client: &Client, encoding: &str, rows: &[Vec<&[u8]>]) -> Result<()> {
        if self.printed.len() > CACHED {
            self.printed.clear();
        }
        let fields = rows.iter().filter_map(|row| row.get(self.place));
        let new: HashSet<&[u8]> = fields
            .filter(|field| {
                (self.every || field.iter().any(u8::is_ascii_digit))
                    && **field != NULL
                    && !self.printed.contains_key(**field)
            })
            .copied()
            .collect();
        if new.is_empty() {
            return Ok(());
        }
        let new: Vec<&[u8]> = new.into_iter().collect();
        let values: Vec<Vec<u8>> = new.iter().map(|field| unescaped(field)).collect();
        let printed = client.query(&self.query, &[&values, &encoding]).await;
        let printed = printed.map_err(failed("values of the dump cannot be converted"))?;
        if printed.len() != new.len() {
            return Err(Error::new(Kind::Internal, "the server did not print every value"));
        }
        for (field, row) in new.into_iter().zip(printed) {
            self.printed.insert(field.to_owned(), escaped(get(&row, 0)?));
        }
        Ok(())
    }
}

/// The letters after a backslash, and the bytes that they represent (`CopyAttributeOutText` of
/// `src/backend/commands/copyto.c`).
const ESCAPES: [(u8, u8); 7] =
    [(b'b', 8), (b't', b'\t'), (b'n', b'\n'), (b'v', 11), (b'f', 12), (b'r', b'\r'), (b'\\', b'\\')];

/// Decodes a value of COPY's text format.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let (mut value, mut bytes) = (Vec::with_capacity(field.len()), field.iter());
    while let Some(&byte) = bytes.next() {
        let represented =
            |letter: &u8| ESCAPES.iter().find(|(escape, _)| escape == letter).map_or(*letter, |(_, byte)| *byte);
        value.push(if byte == b'\\' { bytes.next().map_or(byte, represented) } else { byte });
    }
    value
}

/// Encodes a value in COPY's text format.
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

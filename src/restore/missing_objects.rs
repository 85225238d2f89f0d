//! Checks after a load whether the database has every object that the archive's table of contents names.
//!
//! Names are compared as pg_dump writes them into the table of contents (`src/bin/pg_dump/pg_dump.c`, the `tag` of each
//! `ArchiveEntry`), by queries that build the same names from the catalogues.

use tokio_postgres::{Client, Row};

use crate::config::dump_options::HAS_STATISTICS;
use crate::error::Result;
use crate::postgres::archive::TocEntry;
use crate::postgres::client::failed;
use crate::postgres::columns::{get, in_bytes, text};

/// How many objects of a kind a query checks.
const BATCH: usize = 2000;

/// Relations of these kinds.
macro_rules! relation {
    ($kinds:literal) => {
        concat!(
            "SELECT n.nspname::text, c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.",
            $kinds
        )
    };
}

/// Parts of a relation, called `RELATION PART`.
macro_rules! part {
    ($catalogue:literal, $relation:literal, $name:literal) => {
        concat!(
            "SELECT n.nspname::text, c.relname || ' ' || p.",
            $name,
            " FROM ",
            $catalogue,
            " p JOIN pg_class c ON c.oid = p.",
            $relation,
            " JOIN pg_namespace n ON n.oid = c.relnamespace"
        )
    };
}

/// Objects in a schema.
macro_rules! in_schema {
    ($catalogue:literal, $schema:literal, $name:literal) => {
        concat!(
            "SELECT n.nspname::text, p.",
            $name,
            "::text FROM ",
            $catalogue,
            " p JOIN pg_namespace n ON n.oid = p.",
            $schema
        )
    };
}

/// Objects without a schema.
macro_rules! global {
    ($catalogue:literal, $name:literal) => {
        concat!("SELECT '', ", $name, "::text FROM ", $catalogue)
    };
}

/// Functions by name and types of their arguments (`format_function_signature`).
macro_rules! function {
    ($kinds:literal) => {
        concat!(
            "SELECT n.nspname::text, p.proname || '(' || coalesce(nullif((SELECT string_agg(format_type(t, NULL), ', ' ORDER BY i) \
             FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY a(t, i)), ''), CASE p.prokind WHEN 'a' THEN '*' ELSE '' END) || ')' \
             FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.prokind IN (", $kinds, ")"
        )
    };
}

/// Descriptions of entries that are checked, with the query for the schema and name of all such objects.
const KINDS: &[(&str, &str)] = &[
    ("SCHEMA", global!("pg_namespace", "nspname")),
    ("EXTENSION", global!("pg_extension", "extname")),
    ("TABLE", relation!("relkind IN ('r', 'p')")),
    ("FOREIGN TABLE", relation!("relkind = 'f'")),
    ("VIEW", relation!("relkind = 'v'")),
    ("MATERIALIZED VIEW", relation!("relkind = 'm'")),
    ("MATERIALIZED VIEW DATA", relation!("relispopulated")),
    ("SEQUENCE", relation!("relkind = 'S'")),
    ("INDEX", relation!("relkind IN ('i', 'I')")),
    ("TABLE ATTACH", relation!("relispartition")),
    ("INDEX ATTACH", relation!("relispartition")),
    ("ROW SECURITY", relation!("relrowsecurity")),
    ("CONSTRAINT", part!("pg_constraint", "conrelid", "conname")),
    ("FK CONSTRAINT", part!("pg_constraint", "conrelid", "conname")),
    (
        "CHECK CONSTRAINT",
        concat!(
            part!("pg_constraint", "conrelid", "conname"),
            " UNION ALL SELECT n.nspname::text, t.typname || ' ' || p.conname FROM pg_constraint p \
             JOIN pg_type t ON t.oid = p.contypid JOIN pg_namespace n ON n.oid = t.typnamespace"
        ),
    ),
    ("TRIGGER", part!("pg_trigger", "tgrelid", "tgname")),
    ("RULE", part!("pg_rewrite", "ev_class", "rulename")),
    ("POLICY", part!("pg_policy", "polrelid", "polname")),
    (
        "DEFAULT",
        "SELECT n.nspname::text, c.relname || ' ' || p.attname FROM pg_attribute p JOIN pg_class c ON c.oid = p.attrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.atthasdef",
    ),
    ("FUNCTION", function!("'f', 'w'")),
    ("PROCEDURE", function!("'p'")),
    ("AGGREGATE", function!("'a'")),
    ("TYPE", in_schema!("pg_type", "typnamespace", "typname")),
    ("SHELL TYPE", in_schema!("pg_type", "typnamespace", "typname")),
    ("DOMAIN", in_schema!("pg_type", "typnamespace", "typname")),
    ("COLLATION", in_schema!("pg_collation", "collnamespace", "collname")),
    ("CONVERSION", in_schema!("pg_conversion", "connamespace", "conname")),
    ("OPERATOR", in_schema!("pg_operator", "oprnamespace", "oprname")),
    ("STATISTICS", in_schema!("pg_statistic_ext", "stxnamespace", "stxname")),
    ("TEXT SEARCH PARSER", in_schema!("pg_ts_parser", "prsnamespace", "prsname")),
    ("TEXT SEARCH TEMPLATE", in_schema!("pg_ts_template", "tmplnamespace", "tmplname")),
    ("TEXT SEARCH DICTIONARY", in_schema!("pg_ts_dict", "dictnamespace", "dictname")),
    ("TEXT SEARCH CONFIGURATION", in_schema!("pg_ts_config", "cfgnamespace", "cfgname")),
    ("PROCEDURAL LANGUAGE", global!("pg_language", "lanname")),
    ("ACCESS METHOD", global!("pg_am", "amname")),
    ("EVENT TRIGGER", global!("pg_event_trigger", "evtname")),
    ("FOREIGN DATA WRAPPER", global!("pg_foreign_data_wrapper", "fdwname")),
    ("SERVER", global!("pg_foreign_server", "srvname")),
    ("PUBLICATION", global!("pg_publication", "pubname")),
    (
        "SUBSCRIPTION",
        "SELECT '', s.subname::text FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
         WHERE d.datname = current_database()",
    ),
];

/// Objects of one kind to check.
#[derive(Debug)]
pub struct ExpectedObjects {
    /// Index in [`KINDS`].
    kind: usize,
    dump_ids: Vec<u32>,
    schemas: Vec<Vec<u8>>,
    tags: Vec<Vec<u8>>,
}

/// An entry whose object the database lacks.
#[derive(Debug)]
pub struct Missing {
    /// The entry.
    pub dump_id: u32,
    /// Its kind and name, for messages.
    pub name: String,
}

/// Whether objects of this description can be checked.
pub fn is_checked(desc: &[u8]) -> bool {
    KINDS.iter().any(|(known, _)| known.as_bytes() == desc)
}

/// Gathers the entries of a table of contents into batches, so that its memory does not grow with the archive.
#[derive(Debug, Default)]
pub struct Gatherer {
    batches: Vec<ExpectedObjects>,
}

impl Gatherer {
    /// Adds an entry, and returns a batch when one is full.
    pub fn add(&mut self, entry: &TocEntry<'_>) -> Option<ExpectedObjects> {
        let kind = KINDS.iter().position(|(desc, _)| desc.as_bytes() == entry.desc.bytes)?;
        if entry.tag.truncated {
            return None;
        }
        let at = match self.batches.iter().position(|batch| batch.kind == kind) {
            Some(at) => at,
            None => {
                self.batches.push(ExpectedObjects {
                    kind,
                    dump_ids: Vec::new(),
                    schemas: Vec::new(),
                    tags: Vec::new(),
                });
                self.batches.len() - 1
            }
        };
        let batch = self.batches.get_mut(at)?;
        batch.dump_ids.push(entry.dump_id);
        batch.schemas.push(entry.namespace.bytes.to_vec());
        batch.tags.push(entry.tag.bytes.to_vec());
        (batch.tags.len() >= BATCH).then(|| self.batches.swap_remove(at))
    }

    /// The batches that are not full.
    pub fn rest(self) -> Vec<ExpectedObjects> {
        self.batches
    }
}

impl ExpectedObjects {
    /// The objects that the database lacks. `encoding` is that of the names. The session's search path must be empty.
    pub async fn missing(&self, client: &Client, encoding: &str) -> Result<Vec<Missing>> {
        let Some((desc, all)) = KINDS.get(self.kind) else { return Ok(Vec::new()) };
        let query = format!(
            "SELECT w.i FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS w(schema, tag, i) \
             WHERE NOT EXISTS (SELECT FROM ({all}) AS o(schema, tag) \
             WHERE o.schema = convert_from(w.schema, $3::text) AND o.tag = convert_from(w.tag, $3::text)) ORDER BY 1"
        );
        let rows = client
            .query(&query, &[&self.schemas, &self.tags, &encoding])
            .await
            .map_err(failed("the objects of the new database cannot be listed"))?;
        let mut missing = Vec::new();
        for row in rows {
            let at = usize::try_from(get::<i64>(&row, 0)?).unwrap_or_default().saturating_sub(1);
            if let (Some(schema), Some(tag), Some(dump_id)) =
                (self.schemas.get(at), self.tags.get(at), self.dump_ids.get(at))
            {
                let (schema, tag) = (String::from_utf8_lossy(schema), String::from_utf8_lossy(tag));
                let dot = if schema.is_empty() { "" } else { "." };
                let name = format!("{} {schema}{dot}{tag}", desc.to_lowercase());
                missing.push(Missing { dump_id: *dump_id, name });
            }
        }
        Ok(missing)
    }
}

/// Number of large objects of the database.
pub async fn large_objects(client: &Client) -> Result<u64> {
    number(client, "SELECT count(*) FROM pg_largeobject_metadata", "the large objects cannot be counted").await
}

/// Number of tables of the database that initdb did not make.
pub async fn tables(client: &Client) -> Result<u64> {
    // FirstNormalObjectId (`src/include/access/transam.h`).
    let query = "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'f') AND oid >= 16384";
    number(client, query, "the tables cannot be counted").await
}

/// The extensions among these that the database lacks.
pub async fn missing_extensions(client: &Client, extensions: &[&str]) -> Result<Vec<String>> {
    let query =
        "SELECT e FROM unnest($1::text[]) e WHERE NOT EXISTS (SELECT FROM pg_extension WHERE extname = e) ORDER BY 1";
    let rows = client.query(query, &[&extensions]).await.map_err(failed("the extensions cannot be listed"))?;
    rows.iter().map(|row| get::<String>(row, 0).map(|name| format!("extension {name}"))).collect()
}

/// A table to analyze.
#[derive(Debug)]
pub struct Analyzable {
    /// OID.
    pub oid: u32,
    /// Quoted name, for messages.
    pub shown: String,
    /// Whether a statement can name it so.
    pub is_text: bool,
    /// Whether its partitions are left out: they are analyzed by themselves where they lack statistics.
    only: bool,
}

impl Analyzable {
    /// What follows ANALYZE.
    pub fn named(&self) -> String {
        format!("{}{}", self.prefix(), self.shown)
    }

    fn prefix(&self) -> &'static str {
        if self.only { "ONLY " } else { "" }
    }

    /// The statement that analyzes it. If the name is no valid text, the server builds the statement.
    pub fn statement(&self) -> String {
        match self.is_text {
            true => format!("ANALYZE {}", self.named()),
            false => format!(
                "DO $do$BEGIN EXECUTE (SELECT pg_catalog.format('ANALYZE {}%I.%I', n.nspname, c.relname) \
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                 WHERE c.oid = {}); END$do$",
                self.prefix(),
                self.oid
            ),
        }
    }
}

/// Whether a table lacks statistics: of a column, of its children's rows, of the expressions of an index, or extended ones. Those that
/// our role may not read count as missing. As `vacuumdb --missing-stats-only` finds them (`vacuum_all_databases` and
/// `retrieve_objects` in `src/bin/scripts/vacuumdb.c` of PostgreSQL 18); virtual columns have none.
const LACKS_STATISTICS: &str = "c.reltuples < 0 \
     OR EXISTS (SELECT FROM pg_attribute a, (VALUES (false), (true)) i (inherited) WHERE a.attrelid = c.oid AND a.attnum > 0 \
       AND NOT a.attisdropped AND a.attgenerated <> 'v' AND a.attstattarget IS DISTINCT FROM 0 \
       AND CASE WHEN i.inherited THEN c.relhassubclass ELSE c.relkind <> 'p' END AND NOT EXISTS (SELECT FROM pg_stats s \
         WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND s.inherited = i.inherited)) \
     OR EXISTS (SELECT FROM pg_index x JOIN pg_class xc ON xc.oid = x.indexrelid JOIN pg_attribute a ON a.attrelid = x.indexrelid \
       WHERE x.indrelid = c.oid AND c.relkind <> 'p' AND x.indkey[a.attnum - 1] = 0 AND a.attstattarget IS DISTINCT FROM 0 \
       AND NOT EXISTS (SELECT FROM pg_stats s \
         WHERE s.schemaname = n.nspname AND s.tablename = xc.relname AND s.attname = a.attname)) \
     OR EXISTS (SELECT FROM pg_statistic_ext e JOIN pg_namespace en ON en.oid = e.stxnamespace WHERE e.stxrelid = c.oid \
       AND e.stxstattarget IS DISTINCT FROM 0 AND NOT EXISTS (SELECT FROM pg_stats_ext s \
         WHERE s.statistics_schemaname = en.nspname AND s.statistics_name = e.stxname))";

/// Some hundred tables and materialized views with OIDs above `last`, the lowest first; of a `server` that takes statistics only those
/// that lack some.
pub async fn analyzable(client: &Client, last: u32, server: u32) -> Result<Vec<Analyzable>> {
    let lacks = if server >= HAS_STATISTICS { LACKS_STATISTICS } else { "true" };
    let query = format!(
        "SELECT c.oid, {}, c.relkind = 'p' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'm', 'p') AND c.relpersistence <> 't' AND c.oid > $1 AND ({lacks}) ORDER BY c.oid LIMIT 500",
        in_bytes("format('%I.%I', n.nspname, c.relname)")
    );
    let rows = client.query(&query, &[&last]).await.map_err(failed("the tables cannot be listed"))?;
    let table = |row: &Row| {
        let is_text = std::str::from_utf8(get(row, 1)?).is_ok();
        let only = server >= HAS_STATISTICS && get(row, 2)?;
        Ok(Analyzable { oid: get(row, 0)?, shown: text(row, 1)?, is_text, only })
    };
    rows.iter().map(table).collect()
}

async fn number(client: &Client, query: &str, what: &str) -> Result<u64> {
    let row = client.query_one(query, &[]).await.map_err(failed(what))?;
    Ok(u64::try_from(get::<i64>(&row, 0)?).unwrap_or_default())
}

//! What a dump leaves out: compares the system catalogue in the snapshot with the table of contents of the archive.

use std::collections::HashSet;
use std::fmt;
use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Row;

use crate::catalogue::manifest::{EXTENSION_ROWS, Omission};
use crate::error::Result;
use crate::postgres::client::failed;
use crate::postgres::columns::{get, in_bytes, text};
use crate::postgres::dump::Dumped;
use crate::postgres::facts::DatabaseFacts;
use crate::postgres::quoting::identifier;
use crate::postgres::snapshot::{Rewritten, Snapshot};

/// The tables, with their names as bytes in both encodings that a dump may have: UTF-8 and the database's own. Names in
/// `SQL_ASCII`, which is no encoding, are not converted.
///
/// pg_dump writes the rows of an extension's table only if the extension marks it as a configuration table, and only those that
/// meet its condition (`processExtensionTables` in `src/bin/pg_dump/pg_dump.c`). Whether such a table has rows is determined by
/// its size: a query could evaluate expressions that its owner has put into its indexes.
const TABLES: &str = "SELECT c.oid, c.relkind::text, c.relpersistence::text, x.extname::text, \
     ARRAY[convert_to(n.nspname::text, e.ours), convert_to(n.nspname::text, e.own)], \
     ARRAY[convert_to(c.relname::text, e.ours), convert_to(c.relname::text, e.own)], \
     ARRAY[convert_to(rn.nspname::text, e.ours), convert_to(rn.nspname::text, e.own)], \
     ARRAY[convert_to(r.relname::text, e.ours), convert_to(r.relname::text, e.own)], \
     CASE WHEN c.oid = ANY (x.extconfig) THEN COALESCE(x.extcondition[array_position(x.extconfig, c.oid)], '') END, \
     x.oid IS NOT NULL AND c.relkind = 'r' AND pg_relation_size(c.oid) > 0 \
     FROM (SELECT own, CASE WHEN own IN ('SQL_ASCII', 'MULE_INTERNAL') THEN own ELSE 'UTF8'::name END FROM getdatabaseencoding() own) e(own, ours), \
     pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 \
       AND d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass \
     LEFT JOIN pg_extension x ON x.oid = d.refobjid \
     LEFT JOIN pg_class r ON c.relispartition AND r.oid = pg_partition_root(c.oid) \
     LEFT JOIN pg_namespace rn ON rn.oid = r.relnamespace \
     WHERE c.relkind IN ('r', 'f') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' \
       AND n.nspname <> 'information_schema'";

/// Why the rows are missing of a table that was truncated, rewritten or replaced between the snapshot and pg_dump's locks.
const REWRITTEN: &str = "truncated, rewritten or replaced when the dump began, which does not see its rows";

impl Snapshot {
    /// Everything in the database that is missing in the archive, with the reason. `options` is whether the user's options
    /// leave data out; `rewritten` are the tables that were rewritten before pg_dump held its locks.
    pub async fn omitted(
        &self,
        facts: &DatabaseFacts,
        dumped: &Dumped,
        options: bool,
        rewritten: &[Rewritten],
    ) -> Result<Vec<Omission>> {
        let mut omitted = self.omitted_tables(facts, dumped, options, rewritten).await?;
        omitted.extend(self.omitted_subscriptions(facts, dumped, options).await?);
        omitted.extend(self.omitted_user_mappings(facts).await?);
        if dumped.large_objects < facts.large_objects {
            omitted.push(Omission {
                kind: "large objects".to_owned(),
                name: format!("{} of {}", facts.large_objects - dumped.large_objects, facts.large_objects),
                reason: because(options, "pg_dump did not write them").to_owned(),
                rewritten: false,
            });
        }
        Ok(omitted)
    }

    async fn omitted_tables(
        &self,
        facts: &DatabaseFacts,
        dumped: &Dumped,
        options: bool,
        rewritten: &[Rewritten],
    ) -> Result<Vec<Omission>> {
        let rewritten: HashSet<u32> = rewritten.iter().map(|table| table.oid).collect();
        let no_parameters: [&str; 0] = [];
        let what = "the tables cannot be listed";
        let mut rows = pin!(self.client().query_raw(TABLES, no_parameters).await.map_err(failed(what))?);
        let mut omitted = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(failed(what))? {
            let (name, root) = (Names::of(&row, 4, 5)?, Names::of(&row, 6, 7)?);
            let (extension, condition): (Option<String>, Option<String>) = (get(&row, 3)?, get(&row, 8)?);
            let has_rows: bool = get(&row, 9)?;
            // A script has the rows of hash partitions on an enum under the name of their root (`dumpTableData` in
            // `src/bin/pg_dump/pg_dump.c`).
            let oid = get(&row, 0)?;
            let is_dumped = dumped.has_table(oid, name.each()) || dumped.has_table_named(root.each());
            let rewritten = is_dumped && rewritten.contains(&oid);
            if is_dumped && !rewritten {
                if let (Some(extension), Some(1..), true) = (extension, condition.map(|text| text.len()), has_rows) {
                    omitted.push(left_out_by_condition(&name, &extension));
                }
                continue;
            }
            let reason = match (text(&row, 1)?.as_str(), text(&row, 2)?.as_str(), (extension, condition)) {
                _ if rewritten => REWRITTEN.to_owned(),
                ("f", _, _) => "foreign table: its rows are on another server".to_owned(),
                (_, _, (Some(_), None)) if !has_rows => continue,
                (_, _, (Some(extension), None)) => format!(
                    "belongs to the extension {extension}, which does not mark it as its configuration: no rows but those \
                     that the extension makes come back"
                ),
                (_, "u", _) if facts.server.standby => "unlogged: a standby does not have its rows".to_owned(),
                _ => because(options, "pg_dump did not write its rows").to_owned(),
            };
            let name = name.to_string();
            omitted.push(Omission { kind: "table data".to_owned(), name, reason, rewritten });
        }
        omitted.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(omitted)
    }

    async fn omitted_subscriptions(
        &self,
        facts: &DatabaseFacts,
        dumped: &Dumped,
        options: bool,
    ) -> Result<Vec<Omission>> {
        let query = format!(
            "SELECT {} FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid \
             WHERE d.datname = current_database() ORDER BY s.subname",
            in_bytes("s.subname::text")
        );
        let rows = self.client().query(&query, &[]).await.map_err(failed("the subscriptions cannot be listed"))?;
        let all = match dumped.subscriptions {
            Some(dumped) => dumped >= rows.len() as u64,
            None => facts.superuser && !options,
        };
        if all {
            return Ok(Vec::new());
        }
        let reason = because(options, "only a superuser may dump subscriptions");
        let omission = |name| omission("subscription", name, reason);
        rows.iter().map(|row| Ok(omission(identifier(&text(row, 0)?)))).collect()
    }

    /// User mappings are dumped without options that our role may not read (`src/backend/catalog/
    /// system_views.sql`, `pg_user_mappings`).
    async fn omitted_user_mappings(&self, facts: &DatabaseFacts) -> Result<Vec<Omission>> {
        if facts.superuser {
            return Ok(Vec::new());
        }
        let mapping = in_bytes("format('%I on %I', usename, srvname)");
        let query = format!("SELECT {mapping} FROM pg_user_mappings WHERE umoptions IS NULL ORDER BY usename, srvname");
        let rows = self.client().query(&query, &[]).await.map_err(failed("the user mappings cannot be listed"))?;
        let reason = "its options, if it has any, may be read by a superuser and the server's owner only";
        let omission = |name| omission("user mapping options", name, reason);
        rows.iter().map(|row| Ok(omission(text(row, 0)?))).collect()
    }
}

/// A table's name: the bytes of its schema and of the table, in each of the encodings of [`TABLES`].
struct Names<'a> {
    schemas: Vec<Option<&'a [u8]>>,
    tables: Vec<Option<&'a [u8]>>,
}

impl<'a> Names<'a> {
    fn of(row: &'a Row, schema: usize, table: usize) -> Result<Self> {
        Ok(Names { schemas: get(row, schema)?, tables: get(row, table)? })
    }

    fn each(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        self.schemas.iter().zip(&self.tables).filter_map(|(schema, table)| schema.zip(*table))
    }
}

/// For messages, quoted; bytes that are not UTF-8 appear as U+FFFD.
impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((schema, table)) = self.each().next() else { return Ok(()) };
        let quoted = |name: &[u8]| identifier(&String::from_utf8_lossy(name));
        write!(f, "{}.{}", quoted(schema), quoted(table))
    }
}

/// Rows that the extension creates. Whether they were changed since cannot be determined.
fn left_out_by_condition(name: &Names<'_>, extension: &str) -> Omission {
    let reason = format!(
        "those that the condition of the extension {extension} leaves out are made by the extension: changes of them do not \
         come back"
    );
    omission(EXTENSION_ROWS, name.to_string(), &reason)
}

fn omission(kind: &str, name: String, reason: &str) -> Omission {
    Omission { kind: kind.to_owned(), name, reason: reason.to_owned(), rewritten: false }
}

fn because(options: bool, otherwise: &'static str) -> &'static str {
    match options {
        true => "left out by BACKUP_DUMP_OPTIONS",
        false => otherwise,
    }
}

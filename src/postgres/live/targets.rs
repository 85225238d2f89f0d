//! Finds the relations whose rows a dump has, by their names.

use tokio_postgres::Client;

use crate::error::Result;
use crate::fingerprint::TableFingerprint;
use crate::fingerprint::compare::ObservedRows;
use crate::postgres::client::failed;
use crate::postgres::columns::get;
use crate::postgres::live::names::Names;

/// Names in one query.
const BATCH: usize = 1000;

/// Size of the pieces in which a heap is read, in bytes, so that several sessions can read a large table.
pub const PIECE: i64 = 64 << 20;

/// The relations with the names of `$1`, without empty names, for which `to_regclass` fails. A configuration table of an
/// extension has a condition, by which pg_dump leaves out the extension's own rows (`processExtensionTables` in
/// `src/bin/pg_dump/pg_dump.c`). Since PostgreSQL 14 a range of ctid is read without reading the rest.
///
/// A range requires a query, whose planner evaluates the expressions of the table's indexes and statistics: a function of the
/// table's owner would run with our privileges, and one that fails would hide the rows. Such tables are read whole.
const RELATIONS: &str = "SELECT w.place, c.relkind::text, pg_catalog.pg_table_size(c.oid), \
     CASE WHEN a.amname = 'heap' AND pg_catalog.current_setting('server_version_num')::int4 >= 140000 \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid \
     AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)) \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid AND 'e' = ANY (s.stxkind)) \
     THEN pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8 ELSE 0 END, \
     (SELECT e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)] FROM pg_catalog.pg_extension e \
     WHERE c.oid = ANY (e.extconfig) LIMIT 1), c.oid \
     FROM ROWS FROM (pg_catalog.unnest($1::text[])) WITH ORDINALITY w(name, place) \
     JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(NULLIF(w.name, '')) \
     LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam ORDER BY 1";

/// The partitions of `$1` that are not among the names of `$2`.
const OTHER_PARTITIONS: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
     FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(NULLIF($1, ''))) t \
     JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_catalog.unnest($2::text[]) w (name) \
     WHERE pg_catalog.to_regclass(NULLIF(w.name, '')) = c.oid)";

/// A relation that rows can be copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.oid`.
    pub oid: u32,
    /// `pg_class.relkind`.
    pub kind: String,
    /// Bytes on the server's disk, including large values.
    pub bytes: i64,
    /// Pages of a heap that can be read in pieces, or 0.
    pub pages: i64,
    /// The extension's condition, with its WHERE, if there is one.
    pub condition: Option<String>,
}

/// A table of the fingerprints in this database.
#[derive(Debug)]
pub struct LiveTable {
    /// The relations whose rows it has, with their names.
    relations: Vec<(String, Relation)>,
    /// Its columns, separated by commas.
    columns: String,
}

/// A query for rows, or for their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableQuery {
    /// The relation that it reads.
    pub relation: u32,
    /// What COPY copies, or a query that counts.
    pub sql: String,
    /// Bytes that it reads, approximately.
    pub bytes: i64,
    /// What COPY can copy without planning a query, if the count fails.
    pub instead: Option<String>,
}

/// The relations to read for each table, or what there is instead of rows. The rows of a partition root are those of the
/// partitions that the dump names. Rows that were `loaded` through the root may be in other partitions too, because values of
/// an enum are hashed by their OIDs, which are new.
pub async fn find(
    client: &Client,
    names: &Names,
    tables: &[TableFingerprint],
    loaded: bool,
) -> Result<Vec<std::result::Result<LiveTable, ObservedRows>>> {
    let mut all: Vec<std::result::Result<LiveTable, ObservedRows>> = Vec::with_capacity(tables.len());
    let mut named = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        all.push(match names.text(client, &table.columns).await? {
            Some(columns) => {
                let columns = columns.strip_prefix('(').and_then(|columns| columns.strip_suffix(')'));
                Ok(LiveTable { relations: Vec::new(), columns: columns.unwrap_or_default().to_owned() })
            }
            None => Err(ObservedRows::Unnamed),
        });
        for name in table.relations() {
            // No relation has an empty name.
            let text = names.text(client, name).await?;
            if text.is_none() {
                all[at] = Err(ObservedRows::Unnamed);
            }
            named.push((at, text.unwrap_or_default()));
        }
    }
    if loaded {
        named.extend(other_partitions(client, names, tables, &named).await?);
    }
    let texts: Vec<&str> = named.iter().map(|(_, text)| text.as_str()).collect();
    let relations = relations(client, &texts).await?;
    for ((at, text), relation) in named.into_iter().zip(relations) {
        let Some(relation) = relation else { continue };
        match (relation.no_rows(), &mut all[at]) {
            (_, Err(_)) => {}
            (Some(instead), target) => *target = Err(instead),
            (None, Ok(target)) => target.relations.push((text, relation)),
        }
    }
    let readable = |target: LiveTable| if target.relations.is_empty() { Err(ObservedRows::Absent) } else { Ok(target) };
    Ok(all.into_iter().map(|target| target.and_then(readable)).collect())
}

/// The other partitions of roots of which the dump names some, without those that are tables of their own in it.
async fn other_partitions(
    client: &Client,
    names: &Names,
    tables: &[TableFingerprint],
    named: &[(usize, String)],
) -> Result<Vec<(usize, String)>> {
    let texts: Vec<&str> = named.iter().map(|(_, text)| text.as_str()).collect();
    let mut others = Vec::new();
    for (at, table) in tables.iter().enumerate().filter(|(_, table)| !table.partitions.is_empty()) {
        let Some(root) = names.text(client, &table.target).await? else { continue };
        let rows = client.query(OTHER_PARTITIONS, &[&root, &texts]).await;
        for row in rows.map_err(failed("the partitions cannot be looked up"))? {
            // Rows in a partition whose name is not valid text are reported as missing.
            others.extend(get::<String>(&row, 0).ok().map(|text| (at, text)));
        }
    }
    Ok(others)
}

impl LiveTable {
    /// The queries for its rows, or for their number.
    pub fn statements(&self, count: bool) -> Vec<TableQuery> {
        let of = |(name, relation): &(String, Relation)| match count {
            true => vec![relation.count(name)],
            false => {
                let copies = relation.copies(name, &self.columns);
                let bytes = relation.bytes / i64::try_from(copies.len()).unwrap_or(1).max(1);
                let query = |sql| TableQuery { relation: relation.oid, sql, bytes, instead: None };
                copies.into_iter().map(query).collect()
            }
        };
        self.relations.iter().flat_map(of).collect()
    }
}

/// The relations with these names, in their order; none for a name without a relation.
pub async fn relations(client: &Client, names: &[&str]) -> Result<Vec<Option<Relation>>> {
    let mut all = vec![None; names.len()];
    for (batch, names) in names.chunks(BATCH).enumerate() {
        let rows = client.query(RELATIONS, &[&names]).await.map_err(failed("the tables cannot be looked up"))?;
        for row in rows {
            let place = usize::try_from(get::<i64>(&row, 0)?).unwrap_or_default() + batch * BATCH;
            let relation = Relation {
                oid: get(&row, 5)?,
                kind: get(&row, 1)?,
                bytes: get(&row, 2)?,
                pages: get(&row, 3)?,
                condition: get::<Option<String>>(&row, 4)?.filter(|condition| !condition.is_empty()),
            };
            if let Some(slot) = place.checked_sub(1).and_then(|place| all.get_mut(place)) {
                *slot = Some(relation);
            }
        }
    }
    Ok(all)
}

impl Relation {
    /// What to report instead of rows, if it is not a table.
    fn no_rows(&self) -> Option<ObservedRows> {
        match self.kind.as_str() {
            "r" | "p" => None,
            "f" => Some(ObservedRows::Foreign),
            "v" => Some(ObservedRows::NoTable("view")),
            "m" => Some(ObservedRows::NoTable("materialized view")),
            _ => Some(ObservedRows::NoTable("relation of another kind")),
        }
    }

    /// What follows FROM. pg_dump writes the rows of a table without those of its children, unless an extension has a
    /// condition on them (`dumpTableData_copy`).
    fn from(&self, name: &str) -> String {
        match (&self.condition, self.kind.as_str()) {
            (Some(condition), _) => format!("{name} {condition}"),
            (None, "p") => name.to_owned(),
            (None, _) => format!("ONLY {name}"),
        }
    }

    /// Whether COPY without a query reads exactly its rows.
    fn is_plain(&self) -> bool {
        self.condition.is_none() && self.kind == "r"
    }

    fn count(&self, name: &str) -> TableQuery {
        TableQuery {
            relation: self.oid,
            sql: format!("SELECT pg_catalog.count(*) FROM {}", self.from(name)),
            bytes: self.bytes,
            instead: self.is_plain().then(|| name.to_owned()),
        }
    }

    /// What COPY copies, so that all rows together are those that pg_dump would have written for these columns.
    fn copies(&self, name: &str, columns: &str) -> Vec<String> {
        let from = self.from(name);
        let ranges = if self.is_plain() { ranges(self.pages, self.bytes) } else { vec![String::new()] };
        // As in pg_dump, without planning a query. COPY without a list of columns would copy all columns.
        let direct = self.is_plain() && ranges.len() == 1 && !columns.is_empty();
        let copy = |range: String| match direct {
            true => format!("{name} ({columns})"),
            false => format!("(SELECT {columns} FROM {from}{range})"),
        };
        ranges.into_iter().map(copy).collect()
    }
}

/// Conditions that divide a heap. The last piece has no upper bound, because the heap may have grown since.
fn ranges(pages: i64, bytes: i64) -> Vec<String> {
    let pieces = (bytes / PIECE).clamp(1, pages.max(1));
    let step = pages.max(1).div_euclid(pieces).max(1);
    (0..pieces)
        .map(|piece| {
            let from = (piece > 0).then(|| format!("ctid >= '({},0)'", piece * step));
            let to = (piece + 1 < pieces).then(|| format!("ctid < '({},0)'", (piece + 1) * step));
            match (from, to) {
                (None, None) => String::new(),
                (Some(one), None) | (None, Some(one)) => format!(" WHERE {one}"),
                (Some(from), Some(to)) => format!(" WHERE {from} AND {to}"),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_tables_are_one_piece() {
        for (pages, bytes) in [(0, 0), (0, 10 * PIECE), (1, 3 * PIECE), (100, PIECE)] {
            assert_eq!(ranges(pages, bytes), [""], "{pages} {bytes}");
        }
    }

    #[test]
    fn pieces_of_a_large_table_leave_nothing_out() {
        assert_eq!(ranges(101, 2 * PIECE), [" WHERE ctid < '(50,0)'", " WHERE ctid >= '(50,0)'"]);
        assert_eq!(
            ranges(2, 9 * PIECE),
            [" WHERE ctid < '(1,0)'", " WHERE ctid >= '(1,0)'"],
            "never more pieces than pages"
        );
        let three = ranges(1000, 3 * PIECE);
        assert_eq!(three[1], " WHERE ctid >= '(333,0)' AND ctid < '(666,0)'");
    }

    #[test]
    fn statements() {
        let relation = |kind: &str, condition: Option<&str>| Relation {
            oid: 1,
            kind: kind.to_owned(),
            bytes: 0,
            pages: 0,
            condition: condition.map(str::to_owned),
        };
        let copies = |relation: &Relation, columns| relation.copies("a.\"B)\"", columns).remove(0);
        let plain = relation("r", None);
        assert_eq!(copies(&plain, "x, \"y)\""), "a.\"B)\" (x, \"y)\")");
        let large = Relation { bytes: 2 * PIECE, pages: 2, ..plain.clone() };
        assert_eq!(copies(&large, "x"), "(SELECT x FROM ONLY a.\"B)\" WHERE ctid < '(1,0)')");
        assert_eq!(copies(&plain, ""), "(SELECT  FROM ONLY a.\"B)\")");
        assert_eq!(copies(&relation("p", None), "x"), "(SELECT x FROM a.\"B)\")");
        let configuration = relation("r", Some("WHERE n > 1"));
        assert_eq!(copies(&configuration, "x"), "(SELECT x FROM a.\"B)\" WHERE n > 1)");
        assert_eq!(configuration.count("t").sql, "SELECT pg_catalog.count(*) FROM t WHERE n > 1");
        assert_eq!(configuration.count("t").instead, None);
        assert_eq!(plain.count("t").instead.as_deref(), Some("t"));
    }
}

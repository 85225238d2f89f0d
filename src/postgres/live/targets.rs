//! What bears the name that rows were copied from.

use tokio_postgres::Client;

use crate::error::Result;
use crate::fingerprint::TableFingerprint;
use crate::fingerprint::compare::ObservedRows;
use crate::postgres::client::failed;
use crate::postgres::live::names::Names;
use crate::postgres::snapshot::get;

/// How many names are looked up at once.
const BATCH: usize = 1000;

/// A heap is read in pieces of about so many bytes, so that several sessions can share a large table.
const PIECE: i64 = 64 << 20;

/// `t(name, place)` becomes the relation of that name; an empty name, at which `to_regclass` fails, is nobody's. A
/// configuration table of an extension has a condition, by which pg_dump leaves the extension's own rows out
/// (`processExtensionTables` in `src/bin/pg_dump/pg_dump.c`). Ranges of ctid are found without reading the rest since
/// PostgreSQL 14.
///
/// Only a query can ask for a range, and whoever plans one evaluates the expressions of the table's indexes and statistics:
/// a function of the table's owner would run with our rights, and one that fails would hide the rows.
const RELATIONS: &str = "SELECT w.place, c.relkind::text, pg_catalog.pg_table_size(c.oid), \
     CASE WHEN a.amname = 'heap' AND pg_catalog.current_setting('server_version_num')::int4 >= 140000 \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid \
     AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL)) \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext s WHERE s.stxrelid = c.oid AND 'e' = ANY (s.stxkind)) \
     THEN pg_catalog.pg_relation_size(c.oid) / pg_catalog.current_setting('block_size')::int8 ELSE 0 END, \
     (SELECT e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)] FROM pg_catalog.pg_extension e \
     WHERE c.oid = ANY (e.extconfig) LIMIT 1) \
     FROM ROWS FROM (pg_catalog.unnest($1::text[])) WITH ORDINALITY w(name, place) \
     JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(NULLIF(w.name, '')) \
     LEFT JOIN pg_catalog.pg_am a ON a.oid = c.relam ORDER BY 1";

/// The partitions of `$1` that the names of `$2` leave over.
const OTHER_PARTITIONS: &str = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
     FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass(NULLIF($1, ''))) t \
     JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind = 'r' AND NOT EXISTS (SELECT FROM pg_catalog.unnest($2::text[]) w (name) \
     WHERE pg_catalog.to_regclass(NULLIF(w.name, '')) = c.oid)";

/// A relation that rows can be copied from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// `pg_class.relkind`.
    pub kind: String,
    /// Bytes on the server's disk, large values among them.
    pub bytes: i64,
    /// Pages of a heap that can be read in pieces, or 0.
    pub pages: i64,
    /// The extension's condition, with its WHERE, or nothing.
    pub condition: Option<String>,
}

/// A table of the fingerprints in this database.
#[derive(Debug)]
pub struct LiveTable {
    /// The names of the relations whose rows it has.
    relations: Vec<(String, Relation)>,
    /// Its columns, with commas between them.
    columns: String,
}

/// What answers with rows, or with their number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableQuery {
    /// What COPY is to copy, or a query that counts.
    pub sql: String,
    /// About how many bytes it reads.
    pub bytes: i64,
    /// What COPY can copy without a planner, for when a count fails.
    pub instead: Option<String>,
}

/// What to read for each table, or what there is instead of rows. The rows of a root are those of the partitions that the
/// dump names. Where they were `loaded` through the root they can lie in any other, whose own rows the dump left out: an
/// enum's values are hashed by their OIDs, which are new.
pub async fn find(
    client: &Client,
    names: &Names,
    tables: &[TableFingerprint],
    loaded: bool,
) -> Result<Vec<std::result::Result<LiveTable, ObservedRows>>> {
    let mut all: Vec<std::result::Result<LiveTable, ObservedRows>> = Vec::with_capacity(tables.len());
    let mut wanted = Vec::new();
    for (at, table) in tables.iter().enumerate() {
        all.push(match names.text(client, &table.columns).await? {
            Some(columns) => {
                let columns = columns.strip_prefix('(').and_then(|columns| columns.strip_suffix(')'));
                Ok(LiveTable { relations: Vec::new(), columns: columns.unwrap_or_default().to_owned() })
            }
            None => Err(ObservedRows::Unnamed),
        });
        for name in table.relations() {
            // An empty name is nobody's.
            let text = names.text(client, name).await?;
            if text.is_none() {
                all[at] = Err(ObservedRows::Unnamed);
            }
            wanted.push((at, text.unwrap_or_default()));
        }
    }
    if loaded {
        wanted.extend(other_partitions(client, names, tables, &wanted).await?);
    }
    let asked: Vec<&str> = wanted.iter().map(|(_, text)| text.as_str()).collect();
    let found = relations(client, &asked).await?;
    for ((at, text), relation) in wanted.into_iter().zip(found) {
        let Some(relation) = relation else { continue };
        match (relation.no_rows(), &mut all[at]) {
            (_, Err(_)) => {}
            (Some(instead), target) => *target = Err(instead),
            (None, Ok(target)) => target.relations.push((text, relation)),
        }
    }
    let there = |target: LiveTable| if target.relations.is_empty() { Err(ObservedRows::Absent) } else { Ok(target) };
    Ok(all.into_iter().map(|target| target.and_then(there)).collect())
}

/// The partitions of roots of which the dump names some, and which are no table of their own in it.
async fn other_partitions(
    client: &Client,
    names: &Names,
    tables: &[TableFingerprint],
    wanted: &[(usize, String)],
) -> Result<Vec<(usize, String)>> {
    let known: Vec<&str> = wanted.iter().map(|(_, text)| text.as_str()).collect();
    let mut others = Vec::new();
    for (at, table) in tables.iter().enumerate().filter(|(_, table)| !table.partitions.is_empty()) {
        let Some(root) = names.text(client, &table.target).await? else { continue };
        let rows = client.query(OTHER_PARTITIONS, &[&root, &known]).await;
        for row in rows.map_err(failed("the partitions cannot be looked up"))? {
            // Rows in a partition that bears no text as its name are told as missing.
            others.extend(get::<String>(&row, 0).ok().map(|text| (at, text)));
        }
    }
    Ok(others)
}

impl LiveTable {
    /// The statements that answer with its rows, or with their number.
    pub fn statements(&self, count: bool) -> Vec<TableQuery> {
        let of = |(name, relation): &(String, Relation)| match count {
            true => vec![relation.count(name)],
            false => {
                let copies = relation.copies(name, &self.columns);
                let bytes = relation.bytes / i64::try_from(copies.len()).unwrap_or(1).max(1);
                copies.into_iter().map(|sql| TableQuery { sql, bytes, instead: None }).collect()
            }
        };
        self.relations.iter().flat_map(of).collect()
    }
}

/// The relations of these names, in their order; none where there is none.
pub async fn relations(client: &Client, names: &[&str]) -> Result<Vec<Option<Relation>>> {
    let mut all = vec![None; names.len()];
    for (batch, names) in names.chunks(BATCH).enumerate() {
        let rows = client.query(RELATIONS, &[&names]).await.map_err(failed("the tables cannot be looked up"))?;
        for row in rows {
            let place = usize::try_from(get::<i64>(&row, 0)?).unwrap_or_default() + batch * BATCH;
            let relation = Relation {
                kind: get(&row, 1)?,
                bytes: get(&row, 2)?,
                pages: get(&row, 3)?,
                condition: get::<Option<String>>(&row, 4)?.filter(|condition| !condition.is_empty()),
            };
            if let Some(found) = place.checked_sub(1).and_then(|place| all.get_mut(place)) {
                *found = Some(relation);
            }
        }
    }
    Ok(all)
}

impl Relation {
    /// What stands in the place of rows, if it is not a table.
    fn no_rows(&self) -> Option<ObservedRows> {
        match self.kind.as_str() {
            "r" | "p" => None,
            "f" => Some(ObservedRows::Foreign),
            "v" => Some(ObservedRows::NoTable("view")),
            "m" => Some(ObservedRows::NoTable("materialized view")),
            _ => Some(ObservedRows::NoTable("relation of another kind")),
        }
    }

    /// What comes behind FROM. pg_dump writes the rows of a table without those of its children, but where an extension
    /// has a condition on them (`dumpTableData_copy`).
    fn from(&self, name: &str) -> String {
        match (&self.condition, self.kind.as_str()) {
            (Some(condition), _) => format!("{name} {condition}"),
            (None, "p") => name.to_owned(),
            (None, _) => format!("ONLY {name}"),
        }
    }

    /// Whether COPY itself can read exactly its rows.
    fn is_plain(&self) -> bool {
        self.condition.is_none() && self.kind == "r"
    }

    fn count(&self, name: &str) -> TableQuery {
        TableQuery {
            sql: format!("SELECT pg_catalog.count(*) FROM {}", self.from(name)),
            bytes: self.bytes,
            instead: self.is_plain().then(|| name.to_owned()),
        }
    }

    /// What COPY is to copy, so that the rows together are those that pg_dump would have written for these columns.
    fn copies(&self, name: &str, columns: &str) -> Vec<String> {
        let from = self.from(name);
        let ranges = if self.is_plain() { ranges(self.pages, self.bytes) } else { vec![String::new()] };
        // As pg_dump does it, which plans nothing. Without a list COPY takes all columns that there are.
        let direct = self.is_plain() && ranges.len() == 1 && !columns.is_empty();
        let copy = |range: String| match direct {
            true => format!("{name} ({columns})"),
            false => format!("(SELECT {columns} FROM {from}{range})"),
        };
        ranges.into_iter().map(copy).collect()
    }
}

/// Conditions that share a heap out. The last piece has no end: what came after its size was asked is not in the snapshot.
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

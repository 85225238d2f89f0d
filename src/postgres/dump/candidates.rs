//! The tables of a dump that are worth and safe to be read in ranges.

use tokio_postgres::Client;

use crate::error::Result;
use crate::postgres::archive::DataEntry;
use crate::postgres::client::failed;
use crate::postgres::columns::get;
use crate::postgres::dump::split_table::SplitTable;

/// Ordinary tables among the OIDs of `$1` with at least `$2` bytes, the largest first, at most `$3`.
///
/// - pg_dump writes no rows of an unlogged table of a standby, and some of an extension's only.
/// - pg_dump says best which rights are missing to read all rows.
/// - With `old_snapshot_threshold` (until PostgreSQL 16) the server removes rows that a snapshot still sees, and reports that only
///   to a session whose own snapshot is older than the removal. One that imports it later misses the rows without an error: the
///   time of a snapshot is that of its import (`SetTransactionSnapshot` in `src/backend/utils/time/snapmgr.c`).
/// - The file must be that of the snapshot, and the name still that of the table.
/// - A query of a range is planned, and its planner evaluates the constant parts of the expressions of indexes and statistics. A
///   function of the table's owner would run with our privileges. Only those that depend on nothing but PostgreSQL's own
///   functions, operators and types are allowed: these are pinned and have no entries in `pg_depend`.
const TABLES: &str = "SELECT w.place, pg_catalog.format('%I.%I', n.nspname, c.relname), s.heap / s.page, s.heap + s.large \
     FROM ROWS FROM (pg_catalog.unnest($1::oid[])) WITH ORDINALITY w(oid, place) \
     JOIN pg_catalog.pg_class c ON c.oid = w.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_catalog.pg_am a ON a.oid = c.relam \
     CROSS JOIN LATERAL (SELECT pg_catalog.pg_relation_size(c.oid) AS heap, \
     COALESCE(pg_catalog.pg_relation_size(NULLIF(c.reltoastrelid, 0)), 0) AS large, \
     pg_catalog.current_setting('block_size')::int8 AS page OFFSET 0) s \
     WHERE c.relkind = 'r' AND a.amname = 'heap' \
     AND (c.relpersistence = 'p' OR c.relpersistence = 'u' AND NOT pg_catalog.pg_is_in_recovery()) \
     AND COALESCE(pg_catalog.current_setting('old_snapshot_threshold', true), '-1') = '-1' \
     AND c.relfilenode <> 0 AND c.relfilenode = pg_catalog.pg_relation_filenode(c.oid) \
     AND NOT pg_catalog.row_security_active(c.oid) \
     AND pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, c.relname)) = c.oid \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass \
     AND d.objid = c.oid AND d.deptype = 'e') \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_index i JOIN pg_catalog.pg_depend d \
     ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = i.indexrelid \
     WHERE i.indrelid = c.oid AND (i.indexprs IS NOT NULL OR i.indpred IS NOT NULL) AND d.refclassid IN \
     ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass, 'pg_catalog.pg_type'::regclass)) \
     AND NOT EXISTS (SELECT FROM pg_catalog.pg_statistic_ext e JOIN pg_catalog.pg_depend d \
     ON d.classid = 'pg_catalog.pg_statistic_ext'::regclass AND d.objid = e.oid \
     WHERE e.stxrelid = c.oid AND d.refclassid IN \
     ('pg_catalog.pg_proc'::regclass, 'pg_catalog.pg_operator'::regclass, 'pg_catalog.pg_type'::regclass)) \
     AND s.heap + s.large >= $2 ORDER BY s.heap + s.large DESC, w.place LIMIT $3";

/// The tables of at least `least` bytes to read in ranges of `range` bytes, in the order of the entries. `most` of them, which are the
/// largest.
pub async fn find(
    client: &Client,
    entries: &[DataEntry],
    encoding: &str,
    least: u64,
    range: u64,
    most: usize,
) -> Result<Vec<SplitTable>> {
    let tables: Vec<(&DataEntry, &[u8])> = entries.iter().filter_map(|entry| Some((entry, entry.columns()?))).collect();
    let oids: Vec<u32> = tables.iter().map(|(entry, _)| entry.oid).collect();
    let (least, most) = (i64::try_from(least).unwrap_or(i64::MAX), i64::try_from(most).unwrap_or(i64::MAX));
    let rows = client.query(TABLES, &[&oids, &least, &most]).await;
    let rows = rows.map_err(failed("the tables cannot be looked up"))?;
    let mut found = Vec::with_capacity(rows.len());
    for row in &rows {
        let place = usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
        found.extend(tables.get(place).map(|table| (place, table, row)));
    }
    found.sort_unstable_by_key(|(place, ..)| *place);
    let columns: Vec<&[u8]> = found.iter().map(|(_, (_, columns), _)| *columns).collect();
    let columns = as_text(client, &columns, encoding).await?;
    let mut split = Vec::with_capacity(found.len());
    for ((_, (entry, _), row), columns) in found.into_iter().zip(columns) {
        let size = |column| get::<i64>(row, column).map(|size| u64::try_from(size).unwrap_or_default());
        split.push(SplitTable::new(entry, get(row, 1)?, columns, size(2)?, size(3)?, range));
    }
    Ok(split)
}

/// Texts of the dump, converted to that of the session.
async fn as_text(client: &Client, texts: &[&[u8]], encoding: &str) -> Result<Vec<String>> {
    let query = "SELECT pg_catalog.convert_from(t.text, $2::text::name) \
         FROM ROWS FROM (pg_catalog.unnest($1::bytea[])) WITH ORDINALITY t(text, place) ORDER BY t.place";
    let rows = client.query(query, &[&texts, &encoding]).await;
    let rows = rows.map_err(failed("the columns of a table cannot be converted"))?;
    rows.iter().map(|row| get(row, 0)).collect()
}

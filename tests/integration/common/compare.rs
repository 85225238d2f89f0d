//! Whether two databases hold the same: schema, rows, sequences, large objects, and properties.
//!
//! It uses PostgreSQL's own programs and shares nothing with the program under test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;

use super::cluster::Database;
use super::process::must;

/// What a database holds: a text or a hash for each of its parts, by the part's name.
pub type Contents = BTreeMap<String, String>;

/// Fails the test, naming what differs, unless both databases hold the same. Properties of the database itself (owner,
/// encoding, settings …) are compared too; its name is not.
pub fn assert_same(expected: &Database<'_>, found: &Database<'_>) {
    let differences = differences(&contents(expected), &contents(found));
    assert!(
        differences.is_empty(),
        "{} is not the same as {}:\n{}",
        found.name(),
        expected.name(),
        differences.join("\n")
    );
}

/// One line or more for each part that is missing, added or different. Empty when all is the same.
pub fn differences(expected: &Contents, found: &Contents) -> Vec<String> {
    let missing =
        expected.iter().filter(|(part, _)| !found.contains_key(*part)).map(|(part, _)| format!("missing: {part}"));
    let added =
        found.iter().filter(|(part, _)| !expected.contains_key(*part)).map(|(part, _)| format!("added: {part}"));
    let changed = expected.iter().filter_map(|(part, was)| match found.get(part) {
        Some(is) if is != was => Some(format!("different: {part}\n  was {was}\n  is  {is}")),
        _ => None,
    });
    missing.chain(added).chain(changed).collect()
}

/// Reads everything that a database holds.
pub fn contents(database: &Database<'_>) -> Contents {
    let mut contents = schema(database);
    contents.extend(values(database));
    contents
}

/// The entries of `pg_dump --schema-only`, which writes a header before each. Their order follows OIDs in a few places,
/// which no restore keeps, so the order is not compared.
fn schema(database: &Database<'_>) -> Contents {
    let mut pg_dump = database.cluster().client("pg_dump", database.name());
    entries(&must(pg_dump.arg("--schema-only")))
}

fn entries(script: &str) -> Contents {
    let mut settings = BTreeMap::new();
    let mut entries = Contents::new();
    let mut header = "schema: settings".to_owned();
    for line in script.lines().filter(|line| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict ")) {
        if let Some(name) = line.strip_prefix("-- Name: ") {
            header = format!("schema: {name}");
            let place: Vec<String> = settings.values().cloned().collect();
            let entry = entries.entry(header.clone()).or_default();
            let _ = writeln!(entry, "{}", place.join(" "));
        } else if let Some(setting) = line.strip_prefix("SET default_") {
            // Written only when the value changes, so it may stand before any entry; it belongs to all that follow.
            settings.insert(setting.split(' ').next().unwrap_or_default().to_owned(), line.to_owned());
        } else if !line.is_empty() && line != "--" {
            let _ = writeln!(entries.entry(header.clone()).or_default(), "{line}");
        }
    }
    entries.into_iter().map(|(name, text)| (name, without_column_order(&text))).collect()
}

/// A restore may change the order of the columns of a table that inherits, so they are sorted.
fn without_column_order(text: &str) -> String {
    let Some((head, rest)) = text.split_once(" (\n") else {
        return text.to_owned();
    };
    let Some((columns, tail)) = rest.split_once("\n)\n") else {
        return text.to_owned();
    };
    if !head.contains("CREATE TABLE") || !tail.starts_with("INHERITS") {
        return text.to_owned();
    }
    let mut columns: Vec<&str> = columns.lines().map(|line| line.trim_end_matches(',')).collect();
    columns.sort_unstable();
    format!("{head} (\n{}\n)\n{tail}", columns.join("\n"))
}

/// The rows of every table and filled materialised view, as their number and a hash that does not depend on their order;
/// sequences, large objects, and properties of the database.
fn values(database: &Database<'_>) -> Contents {
    let mut script = tempfile::NamedTempFile::new().unwrap();
    write!(script, "SET row_security = off;\n{TABLES} \\gexec\n{SEQUENCES};{LARGE_OBJECTS};{PROPERTIES};\n").unwrap();
    let mut psql = database.cluster().client("psql", database.name());
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-f"]).arg(script.path());
    // Each line is a JSON array of two: the name of a part and its value.
    must(&mut psql).lines().map(|line| serde_json::from_str::<(String, String)>(line).unwrap()).collect()
}

/// A query for each table that returns its columns, the number of its rows and a hash of them. Generated columns are not
/// in an archive. The partitions of a table that hashes an enum, whose values hash by their OIDs, may trade rows in a
/// restore; there the rows are counted for the partitioned table.
const TABLES: &str = r#"
WITH RECURSIVE by_enum AS (
    SELECT partrelid AS oid, partrelid AS top
      FROM pg_catalog.pg_partitioned_table JOIN pg_catalog.pg_attribute ON attrelid = partrelid AND attnum = ANY (partattrs::int2[])
      JOIN pg_catalog.pg_type t ON t.oid = atttypid
     WHERE partstrat = 'h' AND typtype = 'e'
    UNION ALL
    SELECT inhrelid, top FROM by_enum JOIN pg_catalog.pg_inherits ON inhparent = oid
)
SELECT format(
    'SELECT json_build_array(%L, format(''%%s rows, %%s'', count(*), md5(coalesce(string_agg(h, '''' ORDER BY h), '''')))) FROM (SELECT md5(ROW(%s)::text) AS h FROM %s %I.%I) AS hashes',
    format('rows: %I.%I (%s)', nspname, relname, columns), columns,
    CASE WHEN relkind = 'p' THEN '' ELSE 'ONLY' END, nspname, relname)
  FROM pg_catalog.pg_class c
  JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
  CROSS JOIN LATERAL (
    SELECT coalesce(string_agg(quote_ident(attname), ', ' ORDER BY attname COLLATE pg_catalog."C"), '') AS columns
      FROM pg_catalog.pg_attribute
     WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '') AS a
 WHERE (n.oid >= 16384 OR nspname = 'public')
   AND relispopulated AND relpersistence <> 't'
   AND CASE relkind WHEN 'r' THEN c.oid NOT IN (SELECT oid FROM by_enum) WHEN 'p' THEN c.oid IN (SELECT top FROM by_enum)
       ELSE relkind = 'm' END"#;

const SEQUENCES: &str = r"
SELECT json_build_array(format('sequence: %I.%I', nspname, relname),
       (pg_catalog.xpath('/row/v/text()', pg_catalog.query_to_xml(
           format('SELECT last_value || '' '' || is_called AS v FROM %I.%I', nspname, relname), true, true, '')))[1]::text)
  FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace
 WHERE relkind = 'S' AND relpersistence <> 't'";

const LARGE_OBJECTS: &str = r"
SELECT json_build_array(format('large object: %s', oid),
       format('%s %s %s %s', lomowner::regrole, lomacl, obj_description(oid, 'pg_largeobject'), md5(lo_get(oid))))
  FROM pg_catalog.pg_largeobject_metadata";

const PROPERTIES: &str = r"
SELECT json_build_array('property: ' || key, format('%s', value))
  FROM pg_catalog.pg_database d, jsonb_each(to_jsonb(d) || jsonb_build_object(
       'encoding', pg_encoding_to_char(encoding), 'comment', shobj_description(oid, 'pg_database'),
       'datacl', (SELECT coalesce(jsonb_agg(format('%s', a) ORDER BY a::text), '[]') FROM unnest(datacl) a),
       'settings', (SELECT coalesce(jsonb_agg(jsonb_build_array(setrole::regrole, setconfig) ORDER BY setrole), '[]')
                      FROM pg_catalog.pg_db_role_setting WHERE setdatabase = d.oid)))
 WHERE datname = current_database()
   AND key NOT IN ('oid', 'datname', 'datfrozenxid', 'datminmxid', 'datlastsysoid')";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_know_the_settings_that_they_stand_under() {
        let plain = entries("-- Name: a; Type: TABLE\nCREATE TABLE a;\n");
        let moved = entries("SET default_tablespace = other;\n-- Name: a; Type: TABLE\nCREATE TABLE a;\n");
        assert_ne!(plain, moved);
    }

    #[test]
    fn the_order_of_inherited_columns_does_not_matter() {
        let one = "CREATE TABLE c (\n    a integer,\n    b text\n)\nINHERITS (p);\n";
        let other = "CREATE TABLE c (\n    b text,\n    a integer\n)\nINHERITS (p);\n";
        assert_eq!(without_column_order(one), without_column_order(other));
        assert_ne!(without_column_order(one), without_column_order(&one.replace("INHERITS", "PARTITION OF")));
    }
}

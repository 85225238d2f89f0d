//! Drills of every byte, in encodings other than UTF-8, and of tables with special dumps.

use serde_json::{Value, json};

use super::{cellar, drill, left};
use crate::common::{Cellar, Cluster, Database, Version};

/// Every character from 1 to 255, and every way to write one; `chr` gives the byte of that number in both encodings.
const VALUES: &str = r"
    CREATE TABLE characters (n int, c text);
    INSERT INTO characters SELECT n, chr(n) FROM generate_series(1, 255) n;
    INSERT INTO characters SELECT 256, string_agg(c, '' ORDER BY n) FROM characters;
    INSERT INTO characters SELECT 257, string_agg(c, '' ORDER BY n DESC) FROM characters;
    CREATE TABLE bytes (b bytea);
    INSERT INTO bytes SELECT set_byte('\x00', 0, n) FROM generate_series(0, 255) n;
    INSERT INTO bytes SELECT string_agg(b, '' ORDER BY b) FROM bytes;
    INSERT INTO bytes VALUES (''), (NULL), ('\\.'), ('\\N'), ('\x5c2e0a');
    CREATE TABLE escaped (t text);
    INSERT INTO escaped VALUES (E'\b'), (E'\f'), (E'\n'), (E'\r'), (E'\t'), (E'\x0b'), ('\'), ('\b'), ('\f'), ('\n'), ('\r'),
        ('\t'), ('\v'), ('\\'), ('\\n'), (E'\\\n'), (E'\\\t'), ('\x41'), ('\101'), ('.'), ('\.'), ('\\.'), (E'\n\\.'),
        (E'\\.\n'), (E'\n\\.\n'), (E'\r\n\\.\r\n'), ('N'), ('\N'), ('\\N'), ('NULL'), (''), (NULL), (' ');
    CREATE TABLE pairs (a text, b text);
    INSERT INTO pairs SELECT one.t, other.t FROM escaped one, escaped other;
    -- The line that ends the rows, as nearly as a row can come to it.
    CREATE TABLE ends (t text);
    INSERT INTO ends VALUES ('\.');
    CREATE TABLE named (n int);
    INSERT INTO named VALUES (1), (2);
    CREATE SEQUENCE counted;
    SELECT setval('counted', 41)";

/// Numbers of tables and rows of the database.
fn everything(database: &Database<'_>) -> (Value, Value) {
    let count = |sql: &str| json!(database.sql(sql).parse::<u64>().unwrap());
    let rows = "SELECT sum((xpath('/row/n/text()', query_to_xml(format('SELECT count(*) AS n FROM ONLY %s', oid::regclass), \
         true, true, '')))[1]::text::int8) FROM pg_class WHERE relkind = 'r' AND oid >= 16384";
    (count("SELECT count(*) FROM pg_class WHERE relkind = 'r' AND oid >= 16384"), count(rows))
}

/// Runs the drill, which must find no difference.
fn held(cellar: &Cellar) -> Value {
    let id = cellar.back_up_for_drill()["id"].clone();
    let printed = drill(cellar, &id).succeeds().json()[0].clone();
    assert_eq!(left(cellar), [""; 0]);
    printed
}

/// A database in this encoding, with these bytes in the names of a table, its column and a sequence.
fn encoded(encoding: &str, name: &[u8]) -> Database<'static> {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.name_for(&format!("drill_{}", encoding.to_lowercase()));
    let options = format!("ENCODING '{encoding}' LOCALE 'C'");
    cluster.sql("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0 {options}"));
    let database = cluster.database(&database);
    database.sql(VALUES);
    let name: Vec<String> = name.iter().map(|byte| format!("chr({byte})")).collect();
    let name = name.join(" || ");
    database.sql(&format!(
        "DO $$BEGIN EXECUTE format('ALTER TABLE named RENAME n TO %I', {name}); \
         EXECUTE format('ALTER TABLE named RENAME TO %I', {name}); \
         EXECUTE format('ALTER SEQUENCE counted RENAME TO %I', {name} || ' counted'); END$$"
    ));
    database
}

#[test]
fn every_character_of_latin_1_and_every_byte_without_an_encoding() {
    // A name that is not UTF-8 can be shown in one encoding and not in the other.
    for (encoding, name) in [("LATIN1", &b"Gr\xf6\xdfe"[..]), ("SQL_ASCII", "Größe".as_bytes())] {
        let database = encoded(encoding, name);
        let printed = held(&cellar(&database));
        assert_eq!(printed["result"], "passed", "{encoding}: {printed:#}");
        let compared = &printed["compared"];
        assert_eq!((compared["tables"].clone(), compared["rows"].clone()), everything(&database), "{encoding}");
        assert_eq!(compared["sequences"], 1, "{encoding}");
    }
}

#[test]
fn objects_with_undecodable_names_are_restored_and_not_compared() {
    let printed = held(&cellar(&encoded("SQL_ASCII", b"Gr\xf6\xdfe")));
    assert_eq!((&printed["result"], &printed["differences"]), (&json!("restored"), &json!([])), "{printed:#}");
    let notes: Vec<&str> = printed["notes"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let why = "is not compared: its name has bytes that are not valid text";
    let names = ["table public.\"Gr\u{fffd}\u{fffd}e\"", "sequence public.\"Gr\u{fffd}\u{fffd}e counted\""];
    assert_eq!(notes, names.map(|name| format!("{name} {why}")));
}

/// Numbers of objects that were gone are those of tables and of later indexes in a new cluster.
#[test]
fn numbers_of_objects_that_a_drill_makes_are_no_difference() {
    let database = Cluster::shared(Version::V15).create("drill_numbers");
    // The objects of a new cluster have the first numbers.
    database.sql(
        "DO $$BEGIN FOR n IN 1..99 LOOP CREATE TABLE gone (); DROP TABLE gone; END LOOP; END$$; \
         CREATE TABLE keyed (n int PRIMARY KEY); INSERT INTO keyed SELECT generate_series(1, 400000); \
         CREATE TABLE numbers (r regclass); INSERT INTO numbers SELECT n::oid::regclass FROM generate_series(16384, 60000) n \
           WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = n)",
    );
    let printed = held(&cellar(&database));
    assert_eq!(printed["result"], "passed", "{printed:#}");
}

#[test]
fn excluded_data_is_not_expected() {
    let database = super::small("drill_partly");
    database.sql(
        "CREATE TABLE log AS SELECT n FROM generate_series(1, 50) n; CREATE TABLE gone AS SELECT 1 AS n; \
         CREATE TABLE parts (n int) PARTITION BY RANGE (n); \
         CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (10) TO (20); \
         INSERT INTO parts SELECT generate_series(0, 19)",
    );
    let (tables, rows) = everything(&database);
    for (options, without) in [
        ("--exclude-table-data=log", (1, 50)),
        ("--exclude-table-data=log --exclude-table=gone", (2, 51)),
        ("--exclude-table-data=parts_low", (1, 10)),
        ("--load-via-partition-root --exclude-table-data=parts_low", (1, 10)),
        ("--table=wine --table=beer", (6, 72)),
    ] {
        let printed = held(&cellar(&database).with("BACKUP_DUMP_OPTIONS", options));
        assert_eq!(printed["result"], "passed", "{options}: {printed:#}");
        let compared = |what: &str| printed["compared"][what].as_u64().unwrap();
        let expected = (tables.as_u64().unwrap() - without.0, rows.as_u64().unwrap() - without.1);
        assert_eq!((compared("tables"), compared("rows")), expected, "{options}");
    }
}

/// The values of an enum are hashed by their OIDs, which a restore does not keep: rows may move to other partitions.
#[test]
fn partitions_that_are_loaded_through_their_root() {
    let database = Cluster::shared(Version::V15).create("drill_roots");
    database.sql(
        // Otherwise the values would get the same OIDs in a new cluster.
        "SELECT lo_unlink(lo_create(0)) FROM generate_series(1, 1000); \
         DO $$ BEGIN EXECUTE (SELECT 'CREATE TYPE mood AS ENUM (' || string_agg(quote_literal(n), ', ') || ')' \
         FROM generate_series(1, 50) n); END $$; \
         CREATE TABLE hashed (id int, mood mood, note text) PARTITION BY HASH (mood); \
         CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 0); \
         CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 1); \
         CREATE TABLE hashed_2 PARTITION OF hashed FOR VALUES WITH (MODULUS 3, REMAINDER 2); \
         INSERT INTO hashed SELECT n, (enum_range(NULL::mood))[n % 51], E'note\\t' || n FROM generate_series(1, 210) n; \
         CREATE TABLE ranged (day date, n int, twice int GENERATED ALWAYS AS (n * 2) STORED) PARTITION BY RANGE (day); \
         CREATE TABLE ranged_early PARTITION OF ranged FOR VALUES FROM (MINVALUE) TO ('2024-01-01') PARTITION BY LIST (n); \
         CREATE TABLE ranged_early_1 PARTITION OF ranged_early FOR VALUES IN (1); \
         CREATE TABLE ranged_early_rest (n int, twice int GENERATED ALWAYS AS (n * 2) STORED, day date); \
         ALTER TABLE ranged_early ATTACH PARTITION ranged_early_rest DEFAULT; \
         CREATE TABLE ranged_rest PARTITION OF ranged DEFAULT; \
         INSERT INTO ranged SELECT '2023-06-01'::date + n, n % 3 FROM generate_series(1, 400) n; \
         ALTER TABLE ranged ENABLE ROW LEVEL SECURITY; ALTER TABLE ranged FORCE ROW LEVEL SECURITY; \
         CREATE POLICY nobodys ON ranged USING (false)",
    );
    for options in ["", "--load-via-partition-root"] {
        let printed = held(&cellar(&database).with("BACKUP_DUMP_OPTIONS", options));
        assert_eq!(printed["result"], "passed", "'{options}': {printed:#}");
        assert_eq!(printed["compared"]["rows"], 610, "'{options}'");
    }
    // Rows also move into the partition whose own rows were left out.
    let left_out: u64 = database.sql("SELECT count(*) FROM hashed_0").parse().unwrap();
    let printed = held(&cellar(&database).with("BACKUP_DUMP_OPTIONS", "--exclude-table-data=hashed_0"));
    assert_eq!(printed["result"], "passed", "{printed:#}");
    assert_eq!(printed["compared"]["rows"], 610 - left_out);
}

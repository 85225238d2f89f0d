//! The fingerprints of a live database equal those of its dump, computed from the dump's text.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use pgcellar::fingerprint::compare::Comparison;
use pgcellar::fingerprint::{Fingerprints, LongRow, Quoted, SequenceFingerprint, TableFingerprint};

use crate::common::cluster::quote_identifier;
use crate::common::fingerprints::{compare_live, read_live};
use crate::common::process::must;
use crate::common::{Cluster, Database, Version, everything};

/// The fingerprints of a database, from the text of a plain pg_dump.
fn dumped(database: &Database<'_>) -> Fingerprints {
    let mut pg_dump = database.cluster().client("pg_dump", database.name());
    pg_dump.env("PGOPTIONS", "-c TimeZone=UTC -c bytea_output=hex").stdout(Stdio::piped());
    let mut child = pg_dump.spawn().unwrap();
    let mut fingerprints = Fingerprints::default();
    let (mut rows, mut partition) = (None::<TableFingerprint>, None);
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        let line = line.unwrap();
        match &mut rows {
            Some(table) if line == b"\\." => {
                let table = std::mem::take(table);
                rows = None;
                match fingerprints.tables.iter_mut().find(|other| other.target == table.target) {
                    Some(other) => {
                        other.sum.merge(&table.sum);
                        other.partitions.extend(table.partitions);
                    }
                    None => fingerprints.tables.push(table),
                }
            }
            Some(table) => table.sum.add(&line),
            None => {
                let text = String::from_utf8_lossy(&line);
                if let Some(name) = text.strip_prefix("-- Data for Name: ") {
                    let (name, rest) = name.split_once("; Type: TABLE DATA; Schema: ").unwrap_or((name, ""));
                    let schema = rest.split_once("; Owner: ").map_or("", |(schema, _)| schema);
                    partition = Some(format!("{}.{}", quote_identifier(schema), quote_identifier(name)));
                } else if let Some((target, columns)) = copied(&text) {
                    // Only partitions are loaded under another name, their root's.
                    let own = partition.take().filter(|own| own.replace('"', "") != target.replace('"', ""));
                    rows = Some(TableFingerprint {
                        target: Quoted::from(target),
                        columns: Quoted::from(columns),
                        partitions: own.iter().map(|own| Quoted::from(own.as_str())).collect(),
                        ..TableFingerprint::default()
                    });
                } else if let Some(set) = text.strip_prefix("SELECT pg_catalog.setval('") {
                    let (name, value) = set.split_once("', ").unwrap();
                    let (last_value, is_called) = value.trim_end_matches(");").split_once(", ").unwrap();
                    fingerprints.sequences.push(SequenceFingerprint {
                        name: Quoted::from(name),
                        last_value: last_value.to_owned(),
                        is_called: is_called == "true",
                    });
                }
            }
        }
    }
    assert!(child.wait().unwrap().success());
    let objects = database.sql("SELECT oid, encode(lo_get(oid), 'hex') FROM pg_largeobject_metadata ORDER BY oid DESC");
    for (oid, hex) in objects.lines().map(|line| line.split_once('|').unwrap()) {
        let mut contents = LongRow::default();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        contents.push(&hex.as_bytes().chunks(2).map(byte).collect::<Vec<u8>>());
        fingerprints.large_objects.add(oid.parse().unwrap(), &contents);
    }
    fingerprints
}

/// Target and columns of `COPY public.t (a, b) FROM stdin;`.
fn copied(line: &str) -> Option<(&str, &str)> {
    let copy = line.strip_prefix("COPY ")?.strip_suffix(" FROM stdin;")?;
    let mut quoted = false;
    let columns = copy.char_indices().find(|(_, letter)| {
        quoted ^= *letter == '"';
        *letter == ' ' && !quoted
    });
    let (target, columns) = copy.split_at(columns.map_or(copy.len(), |(at, _)| at));
    Some((target, columns.trim()))
}

#[track_caller]
fn assert_equal(comparison: &Comparison) {
    assert!(comparison.is_equal(), "{:#?}", comparison.differences);
    assert!(comparison.not_compared.is_empty(), "{:?}", comparison.not_compared);
}

fn of_every_type(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("types");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/integration/live/types.sql");
    must(cluster.client("psql", database.name()).args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]).arg(path));
    database
}

fn is_the_same_as_its_dump(version: Version) {
    if !version.is_covered() {
        return;
    }
    let cluster = Cluster::shared(version);
    for database in [everything::database(cluster, "living"), of_every_type(cluster)] {
        // Settings of databases change nothing.
        let name = database.name();
        database.sql(&format!(
            "ALTER DATABASE {name} SET DateStyle = 'SQL, DMY'; ALTER DATABASE {name} SET IntervalStyle = iso_8601; \
             ALTER DATABASE {name} SET extra_float_digits = -5; ALTER DATABASE {name} SET TimeZone = 'Asia/Kolkata'; \
             ALTER DATABASE {name} SET bytea_output = escape"
        ));
        let expected = dumped(&database);
        assert!(expected.tables.len() > 10 && !expected.sequences.is_empty());
        for jobs in [1, 3] {
            let comparison = compare_live(&expected, &database, jobs, false);
            assert_equal(&comparison);
            assert_eq!(comparison.tables, expected.tables.len() as u64);
        }
        assert_equal(&compare_live(&expected, &database, 2, true));
    }
}

#[test]
fn live_fingerprints_equal_the_dump_on_15() {
    is_the_same_as_its_dump(Version::V15);
}

#[test]
fn live_fingerprints_equal_the_dump_on_17() {
    is_the_same_as_its_dump(Version::V17);
}

#[test]
fn live_fingerprints_equal_the_dump_on_19() {
    is_the_same_as_its_dump(Version::V19);
}

/// As if the foreign table had been created between the check of the name and the query.
#[test]
fn no_query_reaches_a_foreign_server() {
    let database = Cluster::shared(Version::V15).create("restricted");
    database.sql("CREATE TABLE far (n int)");
    let expected = dumped(&database);
    database.sql(
        "DROP TABLE far; CREATE TABLE far (n int) PARTITION BY LIST (n); \
         CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere; \
         CREATE FOREIGN TABLE away PARTITION OF far FOR VALUES IN (1) SERVER nowhere",
    );
    let error = read_live(&expected, &database, 1, false).unwrap_err();
    assert!(error.to_string().contains("non-system foreign table is restricted"), "{error}");
}

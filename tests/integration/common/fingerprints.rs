//! The fingerprints of a backup, read by stock commands, and compared with a database as psql or pgcellar reads it.

use std::collections::BTreeSet;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};

use pgcellar::config::{Connection, Host, SslMode, Tls};
use pgcellar::error::Error;
use pgcellar::fingerprint::compare::{Comparison, Objects, Observed, compare};
use pgcellar::fingerprint::{Fingerprints, LargeObjects, LongRow, Sum, TableFingerprint};
use pgcellar::host::progress::Counter;
use pgcellar::postgres::live::{Query, observe};
use serde_json::Value;

use super::cluster::{Cluster, Database, SUPERUSER};
use super::keys::Key;
use super::process::plain;

/// The file with the fingerprints in a manifest, if there is one.
pub fn file(manifest: &Value) -> Option<&Value> {
    let files = manifest["files"].as_array().expect("files");
    files.iter().find(|file| file["role"] == "fingerprints")
}

/// The fingerprints of a backup in a folder.
pub fn read(folder: &Path, manifest: &Value, key: Option<&Key>) -> Fingerprints {
    let path = folder.join(file(manifest).expect("fingerprints")["key"].as_str().unwrap());
    let decrypted = match key {
        Some(key) => output(plain("age").arg("--decrypt").arg("-i").arg(&key.identity).arg(&path)),
        None => fs::read(&path).unwrap(),
    };
    let name = path.to_str().unwrap().trim_end_matches(".age");
    let packed = key.map(|key| key.identity.with_extension("packed")).unwrap_or_else(|| path.clone());
    if key.is_some() {
        fs::write(&packed, decrypted).unwrap();
    }
    let text = match name.rsplit_once('.').unwrap().1 {
        "gz" => output(plain("gzip").arg("-dc").stdin(Stdio::from(fs::File::open(&packed).unwrap()))),
        "zst" => output(plain("zstd").arg("-dc").stdin(Stdio::from(fs::File::open(&packed).unwrap()))),
        _ => fs::read(&packed).unwrap(),
    };
    Fingerprints::from_json(text.as_slice()).unwrap()
}

fn output(command: &mut Command) -> Vec<u8> {
    let output = command.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{command:?}");
    output.stdout
}

/// The rows of a table of the database, as COPY writes them with the settings of the dump.
pub fn rows(database: &Database<'_>, fingerprints: &Fingerprints, table: &TableFingerprint, condition: &str) -> Sum {
    let mut sum = Sum::default();
    lines(database, fingerprints, table, condition).iter().for_each(|line| sum.add(line));
    sum
}

/// The lines of these rows, without line ends.
pub fn lines(
    database: &Database<'_>,
    fingerprints: &Fingerprints,
    table: &TableFingerprint,
    condition: &str,
) -> Vec<Vec<u8>> {
    let columns = table.columns.text().unwrap();
    let columns = columns.strip_prefix('(').and_then(|list| list.strip_suffix(')')).unwrap_or_default();
    // Partitions are read one by one: their root may have others, on other servers or loaded directly.
    let from: Vec<String> = match table.partitions.as_slice() {
        [] => vec![format!("{} {condition}", table.target)],
        partitions => partitions.iter().map(ToString::to_string).collect(),
    };
    let mut lines = Vec::new();
    for from in from {
        let mut psql = database.cluster().client("psql", database.name());
        let copy = format!("COPY (SELECT {columns} FROM ONLY {from}) TO STDOUT");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c"]).arg(copy);
        psql.env("PGOPTIONS", options(fingerprints)).env("PGCLIENTENCODING", &fingerprints.settings["client_encoding"]);
        let text = output(&mut psql);
        let rows = text.split_inclusive(|byte| *byte == b'\n');
        lines.extend(rows.map(|line| line.strip_suffix(b"\n").unwrap().to_vec()));
    }
    lines
}

fn options(fingerprints: &Fingerprints) -> String {
    let settings = fingerprints.settings.iter().filter(|(name, _)| *name != "client_encoding");
    settings.map(|(name, value)| format!("-c {name}={value} ")).collect()
}

/// How a database differs from the fingerprints.
pub fn differences(database: &Database<'_>, fingerprints: &Fingerprints) -> Vec<String> {
    let mut differences = Vec::new();
    let conditions = "SELECT c.condition FROM pg_extension e, unnest(e.extconfig, e.extcondition) c(oid, condition)";
    let has_conditions = !database.sql(conditions).is_empty();
    for table in &fingerprints.tables {
        // A dump has only the user's rows of tables that belong to extensions.
        let condition = match has_conditions {
            true => database.sql(&format!("{conditions} WHERE c.oid = $q${}$q$::regclass", table.target)),
            false => String::new(),
        };
        let found = rows(database, fingerprints, table, &condition);
        if found != table.sum {
            differences.push(format!("{}: {:?} instead of {:?}", table.target, found, table.sum));
        }
    }
    for sequence in &fingerprints.sequences {
        let value = database.sql(&format!("SELECT last_value || ' ' || is_called FROM {}", sequence.name));
        let expected = format!("{} {}", sequence.last_value, sequence.is_called);
        if value != expected {
            differences.push(format!("{}: {value} instead of {expected}", sequence.name));
        }
    }
    let objects = large_objects(database).differing(&fingerprints.large_objects);
    differences.extend(objects.iter().map(|range| format!("large objects {range:?}")));
    differences
}

/// The large objects of a database.
pub fn large_objects(database: &Database<'_>) -> LargeObjects {
    let text = database.sql("SELECT oid, encode(lo_get(oid), 'hex') FROM pg_largeobject_metadata ORDER BY 1");
    let mut objects = LargeObjects::default();
    for line in text.lines() {
        let (oid, hex) = line.split_once('|').unwrap();
        let bytes: Vec<u8> =
            (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[n * 2..n * 2 + 2], 16).unwrap()).collect();
        let mut contents = LongRow::default();
        contents.push(&bytes);
        objects.add(oid.parse().unwrap(), &contents);
    }
    objects
}

/// Every table of a database that has rows of its own, and every sequence: the fingerprints must have all of them.
pub fn is_complete(database: &Database<'_>, fingerprints: &Fingerprints) {
    let through_root: BTreeSet<String> =
        fingerprints.tables.iter().flat_map(|table| table.partitions.iter().map(ToString::to_string)).collect();
    let name = |target: &str| database.sql(&format!("SELECT $q${target}$q$::regclass::oid"));
    let found: BTreeSet<String> = fingerprints
        .tables
        .iter()
        .filter(|table| table.partitions.is_empty())
        .map(|table| name(&table.target.to_string()))
        .chain(through_root.iter().map(|partition| name(partition)))
        .collect();
    let own = "NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')";
    let expected = database
        .sql(&format!("SELECT c.oid FROM pg_class c WHERE c.relkind = 'r' AND c.oid >= 16384 AND {own} ORDER BY 1"));
    let expected: BTreeSet<String> = expected.lines().map(str::to_owned).collect();
    assert!(found.is_superset(&expected), "{:?}", expected.difference(&found).collect::<Vec<_>>());
    let sequences =
        database.sql(&format!("SELECT count(*) FROM pg_class c WHERE c.relkind = 'S' AND c.oid >= 16384 AND {own}"));
    assert_eq!(fingerprints.sequences.len().to_string(), sequences);
    let objects = database.sql("SELECT count(*) FROM pg_largeobject_metadata");
    assert_eq!(fingerprints.large_objects.all().rows.to_string(), objects);
}

fn connection(cluster: &Cluster) -> Connection {
    Connection {
        host: Host::Socket(cluster.socket_dir().to_owned()),
        port: cluster.port(),
        user: Some(SUPERUSER.to_owned()),
        password: None,
        tls: Tls { mode: SslMode::Disable, root_cert: None, cert: None, key: None },
        parameters: Vec::new(),
        bindir: None,
    }
}

/// What pgcellar reads from a database to compare it with the fingerprints.
pub fn read_live(expected: &Fingerprints, found: &Database<'_>, jobs: usize, count: bool) -> Result<Observed, Error> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (connection, moved) = (connection(found.cluster()), Counter::default());
    let jobs = NonZeroUsize::new(jobs).unwrap();
    let moved = &moved;
    let ask = Query {
        connection: &connection,
        database: found.name(),
        jobs,
        count,
        large_objects: true,
        loaded: false,
        moved,
    };
    runtime.block_on(observe(&ask, expected))
}

/// Compares a database with the fingerprints, as pgcellar does.
pub fn compare_live(expected: &Fingerprints, found: &Database<'_>, jobs: usize, count: bool) -> Comparison {
    let held = read_live(expected, found, jobs, count).unwrap();
    assert!(matches!(held.large_objects, Objects::All(_)) != count);
    compare(expected, &held)
}

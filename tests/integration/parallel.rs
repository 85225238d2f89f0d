//! Custom archives whose large tables are read by several sessions: the same bytes as pg_dump's, or pg_dump's own.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use pgcellar::postgres::archive::Rechunker;
use serde_json::Value;

use crate::common::{Cellar, Cluster, Database, Version};

mod bytes;
mod faults;
mod restores;

/// Tables of several ranges, which differ in everything that a range may depend on.
const TABLES: &str = "
    CREATE TABLE rows AS SELECT n, md5(n::text) AS label FROM generate_series(1, 250000) n;
    CREATE INDEX rows_label ON rows (lower(label)) WHERE n > 7;
    CREATE TABLE bloated (n int, filler text) WITH (autovacuum_enabled = off);
    INSERT INTO bloated SELECT n, repeat('x', 200) FROM generate_series(1, 60000) n;
    DELETE FROM bloated WHERE n % 50 <> 0;
    UPDATE bloated SET n = -n WHERE n % 100 = 0;
    CREATE TABLE toasted (n int, inline text, large text);
    ALTER TABLE toasted ALTER inline SET STORAGE PLAIN, ALTER large SET STORAGE EXTERNAL;
    INSERT INTO toasted SELECT n, repeat('x', 3000), repeat(chr(64 + n), 900000) || n FROM generate_series(1, 20) n;
    CREATE TABLE dropped (a int, b text, \"C \"\"d\" int, e int GENERATED ALWAYS AS (a + 1) STORED);
    INSERT INTO dropped SELECT n, 'x', -n FROM generate_series(1, 1000) n; ALTER TABLE dropped DROP COLUMN b;
    ALTER TABLE dropped ADD f text DEFAULT 'later';
    CREATE TABLE parent (n int); CREATE TABLE child (m int) INHERITS (parent);
    INSERT INTO parent SELECT generate_series(1, 100); INSERT INTO child SELECT n, n FROM generate_series(1, 200) n;
    CREATE TABLE guarded (n int); INSERT INTO guarded SELECT generate_series(1, 50);
    ALTER TABLE guarded ENABLE ROW LEVEL SECURITY; ALTER TABLE guarded FORCE ROW LEVEL SECURITY;
    CREATE UNLOGGED TABLE unlogged AS SELECT n FROM generate_series(1, 5) n;
    CREATE TABLE nothing (); INSERT INTO nothing DEFAULT VALUES; CREATE TABLE empty (n int);
    CREATE TABLE root (n int, label text) PARTITION BY HASH (n);
    CREATE TABLE part_0 PARTITION OF root FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE part_1 (label text, n int); ALTER TABLE root ATTACH PARTITION part_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO root SELECT n, 'x' || n FROM generate_series(1, 1000) n;
    CREATE FUNCTION theirs(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
    CREATE TABLE indexed AS SELECT generate_series(1, 100) AS n; CREATE INDEX ON indexed (theirs(n));
    SELECT lo_from_bytea(0, decode(repeat('ab', 1000000), 'hex')); SELECT lo_create(0);
    CREATE SEQUENCE counted; SELECT nextval('counted')";

/// The tables above in a new database.
fn large<'a>(cluster: &'a Cluster, purpose: &str) -> Database<'a> {
    let database = cluster.create(purpose);
    database.sql(TABLES);
    database
}

/// The settings of an archive whose bytes can be compared.
fn raw(database: &Database<'_>) -> Cellar {
    let cellar = Cellar::new(database.cluster()).with("DB_NAME", database.name());
    cellar.with("BACKUP_COMPRESSION", "none").with("BACKUP_SPLIT_SIZE", "0")
}

/// A backup by this many sessions: its manifest, and the archive without its time.
fn backed_up(cellar: &Cellar, jobs: &str) -> (Value, Vec<u8>) {
    let outcome = cellar.run(["backup", "--json", "--jobs", jobs]).succeeds();
    let manifest = outcome.json()[0].clone();
    let archive = fs::read(path(cellar, &manifest, "archive")).unwrap();
    // Only so that a test that fails shows why.
    assert_eq!(manifest["jobs"].as_u64().is_some(), jobs != "1", "{outcome}");
    (manifest, without_time(archive))
}

/// The file of a backup with this role.
fn path(cellar: &Cellar, manifest: &Value, role: &str) -> PathBuf {
    let files = manifest["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["role"] == role).unwrap();
    cellar.backup_dir().join(file["key"].as_str().unwrap())
}

/// An archive with a fixed time in its header: seven integers of five bytes behind the compression.
fn without_time(mut archive: Vec<u8>) -> Vec<u8> {
    let from = if archive[6] < 15 { 16 } else { 12 };
    archive[from..from + 35].fill(0);
    archive
}

/// What stock pg_dump writes, with the chunks of a backup.
fn stock(database: &Database<'_>, options: &[&str]) -> Vec<u8> {
    let mut pg_dump = database.cluster().client("pg_dump", database.name());
    // A backup has the planner's statistics from the first pg_dump on that knows them.
    if database.cluster().version() >= Version::V18 {
        pg_dump.arg("--statistics");
    }
    pg_dump.env("PGOPTIONS", "-c TimeZone=UTC -c bytea_output=hex -c quote_all_identifiers=off");
    let output = pg_dump.args(["--format=custom", "--compress=0"]).args(options).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut rechunker = Rechunker::new(Vec::new());
    rechunker.write_all(&output.stdout).unwrap();
    without_time(rechunker.finish().unwrap().0)
}

/// Fails with the place of the first difference, not with both archives.
#[track_caller]
fn same(ours: &[u8], theirs: &[u8], what: &str) {
    let differs = ours.iter().zip(theirs).position(|(one, other)| one != other);
    assert!(
        differs.is_none() && ours.len() == theirs.len(),
        "{what}: {differs:?} of {} and {}",
        ours.len(),
        theirs.len()
    );
}

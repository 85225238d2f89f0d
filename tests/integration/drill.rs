//! Drills: a real restore into a throwaway cluster, compared with the backed up database.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::{Value, json};

use crate::common::pgcellar::{Outcome, Run, Running};
use crate::common::process::hand_over;
use crate::common::process_tree::{descendants, leader};
use crate::common::programs::Programs;
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, keys};

mod listen;
mod sizes;
mod values;

/// This host cannot run the drill.
const OSFILE: i32 = 72;

fn cellar(database: &Database<'_>) -> Cellar {
    Cellar::new(database.cluster()).with("DB_NAME", database.name())
}

/// Files left in the folder for throwaway clusters.
fn left(cellar: &Cellar) -> Vec<String> {
    let folder = fs::read_dir(cellar.drill_dir()).unwrap();
    folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn drill(cellar: &Cellar, id: &Value) -> Run {
    cellar.run(["drill", "--unisolated", "--json", id.as_str().unwrap()]).by_unprivileged_user()
}

/// The record beside the manifest.
fn record(cellar: &Cellar, id: &Value) -> Option<Value> {
    let path = cellar.backup_dir().join(format!("{}.drill.json", id.as_str().unwrap()));
    fs::read(path).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

fn small(purpose: &str) -> Database<'static> {
    let database = Cluster::shared(Version::V15).create(purpose);
    database.sql(
        "CREATE TABLE wine (id serial PRIMARY KEY, label text); \
         INSERT INTO wine (label) SELECT md5(n::text) FROM generate_series(1, 1000) n; \
         CREATE TABLE beer (LIKE wine); INSERT INTO beer SELECT id, label || '!' FROM wine; \
         CREATE TABLE \"No columns\" (); INSERT INTO \"No columns\" DEFAULT VALUES; \
         CREATE TABLE empty (a int); SELECT lo_from_bytea(4711, '\\x00ff'), lo_from_bytea(4712, '\\x')",
    );
    database
}

fn passes(version: Version, format: &str, result: &str) {
    let cluster = Cluster::shared(version);
    let database = everything::database(cluster, &format!("drill_{format}"));
    let cellar = cellar(&database).with("BACKUP_FORMAT", format);
    let id = cellar.back_up_for_drill()["id"].clone();
    let outcome = drill(&cellar, &id).succeeds();
    let printed = outcome.json()[0].clone();
    assert_eq!(Some(&printed), record(&cellar, &id).as_ref());
    assert_eq!((&printed["result"], &printed["isolated"]), (&json!(result), &json!(false)), "{printed:#}");
    assert!(printed["postgres"].as_str().unwrap().starts_with(&version.0.to_string()), "{printed:#}");
    assert!(printed["restore_seconds"].as_f64().unwrap() > 0.0, "{printed:#}");
    assert!(printed["database_bytes"].as_u64().unwrap() > 1 << 20, "{printed:#}");
    if result == "passed" {
        for what in ["tables", "rows", "bytes", "sequences", "large_objects", "objects"] {
            assert!(printed["compared"][what].as_u64().unwrap() > 0, "{what}: {printed:#}");
        }
    }
    assert_eq!(cellar.list()[0]["drill"], printed);
    assert_eq!(left(&cellar), [""; 0]);
}

#[test]
fn one_of_everything_passes_a_drill() {
    passes(Version::V15, "custom", "passed");
    passes(Version::V15, "plain", "restored");
}

#[test]
fn an_encrypted_backup_needs_its_key() {
    let database = small("drill_encrypted");
    let cellar = cellar(&database);
    let key = keys::age(cellar.scratch(), "key");
    hand_over(&key.identity);
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient);
    let id = cellar.back_up_for_drill()["id"].clone();
    drill(&cellar, &id).fails(OSFILE).says("there is no private key");
    assert_eq!(record(&cellar, &id), None);
    let outcome = drill(&cellar, &id).env("BACKUP_AGE_IDENTITY_FILE", &key.identity).succeeds();
    assert_eq!(outcome.json()[0]["result"], "passed");
}

#[test]
fn differences_from_the_backup_are_named() {
    let cases = [
        ("UPDATE wine SET label = reverse(label) WHERE id = 500", &["table public.wine: other contents"][..]),
        ("DELETE FROM wine WHERE id = 500", &["table public.wine: rows: 1 of 1000 missing"]),
        ("INSERT INTO beer SELECT * FROM beer WHERE id = 500", &["table public.beer: rows: 1 too many"]),
        (
            "ALTER TABLE wine RENAME TO x; ALTER TABLE beer RENAME TO wine; ALTER TABLE x RENAME TO beer",
            &["table public.beer: other contents", "table public.wine: other contents"],
        ),
        ("SELECT setval('wine_id_seq', 999)", &["sequence public.wine_id_seq: 999 instead of 1000"]),
        ("SELECT lo_put(4711, 0, '\\x01')", &["large object 4711: other contents"]),
        ("SELECT lo_unlink(4712)", &["large objects: 1 of 2 missing", "large object 4712: not there"]),
        ("DROP TABLE empty", &["table public.empty: not there", "objects of the kind TABLE: 3 instead of 4"]),
        ("CREATE INDEX ON wine (label)", &["objects of the kind INDEX: 1 instead of 0"]),
    ];
    let database = small("drill_tampered");
    let cellar = cellar(&database);
    let all: Vec<(Value, &[&str])> = std::iter::once(("", &[][..]))
        .chain(cases)
        .map(|(change, named)| {
            // Each case starts with the same database.
            if !change.is_empty() {
                database.cluster().sql("postgres", &format!("DROP DATABASE {}", database.name()));
                database.cluster().sql("postgres", &format!("CREATE DATABASE {0} TEMPLATE {0}_first", database.name()));
                database.sql(change);
            } else {
                let copy = format!("CREATE DATABASE {0}_first TEMPLATE {0}", database.name());
                database.cluster().sql("postgres", &copy);
            }
            let id = cellar.back_up_for_drill()["id"].clone();
            // Ids have seconds.
            thread::sleep(Duration::from_millis(1100));
            (id, named)
        })
        .collect();
    let (original, _) = &all[0];
    assert_eq!(drill(&cellar, original).succeeds().json()[0]["result"], "passed");
    for (tampered, named) in &all[1..] {
        cellar.replace_archive(original.as_str().unwrap(), tampered.as_str().unwrap());
        let outcome = drill(&cellar, original).fails(exit::DATAERR);
        let printed = outcome.json()[0].clone();
        assert_eq!(printed["result"], "failed", "{outcome}");
        let differences: Vec<&str> =
            printed["differences"].as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect();
        for name in *named {
            assert!(differences.iter().any(|one| one.contains(name)), "{name}: {outcome}");
            assert!(outcome.stderr.contains(name), "{name}: {outcome}");
        }
        assert_eq!(record(&cellar, original), Some(printed.clone()));
    }
    assert_eq!(left(&cellar), [""; 0]);
}

#[test]
fn a_damaged_archive_fails_and_a_missing_extension_does_not_fail() {
    let database = small("drill_here");
    let cellar = cellar(&database).with("BACKUP_COMPRESSION", "none");
    let manifest = cellar.back_up_for_drill();
    let id = &manifest["id"];
    let path = cellar.backup_dir().join(format!("{}.manifest.json", id.as_str().unwrap()));
    let mut changed = manifest.clone();
    changed["contents"]["extensions"] = json!([{"name": "no_such_thing", "version": "1", "schema": "public"}]);
    fs::write(&path, serde_json::to_vec(&changed).unwrap()).unwrap();
    drill(&cellar, id).fails(OSFILE).says("lacks extensions: \"no_such_thing\"");
    changed["contents"]["extensions"] = json!([]);
    changed["server"]["version_num"] = json!(990_000);
    fs::write(&path, serde_json::to_vec(&changed).unwrap()).unwrap();
    drill(&cellar, id).fails(OSFILE).says("the server of PostgreSQL 99 is not installed");
    changed["server"]["version_num"] = manifest["server"]["version_num"].clone();
    changed["contents"]["database_bytes"] = json!(1_u64 << 60);
    fs::write(&path, serde_json::to_vec(&changed).unwrap()).unwrap();
    drill(&cellar, id).fails(OSFILE).says("the drill takes about");
    cellar.run(["drill", "latest"]).env("DRILL_SOCKET", "/nonexistent/socket").fails(OSFILE).says("--unisolated");
    assert_eq!(record(&cellar, id), None);

    fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
    let archive = cellar.backup_dir().join(manifest["files"][0]["key"].as_str().unwrap());
    let mut bytes = fs::read(&archive).unwrap();
    let at = bytes.len() - 2000;
    bytes[at] ^= 1;
    fs::write(&archive, bytes).unwrap();
    let outcome: Outcome = drill(&cellar, id).fails(exit::DATAERR);
    assert_eq!(outcome.json()[0]["result"], "failed", "{outcome}");
    assert_eq!(left(&cellar), [""; 0]);
}

#[test]
fn a_view_that_needs_another_server_is_skipped() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("drill_refresh");
    database.sql(&format!(
        "CREATE EXTENSION postgres_fdw; \
         CREATE SERVER warehouse FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{}', port '{}', dbname 'postgres'); \
         CREATE USER MAPPING FOR CURRENT_USER SERVER warehouse; \
         CREATE FOREIGN TABLE there (datname text) SERVER warehouse OPTIONS (schema_name 'pg_catalog', table_name 'pg_database'); \
         CREATE MATERIALIZED VIEW totals AS SELECT count(*) AS n FROM there; \
         CREATE MATERIALIZED VIEW doubled AS SELECT n * 2 AS n FROM totals; \
         CREATE MATERIALIZED VIEW here AS SELECT 1 AS n; \
         ALTER SERVER warehouse OPTIONS (SET port '1')",
        cluster.socket_dir().display(),
        cluster.port()
    ));
    let cellar = cellar(&database);
    let id = cellar.back_up_for_drill()["id"].clone();
    let printed = drill(&cellar, &id).succeeds().json()[0].clone();
    assert_eq!(printed["result"], "passed", "{printed:#}");
    let notes: Vec<&str> = printed["notes"].as_array().unwrap().iter().map(|note| note.as_str().unwrap()).collect();
    for view in ["public.totals is not refreshed", "public.doubled is not refreshed"] {
        assert!(notes.iter().any(|note| note.contains(view)), "{printed:#}");
    }
    assert_eq!(notes.len(), 2, "{printed:#}");
}

/// Rows that a refresh writes are not part of the backup.
#[test]
fn a_view_that_writes_into_tables_is_refreshed_alone() {
    let database = Cluster::shared(Version::V15).create("drill_writer");
    database.sql(
        "CREATE TABLE t AS SELECT 1 AS n; \
         CREATE FUNCTION more() RETURNS SETOF int LANGUAGE sql AS 'INSERT INTO public.t VALUES (2), (3) RETURNING n'; \
         CREATE MATERIALIZED VIEW plain AS SELECT count(*) FROM t; CREATE MATERIALIZED VIEW writer AS SELECT more()",
    );
    let cellar = cellar(&database);
    let id = cellar.back_up_for_drill()["id"].clone();
    let outcome = drill(&cellar, &id).succeeds();
    assert_eq!(outcome.json()[0]["result"], "passed", "{outcome}");
    let target = database.cluster().name_for("drill_written");
    cellar.run(["restore", id.as_str().unwrap(), "--target-database", &target]).succeeds();
    assert_eq!(database.cluster().database(&target).sql("SELECT count(*) FROM t"), "3", "and no more");
}

#[test]
fn the_newest_backup_of_each_database() {
    let (one, two) = (small("drill_one"), small("drill_two"));
    let cellar = cellar(&one).with("DB_NAME", format!("{},{}", one.name(), two.name()));
    cellar.run(["backup"]).by_unprivileged_user().succeeds();
    let outcome = cellar.run(["drill", "--unisolated", "--each", "--json"]).by_unprivileged_user().succeeds();
    let results = outcome.json();
    assert_eq!(results.as_array().unwrap().len(), 2, "{outcome}");
    assert!(results.as_array().unwrap().iter().all(|one| one["result"] == "passed"), "{outcome}");

    // Each error is reported once.
    let nowhere = cellar.scratch().join("nowhere");
    let each = || cellar.run(["drill", "--each"]).env("DRILL_SOCKET", &nowhere).by_unprivileged_user();
    let shown = nowhere.display().to_string();
    let outcome = each().finish();
    assert!(outcome.code() != Some(0) && outcome.stderr.contains("2 of 2 drills could not be run"), "{outcome}");
    assert_eq!(outcome.stderr.matches(&format!("no sandbox at {shown}")).count(), 2, "{outcome}");
    let outcome = each().arguments(["--database", one.name()]).finish();
    assert_eq!(outcome.stderr.matches(&format!("no sandbox at {shown}")).count(), 1, "{outcome}");
}

/// Whether a process has its working directory below this folder.
fn anybody_in(folder: &Path) -> bool {
    let mut processes = fs::read_dir("/proc").unwrap().flatten();
    processes.any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
}

fn before_long(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A drill that halts in the middle of a table, and the id of its backup.
fn standing(database: &Database<'_>, cellar: &Cellar) -> (Running, Value) {
    database.sql(
        "CREATE FUNCTION patient(int) RETURNS boolean LANGUAGE sql AS 'SELECT true'; \
         CREATE TABLE slow (a int CHECK (patient(a))); INSERT INTO slow VALUES (1); \
         CREATE OR REPLACE FUNCTION patient(int) RETURNS boolean LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(600); RETURN true; END'",
    );
    let id = cellar.back_up_for_drill()["id"].clone();
    let clusters = cellar.drill_dir();
    let mut running = drill(cellar, &id).start();
    let sleeps = || {
        let mut processes = fs::read_dir("/proc").unwrap().flatten();
        processes.any(|process| {
            fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(&clusters))
                && fs::read_to_string(process.path().join("cmdline")).is_ok_and(|line| line.contains("COPY"))
        })
    };
    running.wait_until("the restore stands in its table", sleeps);
    (running, id)
}

#[test]
fn sigkill_leaves_no_server_and_its_folder_is_removed_later() {
    let database = small("drill_killed");
    let cellar = cellar(&database);
    let (running, id) = standing(&database, &cellar);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal(), Some(9));
    before_long("a server is left", || !anybody_in(&cellar.drill_dir()));
    assert_eq!(record(&cellar, &id), None);
    database.sql("CREATE OR REPLACE FUNCTION patient(int) RETURNS boolean LANGUAGE sql AS 'SELECT true'");
    thread::sleep(Duration::from_millis(1100));
    let id = cellar.back_up_for_drill()["id"].clone();
    drill(&cellar, &id).succeeds();
    assert_eq!(left(&cellar), [""; 0]);
}

/// A killed pg_restore, as when memory runs out, is no evidence against the backup.
#[test]
fn a_killed_pg_restore_does_not_fail_the_backup() {
    let database = small("drill_broken_off");
    let cellar = cellar(&database);
    let (running, id) = standing(&database, &cellar);
    let mut processes = descendants(running.pid());
    processes.retain(|process| process.name == "pg_restore");
    kill_process(leader(&processes).expect("a pg_restore").pid, Signal::KILL).unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    let outcome = outcome.says("the drill was interrupted").says("killed by signal 9");
    assert_eq!(record(&cellar, &id), None, "{outcome}");
    assert_eq!(left(&cellar), [""; 0], "{outcome}");
}

#[test]
fn a_table_that_is_locked_for_a_constraint_is_read_later() {
    let database = Cluster::shared(Version::V15).create("drill_locked");
    // The large tables are read first, while the constraint locks the small one for a second.
    database.sql(
        "CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(0.02); RETURN $1; END'; \
         CREATE TABLE zz (a int, EXCLUDE USING btree (slow(a) WITH =)); INSERT INTO zz SELECT generate_series(1, 50); \
         CREATE TABLE one AS SELECT generate_series(1, 400000) a; CREATE TABLE two AS SELECT a FROM one",
    );
    let cellar = cellar(&database);
    let id = cellar.back_up_for_drill()["id"].clone();
    let outcome = drill(&cellar, &id).succeeds();
    assert_eq!(outcome.json()[0]["compared"]["rows"], 800_050);
}

/// Rows that the dump could not see are not expected.
#[test]
fn a_table_that_was_rewritten_under_each_dump() {
    let database = small("rewritten");
    let cellar = cellar(&database);
    let programs = Programs::of(Version::V15);
    let psql = programs.real().join("psql");
    programs.before("pg_dump", &format!("'{}' -X -q -c 'TRUNCATE beer' >&2", psql.display()));
    let run = cellar.run(["backup", "--json"]).env("PG_BINDIR", programs.path()).by_unprivileged_user();
    let manifest = run.succeeds().json()[0].clone();
    assert_eq!((&manifest["partial"], &manifest["omitted"][0]["rewritten"]), (&json!(true), &json!(true)));
    let id = &manifest["id"];
    drill(&cellar, id).succeeds();
    assert_eq!(record(&cellar, id).expect("a record")["result"], "passed");
    let latest = cellar.run(["drill", "--unisolated", "--each"]).by_unprivileged_user().succeeds();
    let _ = latest.says("lacks the rows of");
}

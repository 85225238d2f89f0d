//! Restores of SQL scripts with statements that fail in a new database.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::compare;
use crate::common::dumps::{pg_dump, piped};
use crate::common::pgcellar::Run;
use crate::common::{Cellar, Cluster, Database, Version, everything, exit};

/// The line that pg_dump ends a script with.
const END: &str = "--\n-- PostgreSQL database dump complete\n--\n\n";

fn versions() -> impl Iterator<Item = Version> {
    [Version::V15, Version::V18].into_iter().filter(|version| version.is_covered())
}

fn restore(cellar: &Cellar, path: &Path, target: &str) -> Run {
    cellar.run(["restore".as_ref(), path.as_os_str()]).arguments(["--target-database", target])
}

/// The contents of a database without its properties, which a script does not have.
fn inside(database: &Database<'_>) -> compare::Contents {
    let contents = compare::contents(database);
    contents.into_iter().filter(|(part, _)| !part.starts_with("property: ")).collect()
}

fn written(cellar: &Cellar, name: &str, script: impl AsRef<[u8]>) -> PathBuf {
    let path = cellar.scratch().join(name);
    fs::write(&path, script).unwrap();
    path
}

#[test]
fn a_script_may_drop_missing_objects() {
    for version in versions() {
        let cluster = Cluster::shared(version);
        let original = everything::database(cluster, "cleaned");
        let expected = inside(&original);
        let cellar = Cellar::new(cluster);
        for (name, arguments) in [("clean.sql", &["--clean"][..]), ("if_exists.sql", &["--clean", "--if-exists"])] {
            let path = cellar.scratch().join(name);
            piped(&pg_dump(&original, arguments), "cat", &path);
            let target = cluster.name_for("cleaned");
            restore(&cellar, &path, &target).succeeds();
            let differences = compare::differences(&expected, &inside(&cluster.database(&target)));
            assert!(differences.is_empty(), "{name}: {differences:#?}");
        }
        // The same as an adopted backup.
        let path = cellar.backup_dir().join(format!("{}_20240102_020000.sql", original.name()));
        piped(&pg_dump(&original, &["--clean"]), "cat", &path);
        cellar.run(["adopt".as_ref(), path.as_os_str()]).by_unprivileged_user().succeeds();
        let target = cluster.name_for("cleaned");
        cellar.run(["restore", "latest", "-t", &target]).succeeds();
        let differences = compare::differences(&expected, &inside(&cluster.database(&target)));
        assert!(differences.is_empty(), "adopted: {differences:#?}");
        // A drill loads it the same way.
        let small = cluster.create("drilled");
        small.sql("CREATE TABLE wine AS SELECT generate_series(1, 100) AS n; CREATE INDEX ON wine (n)");
        let path = cellar.backup_dir().join(format!("{}_20240102_020000.sql", small.name()));
        piped(&pg_dump(&small, &["--clean"]), "cat", &path);
        let adopted = cellar.run(["adopt".as_ref(), path.as_os_str()]).by_unprivileged_user();
        adopted.succeeds();
        let drill = cellar.run(["drill", "latest", "--unisolated", "--database", small.name()]);
        drill.by_unprivileged_user().succeeds();
    }
}

#[test]
fn a_script_may_create_schema_public() {
    for version in versions() {
        let cluster = Cluster::shared(version);
        let original = cluster.create("public_only");
        original.sql("CREATE TABLE wine AS SELECT generate_series(1, 100) AS n; CREATE INDEX ON wine (n)");
        original
            .sql("CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; GRANT CREATE ON SCHEMA public TO PUBLIC");
        let expected = inside(&original);
        let came_back = |target: &str, how: &str| {
            let differences = compare::differences(&expected, &inside(&cluster.database(target)));
            assert!(differences.is_empty(), "{how}: {differences:#?}");
        };
        let cellar = Cellar::new(cluster);
        for arguments in ["-Fp -n public", "-Fp --clean -n public", "-Fc -n public", "-Ft --schema=public"] {
            let path = cellar.scratch().join("dump");
            let arguments: Vec<&str> = arguments.split(' ').collect();
            piped(&pg_dump(&original, &arguments), "cat", &path);
            let target = cluster.name_for("public_only");
            restore(&cellar, &path, &target).succeeds();
            came_back(&target, &arguments.join(" "));
        }
        for (format, jobs) in [("custom", "2"), ("directory", "2"), ("plain", "1")] {
            let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
            let cellar = cellar.with("BACKUP_DUMP_OPTIONS", "--schema=public");
            let manifest = cellar.back_up(original.name());
            let target = cluster.name_for("public_only");
            let id = manifest["id"].as_str().unwrap();
            cellar.run(["restore", id, "-t", &target, "--jobs", jobs]).succeeds();
            came_back(&target, format);
        }
    }
}

/// A table that cannot be created, and rows that look like commands.
#[test]
fn rows_of_a_failed_copy_are_not_run_as_commands() {
    for version in versions() {
        let cluster = Cluster::shared(version);
        let cellar = Cellar::new(cluster);
        let witness = cellar.scratch().join("witness");
        let script = format!(
            "SET transaction_timeout = 0;\n\\restrict x\nCREATE TABLE precious AS SELECT 1 AS n;\n\
             CREATE TABLE lost (a missing_type);\nCOPY lost (a) FROM stdin;\nDROP TABLE precious;\n\\\\! touch {0}\n\
             \\! touch {0}\nCOPY precious (n) FROM stdin;\n7\n\\.\nDROP TABLE nothing;\nCREATE TABLE half (n int);\n\
             COPY half (n) FROM stdin;\n1\nx\n\\.\nINSERT INTO precious VALUES (2);\nSELECT 1/0;\n\
             COPY precious (n) FROM stdin;\n3\n\\.\n\\unrestrict x\n{END}",
            witness.display()
        );
        let path = written(&cellar, "broken.sql", script);
        let target = cluster.name_for("broken");
        let outcome = restore(&cellar, &path, &target).fails(exit::DATAERR);
        let _ = outcome.says("line 4").says("missing_type").says("--keep-going");
        let outcome = restore(&cellar, &path, &target).arguments(["--keep-going"]).fails(exit::DATAERR);
        let outcome = outcome.says("line 4: type \"missing_type\" does not exist").says("line 5: relation \"lost\"");
        let outcome =
            outcome.says("line 14: invalid input syntax").says("line 19: division by zero").says("lacks 1 of 3 tables");
        let _ = outcome.says("with 5 errors");
        let restored = cluster.database(&target);
        assert_eq!(restored.sql("SELECT string_agg(n::text, ',') FROM precious"), "1,2,3");
        assert_eq!(restored.sql("SELECT count(*) FROM half"), "0");
        assert!(!witness.exists());
    }
}

/// Objects that another tool left out do not affect the rest.
#[test]
fn keep_going_restores_what_psql_would() {
    let cluster = Cluster::shared(Version::V15);
    let original = everything::database(cluster, "without");
    let cellar = Cellar::new(cluster);
    let path = cellar.scratch().join("whole.sql");
    piped(&pg_dump(&original, &["--column-inserts", "--rows-per-insert=3"]), "cat", &path);
    let target = cluster.name_for("without");
    restore(&cellar, &path, &target).arguments(["--keep-going"]).succeeds();
    let differences = compare::differences(&inside(&original), &inside(&cluster.database(&target)));
    assert!(differences.is_empty(), "{differences:#?}");
}

#[test]
fn a_script_in_another_encoding() {
    for version in versions() {
        let cluster = Cluster::shared(version);
        let original = cluster.create("latin");
        original.sql(
            "CREATE TABLE \"größe\" AS SELECT 'Käse ' || n AS \"süß\" FROM generate_series(1, 100) n; \
             CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT ''Öl'' '; COMMENT ON TABLE \"größe\" IS 'é'",
        );
        let cellar = Cellar::new(cluster);
        for arguments in [&["--clean", "-E", "LATIN1"][..], &["--clean", "-E", "LATIN1", "--inserts"]] {
            let path = cellar.scratch().join("latin.sql");
            piped(&pg_dump(&original, arguments), "cat", &path);
            assert!(String::from_utf8(fs::read(&path).unwrap()).is_err(), "it is not UTF-8");
            for more in [&[][..], &["--keep-going"]] {
                let target = cluster.name_for("latin");
                restore(&cellar, &path, &target).arguments(more).succeeds();
                let differences = compare::differences(&inside(&original), &inside(&cluster.database(&target)));
                assert!(differences.is_empty(), "{differences:#?}");
            }
        }
    }
}

#[test]
fn keep_going_ends_with_the_server() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let target = cluster.name_for("ended");
    let path = written(&cellar, "slow.sql", format!("SELECT pg_sleep(1000);\nCREATE TABLE t ();\n{END}"));
    let mut running = restore(&cellar, &path, &target).arguments(["--keep-going"]).start();
    let asleep =
        format!("FROM pg_stat_activity WHERE starts_with(datname, '{target}_restoring_') AND wait_event = 'PgSleep'");
    running.wait_until("sleeps", || cluster.sql("postgres", &format!("SELECT count(*) {asleep}")) == "1");
    cluster.sql("postgres", &format!("SELECT pg_terminate_backend(pid) {asleep}"));
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    let left = format!("SELECT count(*) FROM pg_database WHERE starts_with(datname, '{target}')");
    assert_eq!(cluster.sql("postgres", &left), "0", "{outcome}");
}

#[test]
fn a_truncated_or_changed_script_leaves_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("cut");
    original.sql("CREATE TABLE wine AS SELECT n, 'bottle ' || n AS name FROM generate_series(1, 20000) AS n");
    let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", "plain").with("BACKUP_DUMP_OPTIONS", "--schema=public");
    let manifest = cellar.back_up(original.name());
    let id = manifest["id"].as_str().unwrap();
    let key = manifest["files"][0]["key"].as_str().unwrap();
    crate::common::tree::flip_byte(&cellar.backup_dir().join(key), -50);
    let target = cluster.name_for("cut");
    for more in [&[][..], &["--keep-going"]] {
        cellar.run(["restore", id, "-t", &target]).arguments(more).fails(exit::DATAERR).says("damaged");
        let left = format!("SELECT count(*) FROM pg_database WHERE starts_with(datname, '{target}')");
        assert_eq!(cluster.sql("postgres", &left), "0");
    }
}

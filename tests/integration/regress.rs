//! The databases that PostgreSQL's own regression tests leave, and that of TPC-H: an archive of several sessions is stock pg_dump's, and
//! a backup restores them as stock pg_dump and pg_restore do, byte for byte. `make test-regress` runs this: it takes minutes.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::process::{must, say};
use crate::common::stock_archive::are_stock;
use crate::common::{Cellar, Cluster, Database, Version, exit};

/// Formats, and the parallel jobs of the restore.
const WAYS: [(&str, &str); 6] =
    [("custom", "1"), ("custom", "4"), ("directory", "1"), ("directory", "4"), ("tar", "1"), ("plain", "1")];

/// The folder of the regression tests, which `scripts/tool regress-MAJOR` prints.
fn tests_of(version: Version) -> PathBuf {
    let tool = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("scripts/tool");
    PathBuf::from(must(Command::new(tool).arg(format!("regress-{}", version.0))).trim())
}

/// Runs every file of the schedule by psql, as pg_regress does (`src/test/regress/pg_regress.c`), one after the other. What
/// fails, because the library of C functions is missing or the tests are of another version, is left out.
fn load(version: Version, database: &Database<'_>) {
    let folder = tests_of(version);
    let made_for = fs::read_to_string(folder.join("major")).unwrap();
    if made_for.trim() != version.0.to_string() {
        say(&format!("the tests of PostgreSQL {} fill the database of {}", made_for.trim(), version.0));
    }
    let name = database.name();
    for setting in
        ["lc_messages = 'C'", "lc_monetary = 'C'", "lc_numeric = 'C'", "lc_time = 'C'", "bytea_output = 'hex'"]
    {
        database.sql(&format!("ALTER DATABASE {name} SET {setting}"));
    }
    database.sql(&format!("ALTER DATABASE {name} SET timezone_abbreviations = 'Default'"));
    let schedule = fs::read_to_string(folder.join("parallel_schedule")).unwrap();
    let groups = schedule.lines().filter_map(|line| line.strip_prefix("test: "));
    let mut files = 0;
    // Tests of psql itself leave nothing, and those of another version may wait forever.
    for test in groups.flat_map(str::split_whitespace).filter(|test| !test.starts_with("psql")) {
        let Ok(script) = File::open(folder.join("sql").join(format!("{test}.sql"))) else { continue };
        let mut psql = database.cluster().client("psql", name);
        psql.args(["-X", "-a", "-q", "-v", "HIDE_TABLEAM=on", "-v", "HIDE_TOAST_COMPRESSION=on"]).stdin(script);
        // A parallel query of join_hash has not ended on 19rc1.
        psql.env("PGOPTIONS", "-c statement_timeout=60s");
        psql.env("PGTZ", "America/Los_Angeles").env("PGDATESTYLE", "Postgres, MDY");
        psql.env("PG_ABS_SRCDIR", &folder).env("PG_ABS_BUILDDIR", "/tmp").env("PG_LIBDIR", "/nonexistent");
        psql.env("PG_DLSUFFIX", ".so").stdout(Stdio::null()).stderr(Stdio::null());
        psql.status().unwrap();
        files += 1;
    }
    let tables = database.sql("SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'p', 'm')");
    say(&format!("PostgreSQL {}: {files} files left {tables} tables", version.0));
}

/// What pg_dump writes, without the lines that differ in each run.
fn dumped(database: &Database<'_>) -> String {
    let script = must(&mut database.cluster().client("pg_dump", database.name()));
    let is_kept = |line: &&str| !line.starts_with("\\restrict ") && !line.starts_with("\\unrestrict ");
    script.lines().filter(is_kept).flat_map(|line| [line, "\n"]).collect()
}

/// The server's messages for the statements of stock pg_restore that it refuses.
fn stock(from: &Database<'_>, into: &Database<'_>) -> Vec<String> {
    let cluster = from.cluster();
    let archive = tempfile::NamedTempFile::new().unwrap();
    must(cluster.client("pg_dump", from.name()).args(["-Fc", "-f"]).arg(archive.path()));
    let mut restore = cluster.client("pg_restore", "");
    let restored = restore.args(["--dbname", &into.connection_string()]).arg(archive.path()).output().unwrap();
    let messages = String::from_utf8_lossy(&restored.stderr).into_owned();
    messages.lines().filter_map(|line| line.split_once("ERROR:  ")).map(|(_, why)| why.to_owned()).collect()
}

/// Compares archives of several sessions with that of stock pg_dump.
fn split(database: &Database<'_>) -> usize {
    let begun = Instant::now();
    let split = are_stock(database, &[]);
    let version = database.cluster().version().0;
    say(&format!(
        "PostgreSQL {version}: archives with {split} split tables are stock pg_dump's, in {:.0?}",
        begun.elapsed()
    ));
    split
}

fn come_back(version: Version) {
    // Dumps have the planner's statistics since version 18.
    let settings = ["max_prepared_transactions=2", "wal_level=logical", "max_wal_size=1GB", "autovacuum=off"];
    let cluster = Cluster::start_configured(version, &settings);
    let original = cluster.create_named("regression");
    load(version, &original);
    assert!(split(&original) > 100);
    let by_stock = cluster.create_named("by_stock");
    let refused = stock(&original, &by_stock);
    say(&format!("PostgreSQL {}: stock pg_restore refuses {} statements", version.0, refused.len()));
    let expected = dumped(&by_stock);
    let mut failed = Vec::new();
    for format in ["custom", "directory", "tar", "plain"] {
        let cellar = Cellar::new(&cluster).with("DB_NAME", "regression").with("BACKUP_FORMAT", format);
        let id = cellar.back_up_for_drill()["id"].as_str().unwrap().to_owned();
        for (_, jobs) in WAYS.iter().filter(|(of, _)| *of == format) {
            let target = cluster.name_for(format);
            let mut run = cellar.run(["restore", &id, "--jobs", jobs, "--target-database", &target]);
            if !refused.is_empty() {
                run = run.arguments(["--keep-going"]);
            }
            let outcome = run.within(Duration::from_secs(600)).finish();
            let is_told = |error: &String| outcome.stderr.contains(error.as_str());
            let code = if refused.is_empty() { 0 } else { exit::DATAERR };
            if outcome.code() != Some(code) || !refused.iter().all(is_told) {
                failed.push(format!("{format} by {jobs} jobs: {refused:#?} {outcome}"));
                continue;
            }
            let found = dumped(&cluster.database(&target));
            if found != expected {
                let first = found.lines().zip(expected.lines()).find(|(one, other)| one != other);
                failed.push(format!("{format} by {jobs} jobs: {first:#?}"));
                continue;
            }
            say(&format!(
                "PostgreSQL {}: {format} by {jobs} jobs: {} bytes, as stock has them",
                version.0,
                found.len()
            ));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
#[ignore = "make test-regress runs it"]
fn the_regression_database_of_15() {
    come_back(Version::V15);
}

#[test]
#[ignore = "make test-regress runs it"]
fn the_regression_database_of_17() {
    come_back(Version::V17);
}

#[test]
#[ignore = "make test-regress runs it"]
fn the_regression_database_of_18() {
    come_back(Version::V18);
}

#[test]
#[ignore = "make test-regress runs it"]
fn the_regression_database_of_19() {
    come_back(Version::V19);
}

#[test]
#[ignore = "make test-regress runs it"]
fn tpc_h() {
    let cluster = Cluster::start_configured(Version::V18, &["autovacuum=off"]);
    let database = cluster.create_named("tpch");
    let mut script = Command::new("python3");
    script.current_dir(env!("CARGO_MANIFEST_DIR")).args(["-B", "benches/tpch.py", "0.1"]).stdout(Stdio::piped());
    let mut script = script.spawn().unwrap();
    let mut psql = cluster.client("psql", database.name());
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1"]).stdin(script.stdout.take().unwrap());
    assert!(psql.status().unwrap().success() && script.wait().unwrap().success());
    assert_eq!(split(&database), 8);
}

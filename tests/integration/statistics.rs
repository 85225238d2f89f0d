//! The planner's statistics: dumped with pg_dump 18 and newer, restored where the server takes them, gathered where they lack, and never a
//! reason to fail.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::dumps::pg_dump;
use crate::common::process::must;
use crate::common::{Cellar, Cluster, Database, Version, exit, keys};

/// A value that is in rows and in statistics alone.
const VALUE: &str = "burgundy";

/// Columns' statistics.
const STATISTICS: &str = "SELECT tablename, attname, inherited, null_frac, n_distinct, most_common_vals, most_common_freqs, \
     histogram_bounds FROM pg_stats WHERE schemaname = 'public' ORDER BY 1, 2, 3";

/// What was analyzed in a database.
const ANALYZED: &str =
    "SELECT string_agg(relname, ' ' ORDER BY relname) FROM pg_stat_user_tables WHERE analyze_count > 0";

/// Not analyzed by autovacuum, before a restore can.
const MANUAL: &str = "WITH (autovacuum_enabled = false)";

fn original(cluster: &Cluster, purpose: &str) -> Database<'static> {
    let cluster = Cluster::shared(cluster.version());
    let database = cluster.create(purpose);
    database.sql(&format!(
        "CREATE TABLE wine (id int PRIMARY KEY, label text, cask int, shout text GENERATED ALWAYS AS (upper(label)) STORED) {MANUAL}; \
         INSERT INTO wine SELECT n, '{VALUE}' || n % 20, n % 7 FROM generate_series(1, 2000) n; \
         CREATE INDEX ON wine (lower(label)); \
         CREATE TABLE cellar (cask int) PARTITION BY RANGE (cask); \
         CREATE TABLE cellar_1 PARTITION OF cellar FOR VALUES FROM (0) TO (100) {MANUAL}; \
         INSERT INTO cellar SELECT n % 50 FROM generate_series(1, 500) n; \
         CREATE TABLE pair (a int, b int) {MANUAL}; INSERT INTO pair SELECT n, n FROM generate_series(1, 100) n; \
         CREATE STATISTICS related ON a, b FROM pair; \
         CREATE MATERIALIZED VIEW labels {MANUAL} AS SELECT DISTINCT label FROM wine; \
         ANALYZE; CREATE TABLE late (n int) {MANUAL}; INSERT INTO late VALUES (1)"
    ));
    database
}

fn cellar(database: &Database<'_>) -> Cellar {
    Cellar::new(database.cluster()).with("DB_NAME", database.name()).with("BACKUP_COMPRESSION", "none")
}

fn restored<'c>(cellar: &Cellar, cluster: &'c Cluster, what: &str, arguments: &[&str]) -> Database<'c> {
    let target = cluster.name_for("restored");
    cellar.run(["restore", what, "--target-database", &target]).arguments(arguments).succeeds();
    cluster.database(&target)
}

fn archive(cellar: &Cellar, manifest: &Value) -> PathBuf {
    cellar.backup_dir().join(manifest["files"][0]["key"].as_str().unwrap())
}

/// Whether the plain bytes of a file have the value.
fn has_value(path: &Path) -> bool {
    let bytes = fs::read(path).unwrap();
    bytes.windows(VALUE.len()).any(|window| window == VALUE.as_bytes())
}

#[test]
fn they_come_back_and_only_what_lacks_them_is_analyzed() {
    for version in [Version::V18, Version::V19] {
        let cluster = Cluster::shared(version);
        let database = original(cluster, "statistics");
        let expected = database.sql(STATISTICS);
        assert!(expected.contains(VALUE));
        // Extended statistics are in dumps since PostgreSQL 19. A refresh gives a materialized view a new, uncounted file.
        let missing = if version == Version::V18 { "labels late pair" } else { "labels late" };
        let ways = [("custom", "2"), ("custom", "1"), ("directory", "2"), ("tar", "1")];
        for (format, jobs) in if version == Version::V18 { &ways[..] } else { &ways[..1] } {
            let (format, jobs) = (*format, *jobs);
            let cellar = cellar(&database).with("BACKUP_FORMAT", format);
            let manifest = cellar.back_up_for_drill();
            let id = manifest["id"].as_str().unwrap();
            let found = restored(&cellar, cluster, id, &["--jobs", jobs]);
            assert_eq!(found.sql(ANALYZED).trim(), missing, "{version:?} {format} {jobs}");
            let kept = format!(
                "SELECT * FROM ({}) s WHERE tablename NOT IN ('labels', 'late', 'pair')",
                STATISTICS.replace("ORDER BY 1, 2, 3", "")
            );
            let kept = format!("{kept} ORDER BY 1, 2, 3");
            assert_eq!(found.sql(&kept), database.sql(&kept), "{version:?} {format}");
            assert_eq!(found.sql("SELECT count(*) FROM pg_stats_ext WHERE dependencies IS NOT NULL").trim(), "1");
            if jobs == "2" {
                let drill = cellar.run(["drill", "--unisolated", "--json", id]).by_unprivileged_user().succeeds();
                assert_eq!(drill.json()[0]["result"], "passed", "{version:?} {format}: {drill}");
            }
            if format == "custom" && jobs == "2" {
                let shown = cellar.run(["show", id]).succeeds();
                assert!(shown.stdout.contains("statistics data"), "{shown}");
                cellar.run(["verify", id, "--against-live", database.name()]).succeeds();
            }
        }
    }
}

#[test]
fn without_the_setting_and_before_version_18_there_are_none() {
    let database = original(Cluster::shared(Version::V18), "no_statistics");
    for (name, value) in [("BACKUP_STATISTICS", "false"), ("BACKUP_DUMP_OPTIONS", "--no-statistics")] {
        let cellar = cellar(&database).with(name, value);
        let manifest = cellar.back_up(database.name());
        let text = cellar.run(["show", manifest["id"].as_str().unwrap()]).succeeds().stdout;
        assert!(!text.contains("statistics data"), "{text}");
        let found = restored(&cellar, database.cluster(), "latest", &[]);
        assert_eq!(found.sql(ANALYZED).trim(), "cellar cellar_1 labels late pair wine");
        assert!(found.sql(STATISTICS).contains(VALUE));
    }
    cellar(&database).run(["backup"]).env("BACKUP_STATISTICS", "maybe").fails(exit::CONFIG).says("true or false");
    let old = original(Cluster::shared(Version::V17), "older_client");
    cellar(&old).back_up(old.name());
}

#[test]
fn rows_that_are_left_out_are_not_in_statistics() {
    let database = original(Cluster::shared(Version::V18), "left_out_statistics");
    let options = [
        "--exclude-table-data=wine",
        "--exclude-table=wine --exclude-table=labels",
        "--schema-only",
        "--no-data",
        "--section=pre-data --section=post-data",
    ];
    for options in options {
        let cellar = cellar(&database).with("BACKUP_DUMP_OPTIONS", options);
        let manifest = cellar.back_up(database.name());
        assert!(!has_value(&archive(&cellar, &manifest)), "{options}");
    }
    let both = cellar(&database).with("BACKUP_DUMP_OPTIONS", "--statistics --exclude-table-data=wine");
    both.run(["backup"]).fails(exit::CONFIG).says("--exclude-table-data=wine");
    let cellar = cellar(&database);
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient);
    cellar.back_up(database.name());
    for file in fs::read_dir(cellar.backup_dir()).unwrap() {
        let path = file.unwrap().path();
        assert!(!path.is_file() || !has_value(&path), "{}", path.display());
    }
}

#[test]
fn a_table_that_is_selected_has_its_own() {
    let database = original(Cluster::shared(Version::V18), "selected_statistics");
    let cellar = cellar(&database);
    cellar.back_up(database.name());
    let found = restored(&cellar, database.cluster(), "latest", &["--table", "wine"]);
    assert_eq!(
        found.sql("SELECT string_agg(DISTINCT tablename, ' ') FROM pg_stats WHERE schemaname = 'public'").trim(),
        "wine"
    );
    assert_eq!(found.sql(ANALYZED).trim(), "");
}

#[test]
fn an_older_server_does_not_get_them() {
    let database = Cluster::shared(Version::V18).create("to_older");
    database.sql(&format!(
        "CREATE TABLE wine {MANUAL} AS SELECT '{VALUE}' || n AS label FROM generate_series(1, 100) n; ANALYZE"
    ));
    let old = Cluster::shared(Version::V15);
    let cellar = Cellar::new(old).with("PG_BINDIR", Version::V18.bin_dir());
    for (format, name) in [("custom", "older.dump"), ("tar", "older.tar"), ("plain", "older.sql")] {
        let path = cellar.scratch().join(name);
        must(pg_dump(&database, &["--statistics", "--format", format, "--file"]).arg(&path));
        let found = restored(&cellar, old, path.to_str().unwrap(), &[]);
        assert_eq!(found.sql("SELECT count(*) FROM wine").trim(), "100");
        assert!(
            found.sql("SELECT histogram_bounds FROM pg_stats WHERE tablename = 'wine'").contains(VALUE),
            "{format}"
        );
    }
}

#[test]
fn refused_ones_are_gathered() {
    let database = Cluster::shared(Version::V18).create("refused_statistics");
    database.sql(&format!(
        "CREATE TABLE wine {MANUAL} AS SELECT '{VALUE}' || n AS label FROM generate_series(1, 100) n; ANALYZE"
    ));
    let cellar = cellar(&database);
    for (format, name) in [("custom", "refused.dump"), ("plain", "refused.sql")] {
        let path = cellar.scratch().join(name);
        must(pg_dump(&database, &["--statistics", "--compress=0", "--format", format, "--file"]).arg(&path));
        // The statistics name another table.
        let (bytes, right, wrong) = (fs::read(&path).unwrap(), b"'relname', 'wine'", b"'relname', 'vine'");
        let mut changed = Vec::new();
        let mut rest = bytes.as_slice();
        while let Some(at) = rest.windows(right.len()).position(|window| window == right) {
            changed.extend_from_slice(&rest[..at]);
            changed.extend_from_slice(wrong);
            rest = &rest[at + right.len()..];
        }
        changed.extend_from_slice(rest);
        assert_ne!(changed, bytes);
        fs::write(&path, changed).unwrap();
        let target = database.cluster().name_for("refused");
        let run = cellar.run(["restore", path.to_str().unwrap(), "--target-database", &target]);
        let outcome = run.arguments(["--verbose"]).succeeds();
        assert!(!outcome.stderr.contains(VALUE), "{outcome}");
        let found = database.cluster().database(&target);
        assert_eq!(found.sql(ANALYZED).trim(), "wine", "{format}");
        assert!(
            found.sql("SELECT histogram_bounds FROM pg_stats WHERE tablename = 'wine'").contains(VALUE),
            "{format}"
        );
    }
}

#[test]
fn a_recipe_for_stock_tools_leaves_them_out() {
    let database = original(Cluster::shared(Version::V18), "recipe_statistics");
    let cellar = cellar(&database);
    let manifest = cellar.back_up(database.name());
    assert_eq!(manifest["dump_options"], json!([]));
    let recipe = cellar.run(["restore", "latest", "--recipe"]).succeeds();
    assert!(recipe.stdout.contains("--no-statistics"), "{recipe}");
}

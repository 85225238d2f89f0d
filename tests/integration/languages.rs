//! Servers with messages in another language: decisions rest on codes and commands, never on the text of a message.

use crate::common::cluster::PASSWORD;
use crate::common::compare::assert_same;
use crate::common::{Cellar, Cluster, Version, exit};

/// The client of a later version sets a parameter that the server does not know, and the error is in German.
#[test]
fn newer_clients_restore_into_a_german_server() {
    let cluster = Cluster::start_in_german(Version::V15);
    let error = cluster.try_sql("postgres", "SELECT 1 / 0").unwrap_err();
    assert!(error.contains("FEHLER:") && error.contains("Division durch Null"), "the server speaks English: {error}");
    let original = cluster.create("german");
    original.sql(
        "CREATE TABLE wine (id int PRIMARY KEY, name text NOT NULL); INSERT INTO wine SELECT n, 'Spätlese ' || n FROM generate_series(1, 1000) n; \
         CREATE TABLE bottle (wine int REFERENCES wine); INSERT INTO bottle SELECT 7; CREATE INDEX ON wine (name); \
         CREATE MATERIALIZED VIEW many AS SELECT count(*) FROM wine; CREATE VIEW one AS SELECT * FROM wine WHERE id = 1",
    );
    for (format, jobs) in [("custom", "1"), ("custom", "2"), ("directory", "2"), ("tar", "1"), ("plain", "1")] {
        let cellar = Cellar::new(&cluster).with("BACKUP_FORMAT", format).with("PG_BINDIR", Version::V18.bin_dir());
        cellar.back_up(original.name());
        let target = cluster.name_for("german");
        cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]).succeeds();
        assert_same(&original, &cluster.database(&target));
    }
}

/// A role that is not a superuser cannot change the language.
#[test]
fn owners_restore_into_a_german_server() {
    let cluster = Cluster::start_in_german(Version::V15);
    cluster.sql("postgres", &format!("CREATE ROLE owner LOGIN CREATEDB PASSWORD '{PASSWORD}'"));
    cluster.sql("postgres", "CREATE DATABASE shop OWNER owner TEMPLATE template0");
    let original = cluster.database("shop");
    original.sql("SET ROLE owner; CREATE TABLE wine AS SELECT generate_series(1, 100) AS n; CREATE VIEW cellar AS SELECT * FROM wine");
    for format in ["custom", "plain"] {
        let cellar = Cellar::new(&cluster).with("BACKUP_FORMAT", format).with("PG_BINDIR", Version::V18.bin_dir());
        let cellar = cellar.with("DB_USER", "owner");
        cellar.back_up("shop");
        let target = cluster.name_for("shop");
        cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
        assert_same(&original, &cluster.database(&target));
        // A real error still ends the restore, with the server's message.
        cellar.run(["restore", "latest", "--target-database", &target]).fails(exit::CANTCREAT);
    }
    let cellar = Cellar::new(&cluster).with("DB_USER", "owner").with("PG_BINDIR", Version::V18.bin_dir());
    original.sql("CREATE TABLE of_postgres (n int)");
    cluster.sql("postgres", "GRANT pg_read_all_data TO owner");
    cellar.back_up("shop");
    let run = cellar.run(["restore", "latest", "--no-owner", "--target-database", "without_owners"]);
    run.succeeds();
    let outcome = cellar.run(["restore", "latest", "--target-database", "with_owners"]).fails(exit::NOPERM);
    assert!(!outcome.stderr.contains("another backup"), "{outcome}");
}

/// A locale that the host lacks, and a label without its provider, are known by their codes.
#[test]
fn refusals_are_recognised_by_their_codes() {
    let cluster = Cluster::start_in_german(Version::V15);
    let original = cluster.create("codes");
    original.sql("CREATE TABLE t AS SELECT 1 AS n");
    let cellar = Cellar::new(&cluster).with("DB_NAME", original.name());
    let manifest = cellar.back_up(original.name());
    let path = cellar.backup_dir().join(format!("{}.manifest.json", manifest["id"].as_str().unwrap()));
    let mut other = manifest.clone();
    other["properties"]["collate"] = "xx_XX.UTF-8".into();
    std::fs::write(&path, other.to_string()).unwrap();
    let target = cluster.name_for("codes");
    let run = cellar.run(["restore", "latest", "--target-database", &target]);
    run.fails(exit::NOINPUT).says("install the locale");
    let mut other = manifest;
    other["properties"]["security_labels"] = serde_json::json!([{"provider": "dummy", "label": "secret"}]);
    std::fs::write(&path, other.to_string()).unwrap();
    let run = cellar.run(["restore", "latest", "--target-database", &target]);
    run.fails(exit::UNAVAILABLE).says("shared_preload_libraries");
}

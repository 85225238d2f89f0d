//! Extensions whose library must be preloaded, on a server with it and without it.

use crate::common::{Cellar, Cluster, Database, Version, exit};

/// This host cannot run the drill.
const OSFILE: i32 = 72;

/// The error of PostgreSQL's own pg_stat_statements.
const REFUSED: &str = "pg_stat_statements must be loaded via";

/// A server that preloads the library.
fn preloading() -> Cluster {
    Cluster::start_configured(Version::V15, &["shared_preload_libraries=pg_stat_statements"])
}

fn backed_up(database: &Database<'_>, format: &str) -> Cellar {
    let cellar = Cellar::new(database.cluster()).with("BACKUP_FORMAT", format).with("DB_NAME", database.name());
    cellar.run(["backup"]).by_unprivileged_user().succeeds();
    cellar
}

#[test]
fn a_missing_preload_library_does_not_fail_the_backup() {
    let cluster = preloading();
    let database = cluster.create("preloaded");
    database.sql(
        "CREATE EXTENSION pg_stat_statements; \
         CREATE FUNCTION statements() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.pg_stat_statements'; \
         CREATE TABLE t (n int CHECK (public.statements() >= 0)); INSERT INTO t VALUES (1)",
    );
    for format in ["custom", "directory", "plain"] {
        let cellar = backed_up(&database, format);
        let drill = || cellar.run(["drill", "--unisolated", "latest"]).by_unprivileged_user();
        drill().env("DRILL_PRELOAD", "off").fails(OSFILE).says("cannot be drilled here").says(REFUSED);
        assert_eq!(cellar.list()[0]["drill"], serde_json::Value::Null);
        drill().succeeds();
        let elsewhere = Cluster::shared(Version::V15);
        let target = elsewhere.name_for("preloaded");
        let restore = cellar.run(["restore", "latest", "--target-database", &target]);
        let restore = restore.env("DB_HOST", elsewhere.socket_dir()).env("DB_PORT", elsewhere.port().to_string());
        restore.fails(exit::NOINPUT).says(REFUSED).says("add the library");
    }
}

#[test]
fn a_view_that_needs_a_preload_library_is_skipped() {
    let cluster = preloading();
    let database = cluster.create("preloaded_view");
    database.sql(
        "CREATE EXTENSION pg_stat_statements; \
         CREATE MATERIALIZED VIEW slow AS SELECT count(*) FROM pg_stat_statements",
    );
    let cellar = backed_up(&database, "custom");
    let drill = || cellar.run(["drill", "--unisolated", "--json", "latest"]).by_unprivileged_user();
    let printed = drill().env("DRILL_PRELOAD", "off").succeeds().json()[0].clone();
    assert_eq!(printed["result"], "passed", "{printed:#}");
    assert!(printed["notes"][0].as_str().unwrap().contains(REFUSED), "{printed:#}");
    let printed = drill().succeeds().json()[0].clone();
    assert!(printed["result"] == "passed" && printed["notes"].as_array().is_none_or(Vec::is_empty), "{printed:#}");
}

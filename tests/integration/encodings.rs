//! Databases in encodings other than UTF-8, and names that are valid in no encoding.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::common::process::must;
use crate::common::{Cellar, Cluster, Database, Version};

const VERSIONS: [Version; 2] = [Version::V15, Version::V18];

/// Makes a database in this encoding, and runs these statements in it.
pub fn create<'a>(cluster: &'a Cluster, encoding: &str, statements: &[u8]) -> Database<'a> {
    let name = cluster.name_for(&encoding.to_lowercase());
    let how = format!("TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'");
    cluster.sql("postgres", &format!("CREATE DATABASE {name} {how}"));
    let mut psql = cluster.client("psql", &name);
    psql.env("PGCLIENTENCODING", encoding).args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c"]);
    must(psql.arg(OsStr::from_bytes(statements)));
    cluster.database(&name)
}

/// The lines of a dump that are the same for equal databases.
fn script(database: &Database<'_>) -> Vec<String> {
    let output = database.cluster().client("pg_dump", database.name()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n').map(|line| line.escape_ascii().to_string());
    // Newer versions of pg_dump write a random key into each dump.
    lines.filter(|line| !line.contains("restrict ")).collect()
}

fn cellar(cluster: &Cluster, database: &Database<'_>) -> Cellar {
    Cellar::new(cluster).with("DB_NAME", database.name())
}

/// Backs a database up, restores it in several ways, and compares the dumps.
fn comes_back(cluster: &Cluster, database: &Database<'_>) {
    let cellar = cellar(cluster, database);
    cellar.run(["backup"]).by_unprivileged_user().succeeds();
    for how in [&["--jobs=1"][..], &["--jobs=3"], &["--quick"], &["--keep-going"]] {
        let target = cluster.name_for("again");
        cellar.run(["restore", "latest", "--target-database", &target]).arguments(how).succeeds();
        let restored = cluster.database(&target);
        assert_eq!(script(&restored), script(database), "{how:?}");
        // The planner has statistics of every table.
        let unknown = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND oid >= 16384 AND reltuples < 0";
        assert_eq!(restored.sql(unknown), "0", "{how:?}");
        cellar.run(["verify", "latest", "--against-live", &target]).succeeds();
    }
    cellar.run(["show", "latest"]).succeeds();
    cellar.run(["doctor", "database"]).succeeds();
    cellar.run(["drill", "latest", "--unisolated"]).by_unprivileged_user().succeeds();
}

#[test]
fn names_that_are_valid_in_no_encoding() {
    for version in VERSIONS {
        let cluster = Cluster::shared(version);
        let database = create(
            cluster,
            "SQL_ASCII",
            b"CREATE TABLE \"t\xe9l\xe9\"(\"c\xf6l\" text); INSERT INTO \"t\xe9l\xe9\" VALUES ('\xe9\xe8 x'), ('\xc3\xa9'); \
              CREATE SEQUENCE \"s\xe9q\"; CREATE INDEX \"i\xe9\" ON \"t\xe9l\xe9\" (\"c\xf6l\"); CREATE SCHEMA \"sch\xe9\"; \
              CREATE TABLE \"sch\xe9\".x AS SELECT 1 AS a; CREATE TABLE plain AS SELECT 1 AS a; \
              COMMENT ON TABLE plain IS '\xe9'; \
              CREATE FUNCTION \"f\xfc\"(a \"t\xe9l\xe9\") RETURNS int LANGUAGE sql AS 'SELECT 1'; \
              CREATE MATERIALIZED VIEW \"m\xe9\" AS SELECT a FROM plain; \
              CREATE EXTENSION hstore SCHEMA \"sch\xe9\"; CREATE PUBLICATION \"p\xe9\" FOR TABLE \"t\xe9l\xe9\"; \
              CREATE FOREIGN DATA WRAPPER w; CREATE SERVER \"s\xe9\" FOREIGN DATA WRAPPER w; \
              CREATE USER MAPPING FOR public SERVER \"s\xe9\" OPTIONS (a '\xe9')",
        );
        comes_back(cluster, &database);
    }
}

#[test]
fn names_of_other_encodings() {
    for version in VERSIONS {
        let cluster = Cluster::shared(version);
        for (encoding, statements) in [
            ("LATIN1", &b"CREATE TABLE \"t\xe9\" AS SELECT '\xe9'::text AS \"c\xf6\"; CREATE SEQUENCE \"s\xe9\""[..]),
            ("EUC_JP", b"CREATE TABLE \"\xc6\xfc\xcb\xdc\" AS SELECT '\xb8\xec'::text AS \"\xb8\xec\""),
            ("WIN1252", b"CREATE TABLE t AS SELECT '\x80 \x9f'::text AS \"c\x80\""),
            ("EUC_TW", b"CREATE TABLE t AS SELECT '\xc4\xe3'::text AS c"),
        ] {
            comes_back(cluster, &create(cluster, encoding, statements));
        }
    }
}

/// Names of roles are bytes that all databases of a cluster share.
#[test]
fn roles_created_in_another_encoding() {
    for version in VERSIONS {
        let cluster = Cluster::start(version);
        cluster.sql("postgres", "CREATE ROLE \"\u{f6}\"");
        // A name that LATIN1 cannot represent.
        cluster.create_named("\u{65e5}\u{672c}");
        for encoding in ["EUC_TW", "LATIN1", "SQL_ASCII"] {
            let database = create(
                &cluster,
                encoding,
                b"CREATE TABLE t AS SELECT 1 AS a; ALTER TABLE t OWNER TO \"\xc3\xb6\"; GRANT SELECT ON t TO \"\xc3\xb6\"",
            );
            let name = database.name();
            cluster.sql("postgres", &format!("ALTER DATABASE {name} OWNER TO \"\u{f6}\""));
            cluster.sql("postgres", &format!("ALTER ROLE \"\u{f6}\" IN DATABASE {name} SET work_mem = '7MB'"));
            comes_back(&cluster, &database);
            let cellar = cellar(&cluster, &database);
            let target = cluster.name_for("owned");
            cellar.run(["backup"]).succeeds();
            cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
            let set = format!(
                "SELECT pg_get_userbyid(datdba), setrole::regrole, setconfig FROM pg_database d \
                 JOIN pg_db_role_setting s ON s.setdatabase = d.oid WHERE datname = '{target}'"
            );
            assert_eq!(cluster.sql("postgres", &set), "\u{f6}|\"\u{f6}\"|{work_mem=7MB}", "{encoding}");
        }
    }
}

/// The server cannot convert this encoding: sessions read it unconverted, with and without TLS.
#[test]
fn an_encoding_without_a_conversion() {
    for version in VERSIONS {
        let cluster = Cluster::start_with_tls(version);
        let statements = b"CREATE TABLE t AS SELECT '\x81\xe9'::text AS c; CREATE TABLE \"t\x81\xe9\" AS SELECT 1 AS a";
        let database = create(&cluster, "MULE_INTERNAL", statements);
        comes_back(&cluster, &database);
        let cellar = cellar(&cluster, &database).with("DB_HOST", cluster.socket_dir());
        cellar.run(["backup"]).succeeds();
        cellar.run(["restore", "latest", "--target-database", "by_socket"]).succeeds();
        assert_eq!(script(&cluster.database("by_socket")), script(&database));
    }
}

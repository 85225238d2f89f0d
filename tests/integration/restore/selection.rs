//! Restores of a part: schemas and tables.

use crate::common::{Cellar, Cluster, Database, Version, exit};
use crate::restore::jobs::left;

/// Two independent schemas, and one that depends on another.
fn parts(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("parts");
    for sql in [
        "CREATE SCHEMA shop; COMMENT ON SCHEMA shop IS 'wine'; GRANT USAGE ON SCHEMA shop TO PUBLIC",
        "CREATE EXTENSION citext WITH SCHEMA shop",
        "CREATE TABLE shop.wine (id int PRIMARY KEY, name shop.citext, year int DEFAULT 1999 CHECK (year > 1900))",
        "CREATE INDEX ON shop.wine (name); GRANT SELECT ON shop.wine TO PUBLIC; COMMENT ON COLUMN shop.wine.id IS 'a number'",
        "INSERT INTO shop.wine SELECT n, 'wine ' || n, 1990 + n FROM generate_series(1, 9) n",
        "CREATE VIEW shop.young AS SELECT * FROM shop.wine WHERE year > 1995; CREATE SEQUENCE shop.s; SELECT nextval('shop.s')",
        "CREATE SCHEMA \"Other \"\"s\"; CREATE TABLE \"Other \"\"s\".wine (n int PRIMARY KEY); INSERT INTO \"Other \"\"s\".wine VALUES (7)",
        "CREATE TABLE \"Other \"\"s\".\"a.b\" AS SELECT 1 AS n; CREATE TABLE public.leaning (w int REFERENCES shop.wine)",
        "CREATE PUBLICATION p FOR TABLE shop.wine",
    ] {
        database.sql(sql);
    }
    database
}

const RELATIONS: &str = "SELECT string_agg(c.oid::regclass::text, ' ' ORDER BY n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace WHERE c.oid >= 16384 AND relkind <> 't' AND nspname !~ '^pg_'";

#[test]
fn restore_a_schema() {
    let cluster = Cluster::shared(Version::V15);
    let original = parts(cluster);
    for (format, jobs) in [("custom", "1"), ("custom", "2"), ("directory", "2"), ("tar", "1")] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        cellar.back_up(original.name());
        let target = cluster.name_for("part");
        let run = cellar.run(["restore", "latest", "--jobs", jobs, "--schema", "shop", "--target-database", &target]);
        run.succeeds().says("only schema 'shop'");
        let part = cluster.database(&target);
        assert_eq!(part.sql(RELATIONS), "shop.s shop.wine shop.wine_name_idx shop.wine_pkey shop.young", "{format}");
        for query in [
            "SELECT string_agg(w::text, ' ' ORDER BY id) FROM shop.wine w",
            "SELECT obj_description('shop'::regnamespace), nspacl FROM pg_namespace WHERE nspname = 'shop'",
            "SELECT string_agg(conname, ' ' ORDER BY conname), col_description('shop.wine'::regclass, 1) FROM pg_constraint WHERE conrelid = 'shop.wine'::regclass",
            "SELECT relacl FROM pg_class WHERE oid = 'shop.wine'::regclass",
            "SELECT last_value FROM shop.s",
        ] {
            assert_eq!(part.sql(query), original.sql(query), "{format}: {query}");
        }
        assert_eq!(part.sql("SELECT count(*) FROM pg_publication"), "0");
    }
}

#[test]
fn restore_tables() {
    let cluster = Cluster::shared(Version::V15);
    let original = parts(cluster);
    for (format, jobs) in [("custom", "1"), ("custom", "2"), ("directory", "2"), ("tar", "1")] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        cellar.back_up(original.name());
        let restore = |tables: &[&str]| {
            let target = cluster.name_for("part");
            let run = cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]);
            run.arguments(tables.iter().flat_map(|table| ["--table", table])).succeeds().says("without indexes");
            cluster.database(&target)
        };
        let part = restore(&["Other \"s.wine", "a.b"]);
        assert_eq!(part.sql(RELATIONS), r#""Other ""s"."a.b" "Other ""s".wine"#, "{format}");
        assert_eq!(part.sql(r#"SELECT n FROM "Other ""s".wine"#), "7");
        let part = restore(&["leaning"]);
        assert_eq!(part.sql(RELATIONS), "leaning", "{format}");
    }
}

#[test]
fn selections_that_match_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let original = parts(cluster);
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    let target = cluster.name_for("part");
    let restore = |arguments: &[&str]| cellar.run(["restore", "latest", "-t", &target]).arguments(arguments);
    for arguments in [&["--schema", "shop", "--force"][..], &["--table", "wine", "--force"]] {
        let _ = restore(arguments).fails(exit::USAGE).says("--force").says("whole database");
    }
    let _ = restore(&["--schema", "shop", "--table", "wine"]).fails(exit::USAGE).says("SCHEMA.TABLE");
    let _ = restore(&["--schema", "Shop"]).fails(exit::NOINPUT).says("no schema 'Shop'").says("is 'shop' meant?");
    let _ = restore(&["--schema", "sh*"]).fails(exit::NOINPUT).says("no schema 'sh*'");
    let _ = restore(&["--table", "shop.wines"]).fails(exit::NOINPUT).says("is 'shop.wine' meant?");
    let _ = restore(&["--table", "wine", "--table", "zzz"]).fails(exit::NOINPUT).says("no table 'zzz'").says("exact");
    // Its foreign key refers to another schema.
    let _ = restore(&["--schema", "public"]).fails(exit::DATAERR).says("depends on objects outside of it");
    assert_eq!(left(cluster, &target), "");
    // Both together are complete.
    restore(&["--schema", "public", "--schema", "shop"]).env("FORCE_RESTORE", "false").succeeds();
    assert_eq!(cluster.database(&target).sql("SELECT count(*) FROM shop.wine"), "9");
    let before = cluster.database(&target).sql(RELATIONS);
    let _ = restore(&["--schema", "shop"]).fails(exit::CANTCREAT).says("exists already");
    assert_eq!(cluster.database(&target).sql(RELATIONS), before);

    let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", "plain");
    cellar.back_up(original.name());
    let run = cellar.run(["restore", "latest", "-t", "never", "--schema", "shop"]);
    let _ = run.fails(exit::USAGE).says("it is a script");
}

/// Only roles and extensions that the selection needs are required.
#[test]
fn a_selection_needs_only_its_own_roles() {
    let (from, to) = (Cluster::shared(Version::V15), Cluster::start(Version::V15));
    let role = from.name_for("stranger");
    from.sql("postgres", &format!("CREATE ROLE {role}"));
    let original = from.create("owned");
    original.sql("CREATE SCHEMA mine; CREATE TABLE mine.t AS SELECT 1 AS n");
    original.sql(&format!("CREATE SCHEMA theirs AUTHORIZATION {role}; CREATE TABLE theirs.t AS SELECT 2 AS n"));
    let cellar = Cellar::new(from);
    cellar.back_up(original.name());
    let restore = |schema: &str| {
        let run = cellar.run(["restore", "latest", "-t", "part", "--schema", schema]);
        run.env("DB_PORT", to.port().to_string())
    };
    let _ = restore("theirs").fails(exit::NOINPUT).says(&role);
    restore("mine").succeeds();
    assert_eq!(to.sql("part", "SELECT n FROM mine.t"), "1");
}

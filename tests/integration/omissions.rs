//! Rows and objects that a dump leaves out are reported with the reason.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::cluster::PASSWORD;
use crate::common::process::{hand_over, new_folder};
use crate::common::standby::Standby;
use crate::common::{Cellar, Cluster, Version, exit};

/// `kind name: reason` of each omission.
fn omitted(manifest: &Value) -> Vec<String> {
    let text = |omission: &Value, field: &str| omission[field].as_str().unwrap().to_owned();
    let omissions = manifest["omitted"].as_array().unwrap().iter();
    omissions.map(|one| format!("{} {}: {}", text(one, "kind"), text(one, "name"), text(one, "reason"))).collect()
}

const FORMATS: [&str; 4] = ["custom", "directory", "tar", "plain"];

#[test]
fn unlogged_rows_on_a_standby() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("copied");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n; CREATE UNLOGGED TABLE cache AS SELECT 1 AS n");
    let standby = Standby::of(&cluster, &[]);
    let cellar = Cellar::new(&cluster);
    assert_eq!(omitted(&cellar.back_up(database.name())), [""; 0], "the primary has all rows");
    let cellar = cellar.with("DB_HOST", standby.socket_dir()).with("DB_PORT", standby.port().to_string());
    for format in FORMATS {
        let outcome = cellar.run(["backup", "--json"]).env("DB_NAME", database.name()).env("BACKUP_FORMAT", format);
        let outcome = outcome.succeeds().says("\"public\".\"cache\"");
        let manifest = &outcome.json()[0];
        assert_eq!(
            omitted(manifest),
            ["table data \"public\".\"cache\": unlogged: a standby does not have its rows"],
            "{format}"
        );
        assert_eq!(manifest["contents"]["tables"], 1);
        assert_eq!(manifest["server"]["standby"], true);
        assert_eq!(manifest["partial"], false);
    }
}

#[test]
fn rows_of_foreign_and_extension_tables() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("borrowed");
    database.sql(
        "CREATE TABLE wine AS SELECT 1 AS n; \
         CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER there FOREIGN DATA WRAPPER elsewhere; \
         CREATE FOREIGN TABLE \"far \"\"away\"\"\" (n int) SERVER there; \
         CREATE EXTENSION citext; CREATE TABLE rules AS SELECT 1 AS n; ALTER EXTENSION citext ADD TABLE rules; \
         CREATE TABLE none (n int); ALTER EXTENSION citext ADD TABLE none",
    );
    for format in FORMATS {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        let manifest = cellar.back_up(database.name());
        assert_eq!(
            omitted(&manifest),
            [
                "table data \"public\".\"far \"\"away\"\"\": foreign table: its rows are on another server",
                "table data \"public\".\"rules\": belongs to the extension citext, which does not mark it as its \
                 configuration: no rows but those that the extension makes come back",
            ],
            "{format}"
        );
        assert_eq!(manifest["contents"]["tables"], 1, "{format}");
        assert_eq!(manifest["partial"], false);
    }
}

#[test]
fn names_that_are_not_utf_8_in_the_dump() {
    let cluster = Cluster::shared(Version::V15);
    // The dump's session may use another encoding than the database.
    for (encoding, client, printed) in
        [("LATIN1", None, "größe"), ("LATIN1", Some("UTF8"), "größe"), ("SQL_ASCII", None, "gr\u{fffd}\u{fffd}e")]
    {
        let name = cluster.name_for("odd_names");
        let options = format!("TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        cluster.sql("postgres", &format!("CREATE DATABASE {name} {options}"));
        let database = cluster.database(&name);
        database.sql(
            "DO $$BEGIN EXECUTE format('CREATE TABLE %I AS SELECT 1 AS n', 'gr' || chr(246) || chr(223) || 'e'); END$$; \
             CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE root (mood mood) PARTITION BY HASH (mood); \
             CREATE TABLE part PARTITION OF root FOR VALUES WITH (MODULUS 1, REMAINDER 0); INSERT INTO root VALUES ('ok'); \
             DO $$BEGIN EXECUTE format('ALTER TABLE root RENAME TO %I', 'root ' || chr(246)); END$$",
        );
        if let Some(client) = client {
            database.sql(&format!("ALTER DATABASE {name} SET client_encoding = '{client}'"));
        }
        for format in ["custom", "plain"] {
            let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
            let manifest = cellar.back_up(&name);
            assert_eq!(omitted(&manifest), [""; 0], "{format} {encoding} {client:?}");
            assert_eq!(manifest["partial"], false, "{format} {encoding} {client:?}");
            let run = cellar.run(["backup", "--json"]).env("DB_NAME", &name);
            let manifest = run.env("BACKUP_DUMP_OPTIONS", "--exclude-table-data=gr*").succeeds().json()[0].clone();
            let left_out = format!("table data \"public\".\"{printed}\": left out by BACKUP_DUMP_OPTIONS");
            assert_eq!(omitted(&manifest), [left_out], "{format} {encoding} {client:?}");
        }
    }
}

#[test]
fn options_that_leave_rows_out() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("narrowed");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n; CREATE TABLE log AS SELECT 1 AS n; SELECT lo_create(0)");
    let reason = "left out by BACKUP_DUMP_OPTIONS";
    let (table, large) =
        (format!("table data \"public\".\"log\": {reason}"), format!("large objects 1 of 1: {reason}"));
    let cases: [(&str, Vec<&str>); 4] = [
        ("--exclude-table-data=log", vec![&table]),
        ("--exclude-table=public.log", vec![&table]),
        ("--no-blobs", vec![&large]),
        ("--table=wine", vec![&table, &large]),
    ];
    for format in FORMATS {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        assert_eq!(cellar.back_up(database.name())["partial"], false);
        for (options, left_out) in &cases {
            let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("BACKUP_DUMP_OPTIONS", *options);
            let manifest = cellar.back_up(database.name());
            assert_eq!(manifest["partial"], true, "{format} {options}");
            assert_eq!(omitted(&manifest), *left_out, "{format} {options}");
            assert_eq!(manifest["dump_options"][0], *options);
        }
    }
}

#[test]
fn parts_that_only_a_superuser_may_dump() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("restricted");
    database.sql(&format!(
        "CREATE TABLE wine AS SELECT 1 AS n; \
         CREATE SUBSCRIPTION \"to all\" CONNECTION 'dbname=nothing' PUBLICATION p WITH (connect = false); \
         CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER there FOREIGN DATA WRAPPER elsewhere; \
         CREATE USER MAPPING FOR postgres SERVER there OPTIONS (password 'x'); \
         CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON wine TO reader; \
         CREATE ROLE member LOGIN PASSWORD '{PASSWORD}'; GRANT pg_read_all_data TO member"
    ));
    let cellar = Cellar::new(&cluster);
    assert_eq!(omitted(&cellar.back_up(database.name())), [""; 0], "a superuser dumps everything");
    for role in ["reader", "member"] {
        for format in FORMATS {
            let run = cellar.run(["backup", "--json"]).env("DB_NAME", database.name()).env("BACKUP_FORMAT", format);
            let outcome = run.env("DB_USER", role).succeeds();
            let manifest = &outcome.json()[0];
            assert_eq!(
                omitted(manifest),
                [
                    "subscription \"to all\": only a superuser may dump subscriptions",
                    "user mapping options postgres on there: its options, if it has any, may be read by a superuser \
                     and the server's owner only",
                ],
                "{format} as {role}"
            );
        }
    }
    // Large objects have privileges of their own, which pg_read_all_data does not include.
    database.sql("SELECT lo_create(4711)");
    let member = cellar.with("DB_USER", "member").with("DB_NAME", database.name());
    let _ = member
        .run(["backup"])
        .fails(exit::NOPERM)
        .says("permission denied for large object")
        .says("GRANT SELECT ON LARGE OBJECT");
    let manifest = member.run(["backup", "--json"]).env("BACKUP_DUMP_OPTIONS", "--no-blobs").succeeds().json();
    assert!(omitted(&manifest[0]).contains(&"large objects 1 of 1: left out by BACKUP_DUMP_OPTIONS".to_owned()));
}

#[test]
fn globals_without_passwords() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("globals");
    database.sql(&format!("CREATE TABLE wine AS SELECT 1 AS n; CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'"));
    database.sql("GRANT SELECT ON wine TO reader");
    let cellar = Cellar::new(&cluster).with("BACKUP_COMPRESSION", "none").with("DB_NAME", database.name());
    let globals = |role: &str| {
        let outcome = cellar.run(["backup", "--json"]).env("DB_USER", role).succeeds();
        let manifest = outcome.json()[0].clone();
        let name = format!("{}.globals.sql", manifest["id"].as_str().unwrap());
        (outcome, manifest, fs::read_to_string(cellar.backup_dir().join(name)).unwrap())
    };
    let (_, manifest, script) = globals("postgres");
    assert_eq!((&manifest["role_passwords"], &manifest["warnings"]), (&Value::Bool(true), &Value::Array(Vec::new())));
    assert!(script.contains("CREATE ROLE reader") && script.contains("SCRAM-SHA-256"), "{script}");
    let (outcome, manifest, script) = globals("reader");
    assert_eq!(manifest["role_passwords"], false);
    assert!(manifest["warnings"][0].as_str().unwrap().contains("the globals have no passwords"), "{manifest}");
    assert!(outcome.stderr.contains("warning: ") && outcome.stderr.contains("no passwords"), "{outcome}");
    assert!(script.contains("CREATE ROLE reader") && !script.contains("PASSWORD"), "{script}");
}

#[test]
fn rows_that_are_dumped_through_their_root_are_not_missing() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("through_root");
    database.sql(
        "CREATE TYPE colour AS ENUM ('red', 'white'); \
         CREATE TABLE wine (id int, colour colour) PARTITION BY HASH (colour); \
         CREATE TABLE wine_0 PARTITION OF wine FOR VALUES WITH (MODULUS 2, REMAINDER 0); \
         CREATE TABLE wine_1 PARTITION OF wine FOR VALUES WITH (MODULUS 2, REMAINDER 1); \
         INSERT INTO wine SELECT i, (ARRAY['red', 'white']::colour[])[1 + i % 2] FROM generate_series(1, 10) i",
    );
    for format in ["custom", "directory", "tar", "plain"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        assert_eq!(omitted(&cellar.back_up(database.name())), [""; 0], "{format}");
    }
}

/// The script of an extension: configuration tables with and without a condition, and an ordinary table.
const EXTENSION: &str = "CREATE TABLE place (id int, name text); INSERT INTO place SELECT n, 'first' FROM generate_series(1, 10) n; \
     CREATE TABLE setting (id int); CREATE TABLE job (id int); CREATE TABLE idle (id int); \
     CREATE TABLE empty (id int);";

/// A cluster that has the extension, and a database with it.
fn with_extension(cluster: &Cluster, folder: &Path) -> String {
    let database = cluster.create("extended");
    if cluster.version() >= Version::V18 {
        let configured = "SELECT pg_extension_config_dump('place', 'WHERE id > 10'); \
             SELECT pg_extension_config_dump('setting', ''); SELECT pg_extension_config_dump('empty', 'WHERE id > 10');";
        let files = folder.join("extension");
        fs::write(files.join("own.control"), "default_version = '1.0'\nrelocatable = true\n").unwrap();
        fs::write(files.join("own--1.0.sql"), format!("{EXTENSION}\n{configured}\n")).unwrap();
        database.sql("CREATE EXTENSION own");
    } else {
        // Servers before 18 look for extensions only in their own folder.
        database.sql(&format!("CREATE EXTENSION lo; {EXTENSION}"));
        for table in ["place", "setting", "job", "idle", "empty"] {
            database.sql(&format!("ALTER EXTENSION lo ADD TABLE {table}"));
        }
        database.sql(
            "UPDATE pg_extension SET extname = 'own', extconfig = ARRAY['place', 'setting', 'empty']::regclass[], \
             extcondition = ARRAY['WHERE id > 10', '', 'WHERE id > 10'] WHERE extname = 'lo'",
        );
    }
    database.sql(
        "UPDATE place SET name = 'changed' WHERE id = 5; INSERT INTO place VALUES (999, 'mine'); \
         INSERT INTO setting VALUES (1); INSERT INTO job VALUES (1), (2)",
    );
    database.name().to_owned()
}

#[test]
fn rows_of_extension_tables() {
    for version in [Version::V15, Version::V18] {
        let folder = new_folder();
        fs::create_dir(folder.path().join("extension")).unwrap();
        hand_over(folder.path());
        let path = format!("extension_control_path=$system:{}", folder.path().display());
        let settings: &[&str] = if version >= Version::V18 { &[&path] } else { &[] };
        let cluster = Cluster::start_configured(version, settings);
        let name = with_extension(&cluster, folder.path());
        for format in FORMATS {
            let cellar = Cellar::new(&cluster).with("BACKUP_FORMAT", format).with("DB_NAME", &name);
            let outcome = cellar.run(["backup", "--json"]).succeeds();
            let manifest = &outcome.json()[0];
            assert_eq!(
                omitted(manifest),
                [
                    "table data \"public\".\"job\": belongs to the extension own, which does not mark it as its \
                     configuration: no rows but those that the extension makes come back",
                    "extension rows \"public\".\"place\": those that the condition of the extension own leaves out are made by \
                     the extension: changes of them do not come back",
                ],
                "{format}"
            );
            assert_eq!(
                (&manifest["partial"], &manifest["contents"]["tables"]),
                (&Value::Bool(false), &3.into()),
                "{format}"
            );
            // Every backup warns only of rows that could be kept elsewhere.
            let warnings: Vec<&str> = outcome.stderr.lines().filter(|line| line.starts_with("warning: ")).collect();
            assert!(warnings.len() == 1 && warnings[0].contains("\"job\""), "{outcome}");
            assert!(outcome.stderr.contains("not in the archive: extension rows \"public\".\"place\""), "{outcome}");
            let shown = cellar.run(["show", manifest["id"].as_str().unwrap()]).succeeds().stdout;
            assert!(shown.contains("extension rows  \"public\".\"place\""), "{shown}");
        }
        if version >= Version::V18 {
            let cellar = Cellar::new(&cluster).with("DB_NAME", &name);
            let id = cellar.back_up(&name)["id"].as_str().unwrap().to_owned();
            let target = cluster.name_for("back");
            let outcome = cellar.run(["restore", &id, "--target-database", &target]).succeeds();
            assert!(outcome.stderr.contains("rows of \"public\".\"place\": those that the condition"), "{outcome}");
            assert!(outcome.stderr.contains("1 thing was not in the archive"), "{outcome}");
            let rows = "SELECT string_agg(id || name, ' ' ORDER BY id) FROM place WHERE id IN (5, 999)";
            assert_eq!(cluster.database(&target).sql(rows), "5first 999mine");
        }
    }
}

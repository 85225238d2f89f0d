//! `pgcellar diff`: what changed between two backups, without a server, and against a living database.

use serde_json::{Value, json};

use crate::common::process::must;
use crate::common::{Cellar, Cluster, Database, Version, dumps, exit, keys};

mod rows;

const BEFORE: &str = r#"
    CREATE TABLE kept AS SELECT n FROM generate_series(1, 3) n;
    CREATE TABLE grown (id int PRIMARY KEY, note text);
    INSERT INTO grown SELECT n, 'note ' || n FROM generate_series(1, 10) n;
    CREATE TABLE "Chan.ged" (id int PRIMARY KEY, v text);
    INSERT INTO "Chan.ged" VALUES (1, 'one'), (2, 'two');
    CREATE TABLE dropped AS SELECT 1 AS n;
    CREATE TABLE altered (id int PRIMARY KEY, a int, b text, c numeric(5,2) DEFAULT 1);
    INSERT INTO altered VALUES (1, 2, 'x');
    CREATE TABLE parted (id int, d int) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
    INSERT INTO parted SELECT n, n FROM generate_series(1, 20) n;
    CREATE SEQUENCE s; SELECT nextval('s');
    CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 1';
    CREATE FUNCTION f(text) RETURNS text LANGUAGE sql AS 'SELECT $1';
    CREATE VIEW v AS SELECT n FROM kept;
    CREATE INDEX by_note ON grown (note);
    SELECT lo_from_bytea(4711, 'a large object'), lo_from_bytea(4712, 'another');
"#;

const CHANGES: &str = r#"
    INSERT INTO grown SELECT n, 'note ' || n FROM generate_series(11, 15) n;
    UPDATE "Chan.ged" SET v = 'TWO' WHERE id = 2;
    DROP TABLE dropped;
    CREATE TABLE added (id int);
    INSERT INTO added VALUES (1), (2);
    ALTER TABLE altered DROP COLUMN a, ALTER COLUMN b TYPE varchar(10), ADD COLUMN e date;
    DELETE FROM parted WHERE id > 10;
    SELECT nextval('s');
    CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 2';
    DROP VIEW v;
    DROP INDEX by_note;
    CREATE INDEX by_id_and_note ON grown (id, note);
    COMMENT ON TABLE kept IS 'what stays';
    CREATE EXTENSION hstore;
    SELECT lo_put(4711, 0, 'A'), lo_unlink(4712), lo_from_bytea(4713, 'a new one');
"#;

/// Two backups of a database, before and after the changes; the database is the later state.
fn two_backups<'a>(cluster: &'a Cluster, cellar: &Cellar, purpose: &str) -> (Database<'a>, [String; 2]) {
    let database = cluster.create(purpose);
    database.sql(BEFORE);
    let before = cellar.back_up(database.name());
    database.sql(CHANGES);
    let after = cellar.back_up(database.name());
    let ids = [before, after].map(|manifest| manifest["id"].as_str().unwrap().to_owned());
    (database, ids)
}

/// The names of a list's parts and how they differ.
fn changes(report: &Value, list: &str) -> Vec<String> {
    let name = |part: &Value| {
        let schema = part["schema"].as_str().filter(|schema| !schema.is_empty()).map(|schema| format!("{schema}."));
        let kind = part["kind"].as_str().map(|kind| format!("{kind} "));
        let name = part["name"].as_str().unwrap_or_default();
        let change = part["change"].as_str().unwrap();
        format!("{change} {}{}{name}", kind.unwrap_or_default(), schema.unwrap_or_default())
    };
    report[list].as_array().unwrap().iter().map(name).collect()
}

fn table<'a>(report: &'a Value, name: &str) -> &'a Value {
    let tables = report["tables"].as_array().unwrap();
    tables.iter().find(|table| table["name"] == name).unwrap_or_else(|| panic!("no {name}: {report:#}"))
}

/// Everything that the changes changed, and nothing else.
fn is_complete(report: &Value) {
    assert_eq!(
        changes(report, "tables"),
        [
            "changed public.\"Chan.ged\"",
            "added public.added",
            "changed public.altered",
            "removed public.dropped",
            "changed public.grown",
            "changed public.parted_1",
        ]
    );
    let rows = |name: &str| {
        let table = table(report, name);
        (table["rows_before"].clone(), table["rows_after"].clone(), table["content_changed"].clone())
    };
    assert_eq!(rows("public.grown"), (json!(10), json!(15), json!(true)));
    assert_eq!(rows("public.\"Chan.ged\""), (json!(2), json!(2), json!(true)));
    assert_eq!(rows("public.added"), (json!(null), json!(2), json!(null)));
    assert_eq!(rows("public.dropped"), (json!(1), json!(null), json!(null)));
    assert_eq!(rows("public.parted_1"), (json!(20), json!(10), json!(true)));
    assert_eq!(table(report, "public.grown")["definition_changed"], json!(false));
    assert_eq!(table(report, "public.altered")["definition_changed"], json!(true));
    assert_eq!(
        table(report, "public.altered")["columns"],
        json!([
            { "name": "a", "change": "removed", "type_before": "integer", "type_after": null },
            { "name": "b", "change": "changed", "type_before": "text", "type_after": "character varying(10)" },
            { "name": "e", "change": "added", "type_before": null, "type_after": "date" },
        ])
    );
    assert_eq!(report["sequences"], json!([{ "name": "public.s", "change": "changed", "before": "1", "after": "2" }]));
    let objects: Vec<String> = report["large_objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| format!("{} {}", object["change"].as_str().unwrap(), object["first"]))
        .collect();
    assert_eq!(objects, ["changed 4711", "removed 4712", "added 4713"]);
    assert_eq!(changes(report, "extensions"), ["added hstore"]);
    assert!(report["extensions"][0]["after"].as_str().unwrap().ends_with(" in public"), "{report:#}");
    assert_eq!(
        changes(report, "objects"),
        [
            "added comment EXTENSION hstore",
            "added comment public.TABLE kept",
            "changed function public.f(integer)",
            "added index public.by_id_and_note",
            "removed index public.by_note",
            "removed view public.v",
        ]
    );
}

fn every_format(version: Version) {
    let cluster = Cluster::shared(version);
    for (format, encrypted) in [("custom", true), ("custom", false), ("directory", false), ("tar", false)] {
        let mut cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        let key = keys::age(cellar.scratch(), "key");
        if encrypted {
            cellar =
                cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient).with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
        }
        let (database, [before, after]) = two_backups(cluster, &cellar, "diffed");
        // No server is asked.
        let diff = |arguments: &[&str]| {
            cellar.run([&["diff"], arguments].concat()).env("DB_PORT", "1").env("DB_NAME", database.name())
        };
        let report = diff(&["--json"]).succeeds().json();
        assert_eq!((&report["before"]["id"], &report["after"]["id"]), (&json!(before), &json!(after)), "{format}");
        is_complete(&report);
        assert_eq!(diff(&[&before, &after, "--json"]).succeeds().json(), report);
        assert_eq!(diff(&[&before, "latest", "--json", "--exit-code"]).finish().code(), Some(1));

        let text = diff(&[]).succeeds().stdout;
        for line in [
            "\npublic.grown ",
            "\npublic.dropped ",
            "\ncolumn ",
            "\nsequence ",
            "\nlarge object ",
            "\nextension ",
            "\nfunction ",
            "+5",
            "other rows",
            "character varying(10)",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
        let equal = diff(&["latest", "latest", "--exit-code"]).succeeds();
        assert_eq!(equal.stdout, "");
        equal.says(" are equal");
        if encrypted {
            diff(&[]).without("BACKUP_AGE_IDENTITY_FILE").fails(exit::NOPERM).says("there is no private key");
        }
    }
}

#[test]
fn every_format_on_15() {
    every_format(Version::V15);
}

#[test]
fn every_format_on_17() {
    every_format(Version::V17);
}

#[test]
fn a_backup_against_the_living_database() {
    let cluster = Cluster::shared(Version::V17);
    let cellar = Cellar::new(cluster);
    let (database, [before, after]) = two_backups(cluster, &cellar, "diffed_live");
    // Backups do not depend on it.
    database.sql(&format!("ALTER DATABASE {} SET quote_all_identifiers = on", database.name()));
    let live = |id: &str, more: &[&str]| {
        cellar.run([&["diff", id, "--against-live", database.name(), "--json"], more].concat())
    };
    let report = live(&before, &["--jobs", "2"]).succeeds().json();
    assert_eq!(report["after"], json!({ "database": database.name() }));
    is_complete(&report);
    let report = live(&after, &["--exit-code"]).succeeds().json();
    assert!(
        ["tables", "sequences", "large_objects", "extensions", "objects"].iter().all(|list| report[list] == json!([])),
        "{report:#}"
    );
    cellar.run(["diff", &before, &after, "--against-live", database.name()]).fails(exit::USAGE);
    live("latest", &[]).env("DB_PORT", "1").fails(exit::UNAVAILABLE);
}

#[test]
fn dumps_without_fingerprints_are_read() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let (database, [before, _]) = two_backups(cluster, &cellar, "diffed_dump");
    for (format, extra) in [("custom", "--compress=0"), ("directory", "--compress=1"), ("tar", "--blobs")] {
        let path = cellar.scratch().join(format!("{format}.dump"));
        must(&mut dumps::pg_dump(
            &database,
            &[&format!("--format={format}"), extra, &format!("--file={}", path.display())],
        ));
        let outcome = cellar.run(["diff", &before, path.to_str().unwrap(), "--json"]).env("DB_PORT", "1").succeeds();
        let mut report = outcome.json();
        // A dump does not say which version of an extension there was.
        assert_eq!(
            report["extensions"],
            json!([{ "name": "hstore", "change": "added", "before": null, "after": null }])
        );
        report["extensions"][0]["after"] = json!("1 in public");
        is_complete(&report);
        outcome.says("has no fingerprints: its rows are read");
    }
    let path = cellar.scratch().join("x.sql");
    must(&mut dumps::pg_dump(&database, &["--format=plain", &format!("--file={}", path.display())]));
    let outcome = cellar.run(["diff", &before, path.to_str().unwrap(), "--json"]).succeeds();
    let report = outcome.json();
    assert!(changes(&report, "tables").contains(&"removed public.dropped".to_owned()), "{report:#}");
    assert!(changes(&report, "objects").contains(&"removed view public.v".to_owned()), "{report:#}");
    assert_eq!(table(&report, "public.dropped")["definition_changed"], json!(null));
    outcome.says("is a script").says("are not counted");
}

#[test]
fn latest_and_steps_back_name_backups_everywhere() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("steps");
    database.sql("CREATE TABLE t AS SELECT 1 AS n");
    let cellar = Cellar::new(cluster);
    let ids: Vec<String> = (0..3).map(|_| cellar.back_up(database.name())["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(cellar.run(["show", "latest~1", "--json"]).succeeds().json()["id"], json!(ids[1]));
    assert_eq!(cellar.run(["verify", "latest~2", "--json"]).succeeds().json()[0]["id"], json!(ids[0]));
    cellar.run(["pin", "latest~2"]).succeeds().says(&ids[0]);
    cellar.run(["unpin", "latest~2"]).succeeds().says(&ids[0]);
    let plan = cellar.run(["restore", "latest~1", "--dry-run", "--target-database", "steps_back"]).succeeds();
    assert!(plan.stdout.contains(&ids[1]) || plan.stderr.contains(&ids[1]), "{plan}");
    cellar.run(["verify", "latest~1", "--against-live", database.name()]).succeeds().says(&ids[1]);
    let none = cellar.run(["show", "latest~3"]).fails(exit::NOINPUT);
    none.says("has 3 good backups");
    cellar.run(["diff", "latest~9"]).fails(exit::NOINPUT);
}

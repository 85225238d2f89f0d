//! Tables that change between the snapshot and pg_dump's locks, and settings that could interfere.
//!
//! TRUNCATE and rewrites are not MVCC-safe (PostgreSQL documentation, "Concurrency Control: Caveats"): a dump by the older
//! snapshot finds the table empty and succeeds.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::common::folder_snapshot::FolderSnapshot;
use crate::common::process::must;
use crate::common::programs::Programs;
use crate::common::session::Session;
use crate::common::{Cellar, Cluster, Database, Version, exit};

const TRUNCATE: &str = "BEGIN; TRUNCATE wine; INSERT INTO wine VALUES (3, 'late'); COMMIT";
const ALTER_TYPE: &str = "ALTER TABLE wine ALTER n TYPE bigint";
const DROP: &str = "DROP TABLE IF EXISTS wine CASCADE";

fn shop() -> Database<'static> {
    let database = Cluster::shared(Version::V15).create("rewritten");
    database.sql("CREATE TABLE wine (n int, label text); INSERT INTO wine VALUES (1, 'early'), (2, 'early')");
    database.sql("CREATE TABLE beer AS SELECT 'beer' AS label");
    database
}

/// A pg_dump that runs SQL first, in its first `count` runs.
fn changing(sql: &str, always: bool) -> Programs {
    changing_in(Version::V15, sql, always)
}

fn changing_in(version: Version, sql: &str, always: bool) -> Programs {
    let programs = Programs::of(version);
    let (folder, psql) = (programs.path().display(), programs.real().join("psql"));
    let change = format!("\"{}\" -X -q -v ON_ERROR_STOP=1 -c \"{sql}\" >&2 || exit 99", psql.display());
    let once = if always { change } else { format!("[ -s '{folder}/runs' ] || {{ {change}; }}") };
    programs.before("pg_dump", &format!("{once}\necho run >>'{folder}/runs'"));
    programs
}

fn runs(programs: &Programs) -> usize {
    fs::read_to_string(programs.path().join("runs")).unwrap().lines().count()
}

/// The archive as SQL, by the stock programs.
fn script(cellar: &Cellar, id: &str, format: &str) -> String {
    let base = cellar.backup_dir().join(id).display().to_string();
    let path = match format {
        "custom" => format!("{base}.dump"),
        "tar" => format!("{base}.tar"),
        "plain" => return fs::read_to_string(format!("{base}.sql")).unwrap(),
        _ => base,
    };
    let mut pg_restore = Cluster::shared(Version::V15).client("pg_restore", "postgres");
    must(pg_restore.args(["--file", "-"]).arg(Path::new(&path)))
}

fn starts_over(format: &str, sql: &str, present: &[&str], absent: &[&str]) {
    let database = shop();
    let (cellar, before) = FolderSnapshot::with_backup(database.cluster(), &database);
    let cellar = cellar.with("BACKUP_FORMAT", format).with("BACKUP_COMPRESSION", "none");
    let programs = changing(sql, false);
    let outcome = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).succeeds().says("starting over");
    assert!(outcome.stderr.contains("wine"), "{outcome}");
    assert_eq!(runs(&programs), 2, "{outcome}");
    let script = script(&cellar, &before.has_one_more(), format);
    for text in present {
        assert!(script.contains(text), "{text:?} is not in\n{script}");
    }
    for text in absent {
        assert!(!script.contains(text), "{text:?} is in\n{script}");
    }
}

#[test]
fn truncate_under_a_custom_dump() {
    starts_over("custom", TRUNCATE, &["late", "beer"], &["early"]);
}

#[test]
fn truncate_under_a_directory_dump() {
    starts_over("directory", TRUNCATE, &["late", "beer"], &["early"]);
}

#[test]
fn truncate_under_a_tar_dump() {
    starts_over("tar", TRUNCATE, &["late", "beer"], &["early"]);
}

#[test]
fn truncate_under_a_plain_dump() {
    starts_over("plain", TRUNCATE, &["late", "beer"], &["early"]);
}

#[test]
fn alter_type_under_a_dump() {
    starts_over("custom", ALTER_TYPE, &["early", "n bigint", "beer"], &["n integer"]);
    starts_over("directory", ALTER_TYPE, &["early", "n bigint", "beer"], &["n integer"]);
}

/// pg_dump would read the new table, whose rows are no part of the snapshot.
#[test]
fn rename_under_a_dump() {
    let rename = "BEGIN; CREATE TABLE new AS SELECT 3 AS n, 'late' AS label; ALTER TABLE wine RENAME TO old_wine; \
         ALTER TABLE new RENAME TO wine; COMMIT";
    starts_over("custom", rename, &["late", "early", "beer"], &[]);
    starts_over("directory", rename, &["late", "early", "beer"], &[]);
    let schemas = "CREATE SCHEMA new; CREATE TABLE new.wine AS SELECT 3 AS n, 'late' AS label; \
         ALTER SCHEMA public RENAME TO old_wines; ALTER SCHEMA new RENAME TO public";
    starts_over("custom", schemas, &["late", "early", "beer"], &[]);
}

/// The lock of a table does not keep its schema's name, and pg_dump reads a table by its name.
#[test]
fn schemas_that_change_their_names_during_a_dump() {
    let database = shop();
    database.sql(
        "CREATE TABLE large (n text); ALTER TABLE large ALTER n SET STORAGE EXTERNAL; INSERT INTO large SELECT repeat('x', 9999); \
         CREATE SCHEMA shop; CREATE TABLE shop.wine AS SELECT 'blue' AS label; \
         CREATE SCHEMA staging; CREATE TABLE staging.wine AS SELECT 'green' AS label",
    );
    let (cellar, before) = FolderSnapshot::with_backup(database.cluster(), &database);
    let cellar = cellar.with("BACKUP_COMPRESSION", "none");
    // More than pg_dump holds back of its table of contents.
    database.sql("DO 'BEGIN EXECUTE format(''COMMENT ON TABLE large IS %L'', repeat(''x'', 9999)); END'");
    let index = "SELECT indexrelid::regclass FROM pg_index WHERE indrelid = (SELECT reltoastrelid FROM pg_class \
         WHERE oid = 'large'::regclass)";
    let mut session = Session::open(&database);
    session.sql(&format!("BEGIN; REINDEX INDEX {}", database.sql(index)));
    let mut running = cellar.run(["backup"]).start();
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY public.large %' AND wait_event_type = 'Lock' \
         AND datname = current_database()";
    running.wait_until("pg_dump waits", || database.sql(waits) == "1");
    let compared = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgcellar' AND state = 'idle in transaction' \
         AND query !~ 'pg_export_snapshot|pg_relation_filenode' AND datname = current_database()";
    running.wait_until("the tables are compared", || database.sql(compared) == "1");
    for (old, new) in [("shop", "old"), ("staging", "shop"), ("old", "staging")] {
        database.sql(&format!("ALTER SCHEMA {old} RENAME TO {new}"));
    }
    drop(session);
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    let _ = outcome.says("a schema was replaced by another of its name during the dump: trying again");
    let script = script(&cellar, &before.has_one_more(), "custom");
    for (schema, label) in [("shop", "green"), ("staging", "blue")] {
        let rows = format!("COPY {schema}.wine (label) FROM stdin;\n{label}\n");
        assert!(script.contains(&rows), "{rows:?} is not in\n{script}");
    }
}

#[test]
fn drop_under_a_dump() {
    for format in ["custom", "directory", "tar", "plain"] {
        starts_over(format, DROP, &["beer"], &["early", "wine"]);
    }
}

/// A job truncates a table all the time. Stock pg_dump dumps it empty without a message.
fn always_rewritten(version: Version) {
    let cluster = Cluster::shared(version);
    let database = cluster.create("churned");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n; CREATE TABLE beer AS SELECT 'beer' AS label");
    database.sql(&format!("ALTER DATABASE {} SET quote_all_identifiers = on", database.name()));
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    for format in ["custom", "directory", "tar", "plain"] {
        let programs = changing_in(version, "TRUNCATE wine; INSERT INTO wine VALUES (2)", true);
        let run = cellar.run(["backup", "--json"]).env("PG_BINDIR", programs.path()).env("BACKUP_FORMAT", format);
        let outcome = run.succeeds().says("public.wine truncated or rewritten between").says("starting over");
        assert_eq!(runs(&programs), 3, "{outcome}");
        let manifest = &outcome.json()[0];
        assert_eq!(manifest["partial"], true);
        let omitted = manifest["omitted"].as_array().unwrap();
        assert_eq!(omitted.len(), 1, "{manifest}");
        assert_eq!((&omitted[0]["name"], &omitted[0]["rewritten"]), (&json!("\"public\".\"wine\""), &json!(true)));
        assert_eq!(cellar.list().last().unwrap()["status"], "partial");

        // It is restored and compared as it was dumped.
        let restored = cluster.name_for("restored");
        let restore = || cellar.run(["restore", "latest", "--target-database", &restored]);
        let _ = restore().env("FORCE_RESTORE", "true").fails(exit::USAGE).says("lacks the rows of \"public\".\"wine\"");
        let _ = restore().succeeds().says("wine");
        let counts = "SELECT count(*) FROM wine UNION ALL SELECT count(*) FROM beer";
        assert_eq!(cluster.sql(&restored, counts), "0\n1", "{format}");
        if format != "plain" {
            let verify = cellar.run(["verify", "latest", "--against-live", database.name()]);
            let _ = verify.succeeds().says("not compared: rewritten");
        }
    }
    let found = of_database(&cellar, database.name());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("incomplete: ") && found[0].contains("\"public\".\"wine\""), "{found:?}");
    // Retention keeps them, since there are no others.
    let planned = cellar.run(["retention", "--dry-run"]).succeeds();
    assert!(planned.stdout.contains("lacks the rows of \"public\".\"wine\""), "{planned}");
    cellar.run(["retention"]).succeeds();
    assert_eq!(cellar.list().len(), 4);
    // A complete backup ends that.
    let whole = cellar.back_up(database.name());
    assert_eq!(whole["partial"], false);
    assert_eq!(of_database(&cellar, database.name()), [""; 0]);
}

/// The monitor's findings about a database.
fn of_database(cellar: &Cellar, database: &str) -> Vec<String> {
    let verdict = cellar.run(["monitor", "check", "--json"]).finish().json();
    let findings = verdict["findings"].as_array().unwrap().iter().filter(|finding| finding["subject"] == database);
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    findings.map(|finding| format!("{}: {}", text(&finding["check"]), text(&finding["message"]))).collect()
}

#[test]
fn a_table_that_is_always_rewritten_15() {
    always_rewritten(Version::V15);
}

#[test]
fn a_table_that_is_always_rewritten_18() {
    always_rewritten(Version::V18);
}

/// `LOCK TABLE` of pg_dump finds the new table of the name.
#[test]
fn a_table_that_is_always_replaced() {
    let database = shop();
    let (cellar, _) = FolderSnapshot::with_backup(database.cluster(), &database);
    let programs = changing("DROP TABLE beer; CREATE TABLE beer AS SELECT 'new' AS label", true);
    let outcome = cellar.run(["backup", "--json"]).env("PG_BINDIR", programs.path()).succeeds();
    let outcome = outcome.says("public.beer dropped or renamed between");
    let omitted = &outcome.json()[0]["omitted"];
    assert_eq!((&omitted[0]["name"], &omitted[0]["rewritten"]), (&json!("\"public\".\"beer\""), &json!(true)));
}

/// pg_dump fails at once, and would not if nothing were dropped.
#[test]
fn tables_that_are_always_dropped() {
    let database = shop();
    database.sql("CREATE TABLE load_0 AS SELECT 1");
    let (cellar, before) = FolderSnapshot::with_backup(database.cluster(), &database);
    let drop = "DO 'DECLARE old text = (SELECT relname FROM pg_class WHERE relname LIKE ''load\\_%''); BEGIN \
         EXECUTE format(''DROP TABLE %I'', old); EXECUTE format(''CREATE TABLE load_%s AS SELECT 1'', txid_current()); END'";
    for format in ["custom", "directory"] {
        let programs = changing(drop, true);
        let run = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).env("BACKUP_FORMAT", format);
        let outcome = run.fails(exit::TEMPFAIL).says("dropped during 10 dumps in a row").says("load_");
        assert!(!outcome.stderr.contains("truncated") && !outcome.stderr.contains("emptied"), "{outcome}");
        assert_eq!(runs(&programs), 10, "{outcome}");
        before.is_unchanged();
    }
}

/// Excluded tables may change.
#[test]
fn a_table_that_is_left_out_and_always_rewritten() {
    let database = shop();
    let (cellar, _) = FolderSnapshot::with_backup(database.cluster(), &database);
    let cellar = cellar.with("BACKUP_DUMP_OPTIONS", "--exclude-table-data=public.wine");
    let programs = changing(TRUNCATE, true);
    let outcome = cellar.run(["backup", "--json"]).env("PG_BINDIR", programs.path()).succeeds();
    let omitted = &outcome.json()[0]["omitted"];
    assert_eq!(
        (omitted.as_array().unwrap().len(), &omitted[0]["reason"]),
        (1, &json!("left out by BACKUP_DUMP_OPTIONS"))
    );
}

#[test]
fn changed_rows_do_not_restart_the_dump() {
    let database = shop();
    let (cellar, before) = FolderSnapshot::with_backup(database.cluster(), &database);
    let cellar = cellar.with("BACKUP_FORMAT", "plain").with("BACKUP_COMPRESSION", "none");
    let programs = changing("DELETE FROM wine; CREATE TABLE cider AS SELECT 1", true);
    cellar.run(["backup"]).env("PG_BINDIR", programs.path()).succeeds();
    assert_eq!(runs(&programs), 1);
    let script = script(&cellar, &before.has_one_more(), "plain");
    assert!(script.contains("early") && !script.contains("cider"), "{script}");
}

fn timeouts_do_not_disturb(version: Version) {
    let cluster = Cluster::shared(version);
    let database = cluster.create("hurried");
    database.sql("CREATE TABLE wine AS SELECT n, md5(n::text) FROM generate_series(1, 300000) n");
    let timeouts = database.sql(
        "SELECT string_agg(format('ALTER DATABASE %I SET %I = %s', current_database(), name, ms), ';') FROM pg_settings \
         JOIN (VALUES ('statement_timeout', 1), ('lock_timeout', 1), ('idle_in_transaction_session_timeout', 1), \
                      ('idle_session_timeout', 100), ('transaction_timeout', 100)) v (timeout, ms) ON name = timeout",
    );
    database.sql(&timeouts);
    for format in ["custom", "directory"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        assert_eq!(cellar.back_up(database.name())["contents"]["tables"], 1);
    }
}

#[test]
fn timeouts_of_a_database_do_not_disturb_15() {
    timeouts_do_not_disturb(Version::V15);
}

#[test]
fn timeouts_of_a_database_do_not_disturb_17() {
    if Version::V17.is_covered() {
        timeouts_do_not_disturb(Version::V17);
    }
}

#[test]
fn a_lock_that_is_never_released() {
    let database = shop();
    let (cellar, before) = FolderSnapshot::with_backup(database.cluster(), &database);
    let cellar = cellar.with("BACKUP_LOCK_WAIT_TIMEOUT", "1");
    let mut session = Session::open(&database);
    session.sql("BEGIN; LOCK TABLE wine IN ACCESS EXCLUSIVE MODE");
    for format in ["custom", "directory"] {
        let outcome = cellar.run(["backup"]).env("BACKUP_FORMAT", format).fails(exit::TEMPFAIL);
        let _ = outcome.says("wine").says("BACKUP_LOCK_WAIT_TIMEOUT");
        before.is_unchanged();
    }
    drop(session);
    cellar.run(["backup"]).succeeds();
    before.has_one_more();
}

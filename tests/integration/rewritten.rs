//! Tables that change between the snapshot and pg_dump's locks, and settings that could come between.
//!
//! TRUNCATE and rewrites are not MVCC-safe (PostgreSQL documentation, "Concurrency Control: Caveats"): a dump by the older
//! snapshot finds the table empty and succeeds.

use std::fs;
use std::path::Path;

use crate::common::before::Before;
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

/// A pg_dump that runs SQL first, and then `count` of how often.
fn changing(sql: &str, always: bool) -> Programs {
    let programs = Programs::of(Version::V15);
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
    let (cellar, before) = Before::with_backup(database.cluster(), &database);
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

#[test]
fn drop_under_a_dump() {
    for format in ["custom", "directory", "tar", "plain"] {
        starts_over(format, DROP, &["beer"], &["early", "wine"]);
    }
}

#[test]
fn a_table_that_is_always_rewritten() {
    let database = shop();
    let (cellar, before) = Before::with_backup(database.cluster(), &database);
    for format in ["custom", "directory"] {
        let programs = changing(TRUNCATE, true);
        let run = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).env("BACKUP_FORMAT", format);
        let outcome = run.fails(exit::TEMPFAIL).says("rewritten under 3 dumps in a row");
        assert_eq!(runs(&programs), 3, "{outcome}");
        before.is_unchanged();
    }
}

#[test]
fn rows_that_change_are_no_reason_to_start_over() {
    let database = shop();
    let (cellar, before) = Before::with_backup(database.cluster(), &database);
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
fn a_lock_that_is_not_given_back() {
    let database = shop();
    let (cellar, before) = Before::with_backup(database.cluster(), &database);
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

//! Rehearsals of an upgrade: a backup of an older major version is restored into a throwaway server of a newer one, and what that server
//! refuses is reported object by object.

use std::ffi::OsString;
use std::fs;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::pgcellar::Run;
use crate::common::{Cellar, Cluster, Database, Version, exit, keys};

/// This host cannot run the rehearsal.
const OSFILE: i32 = 72;

fn cellar(database: &Database<'_>) -> Cellar {
    Cellar::new(database.cluster()).with("DB_NAME", database.name()).with("TZ", "UTC")
}

/// A run of `drill` that finds the servers of both versions.
fn drill(cellar: &Cellar, next: Version, arguments: &[&str]) -> Run {
    let mut path = OsString::from(next.bin_dir());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let run = cellar.run(["drill", "--unisolated"]).arguments(arguments).env("PATH", path).by_unprivileged_user();
    run.within(Duration::from_secs(300))
}

fn rehearse(cellar: &Cellar, next: Version) -> Run {
    drill(cellar, next, &["latest", "--json", "--server", &next.0.to_string()])
}

/// The record beside the manifest, by the ending of its name.
fn record(cellar: &Cellar, id: &Value, ending: &str) -> Option<Value> {
    let path = cellar.backup_dir().join(format!("{}.{ending}.json", id.as_str().unwrap()));
    fs::read(path).ok().map(|bytes| serde_json::from_slice(&bytes).unwrap())
}

/// The refused object whose name has this text.
fn refused<'r>(record: &'r Value, object: &str) -> &'r Value {
    let all = record["refused"].as_array().unwrap();
    let mut found = all.iter().filter(|refused| refused["object"].as_str().unwrap().contains(object));
    found.next().unwrap_or_else(|| panic!("{object} is not refused: {record:#}"))
}

#[track_caller]
fn refuses(record: &Value, object: &str, sqlstate: &str, words: &str) {
    let found = refused(record, object);
    assert_eq!(found["sqlstate"], sqlstate, "{record:#}");
    assert!(found["message"].as_str().unwrap().contains(words), "{record:#}");
}

/// What breaks from 15 to 17 and later.
const BREAKS_AFTER_15: &str = "\
    CREATE TABLE wine (id int PRIMARY KEY, label text); INSERT INTO wine SELECT n, 'wine ' || n FROM generate_series(1, 1000) n; \
    CREATE VIEW loads AS SELECT checkpoints_timed, buffers_backend FROM pg_stat_bgwriter; \
    CREATE VIEW peaks AS SELECT max(checkpoints_timed) AS most FROM loads; \
    CREATE TABLE calls (made regproc); INSERT INTO calls VALUES ('random'); \
    CREATE EXTENSION adminpack; \
    CREATE TABLE plain AS SELECT 1 AS n";

#[test]
fn what_will_break_is_named_object_by_object() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("breaks");
    database.sql(BREAKS_AFTER_15);
    let name = database.name();
    database.sql(&format!("ALTER DATABASE {name} SET force_parallel_mode = off"));
    database.sql(
        "SET password_encryption = md5; CREATE ROLE clerk PASSWORD 'x'; ALTER ROLE clerk SET force_parallel_mode = off",
    );
    for (next, format) in [(Version::V17, "custom"), (Version::V18, "directory"), (Version::V19, "custom")] {
        thread::sleep(Duration::from_millis(1100));
        let cellar = cellar(&database).with("BACKUP_FORMAT", format);
        let id = cellar.back_up_for_drill()["id"].clone();
        let outcome = rehearse(&cellar, next).fails(exit::DATAERR);
        let printed = outcome.json()[0].clone();
        assert_eq!(record(&cellar, &id, "rehearsal"), Some(printed.clone()), "{outcome}");
        assert_eq!(
            (&printed["result"], &printed["from"], &printed["server"]),
            (&json!("unready"), &json!(15), &json!(next.0))
        );
        assert!(printed["postgres"].as_str().unwrap().starts_with(&next.0.to_string()), "{printed:#}");
        assert!(printed["restore_seconds"].as_f64().unwrap() > 0.0, "{printed:#}");
        refuses(&printed, "view public.loads", "42703", "column pg_stat_bgwriter.checkpoints_timed does not exist");
        refuses(&printed, "view public.peaks", "42P01", "relation \"public.loads\" does not exist");
        assert_eq!(refused(&printed, "view public.peaks")["follows"], "view public.loads");
        refuses(&printed, "table data public.calls", "42725", "more than one function named \"random\"");
        refuses(&printed, "extension adminpack", "0A000", "extension \"adminpack\" is not available");
        refuses(&printed, "force_parallel_mode of the database", "42704", "unrecognized configuration parameter");
        refuses(&printed, "force_parallel_mode of the role", "42704", "unrecognized configuration parameter");
        let differences = printed["differences"].as_array().unwrap();
        assert_eq!(differences.len(), 1, "{printed:#}");
        assert!(differences[0].as_str().unwrap().contains("public.calls"), "{printed:#}");
        let has_note = printed["notes"].to_string().contains("MD5 password");
        assert_eq!(has_note, next >= Version::V18, "{printed:#}");
        assert!(
            outcome.stderr.contains("(42703)") && outcome.stderr.contains("is not ready for PostgreSQL"),
            "{outcome}"
        );
        // It says nothing of the backup.
        assert_eq!(record(&cellar, &id, "drill"), None);
        assert_eq!(cellar.list()[0]["proven"], false);
        let report = cellar.run(["monitor", "report"]).finish();
        assert!(report.stdout.contains(&format!("ready for {}: no, because", next.0)), "{report}");
        let html = cellar.run(["monitor", "report", "--format", "html"]).finish();
        assert!(html.stdout.contains(&format!("ready for {}: no, because", next.0)), "{html}");
    }
}

/// The command of `doc/drill.md`, as it stands there: `pgcellar drill latest --server 18 --unisolated`.
#[test]
fn the_command_of_the_manual() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/doc/drill.md")).unwrap();
    let mark = "<!-- run by tests/integration/rehearsal.rs -->\n```sh\n";
    let (_, block) = page.split_once(mark).expect("a block");
    let (block, _) = block.split_once("```").unwrap();
    let words: Vec<&str> = block.split('#').next().unwrap().split_whitespace().collect();
    let ["pgcellar", "drill", arguments @ ..] = words.as_slice() else { panic!("{block}") };
    let database = Cluster::shared(Version::V15).create("manual");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n");
    let cellar = cellar(&database);
    cellar.back_up_for_drill();
    let arguments: Vec<&str> = arguments.iter().copied().filter(|argument| *argument != "--unisolated").collect();
    drill(&cellar, Version::V18, &arguments).succeeds().says("ready for PostgreSQL 18");
}

/// Since 14 some functions of arrays have other types, and there are no postfix operators (release notes of PostgreSQL 14, "Migration to
/// Version 14"). A function that relies on the search_path fails where a refresh has a safe one, which is everywhere since 17.
#[test]
fn what_breaks_from_13() {
    let cluster = Cluster::start(Version::V13);
    let database = cluster.create("breaks13");
    database.sql(
        "CREATE AGGREGATE gather (anyelement) (sfunc = array_append, stype = anyarray, initcond = '{}'); \
         CREATE FUNCTION fact(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT $1'; \
         CREATE OPERATOR public.!! (leftarg = numeric, function = fact); \
         CREATE TABLE wine AS SELECT 1 AS n; \
         CREATE FUNCTION newest() RETURNS int LANGUAGE sql AS 'SELECT max(n) FROM wine'; \
         CREATE MATERIALIZED VIEW newest AS SELECT newest()",
    );
    let cellar = cellar(&database);
    cellar.back_up_for_drill();
    let printed = rehearse(&cellar, Version::V18).fails(exit::DATAERR).json()[0].clone();
    refuses(&printed, "aggregate public.gather", "42883", "array_append");
    refuses(&printed, "operator public.!!", "42P13", "right argument type must be specified");
    refuses(&printed, "materialized view data public.newest", "42P01", "relation \"wine\" does not exist");
    assert_eq!((&printed["compared"]["tables"], &printed["differences"]), (&json!(1), &json!([])), "{printed:#}");
}

/// A value of every type of PostgreSQL 13, twice: all other types print as they did.
const EVERY_TYPE: &str = r#"
    CREATE TABLE every (a interval, b timestamptz, c timestamp, d date, e timetz, f float4, g float8, h numeric, i jsonb, j json,
        k xml, m tsvector, n tsquery, o inet, p cidr, q macaddr8, r box, s path, t polygon, u circle, v line, w regtype, x regclass,
        y int4range, z tstzrange, aa bit varying, ab money, ac uuid, ad txid_snapshot, ae jsonpath, af aclitem, ag oid, ah name,
        aj text[], ak int2vector, al regproc, am regprocedure, an regoperator, ao regconfig, ap xid, aq tid, ar bytea,
        as_ pg_snapshot, at cid, au regrole, av regnamespace, aw regcollation, ax regdictionary, ay refcursor);
    INSERT INTO every VALUES
        ('1 year 2 mons -3 days 04:05:06.789', '2020-01-01 00:00:00.1+00', 'infinity', '4713-01-01 BC', '12:00:00.5+05:30', 1.1,
            1e300, 'NaN', '{"a":1.10,"b":[1e5,"\u00e4"]}', '{ "a" : 1.10 }', '<a b="1"/>', '''a'':1A,2B ''b''',
            '''a'' <-> ( ''b'' | !''c'':*A )', '10.0.0.1/8', '10.0.0.0/8', '08:00:2b:01:02:03:04:05', '((1,1),(-0,-0))',
            '[(0,0),(1,1e-7)]', '((0,0),(1,1))', '<(0,0),-0>', '{1,2,3}', 'timestamptz', 'pg_class', '[1,5)',
            '[2020-01-01 00:00+00,infinity]', '10101', '1.50', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '10:20:10,14,15',
            'strict $.a[*] ? (@.b > 1.50 && @.c like_regex "^a" flag "i").type()', 'postgres=arwdDxt/postgres', 42, 'abc',
            '{a,"b c",NULL,"null"}', '1 2', 'now', 'lower(text)', '+(integer,integer)', 'english', '7', '(0,1)', '\x00ff',
            '10:20:10,14,15', '3', 'pg_monitor', 'public', '"C"', 'simple', 'c1'),
        ('-178000000 years -11 mons', 'infinity', '-infinity', 'infinity', '00:00+00', 'NaN', '-0', '1E-20', '"\u0001"', 'null',
            'text', ' ', '!!''a''', '::1', '::/0', '00:00:00:ff:fe:00:00:00', '((1e-10,0),(0,0))', '((0,0))', '((0,0))',
            '<(1,1),5>', '{0,-1,0}', 'numeric(10,2)', 'every', 'empty', '(,)', '', '-1.50', '00000000-0000-0000-0000-000000000000',
            '1:1:', '$.**{2 to last}.double() + 1', '=U/postgres', 0, '', '{}', '', 'pg_typeof', 'array_length(anyarray,integer)',
            '||(text,text)', 'simple', '0', '(4294967295,65535)', '\x', '1:1:', '0', 'postgres', 'pg_catalog', '"default"',
            'english_stem', '')"#;

/// Text that a major version has changed is no difference, and any other is one.
#[test]
fn known_changes_of_text_are_told_apart() {
    let cluster = Cluster::start(Version::V13);
    cluster.sql("postgres", "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'");
    let database = cluster.database("latin");
    database.sql(
        "CREATE DOMAIN place AS pg_lsn; CREATE TYPE pair AS (at pg_lsn, letter \"char\"); \
         CREATE TABLE known (n int, at pg_lsn, letter \"char\", many pg_lsn[], place place, pair pair, label text); \
         INSERT INTO known SELECT 1, '0/16AE7F8', chr(228)::\"char\", '{0/0,A/B,NULL}', 'F/F', ROW('0/1'::pg_lsn, \
           chr(255)::\"char\")::pair, chr(228); \
         INSERT INTO known (n, at, letter) VALUES (2, 'A/B', 'x'), (3, NULL, NULL), (4, 'FFFFFFFF/FFFFFFFF', '\\')",
    );
    database.sql(EVERY_TYPE);
    let cellar = cellar(&database);
    cellar.back_up_for_drill();
    for next in [Version::V17, Version::V19] {
        let printed = rehearse(&cellar, next).succeeds().json()[0].clone();
        assert_eq!((&printed["result"], &printed["compared"]["rows"]), (&json!("ready"), &json!(6)), "{printed:#}");
        assert_eq!(printed["differences"], json!([]), "{printed:#}");
        assert!(printed["notes"].to_string().contains("has changed the text of a type"), "{printed:#}");
        // So it is for a restore into a newer server.
        let newer = Cluster::shared(next);
        let target = newer.name_for("known");
        let into = cellar.run(["restore", "latest", "--target-database", &target]);
        let into = into.env("DB_PORT", newer.port().to_string()).env("PG_BINDIR", next.bin_dir());
        into.succeeds().says("equal");
    }
}

#[test]
fn a_database_that_is_ready() {
    let database = Cluster::shared(Version::V15).create("ready");
    database.sql(
        "CREATE TABLE wine (id serial PRIMARY KEY, label text); INSERT INTO wine (label) SELECT md5(n::text) FROM generate_series(1, 500) n; \
         CREATE VIEW labels AS SELECT label FROM wine; CREATE MATERIALIZED VIEW total AS SELECT count(*) FROM wine; \
         SELECT lo_from_bytea(0, 'x')",
    );
    let cellar = cellar(&database).with("DRILL_SERVER_NEXT", "18");
    let id = cellar.back_up_for_drill()["id"].clone();
    let report = cellar.run(["monitor", "report"]).finish();
    assert!(report.stdout.contains("ready for 18: not rehearsed yet"), "{report}");
    let outcome =
        drill(&cellar, Version::V18, &["--each"]).succeeds().says("is proven").says("ready for PostgreSQL 18");
    assert_eq!(record(&cellar, &id, "drill").unwrap()["result"], "passed", "{outcome}");
    let rehearsal = record(&cellar, &id, "rehearsal").unwrap();
    assert_eq!((&rehearsal["result"], &rehearsal["refused"]), (&json!("ready"), &json!([])), "{rehearsal:#}");
    assert!(rehearsal["compared"]["large_objects"] == 1 && rehearsal["compared"]["rows"] == 500, "{rehearsal:#}");
    let report = cellar.run(["monitor", "report", "--format", "json"]).finish().json();
    let upgrade = report["databases"].as_array().unwrap().iter().find_map(|one| one.get("upgrade")).unwrap().clone();
    assert_eq!((&upgrade["server"], &upgrade["ready"]), (&json!(18), &json!("yes")), "{upgrade:#}");
    let shown = cellar.run(["show", id.as_str().unwrap()]).succeeds();
    assert!(shown.stdout.contains("ready for 18: yes"), "{shown}");

    drill(&cellar, Version::V15, &["latest", "--server", "15"]).fails(exit::USAGE).says("the backup is of version 15");
    drill(&cellar, Version::V15, &["latest", "--server", "x"])
        .fails(exit::CONFIG)
        .says("a major version of PostgreSQL");
    drill(&cellar, Version::V15, &["latest", "--server", "77"]).fails(OSFILE).says("PostgreSQL 77 is not installed");
}

/// The record is not encrypted, and names nothing of the database.
#[test]
fn an_encrypted_backup_keeps_its_names() {
    let database = Cluster::shared(Version::V15).create("secret_upgrade");
    database.sql("CREATE VIEW hidden_loads AS SELECT checkpoints_timed FROM pg_stat_bgwriter");
    let cellar = cellar(&database);
    let key = keys::age(cellar.scratch(), "key");
    crate::common::process::hand_over(&key.identity);
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient);
    let id = cellar.back_up_for_drill()["id"].clone();
    let run = rehearse(&cellar, Version::V17).env("BACKUP_AGE_IDENTITY_FILE", &key.identity);
    run.fails(exit::DATAERR).says("hidden_loads");
    let record = record(&cellar, &id, "rehearsal").unwrap();
    assert_eq!((&record["refused"], &record["more_refused"]), (&json!([]), &json!(1)), "{record:#}");
    assert!(!record.to_string().contains("hidden_loads"), "{record:#}");
    let report = cellar.run(["monitor", "report"]).finish();
    assert!(report.stdout.contains("ready for 17: no, because 1 object is refused or differs"), "{report}");
    // The record goes with its backup, and keeps none.
    thread::sleep(Duration::from_millis(1100));
    cellar.back_up_for_drill();
    cellar.run(["retention"]).env("BACKUP_KEEP_LAST", "1").by_unprivileged_user().succeeds();
    assert_eq!(self::record(&cellar, &id, "rehearsal"), None);
    assert_eq!(cellar.list().len(), 1);
}

#[test]
fn scripts_and_archives_in_tar_are_rehearsed_too() {
    let database = Cluster::shared(Version::V15).create("script_upgrade");
    database
        .sql("CREATE TABLE wine AS SELECT 1 AS n; CREATE VIEW loads AS SELECT checkpoints_timed FROM pg_stat_bgwriter");
    for (format, object) in [("tar", "view public.loads"), ("plain", "CREATE VIEW public.loads")] {
        let cellar = cellar(&database).with("BACKUP_FORMAT", format);
        cellar.back_up_for_drill();
        let printed = rehearse(&cellar, Version::V17).fails(exit::DATAERR).json()[0].clone();
        refuses(&printed, object, "42703", "checkpoints_timed does not exist");
    }
}

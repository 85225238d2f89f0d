//! Tests of the tools in `common`: the database with everything survives PostgreSQL's own dump and restore, and the
//! comparison that other tests rely on detects every kind of loss.

use std::fs;
use std::process::Stdio;

use crate::common::compare::{assert_same, contents, differences};
use crate::common::process::{must, plain};
use crate::common::{Cluster, Database, Version, everything};

fn copy_by_pg_dump<'a>(from: &Database<'a>, purpose: &str) -> Database<'a> {
    let cluster = from.cluster();
    let to = cluster.create(purpose);
    let mut dump = cluster.client("pg_dump", from.name()).args(["-Fc", "-Z0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut restore = cluster.client("pg_restore", "");
    restore.args(["--exit-on-error", "--dbname", &to.connection_string()]).stdin(dump.stdout.take().unwrap());
    let restored = restore.output().unwrap();
    assert!(restored.status.success(), "{}", String::from_utf8_lossy(&restored.stderr));
    assert!(dump.wait().unwrap().success());
    to
}

fn survives_pg_dump(version: Version) {
    if version.is_covered() {
        let original = everything::database(Cluster::shared(version), "original");
        assert_same(&original, &copy_by_pg_dump(&original, "copy"));
    }
}

#[test]
fn everything_survives_pg_dump_15() {
    survives_pg_dump(Version::V15);
}

#[test]
fn everything_survives_pg_dump_17() {
    survives_pg_dump(Version::V17);
}

#[test]
fn everything_survives_pg_dump_19() {
    survives_pg_dump(Version::V19);
}

/// The changes are made one after the other in the same database, and each must be the only new difference.
#[test]
fn the_comparison_notices_every_kind_of_change() {
    let changes = [
        ("a changed value", "UPDATE app.every_byte SET b = '\\x01' WHERE n = 0", "rows: app.every_byte"),
        ("an empty text for a null", "UPDATE app.every_type SET c_text = '' WHERE id = 5", "rows: app.every_type"),
        ("a missing row", "DELETE FROM app.tree WHERE id = 2", "rows: app.tree"),
        ("a row twice", "INSERT INTO app.\"a.b\" VALUES (1)", "rows: app.\"a.b\""),
        ("a row without columns", "INSERT INTO app.without_columns DEFAULT VALUES", "rows: app.without_columns"),
        ("a row of a child", "DELETE FROM ONLY app.child", "rows: app.child"),
        ("a row hashed by enum", "DELETE FROM app.by_enum WHERE id = 1", "rows: app.by_enum"),
        ("an unlogged row", "DELETE FROM app.unlogged WHERE id = 1", "rows: app.unlogged"),
        ("a hidden row", "DELETE FROM app.secured WHERE id = 2", "rows: app.secured"),
        (
            "a refreshed view",
            "UPDATE app.options SET n = 9 WHERE id = 4; REFRESH MATERIALIZED VIEW app.stored",
            "rows: app.stored (",
        ),
        ("a moved sequence", "SELECT nextval('app.not_called')", "sequence: app.not_called"),
        ("a sequence not called", "SELECT setval('app.called_once', 1, false)", "sequence: app.called_once"),
        ("a byte of a large object", "SELECT lo_put(max(large), 1000, 'X') FROM app.from_extensions", "large object"),
        (
            "a right on a large object",
            "DO $$BEGIN EXECUTE format('REVOKE ALL ON LARGE OBJECT %s FROM cellar_reader', (SELECT max(large) FROM app.from_extensions)); END$$",
            "large object",
        ),
        ("a lost large object", "SELECT lo_unlink(min(oid)) FROM pg_largeobject_metadata", "large object"),
        ("a dropped index", "DROP INDEX app.options_brin", "schema: options_brin"),
        ("a dropped constraint", "ALTER TABLE app.hen DROP CONSTRAINT first_egg", "first_egg"),
        ("a changed comment", "COMMENT ON TABLE app.empty IS 'x'", "schema: TABLE empty"),
        ("a right", "REVOKE SELECT ON app.every_type FROM PUBLIC", "ACL; Schema: app"),
        ("a disabled trigger", "ALTER TABLE app.hen DISABLE TRIGGER statement_trigger", "statement_trigger"),
        ("an owner", "ALTER TABLE app.tree OWNER TO cellar_owner", "schema: tree"),
        ("a storage setting", "ALTER TABLE app.tree SET (fillfactor = 50)", "schema: tree"),
        ("a column's type", "ALTER TABLE app.\"a.b\" ALTER \"c.d\" TYPE bigint", "schema: a.b"),
    ];
    let database = everything::database(Cluster::shared(Version::V15), "changing");
    let mut before = contents(&database);
    for (what, sql, part) in changes {
        database.sql(sql);
        let after = contents(&database);
        let seen = differences(&before, &after);
        assert!(seen.iter().any(|difference| difference.contains(part)), "{what} was not noticed: {seen:#?}");
        before = after;
    }
}

#[test]
fn the_comparison_notices_properties_of_the_database() {
    let cluster = Cluster::shared(Version::V15);
    let (plain, changed) = (cluster.create("plain"), cluster.create("changed"));
    assert_same(&plain, &changed);
    let name = changed.name();
    changed.sql(&format!("ALTER DATABASE {name} SET work_mem = '5MB'"));
    changed.sql(&format!("COMMENT ON DATABASE {name} IS 'changed'"));
    changed.sql(&format!("ALTER DATABASE {name} CONNECTION LIMIT 5"));
    let seen = differences(&contents(&plain), &contents(&changed));
    for property in ["settings", "comment", "datconnlimit"] {
        assert!(seen.iter().any(|difference| difference.contains(property)), "{property}: {seen:#?}");
    }
    assert_eq!(seen.len(), 3, "{seen:#?}");
}

#[test]
fn a_stopped_cluster_leaves_nothing() {
    let cluster = Cluster::start(Version::V15);
    let (folder, postmaster) = (cluster.socket_dir().to_owned(), cluster.postmaster());
    assert!(folder.exists());
    drop(cluster);
    assert!(!folder.exists());
    assert!(rustix::process::test_kill_process(postmaster).is_err(), "the postmaster still runs");
}

#[test]
fn a_killed_cluster_leaves_nothing() {
    let cluster = Cluster::start(Version::V15);
    let folder = cluster.socket_dir().to_owned();
    cluster.kill_postmaster();
    drop(cluster);
    assert!(!folder.exists());
}

#[test]
fn tls_servers_check_passwords_and_certificates() {
    let cluster = Cluster::start_with_tls(Version::V15);
    let certificates = cluster.certificates();
    let connect = |user: &str, authority: &str, mode: &str| {
        let mut psql = plain(cluster.version().bin_dir().join("psql"));
        psql.env("PGHOST", "localhost").env("PGPORT", cluster.port().to_string()).env("PGUSER", user);
        psql.env("PGSSLMODE", mode).env("PGSSLROOTCERT", certificates.certificate(authority));
        psql.env("PGSSLCERT", certificates.certificate("client")).env("PGSSLKEY", certificates.key("client"));
        psql.args([
            "-w",
            "-X",
            "-A",
            "-t",
            "-d",
            "postgres",
            "-c",
            "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()",
        ]);
        psql
    };
    assert_eq!(must(&mut connect("certified", "authority", "verify-full")), "t\n");
    assert!(!connect("certified", "stranger", "verify-full").output().unwrap().status.success());
    assert!(!connect("postgres", "authority", "verify-full").output().unwrap().status.success(), "no password given");
    assert!(!connect("certified", "authority", "disable").output().unwrap().status.success());
    assert!(fs::metadata(certificates.key("client")).is_ok());
}

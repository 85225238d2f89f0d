//! What goes wrong while sessions are prepared or read: the rows of the snapshot come all the same, or a clean error, and no session
//! and no lock is left.

use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::large;
use crate::common::folder_snapshot::FolderSnapshot;
use crate::common::process_tree::{are_gone, descendants, wait_until_gone};
use crate::common::programs::Programs;
use crate::common::session::Session;
use crate::common::stock_archive::{made, raw, same, stock};
use crate::common::{Cellar, Cluster, Database, Version, exit};

/// What pg_dump's second call has.
const SECOND: &str = "case \" $* \" in *--exclude-table-data=*)";

/// Fails if a session of pgcellar or pg_dump is left.
#[track_caller]
fn nothing_is_left(database: &Database<'_>) {
    let sessions =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name ~ 'pgcellar'";
    let deadline = Instant::now() + Duration::from_secs(5);
    while database.sql(sessions) != "0" {
        assert!(Instant::now() < deadline, "{}", database.sql("SELECT pid, query FROM pg_stat_activity"));
    }
}

fn parallel(cellar: &Cellar) -> crate::common::pgcellar::Run {
    cellar.run(["backup", "--json", "--jobs", "2"])
}

/// A statement that needs the table for itself comes as soon as the first pg_dump has locked it, and waits until the end.
#[test]
fn statements_that_wait_for_the_table() {
    let cluster = Cluster::shared(Version::V15);
    for statement in [
        "ALTER TABLE rows ADD late int",
        "TRUNCATE rows",
        "VACUUM FULL rows",
        "DROP TABLE rows",
        "CREATE INDEX by_n ON rows (n); CLUSTER rows USING by_n",
    ] {
        let database = large(cluster, "waiting");
        let (cellar, theirs) = (raw(&database), stock(&database, &[]));
        let programs = Programs::of(Version::V15);
        let psql = programs.real().join("psql");
        let (psql, name) = (psql.display(), database.name());
        let sql = |sql: &str| format!("'{psql}' -X -q -A -t -d {name} -c \"{sql}\"");
        // Not a lock of autovacuum.
        let locked =
            "SELECT count(*) FROM pg_locks WHERE relation = 'rows'::regclass AND granted AND mode = 'AccessShareLock'";
        programs.before(
            "pg_dump",
            &format!(
                "{SECOND} ;; *) (unset PGOPTIONS; while [ \"$({})\" = 0 ]; do :; done; {}) >/dev/null 2>&1 & ;; esac",
                sql(locked),
                statement.split("; ").map(sql).collect::<Vec<_>>().join("; ")
            ),
        );
        let outcome = parallel(&cellar).env("PG_BINDIR", programs.path()).succeeds();
        let (_, ours) = made(&cellar, &outcome);
        same(&ours, &theirs, statement);
        nothing_is_left(&database);
    }
}

/// The second pg_dump waits behind such a statement, which waits for the first.
#[test]
fn a_statement_between_the_two_dumps() {
    let database = large(Cluster::shared(Version::V15), "between");
    let (cellar, theirs) = (raw(&database), stock(&database, &[]));
    let programs = Programs::of(Version::V15);
    let (psql, name) = (programs.real().join("psql"), database.name());
    let alter = format!("'{}' -X -q -d {name} -c 'ALTER TABLE rows ADD late int'", psql.display());
    let waits = format!(
        "'{}' -X -A -t -d {name} -c \"SELECT count(*) FROM pg_locks WHERE relation = 'rows'::regclass AND NOT granted\"",
        psql.display()
    );
    programs.before(
        "pg_dump",
        &format!(
            "{SECOND} (unset PGOPTIONS; {alter} >/dev/null 2>&1 &); (unset PGOPTIONS; while [ \"$({waits})\" = 0 ]; do :; done) ;; esac"
        ),
    );
    let outcome = parallel(&cellar).env("PG_BINDIR", programs.path()).succeeds().says("in one session");
    let (manifest, ours) = made(&cellar, &outcome);
    assert_eq!(manifest["jobs"], Value::Null, "{outcome}");
    same(&ours, &theirs, "between");
    nothing_is_left(&database);
}

/// Few rows fit into a pipe: the first dump ends, and its locks with it. A table that is emptied then has no rows in its snapshot.
#[test]
fn a_first_dump_that_ends_before_the_second_has_locks() {
    let database = Cluster::shared(Version::V15).create("ended");
    database.sql(
        "CREATE TABLE bloated (n int, filler text) WITH (autovacuum_enabled = off);
         INSERT INTO bloated SELECT n, repeat('x', 200) FROM generate_series(1, 20000) n;
         DELETE FROM bloated WHERE n % 1000 <> 0; CREATE TABLE few AS SELECT n FROM generate_series(1, 100) n",
    );
    let (cellar, theirs) = (raw(&database).with("BACKUP_SPLIT_SIZE", "1M"), stock(&database, &[]));
    let programs = Programs::of(Version::V15);
    let (psql, name) = (programs.real().join("psql"), database.name());
    let sql = |sql: &str| format!("'{}' -X -q -A -t -d {name} -c \"{sql}\"", psql.display());
    let locked = sql("SELECT count(*) FROM pg_locks WHERE relation = 'few'::regclass");
    let empty = sql("TRUNCATE few");
    programs.before(
        "pg_dump",
        &format!(
            "{SECOND} (unset PGOPTIONS; while [ \"$({locked})\" != 0 ]; do :; done; {empty}) >/dev/null 2>&1 ;; esac"
        ),
    );
    let outcome = parallel(&cellar).env("PG_BINDIR", programs.path()).succeeds().says("there are few rows");
    assert_eq!(database.sql("SELECT count(*) FROM few"), "0");
    let (manifest, ours) = made(&cellar, &outcome);
    assert_eq!(manifest["jobs"], Value::Null, "{outcome}");
    same(&ours, &theirs, "ended");
    nothing_is_left(&database);
}

/// The server ends the session of the first dump, which does not notice while nothing reads its output. A table that is emptied
/// before the second dump locks it has no rows in their snapshot.
#[test]
fn a_first_dump_whose_session_ends_before_the_second_has_locks() {
    let database = large(Cluster::shared(Version::V15), "orphaned");
    database.sql("CREATE TABLE few AS SELECT n FROM generate_series(1, 100) n");
    let cellar = raw(&database).with("BACKUP_SPLIT_SIZE", "1M");
    let programs = Programs::of(Version::V15);
    let (psql, name) = (programs.real().join("psql"), database.name());
    let sql = |sql: &str| format!("'{}' -X -q -A -t -d {name} -c \"{sql}\"", psql.display());
    let end = sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
         AND application_name = 'pgcellar pg_dump'");
    let locked = sql("SELECT count(*) FROM pg_locks WHERE relation = 'few'::regclass");
    let (empty, once) = (sql("TRUNCATE few"), programs.path().join("once"));
    programs.before(
        "pg_dump",
        &format!(
            "{SECOND} [ -e '{once}' ] || (unset PGOPTIONS PGAPPNAME; >'{once}'; {end}; \
             while [ \"$({locked})\" != 0 ]; do :; done; {empty}) >/dev/null 2>&1 ;; esac",
            once = once.display()
        ),
    );
    let outcome = parallel(&cellar).env("PG_BINDIR", programs.path()).succeeds();
    assert_eq!(database.sql("SELECT count(*) FROM few"), "0");
    let outcome = outcome.says("public.few truncated or rewritten between").says("starting over");
    let (manifest, ours) = made(&cellar, &outcome);
    assert_eq!((&manifest["jobs"], &manifest["partial"]), (&Value::from(2), &Value::Bool(false)), "{outcome}");
    same(&ours, &stock(&database, &[]), "orphaned");
    nothing_is_left(&database);
}

#[test]
fn a_second_dump_that_fails() {
    let database = large(Cluster::shared(Version::V15), "second");
    let (cellar, theirs) = (raw(&database), stock(&database, &[]));
    for how in
        ["exit 1", "kill -KILL $$", "echo PGDMP; exit 0", "exec \"$real\" \"$@\" --exclude-table-data=public.indexed"]
    {
        let programs = Programs::of(Version::V15);
        programs.before("pg_dump", &format!("{SECOND} {how} ;; esac"));
        let outcome = parallel(&cellar).env("PG_BINDIR", programs.path()).succeeds();
        let (manifest, ours) = made(&cellar, &outcome);
        assert_eq!(manifest["jobs"], Value::Null, "{outcome}");
        let _ = outcome.says("pg_dump reads all rows of");
        same(&ours, &theirs, how);
    }
    nothing_is_left(&database);
}

/// Rows that no session can read until the lock on their index is released.
fn halted<'a>(database: &Database<'a>) -> Session {
    let index = database.sql(
        "SELECT i.indexrelid::regclass FROM pg_class c JOIN pg_index i ON i.indrelid = c.reltoastrelid \
         WHERE c.relname = 'toasted'",
    );
    let mut session = Session::open(database);
    session.sql(&format!("BEGIN; REINDEX INDEX {index}"));
    session
}

const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgcellar' AND query LIKE 'COPY (%toasted%' \
     AND wait_event_type = 'Lock' AND datname = current_database()";

#[test]
fn sessions_that_are_killed_while_they_read() {
    let database = large(Cluster::shared(Version::V15), "killed");
    let (cellar, theirs) = (raw(&database), stock(&database, &[]));
    for how in ["pg_terminate_backend", "pg_cancel_backend"] {
        let session = halted(&database);
        let mut running = parallel(&cellar).start();
        running.wait_until("both sessions wait", || database.sql(WAITING) == "2");
        database.sql(&format!("SELECT {how}(pid) FROM ({}) s", WAITING.replace("count(*)", "pid")));
        running.wait_for_stderr("ended by the server, and is replaced");
        drop(session);
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(0), "{outcome}");
        let (manifest, ours) = made(&cellar, &outcome);
        assert_eq!(manifest["jobs"], 2);
        same(&ours, &theirs, how);
        nothing_is_left(&database);
    }
}

/// Between the end of the sessions and their replacement nothing locks the table, and it is emptied. The snapshot then has rows that
/// nothing can read, and the backup begins anew with another one.
#[test]
fn a_table_that_is_emptied_while_its_sessions_are_replaced() {
    let database = Cluster::shared(Version::V15).create("emptied");
    database.sql(
        "CREATE TABLE before AS SELECT repeat('x', 1000) FROM generate_series(1, 1000); \
         CREATE TABLE toasted (n int, inline text, large text); \
         ALTER TABLE toasted ALTER inline SET STORAGE PLAIN, ALTER large SET STORAGE EXTERNAL; \
         INSERT INTO toasted SELECT n, repeat('x', 3000), repeat('y', 900000) FROM generate_series(1, 20) n",
    );
    let cellar = raw(&database);
    let mut session = halted(&database);
    let mut running = parallel(&cellar).start();
    running.wait_until("both sessions wait", || database.sql(WAITING) == "2");
    let locks = "SELECT count(*) FROM pg_locks WHERE relation = 'toasted'::regclass AND mode = 'AccessShareLock'";
    running.wait_until("pg_dump has ended", || database.sql(locks) == "2");
    let mut truncate = database.cluster().client("psql", database.name());
    let mut truncate = truncate.args(["-X", "-q", "-c", "TRUNCATE toasted"]).spawn().unwrap();
    let queued = "SELECT count(*) FROM pg_locks WHERE relation = 'toasted'::regclass AND NOT granted";
    running.wait_until("the statement waits", || database.sql(queued) == "1");
    database.sql(&format!("SELECT pg_terminate_backend(pid) FROM ({}) s", WAITING.replace("count(*)", "pid")));
    session.sql("ROLLBACK");
    assert!(truncate.wait().unwrap().success());
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    let outcome =
        outcome.says("a table was emptied or rewritten while the sessions that read it were replaced: trying again");
    let (manifest, ours) = made(&cellar, &outcome);
    assert_eq!(manifest["contents"]["rows"], 1000);
    same(&ours, &stock(&database, &[]), "the next snapshot");
    nothing_is_left(&database);
}

#[test]
fn a_signal_while_sessions_read() {
    let database = large(Cluster::shared(Version::V15), "signalled");
    let cellar = raw(&database);
    let before = FolderSnapshot::of(&cellar.backup_dir());
    for signal in [Signal::TERM, Signal::KILL] {
        let session = halted(&database);
        let mut running = parallel(&cellar).start();
        running.wait_until("both sessions wait", || database.sql(WAITING) == "2");
        let processes = descendants(running.pid());
        let asked = Instant::now();
        running.signal(signal);
        let outcome = running.wait();
        assert!(asked.elapsed() < Duration::from_secs(10), "{outcome}");
        if signal == Signal::TERM {
            assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
            let _ = outcome.says("interrupted");
            are_gone(&processes);
            before.is_unchanged();
        } else {
            wait_until_gone(&processes);
        }
        // The server notices, although the lock is still held.
        nothing_is_left(&database);
        drop(session);
    }
    parallel(&cellar).succeeds();
}

/// pg_dump still has large objects to write.
#[test]
fn a_second_dump_that_is_killed_while_it_is_read() {
    let database = large(Cluster::shared(Version::V15), "restarted");
    database.sql("SELECT lo_from_bytea(0, decode(repeat('ab', 4000000), 'hex'))");
    let cellar = raw(&database);
    let before = FolderSnapshot::of(&cellar.backup_dir());
    let session = halted(&database);
    let mut running = parallel(&cellar).start();
    running.wait_until("both sessions wait", || database.sql(WAITING) == "2");
    let pgcellar = running.pid();
    let dumps = || descendants(pgcellar).into_iter().filter(|process| process.name == "pg_dump");
    running.wait_until("the first pg_dump has ended", || dumps().count() == 1);
    kill_process(dumps().next().unwrap().pid, Signal::KILL).unwrap();
    drop(session);
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::SYSTEM), "{outcome}");
    let _ = outcome.says("pg_dump was killed by signal 9");
    before.is_unchanged();
    nothing_is_left(&database);
}

/// A table that is rewritten before each dump has its locks: it is left to pg_dump, which finds it empty.
#[test]
fn a_table_that_is_always_rewritten() {
    let database = large(Cluster::shared(Version::V15), "rewritten");
    let cellar = raw(&database);
    let programs = Programs::of(Version::V15);
    let psql = format!("'{}' -X -q -d {}", programs.real().join("psql").display(), database.name());
    let truncate = format!("{psql} -c 'TRUNCATE parent; INSERT INTO parent VALUES (7)' >&2");
    programs.before("pg_dump", &format!("{SECOND} ;; *) (unset PGOPTIONS; {truncate}) ;; esac"));
    let outcome = parallel(&cellar).env("PG_BINDIR", programs.path()).succeeds().says("starting over");
    let manifest = &outcome.json()[0];
    assert_eq!((&manifest["partial"], &manifest["jobs"]), (&Value::Bool(true), &Value::from(2)), "{outcome}");
    let target = database.cluster().name_for("rewritten");
    cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
    let counts = "SELECT count(*) FROM ONLY parent UNION ALL SELECT count(*) FROM rows";
    assert_eq!(database.cluster().sql(&target, counts), "0\n250000");
    nothing_is_left(&database);
}

#[test]
fn a_connection_limit() {
    let cluster = Cluster::start(Version::V15);
    let database = large(&cluster, "limited");
    cluster.sql("postgres", "CREATE ROLE reader LOGIN BYPASSRLS IN ROLE pg_read_all_data PASSWORD 'r'");
    cluster.sql("postgres", "ALTER ROLE reader SET lo_compat_privileges = on");
    let cellar = raw(&database).with("DB_USER", "reader").with("DB_PASSWORD", "r");
    let limit = |number: usize| cluster.sql("postgres", &format!("ALTER ROLE reader CONNECTION LIMIT {number}"));
    limit(3);
    let outcome = parallel(&cellar).succeeds().says("in one session");
    assert_eq!(outcome.json()[0]["jobs"], Value::Null);
    cluster.wait_for_the_end_of_sessions("reader");
    limit(5);
    assert_eq!(parallel(&cellar).succeeds().json()[0]["jobs"], 2);
}

//! A restore with several jobs reads rows back while constraints and indexes are made.

use rustix::process::Signal;

use crate::common::compare::assert_same;
use crate::common::pgcellar::Running;
use crate::common::session::Session;
use crate::common::{Cellar, Cluster, Database, Version, exit};
use crate::restore::jobs::left;

/// The statement that waits for the lock on `held`.
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'ALTER TABLE ONLY public.held%' AND wait_event_type = 'Lock'";

/// A server that logs statements when they have ended.
fn logging(version: Version) -> Cluster {
    Cluster::start_configured(version, &["log_min_duration_statement=0", "log_line_prefix=%d "])
}

/// Two tables with keys, the second one refers to the first, and one without.
fn shop(cluster: &Cluster) -> Database<'_> {
    let shop = cluster.create("shop");
    shop.sql(
        "CREATE TABLE held (n int PRIMARY KEY, t text); INSERT INTO held SELECT n, repeat('x', 40) FROM generate_series(1, 400000) n; \
         CREATE TABLE child (n int PRIMARY KEY REFERENCES held); INSERT INTO child SELECT generate_series(1, 1000); \
         CREATE TABLE free AS SELECT generate_series(1, 1000) AS n; CREATE INDEX ON free (n)",
    );
    shop
}

/// Starts a restore, and locks a table so that its key cannot be made. Returns when the key waits for the lock, and with several
/// jobs when rows of another table have been read meanwhile.
fn held_up<'a>(cluster: &'a Cluster, cellar: &Cellar, (id, jobs, target): (&str, &str, &str)) -> (Running, Session) {
    let mut running = cellar.run(["restore", id, "--jobs", jobs, "--target-database", target]).start();
    let mut database: Option<Database<'a>> = None;
    running.wait_until("the database", || {
        let name = left(cluster, target);
        database = Some(cluster.database(&name));
        !name.is_empty() && cluster.try_sql(&name, "SELECT 1").is_ok()
    });
    let database = database.unwrap();
    // Open before the rows are loaded, because a new session can be late for the key.
    let mut session = Session::open(&database);
    session.sql("SELECT 1");
    running.wait_until("the table", || cluster.try_sql(database.name(), "SELECT 'public.held'::regclass").is_ok());
    session.sql("BEGIN; LOCK TABLE held IN SHARE UPDATE EXCLUSIVE MODE");
    running.wait_until("the lock", || database.sql(WAITING) == "1");
    if jobs != "1" {
        let ended = |line: &str| {
            line.starts_with(database.name())
                && line.contains("duration: ")
                && line.contains("COPY public.free (n) TO STDOUT")
        };
        running.wait_until("the rows", || cluster.log().lines().any(ended));
        assert_eq!(database.sql(WAITING), "1");
    }
    (running, session)
}

fn rows_are_read_meanwhile(version: Version) {
    if !version.is_covered() {
        return;
    }
    let cluster = logging(version);
    let original = shop(&cluster);
    let cellar = Cellar::new(&cluster);
    let id = cellar.back_up(original.name())["id"].as_str().unwrap().to_owned();
    original.sql("UPDATE free SET n = -1 WHERE n = 1");
    let other = cellar.back_up(original.name())["id"].as_str().unwrap().to_owned();
    for jobs in ["1", "2", "4"] {
        let target = cluster.name_for("early");
        let (running, mut session) = held_up(&cluster, &cellar, (&id, jobs, &target));
        session.sql("COMMIT");
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(0), "{outcome}");
        let _ = outcome.says("3 tables, 402,000 rows compared with the backup's fingerprints: equal");
        let keys =
            "SELECT count(*) FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype IN ('p', 'f')";
        assert_eq!(cluster.sql(&target, keys), "3");
    }
    cellar.replace_archive(&id, &other);
    for jobs in ["1", "2"] {
        let target = cluster.name_for("early");
        let (running, mut session) = held_up(&cluster, &cellar, (&id, jobs, &target));
        session.sql("COMMIT");
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(exit::DATAERR), "{outcome}");
        let _ = outcome.says("table public.free: other contents in as many rows, 1000");
        assert_eq!(left(&cluster, &target), "");
    }
    assert!(!cluster.log().contains("deadlock detected"));
}

#[test]
fn rows_are_read_while_constraints_are_made_on_15() {
    rows_are_read_meanwhile(Version::V15);
}

/// This version cannot read a range of a table without reading the rest.
#[test]
fn rows_are_read_while_constraints_are_made_on_13() {
    rows_are_read_meanwhile(Version::V13);
}

/// A reader waits until all objects are made. It ends with the restore, which goes on without it.
#[test]
fn a_waiting_reader_ends_with_the_restore_and_not_the_restore_with_it() {
    let cluster = logging(Version::V15);
    let original = shop(&cluster);
    original.sql("CREATE TABLE numbers AS SELECT 'pg_class'::regclass AS r");
    let cellar = Cellar::new(&cluster);
    let id = cellar.back_up(original.name())["id"].as_str().unwrap().to_owned();
    let end = |whose: &str| {
        let query = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname ~ '_restoring_' AND {whose}"
        );
        assert_ne!(cluster.sql("postgres", &query), "0");
    };
    let start = || held_up(&cluster, &cellar, (&id, "2", "ended"));

    let (running, _session) = start();
    running.signal(Signal::TERM);
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
    let _ = outcome.says("interrupted");
    assert_eq!(left(&cluster, "ended"), "");

    let (running, _session) = start();
    end("query LIKE 'ALTER TABLE ONLY public.held%'");
    let outcome = running.wait();
    assert_ne!(outcome.code(), Some(0), "{outcome}");
    let _ = outcome.says("terminating connection due to administrator command");
    assert_eq!(left(&cluster, "ended"), "");

    let (running, mut session) = start();
    end("query LIKE '%AccessExclusiveLock%'");
    session.sql("COMMIT");
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    let _ = outcome.says("4 tables, 402,001 rows compared with the backup's fingerprints: equal");
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname ~ '_restoring_'";
    assert_eq!(cluster.sql("postgres", sessions), "0");
}

/// Statements that lock tables against readers, or several tables at once.
#[test]
fn readers_and_statements_that_lock_tables_do_not_deadlock() {
    let cluster = logging(Version::V15);
    let original = cluster.create("locking");
    original.sql(
        "CREATE TABLE parts (a int, b int, t text, PRIMARY KEY (a), UNIQUE (a, b)) PARTITION BY RANGE (a); \
         CREATE TABLE refs (a int REFERENCES parts, b int, FOREIGN KEY (a, b) REFERENCES parts (a, b)) PARTITION BY HASH (a); \
         DO $$BEGIN FOR n IN 0..11 LOOP \
           EXECUTE format('CREATE TABLE part_%s PARTITION OF parts FOR VALUES FROM (%s) TO (%s)', n, n * 9000, n * 9000 + 9000); \
           EXECUTE format('CREATE TABLE ref_%s PARTITION OF refs FOR VALUES WITH (MODULUS 12, REMAINDER %s)', n, n); \
         END LOOP; END$$; \
         INSERT INTO parts SELECT n, n, repeat('x', 99) FROM generate_series(0, 107999) n; INSERT INTO refs SELECT a, b FROM parts; \
         CREATE INDEX ON parts (b); CREATE INDEX ON parts (t); CREATE INDEX ON refs (b); \
         CREATE FUNCTION fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER fire BEFORE INSERT ON parts FOR EACH ROW EXECUTE FUNCTION fire(); \
         DO $$BEGIN FOR n IN 0..11 LOOP \
           EXECUTE format('ALTER TABLE part_%s CLUSTER ON part_%1$s_pkey; ALTER TABLE part_%1$s REPLICA IDENTITY FULL', n); \
           EXECUTE format('ALTER TABLE ref_%s ENABLE ROW LEVEL SECURITY; ALTER TABLE ref_%1$s DISABLE TRIGGER USER', n); \
           EXECUTE format('CREATE POLICY mine ON ref_%s USING (b > 0)', n); \
           EXECUTE format('CREATE RULE nothing AS ON DELETE TO ref_%s DO INSTEAD NOTHING', n); \
         END LOOP; END$$",
    );
    let cellar = Cellar::new(&cluster);
    cellar.back_up(original.name());
    for jobs in ["2", "8"] {
        let target = cluster.name_for("locking");
        let run = cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]).succeeds();
        assert!(!run.stderr.contains("again"), "{run}");
        let _ = run.says("216,000 rows compared with the backup's fingerprints: equal");
        assert_same(&original, &cluster.database(&target));
    }
    let log = cluster.log();
    assert!(!log.contains("deadlock detected"));
    // Rows are read before one of the last statements.
    let at = |statement| log.find(statement).unwrap();
    assert!(at("TO STDOUT WITH (ENCODING") < at("CREATE POLICY mine ON public."));
}

/// Numbers of objects print as names once there are such objects: tables before the rows are read, and indexes only afterwards.
#[test]
fn numbers_of_objects_that_are_made_meanwhile_are_no_difference() {
    let cluster = logging(Version::V15);
    let original = shop(&cluster);
    original.sql(
        "CREATE TABLE numbers (r regclass); INSERT INTO numbers SELECT n::oid::regclass \
           FROM (SELECT max(oid)::int8 FROM pg_class) m (last), generate_series(m.last + 1, m.last + 20000) n",
    );
    let cellar = Cellar::new(&cluster);
    let id = cellar.back_up(original.name())["id"].as_str().unwrap().to_owned();
    let target = cluster.name_for("numbers");
    let (running, mut session) = held_up(&cluster, &cellar, (&id, "2", &target));
    session.sql("COMMIT");
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    let _ = outcome.says("table public.numbers: the same rows; numbers of objects that were gone");
    let kinds = "SELECT string_agg(DISTINCT relkind::text, '') FROM numbers JOIN pg_class c ON c.oid = r";
    assert_eq!(cluster.sql(&target, kinds), "irt");
}

/// A function that writes a row while a restore calls it, and a type whose values are compared by such a function.
const WRITING: &str = "CREATE TABLE written (n int); INSERT INTO written VALUES (1); \
     CREATE FUNCTION write(int) RETURNS int VOLATILE LANGUAGE plpgsql AS $$BEGIN \
       IF current_database() ~ '_restoring_' THEN INSERT INTO public.written VALUES ($1); END IF; RETURN $1; END$$; \
     CREATE FUNCTION same(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN RETURN public.write($1); END$$; ";
const COMPARED: &str = "CREATE TYPE made AS (n int); \
     CREATE FUNCTION compare(made, made) RETURNS int IMMUTABLE LANGUAGE plpgsql AS \
       $$BEGIN PERFORM public.write(1); RETURN pg_catalog.btint4cmp($1.n, $2.n); END$$; \
     CREATE OPERATOR CLASS made_ops DEFAULT FOR TYPE made USING btree AS FUNCTION 1 compare(made, made); ";

/// Backs a database up, restores it, and expects the rows that the restore has written to be found.
fn is_found(original: &Database<'_>, cluster: &Cluster) {
    for format in ["custom", "directory"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        cellar.back_up(original.name());
        for jobs in ["1", "2"] {
            let target = cluster.name_for("written");
            let run = cellar.run(["restore", "latest", "--jobs", jobs, "--target-database", &target]);
            run.fails(exit::DATAERR).says("table public.written: rows: ");
            assert_eq!(left(cluster, &target), "");
        }
    }
}

/// What the function of an index writes while the rest is made is found.
#[test]
fn rows_that_functions_write_meanwhile_are_found() {
    let cluster = Cluster::shared(Version::V15);
    for sql in [
        "CREATE TABLE indexed AS SELECT 1 AS n; CREATE INDEX ON indexed (same(n))",
        "CREATE TABLE part AS SELECT 1 AS n; CREATE INDEX ON part (n) WHERE same(n) > 0",
    ] {
        let original = cluster.create("written");
        original.sql(&format!("{WRITING}{sql}"));
        is_found(&original, cluster);
    }
}

/// No entry of an archive says that these constraints and indexes call functions.
#[test]
fn rows_that_functions_without_a_dependency_write_are_found() {
    let cluster = Cluster::shared(Version::V15);
    for sql in [
        "CREATE TABLE excluded AS SELECT 1 AS n; ALTER TABLE excluded ADD EXCLUDE USING btree (same(n) WITH =)",
        "CREATE TABLE part AS SELECT 1 AS n; ALTER TABLE part ADD EXCLUDE USING btree (n WITH =) WHERE (same(n) > 0)",
        "CREATE TABLE keyed AS SELECT row(n)::made AS m FROM generate_series(1, 9) n; ALTER TABLE keyed ADD UNIQUE (m)",
        "CREATE TABLE arrays AS SELECT ARRAY[row(n)::made] AS m FROM generate_series(1, 9) n; CREATE INDEX ON arrays (m)",
        "CREATE TYPE mood AS ENUM ('sad'); \
         CREATE FUNCTION number(mood) RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN public.write(1); END$$; \
         CREATE CAST (mood AS int) WITH FUNCTION number(mood) AS IMPLICIT; \
         CREATE TABLE moods (n int PRIMARY KEY); INSERT INTO moods VALUES (1); \
         CREATE TABLE days (m mood REFERENCES moods); INSERT INTO days VALUES ('sad')",
    ] {
        let original = cluster.create("written");
        original.sql(&format!("{WRITING}{COMPARED}{sql}"));
        is_found(&original, cluster);
    }
}

/// pg_restore refreshes the materialized views of a database without an encoding if a name is not UTF-8.
#[test]
fn rows_that_a_refresh_by_pg_restore_writes_are_found() {
    let cluster = Cluster::shared(Version::V15);
    let name = cluster.name_for("written");
    cluster.sql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"));
    let original = cluster.database(&name);
    original.sql(&format!(
        "{WRITING}CREATE MATERIALIZED VIEW writing AS SELECT public.write(1); \
         DO $$BEGIN EXECUTE format('ALTER MATERIALIZED VIEW writing RENAME TO %I', 'writing' || chr(233)); END$$"
    ));
    is_found(&original, cluster);
}

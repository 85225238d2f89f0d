//! Restores over a database that is there already: it is replaced as a whole, at once, or it stays as it was.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::NoTls;

use crate::common::cluster::quote_identifier;
use crate::common::compare::{self, Contents, assert_same};
use crate::common::pgcellar::{Outcome, Run, Running};
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, tree};
use crate::restore::{archive, child, databases, slow};

/// For how long a client may be refused while the databases are swapped; a fraction of a second is usual.
const GAP: Duration = Duration::from_secs(3);

/// A database that something is restored over, and what it and its cluster were before.
struct Old<'a> {
    database: Database<'a>,
    before: Contents,
    others: BTreeSet<String>,
}

impl<'a> Old<'a> {
    fn make(cluster: &'a Cluster, name: &str) -> Old<'a> {
        let database = cluster.create_named(name);
        database.sql("CREATE TABLE marker AS SELECT 'old' AS age; COMMENT ON TABLE marker IS 'precious'");
        let sql = format!("COMMENT ON DATABASE {0} IS 'old'; ALTER DATABASE {0} SET work_mem = '7MB'", quote(name));
        database.sql(&sql);
        Old::of(database)
    }

    fn of(database: Database<'a>) -> Old<'a> {
        Old { before: compare::contents(&database), others: beside(&database), database }
    }

    fn name(&self) -> &str {
        self.database.name()
    }

    /// It is as it was, and nothing was left beside it.
    #[track_caller]
    fn is_unharmed(&self) {
        assert_eq!(beside(&self.database), self.others);
        let differences = compare::differences(&self.before, &compare::contents(&self.database));
        assert!(differences.is_empty(), "{differences:#?}");
    }

    /// It was replaced: gives the database that it is kept as, which is as it was.
    #[track_caller]
    fn kept(&self) -> Database<'a> {
        let left: Vec<String> = beside(&self.database).difference(&self.others).cloned().collect();
        assert!(matches!(left.as_slice(), [one] if one.contains("_replaced_")), "{left:?}");
        let kept = self.database.cluster().database(&left[0]);
        let differences = compare::differences(&self.before, &compare::contents(&kept));
        assert!(differences.is_empty(), "{differences:#?}");
        kept
    }
}

/// Databases with names like this one's.
fn beside(database: &Database<'_>) -> BTreeSet<String> {
    let start: String = database.name().chars().take(15).collect();
    databases(database.cluster()).into_iter().filter(|name| name.starts_with(&start)).collect()
}

fn quote(name: &str) -> String {
    quote_identifier(name)
}

fn versions() -> impl Iterator<Item = Version> {
    [Version::V15, Version::V17].into_iter().filter(|version| version.is_covered())
}

fn forced(cellar: &Cellar, target: &str) -> Run {
    cellar.run(["restore", "latest", "--force", "--target-database", target])
}

/// A small backup with a table `marker`, and its database.
fn backed_up<'a>(cellar: &Cellar, cluster: &'a Cluster) -> Database<'a> {
    let original = cluster.create("new");
    original.sql("CREATE TABLE marker AS SELECT 'new' AS age");
    cellar.back_up(original.name());
    original
}

/// A backup whose restore waits until the role `go_on` exists. The cluster is the test's own.
fn waiting(cellar: &Cellar, cluster: &Cluster) {
    let original = cluster.create("waiting");
    original.sql(
        "CREATE FUNCTION wait() RETURNS int LANGUAGE plpgsql AS $$ BEGIN \
         LOOP EXIT WHEN EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'go_on'); \
         PERFORM pg_catalog.pg_sleep(0.02); END LOOP; RETURN 1; END $$; \
         CREATE TABLE marker AS SELECT 'new' AS age; CREATE ROLE go_on; \
         CREATE MATERIALIZED VIEW waited AS SELECT public.wait() AS n; DROP ROLE go_on",
    );
    cellar.back_up(original.name());
}

/// Waits until the slow part of a restore into `target` is reached.
fn asleep(mut running: Running, cluster: &Cluster, target: &str) -> Running {
    let query = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND starts_with(datname, '{target}_restoring_')"
    );
    running.wait_until("the slow part", || cluster.sql("postgres", &query) == "1");
    running
}

/// Ends what a killed pgcellar's children still have open.
fn end_sessions(cluster: &Cluster, database: &str) {
    let sql = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'");
    let deadline = Instant::now() + Duration::from_secs(30);
    while cluster.sql("postgres", &sql) != "0" {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(10));
    }
}

/// Asks again and again which database it is in, and connects anew at once when it is thrown out. Gives the longest time
/// without an answer.
async fn client(cluster: &Cluster, target: &str, user: &str, done: &AtomicBool) -> Duration {
    let mut config = tokio_postgres::Config::new();
    config.host_path(cluster.socket_dir()).port(cluster.port()).user(user).dbname(target);
    let (mut longest, mut last, mut age) = (Duration::ZERO, Instant::now(), String::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    while !(done.load(Ordering::Relaxed) && age == "new") {
        assert!(Instant::now() < deadline, "a client never came to the new database");
        let Ok((session, driver)) = config.connect(NoTls).await else {
            tokio::time::sleep(Duration::from_millis(1)).await;
            continue;
        };
        tokio::spawn(driver);
        while let Ok(row) = session.query_one("SELECT age FROM public.marker", &[]).await {
            longest = longest.max(last.elapsed());
            last = Instant::now();
            let now: String = row.get(0);
            assert!(age != "new" || now == "new", "a client went back to the old database");
            age = now;
            if done.load(Ordering::Relaxed) && age == "new" {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    longest
}

#[test]
fn a_busy_database_is_replaced_under_its_clients() {
    for version in versions() {
        let cluster = Cluster::start(version);
        let cellar = Cellar::new(&cluster);
        let original = everything::database(&cluster, "source");
        original.sql("CREATE TABLE public.marker AS SELECT 'new' AS age; GRANT SELECT ON public.marker TO PUBLIC");
        original.sql("GRANT USAGE ON SCHEMA public TO PUBLIC");
        let sql = format!("GRANT CONNECT ON DATABASE {} TO PUBLIC", quote(original.name()));
        cluster.sql("postgres", &format!("{sql}; CREATE ROLE customer LOGIN"));
        cellar.back_up(original.name());
        let old = Old::make(&cluster, "busy");
        old.database.sql("GRANT SELECT ON marker TO PUBLIC");
        let old = Old::of(old.database);

        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let done = AtomicBool::new(false);
        let gaps = thread::scope(|scope| {
            let clients: Vec<_> = ["postgres", "customer", "customer", "postgres", "customer", "customer"]
                .into_iter()
                .map(|user| scope.spawn(|| runtime.block_on(client(&cluster, "busy", user, &done))))
                .collect();
            let outcome = forced(&cellar, "busy").finish();
            done.store(true, Ordering::Relaxed);
            let gaps: Vec<Duration> = clients.into_iter().map(|client| client.join().unwrap()).collect();
            assert_eq!(outcome.code(), Some(0), "{outcome}");
            gaps
        });
        println!("PostgreSQL {}: the clients were without an answer for {gaps:?} at the most", version.0);
        assert!(gaps.iter().all(|gap| *gap < GAP), "{gaps:?}");
        assert_same(&original, &old.database);
        old.kept();
    }
}

#[test]
fn sessions_that_sleep_are_ended() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    backed_up(&cellar, cluster);
    let old = Old::make(cluster, &cluster.name_for("asleep"));
    let mut psql = cluster.client("psql", old.name());
    psql.args(["-X", "-c", "BEGIN; LOCK TABLE marker; SELECT pg_sleep(600)"]);
    psql.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut sleeper = psql.spawn().unwrap();
    let query =
        format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' AND wait_event = 'PgSleep'", old.name());
    while cluster.sql("postgres", &query) != "1" {
        thread::sleep(Duration::from_millis(5));
    }
    forced(&cellar, old.name()).succeeds();
    assert!(!sleeper.wait().unwrap().success());
    old.kept();
}

#[test]
fn force_is_asked_for() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let original = backed_up(&cellar, cluster);
    let old = Old::make(cluster, &cluster.name_for("asked"));
    let restore = || cellar.run(["restore", "latest", "--target-database", old.name()]);
    let _ = restore().fails(exit::CANTCREAT).says("--force");
    let _ = restore().env("FORCE_RESTORE", "false").fails(exit::CANTCREAT).says("--force");
    old.is_unharmed();
    let outcome = restore().env("FORCE_RESTORE", "true").succeeds();
    let kept = old.kept();
    assert!(outcome.stderr.contains(&format!("DROP DATABASE {}", quote(kept.name()))), "{outcome}");
    assert_same(&original, &old.database);

    // Over a database that is not there, force has nothing to do.
    let target = cluster.name_for("nothing");
    forced(&cellar, &target).succeeds();
    assert_same(&original, &cluster.database(&target));
}

#[test]
fn the_replaced_database_is_dropped_on_demand() {
    for version in versions() {
        let cluster = Cluster::shared(version);
        let cellar = Cellar::new(cluster);
        let original = backed_up(&cellar, cluster);
        let old = Old::make(cluster, &cluster.name_for("dropped"));
        cluster.sql("postgres", &format!("ALTER DATABASE {} IS_TEMPLATE true", quote(old.name())));
        forced(&cellar, old.name()).arguments(["--drop-replaced"]).succeeds();
        assert_eq!(beside(&old.database), old.others);
        assert_same(&original, &old.database);
    }
}

#[test]
fn what_would_replace_a_whole_database_by_less_is_refused() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let original = backed_up(&cellar, cluster);
    let old = Old::make(cluster, &cluster.name_for("whole"));
    let refused = |arguments: &[&str], why: &str| {
        let _ = forced(&cellar, old.name()).arguments(arguments).fails(exit::USAGE).says(why);
    };
    refused(&["--schema", "public"], "parts of a backup");
    refused(&["--table", "marker"], "parts of a backup");
    refused(&["--keep-going"], "FORCE_RESTORE");
    let unforced = |arguments: &[&str]| cellar.run(["restore", "latest", "-t", old.name()]).arguments(arguments);
    let _ = unforced(&["--drop-replaced"]).fails(exit::USAGE).says("--force");
    let _ = unforced(&["--drop-replaced"]).env("FORCE_RESTORE", "0").fails(exit::USAGE).says("--force");
    let run = unforced(&["--keep-going"]);
    let _ = run.env("FORCE_RESTORE", "false").fails(exit::CANTCREAT).says("exists already");
    let _ = unforced(&["--keep-going"]).env("FORCE_RESTORE", "true").fails(exit::USAGE).says("never replaces");

    let partial = cellar.run(["backup", "--json"]).env("DB_NAME", original.name());
    let manifest = partial.env("BACKUP_DUMP_OPTIONS", "--exclude-table=marker").succeeds().json();
    let id = manifest[0]["id"].as_str().unwrap();
    let run = cellar.run(["restore", id, "--force", "-t", old.name()]);
    let _ = run.fails(exit::USAGE).says("is partial").says("--exclude-table=marker");
    old.is_unharmed();
}

#[test]
fn what_a_swap_would_strand_is_named_before_anything_starts() {
    for version in versions() {
        let cluster = Cluster::start_configured(version, &["wal_level=logical", "max_prepared_transactions=5"]);
        let cellar = Cellar::new(&cluster);
        let original = backed_up(&cellar, &cluster);
        let old = Old::make(&cluster, "needed");
        old.database
            .sql("CREATE SUBSCRIPTION \"the sub\" CONNECTION 'host=x.invalid' PUBLICATION p WITH (connect = false)");
        old.database.sql("SELECT pg_create_logical_replication_slot('the_slot', 'pgoutput')");
        old.database.sql("BEGIN; INSERT INTO marker VALUES ('prepared'); PREPARE TRANSACTION 'the ''gid'''");
        // The same in another database is in nobody's way.
        original.sql("BEGIN; INSERT INTO marker VALUES ('other'); PREPARE TRANSACTION 'other'");
        let old = Old::of(old.database);
        let outcome = forced(&cellar, "needed").fails(exit::CANTCREAT);
        for text in ["'the_slot'", "'the sub'", "'the \\'gid\\''", "DROP SUBSCRIPTION \"the sub\"", "'other'"] {
            assert_eq!(outcome.stderr.contains(text), text != "'other'", "{text}: {outcome}");
        }
        old.is_unharmed();
        for sql in [
            "ALTER SUBSCRIPTION \"the sub\" SET (slot_name = NONE)",
            "DROP SUBSCRIPTION \"the sub\"",
            "SELECT pg_drop_replication_slot('the_slot')",
            "ROLLBACK PREPARED 'the ''gid'''",
        ] {
            old.database.sql(sql);
        }
        forced(&cellar, "needed").succeeds();
    }
}

#[test]
fn what_comes_into_the_way_meanwhile_is_seen_before_the_swap() {
    let settings = ["wal_level=logical", "max_prepared_transactions=5"];
    let cluster = Cluster::start_configured(Version::V15, &settings);
    let cellar = Cellar::new(&cluster);
    waiting(&cellar, &cluster);
    let old = Old::make(&cluster, "later");
    for (make, name, remove) in [
        (
            "CREATE SUBSCRIPTION sub CONNECTION 'host=x.invalid' PUBLICATION p WITH (connect = false, slot_name = NONE)",
            "'sub'",
            "DROP SUBSCRIPTION sub",
        ),
        ("BEGIN; LOCK TABLE marker; PREPARE TRANSACTION 'gid'", "'gid'", "ROLLBACK PREPARED 'gid'"),
    ] {
        let running = asleep(forced(&cellar, "later").start(), &cluster, "later");
        old.database.sql(make);
        cluster.sql("postgres", "CREATE ROLE go_on");
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(exit::CANTCREAT), "{outcome}");
        let _ = outcome.says(name);
        cluster.sql("postgres", "DROP ROLE go_on");
        old.database.sql(remove);
        old.is_unharmed();
    }
    // Another database of that name is not what was to be replaced.
    let running = asleep(forced(&cellar, "later").start(), &cluster, "later");
    cluster.sql("postgres", "ALTER DATABASE later RENAME TO elsewhere");
    cluster.create_named("later").sql("CREATE TABLE precious AS SELECT 1 AS n");
    cluster.sql("postgres", "CREATE ROLE go_on");
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::CANTCREAT), "{outcome}");
    let _ = outcome.says("another database got the name");
    assert_eq!(old.database.sql("SELECT n FROM precious"), "1");
    assert_eq!(beside(&old.database), old.others);
}

#[test]
fn a_lock_on_the_database_is_waited_for_and_told_of() {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster);
    waiting(&cellar, &cluster);
    let old = Old::make(&cluster, "held");
    let running = asleep(forced(&cellar, "held").start(), &cluster, "held");
    // Commenting on a database locks it until the end of the transaction.
    let mut psql = cluster.client("psql", "postgres");
    psql.args(["-X", "-c", "BEGIN; COMMENT ON DATABASE held IS 'mine'; SELECT pg_sleep(600)"]);
    psql.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut holder = psql.spawn().unwrap();
    let holding = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = 'postgres'";
    while cluster.sql("postgres", holding) != "1" {
        thread::sleep(Duration::from_millis(5));
    }
    cluster.sql("postgres", "CREATE ROLE go_on");
    running.wait_for_stderr("trying again");
    holder.kill().unwrap();
    holder.wait().unwrap();
    cluster.sql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = 'postgres'",
    );
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    old.kept();
}

#[test]
fn a_flipped_byte_replaces_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("flipped");
    original.sql("CREATE TABLE letters AS SELECT repeat('x', 20000) AS x");
    for format in ["custom", "directory", "tar", "plain"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("BACKUP_COMPRESSION", "none");
        let manifest = cellar.back_up(original.name());
        let letters = [b'x'; 1000];
        let files = archive(&cellar, manifest["id"].as_str().unwrap());
        let place = |file: &Path| fs::read(file).unwrap().windows(1000).position(|window| window == letters);
        let (file, at) = files.iter().find_map(|file| Some((file, place(file)?))).expect("the letters");
        tree::flip_byte(file, i64::try_from(at).unwrap());
        let old = Old::make(cluster, &cluster.name_for("sound"));
        let _ = forced(&cellar, old.name()).fails(exit::DATAERR).says("damaged");
        old.is_unharmed();
    }
}

#[test]
fn a_killed_program_replaces_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    cellar.back_up(slow(cluster).name());
    let old = Old::make(cluster, &cluster.name_for("unhurt"));
    let running = asleep(forced(&cellar, old.name()).start(), cluster, old.name());
    kill_process(child(&running, "pg_restore"), Signal::KILL).unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    old.is_unharmed();
    let running = asleep(forced(&cellar, old.name()).start(), cluster, old.name());
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(exit::TEMPFAIL));
    old.is_unharmed();
}

#[test]
fn what_a_killed_run_has_left_is_dropped_by_the_next() {
    for version in versions() {
        let cluster = Cluster::start(version);
        let cellar = Cellar::new(&cluster);
        waiting(&cellar, &cluster);
        let old = Old::make(&cluster, "survivor");
        let running = asleep(forced(&cellar, "survivor").start(), &cluster, "survivor");
        running.signal(Signal::KILL);
        running.wait();
        let left: Vec<String> = beside(&old.database).difference(&old.others).cloned().collect();
        assert!(matches!(left.as_slice(), [one] if one.starts_with("survivor_restoring_")), "{left:?}");
        end_sessions(&cluster, &left[0]);
        while cluster.sql("postgres", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") != "0" {
            thread::sleep(Duration::from_millis(10));
        }
        // What only looks like one is left alone.
        let strange = cluster.create_named("survivor_restoring_20200101_000000");
        cluster.sql("postgres", "CREATE ROLE go_on");
        let outcome = forced(&cellar, "survivor").succeeds();
        let outcome = outcome.says(&format!("dropped the database '{}'", left[0]));
        let _ = outcome.says(&format!("'{}' seems to be left", strange.name()));
        cluster.sql("postgres", &format!("DROP DATABASE {}", strange.name()));
        old.kept();
        let comment =
            "SELECT shobj_description(oid, 'pg_database') IS NULL FROM pg_database WHERE datname = 'survivor'";
        assert_eq!(old.database.sql(comment), "t", "no mark is left on a whole database");
    }
}

#[test]
fn a_server_that_crashes_keeps_the_old_database() {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster);
    waiting(&cellar, &cluster);
    let old = Old::make(&cluster, "crashed");
    // One of its processes: the server ends all sessions, and comes back by itself.
    let running = asleep(forced(&cellar, "crashed").start(), &cluster, "crashed");
    let query = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let backend = cluster.sql("postgres", query).parse().unwrap();
    kill_process(Pid::from_raw(backend).unwrap(), Signal::KILL).unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    old.is_unharmed();
    // All of it: what is left is told.
    let running = asleep(forced(&cellar, "crashed").start(), &cluster, "crashed");
    cluster.kill_postmaster();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    cluster.start_again();
    let left: Vec<String> = beside(&old.database).difference(&old.others).cloned().collect();
    let outcome = outcome.says(&format!("DROP DATABASE \"{}\" WITH (FORCE)", left[0]));
    cluster.sql("postgres", &format!("DROP DATABASE {} WITH (FORCE)", quote(&left[0])));
    assert_eq!(left.len(), 1, "{outcome}");
    old.is_unharmed();
}

#[test]
fn a_full_disk_replaces_nothing() {
    let cluster = Cluster::start_with_small_disk(Version::V15, 40 << 20);
    let cellar = Cellar::new(&cluster);
    let disk = cluster.small_disk();
    cluster.sql("postgres", &format!("CREATE TABLESPACE small LOCATION '{}'", disk.display()));
    cluster.sql("postgres", "CREATE DATABASE original TEMPLATE template0 TABLESPACE small");
    let fill = "SELECT repeat(md5(n::text), 30) AS x FROM generate_series(1, 15000) AS n";
    cluster.sql("original", &format!("CREATE TABLE rows AS {fill}"));
    cellar.back_up("original");
    cluster.sql("postgres", "DROP DATABASE original");
    // Room for an empty database, and not for the rows.
    cluster.sql("postgres", &format!("CREATE TABLE filler TABLESPACE small AS {fill}; INSERT INTO filler {fill}"));
    let old = Old::make(&cluster, "elsewhere");
    let _ = forced(&cellar, "elsewhere").fails(exit::CANTCREAT).says("No space left on device");
    old.is_unharmed();
}

#[test]
fn roles_that_may_not_replace() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("postgres", "CREATE ROLE nothing LOGIN PASSWORD 'x'; CREATE ROLE maker LOGIN CREATEDB PASSWORD 'x'");
    let theirs = cluster.create_named("theirs");
    cluster.sql("postgres", "ALTER DATABASE theirs OWNER TO maker");
    theirs.sql("SET ROLE maker; CREATE SCHEMA s; CREATE TABLE s.marker AS SELECT 'new' AS age");
    let cellar = Cellar::new(&cluster);
    cellar.back_up("theirs");
    let old = Old::make(&cluster, "target");
    let restore = |user: &str| forced(&cellar, "target").env("DB_USER", user).env("DB_PASSWORD", "x");
    let _ = restore("nothing").fails(exit::NOPERM).says("may not create databases");
    let _ = restore("maker").fails(exit::NOPERM).says("does not own the database");
    cluster.sql("postgres", "ALTER DATABASE target OWNER TO maker");
    let old = Old::of(old.database);
    let mut psql = cluster.client("psql", "target");
    psql.args(["-X", "-c", "SELECT pg_sleep(600)"]).stdout(std::process::Stdio::null());
    let mut superuser = psql.stderr(std::process::Stdio::null()).spawn().unwrap();
    let there = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    while cluster.sql("postgres", there) != "1" {
        thread::sleep(Duration::from_millis(5));
    }
    let _ = restore("maker").fails(exit::NOPERM).says("may not end the sessions").says("\"postgres\"");
    end_sessions(&cluster, "target");
    superuser.wait().unwrap();
    old.is_unharmed();
    end_sessions(&cluster, "target");
    restore("maker").succeeds();
    assert_same(&theirs, &old.database);
}

#[test]
fn long_names_and_the_name_that_we_connect_to() {
    for version in versions() {
        let cluster = Cluster::start(version);
        let cellar = Cellar::new(&cluster);
        let original = backed_up(&cellar, &cluster);
        let long = format!("{}x", "ö".repeat(31));
        assert_eq!(long.len(), 63);
        let old = Old::make(&cluster, &long);
        forced(&cellar, &long).succeeds();
        assert_same(&original, &old.database);
        let kept = old.kept();
        assert!(kept.name().starts_with(&format!("{}_replaced_", "ö".repeat(19))), "{}", kept.name());
        assert!(kept.name().len() <= 63);

        let ours = Old::of(cluster.database("postgres"));
        forced(&cellar, "postgres").succeeds();
        assert_same(&original, &ours.database);
        ours.kept();
        let _ = forced(&cellar, "template1").fails(exit::USAGE).says("own template");
    }
}

#[test]
fn of_two_restores_at_once_one_wins() {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster);
    waiting(&cellar, &cluster);
    let old = Old::make(&cluster, "wanted");
    let first = asleep(forced(&cellar, "wanted").start(), &cluster, "wanted");
    let _ = forced(&cellar, "wanted").fails(exit::TEMPFAIL).says("another pgcellar");
    cluster.sql("postgres", "CREATE ROLE go_on");
    let outcome = first.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    let first = old.kept();
    // Begun in the same moment, in any order.
    let both = [forced(&cellar, "wanted").start(), forced(&cellar, "wanted").start()];
    let outcomes: Vec<Outcome> = both.into_iter().map(Running::wait).collect();
    let codes: BTreeSet<Option<i32>> = outcomes.iter().map(Outcome::code).collect();
    assert!(codes.contains(&Some(0)) && codes.is_subset(&[Some(0), Some(exit::TEMPFAIL)].into()), "{codes:?}");
    assert!(!databases(&cluster).iter().any(|name| name.contains("_restoring_")), "{codes:?}");
    assert!(databases(&cluster).contains(first.name()));
    assert_eq!(old.database.sql("SELECT age FROM marker"), "new");
}

/// One materialised view that leans on the search path makes a database that cannot be restored otherwise.
#[test]
fn going_on_lists_every_error() {
    for version in versions() {
        let cluster = Cluster::shared(version);
        let original = cluster.create("leaning");
        original.sql(
            "CREATE TABLE wine AS SELECT generate_series(1, 100) AS n; \
             CREATE FUNCTION bottles() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.wine'; \
             CREATE MATERIALIZED VIEW leaning AS SELECT bottles() AS n; CREATE INDEX ON wine (n); \
             CREATE OR REPLACE FUNCTION bottles() RETURNS bigint LANGUAGE plpgsql \
             AS 'BEGIN RETURN (SELECT count(*) FROM wine); END'",
        );
        for format in ["custom", "directory", "tar"] {
            let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
            cellar.back_up(original.name());
            let target = cluster.name_for("going_on");
            let restore = || cellar.run(["restore", "latest", "--target-database", &target]);
            restore().fails(exit::DATAERR);
            assert!(!databases(cluster).contains(&target));
            let outcome = restore().arguments(["--keep-going"]).fails(exit::DATAERR);
            let outcome =
                outcome.says("REFRESH MATERIALIZED VIEW public.leaning").says("relation \"wine\" does not exist");
            let _ = outcome.says(&format!("restored into '{target}' with 2 errors"));
            let restored = cluster.database(&target);
            assert_eq!(restored.sql("SELECT count(*) FROM wine"), "100");
            let differences = compare::differences(&compare::contents(&original), &compare::contents(&restored));
            assert!(differences.iter().all(|part| part.contains("leaning")), "{format}: {differences:#?}");
        }
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", "plain");
        cellar.back_up(original.name());
        let run = cellar.run(["restore", "latest", "--keep-going", "-t", "never"]);
        let _ = run.fails(exit::USAGE).says("run its rows as commands");
    }
}

#[test]
fn going_on_without_an_error_is_a_restore() {
    let cluster = Cluster::shared(Version::V15);
    let original = everything::database(cluster, "going_on");
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    let target = cluster.name_for("fine");
    cellar.run(["restore", "latest", "--keep-going", "-t", &target]).succeeds();
    assert_same(&original, &cluster.database(&target));
}

#[test]
fn going_on_ends_with_the_server() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    cellar.back_up(slow(cluster).name());
    let target = cluster.name_for("broken_off");
    let run = cellar.run(["restore", "latest", "--keep-going", "-t", &target]);
    let running = asleep(run.start(), cluster, &target);
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE starts_with(datname, '{target}_restoring_') AND wait_event = 'PgSleep'"
    );
    cluster.sql("postgres", &sql);
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    assert!(!databases(cluster).iter().any(|name| name.starts_with(&target)), "{outcome}");
}

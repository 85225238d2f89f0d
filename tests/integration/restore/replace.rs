//! Restores over an existing database: it is replaced completely and at once, or it is unchanged.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio_postgres::NoTls;

use crate::common::cluster::quote_identifier;
use crate::common::compare::{self, Contents, assert_same};
use crate::common::pgcellar::{Outcome, Run, Running};
use crate::common::process::must;
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, tree};
use crate::restore::{archive, child, databases, slow};

mod failures;
mod keep_going;
mod obstacles;

/// How much longer a client may be without an answer during the swap than without one; a fraction of a second is usual.
const GAP: Duration = Duration::from_secs(3);

/// A database to be replaced, with its contents and the databases beside it before the restore.
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

    /// Fails the test unless it is unchanged, and nothing was left beside it.
    #[track_caller]
    fn is_unharmed(&self) {
        assert_eq!(beside(&self.database), self.others);
        let differences = compare::differences(&self.before, &compare::contents(&self.database));
        assert!(differences.is_empty(), "{differences:#?}");
    }

    /// Fails the test unless it was replaced. Returns the kept database, which must be unchanged.
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

/// A session of this role that runs some SQL, and then sleeps until it is terminated.
fn sleeper(cluster: &Cluster, database: &str, user: &str, sql: &str) -> Child {
    let mut psql = cluster.client("psql", database);
    psql.args(["-X", "-c", &format!("{sql}; SELECT pg_sleep(600)")]).env("PGUSER", user);
    let child = psql.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let there = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND query ~ 'pg_sleep.600' AND wait_event = 'PgSleep'"
    );
    eventually(|| cluster.sql("postgres", &there) == "1");
    child
}

/// Waits until the condition holds.
#[track_caller]
fn eventually(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "the condition was never met");
        thread::sleep(Duration::from_millis(5));
    }
}

fn end_sleepers(cluster: &Cluster) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query ~ 'pg_sleep.600' AND pid <> pg_backend_pid()";
    cluster.sql("postgres", sql);
}

/// Ends the sessions of a killed pgcellar's children.
fn end_sessions(cluster: &Cluster, database: &str) {
    let sql = format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{database}'");
    eventually(|| cluster.sql("postgres", &sql) == "0");
}

/// Queries repeatedly which database it is in, and reconnects at once when its session is ended. Returns the longest
/// time without an answer.
async fn client(cluster: &Cluster, target: &str, user: &str, done: &AtomicBool) -> Duration {
    let mut config = tokio_postgres::Config::new();
    config.host_path(cluster.socket_dir()).port(cluster.port()).user(user).dbname(target);
    let (mut longest, mut last, mut age) = (Duration::ZERO, Instant::now(), String::new());
    let deadline = Instant::now() + Duration::from_secs(60);
    while !(done.load(Ordering::Relaxed) && age == "new") {
        assert!(Instant::now() < deadline, "a client never reached the new database");
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
        cluster.create_named("calm").sql("CREATE TABLE marker AS SELECT 'new' AS age");
        let (gaps, calm) = thread::scope(|scope| {
            let calm = scope.spawn(|| runtime.block_on(client(&cluster, "calm", "postgres", &done)));
            let clients: Vec<_> = ["postgres", "customer", "customer", "postgres", "customer", "customer"]
                .into_iter()
                .map(|user| scope.spawn(|| runtime.block_on(client(&cluster, "busy", user, &done))))
                .collect();
            let outcome = forced(&cellar, "busy").finish();
            done.store(true, Ordering::Relaxed);
            let gaps: Vec<Duration> = clients.into_iter().map(|client| client.join().unwrap()).collect();
            let calm = calm.join().unwrap();
            assert_eq!(outcome.code(), Some(0), "{outcome}");
            (gaps, calm)
        });
        println!("PostgreSQL {}: the clients were without an answer for {gaps:?} at the most", version.0);
        // A client that logs in again waits several times for a processor.
        assert!(gaps.iter().all(|gap| *gap < GAP + 4 * calm), "{gaps:?}, and {calm:?} without a swap");
        assert_same(&original, &old.database);
        old.kept();
    }
}

#[test]
fn idle_sessions_are_ended() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    backed_up(&cellar, cluster);
    let old = Old::make(cluster, &cluster.name_for("asleep"));
    let mut sleeper = sleeper(cluster, old.name(), "postgres", "BEGIN; LOCK TABLE marker");
    forced(&cellar, old.name()).succeeds();
    assert!(!sleeper.wait().unwrap().success());
    old.kept();
}

#[test]
fn force_is_required() {
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

    // Without an existing database, --force has no effect.
    let target = cluster.name_for("nothing");
    forced(&cellar, &target).succeeds();
    assert_same(&original, &cluster.database(&target));
}

/// A plain script of pg_dump has no properties of the database.
#[test]
fn a_script_keeps_the_properties_of_the_replaced_database() {
    for version in versions() {
        let cluster = Cluster::start(version);
        let cellar = Cellar::new(&cluster);
        let original = cluster.create("plain");
        original.sql("CREATE TABLE marker AS SELECT 'new' AS age");
        let file = cellar.scratch().join("backup_file.sql");
        must(cluster.client("pg_dump", original.name()).arg("--file").arg(&file));
        let database = cluster.create_named("owned");
        for sql in [
            "CREATE ROLE landlord; CREATE ROLE lodger",
            "ALTER DATABASE owned OWNER TO landlord; ALTER DATABASE owned CONNECTION LIMIT 50",
            "REVOKE ALL ON DATABASE owned FROM PUBLIC; GRANT CONNECT ON DATABASE owned TO lodger",
            "ALTER DATABASE owned SET search_path = 'a, b', c; ALTER ROLE lodger IN DATABASE owned SET work_mem = '9MB'",
            "COMMENT ON DATABASE owned IS 'the best'",
        ] {
            cluster.sql("postgres", sql);
        }
        let old = Old::of(database);
        let restore = cellar.run(["restore".as_ref(), file.as_os_str(), "--force".as_ref()]);
        restore.arguments(["--target-database", "owned"]).succeeds();
        assert_eq!(old.database.sql("SELECT age FROM public.marker"), "new");
        let properties = |contents: Contents| -> Contents {
            contents.into_iter().filter(|(part, _)| part.starts_with("property: ")).collect()
        };
        assert_eq!(properties(compare::contents(&old.database)), properties(old.before.clone()));
        old.kept();
    }
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
fn long_names_and_the_maintenance_database() {
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
fn one_of_two_concurrent_restores_wins() {
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
    // Started at the same time.
    let both = [forced(&cellar, "wanted").start(), forced(&cellar, "wanted").start()];
    let outcomes: Vec<Outcome> = both.into_iter().map(Running::wait).collect();
    let codes: BTreeSet<Option<i32>> = outcomes.iter().map(Outcome::code).collect();
    assert!(codes.contains(&Some(0)) && codes.is_subset(&[Some(0), Some(exit::TEMPFAIL)].into()), "{codes:?}");
    assert!(!databases(&cluster).iter().any(|name| name.contains("_restoring_")), "{codes:?}");
    assert!(databases(&cluster).contains(first.name()));
    assert_eq!(old.database.sql("SELECT age FROM marker"), "new");
}

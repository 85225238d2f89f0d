//! Failing restores, and restores into other versions: existing databases are untouched, and no incomplete one stays.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::common::compare::{self, assert_same};
use crate::common::pgcellar::Running;
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, keys, tree};

mod all_databases;
mod dry_run;
mod early_rows;
mod foreign;
mod globals;
mod jobs;
mod list;
mod prompt;
mod recipe;
mod replace;
mod scripts;
mod selection;

const FORMATS: [&str; 4] = ["custom", "directory", "tar", "plain"];

/// A signal must end a run within this time.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A database that is quick to back up, and takes a minute to restore, in CREATE INDEX.
pub fn slow(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("slow");
    database.sql(
        "CREATE FUNCTION nap(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$BEGIN \
           IF current_database() ~ '_restoring_' THEN PERFORM pg_sleep($1); END IF; RETURN 1; END$$; \
         CREATE TABLE wine AS SELECT generate_series(1, 1000) AS n; \
         CREATE TABLE naps AS SELECT 60 AS seconds; CREATE INDEX ON naps (nap(seconds))",
    );
    database
}

pub fn databases(cluster: &Cluster) -> BTreeSet<String> {
    cluster.sql("postgres", "SELECT datname FROM pg_database").lines().map(str::to_owned).collect()
}

fn shop(cluster: &Cluster) -> Database<'_> {
    let shop = cluster.create("shop");
    shop.sql("CREATE TABLE bottle AS SELECT i AS id, 'Riesling ' || i AS label FROM generate_series(1, 1000) i");
    shop
}

/// Starts to restore the latest backup into `target`, and waits until the slow part is reached.
fn napping(cellar: &Cellar, cluster: &Cluster, target: &str) -> Running {
    let mut running = cellar.run(["restore", "latest", "--target-database", target]).start();
    let query = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND starts_with(datname, '{target}_restoring_')"
    );
    running.wait_until("the slow part", || cluster.sql("postgres", &query) == "1");
    running
}

/// The child of a run with this name.
pub fn child(of: &Running, name: &str) -> Pid {
    let parent = of.pid().as_raw_nonzero().to_string();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let Some((front, back)) = stat.rsplit_once(')') else { continue };
        if front.ends_with(&format!("({name}")) && back.split_whitespace().nth(1) == Some(&parent) {
            let pid = entry.file_name().to_str().unwrap().parse().unwrap();
            return Pid::from_raw(pid).unwrap();
        }
    }
    panic!("the run has no child {name}")
}

/// The files of a backup's archive.
pub fn archive(cellar: &Cellar, id: &str) -> Vec<PathBuf> {
    let mut files = tree::files(&cellar.backup_dir());
    files.retain(|file| {
        let path = file.to_str().unwrap();
        path.contains(id) && !path.ends_with(".manifest.json") && !path.contains(".globals.")
    });
    files
}

/// The run must fail with this exit code, and leave the cluster's databases unchanged.
#[track_caller]
fn refused(cellar: &Cellar, cluster: &Cluster, target: &str, code: i32) -> String {
    let outcome = cellar.run(["restore", "latest", "--target-database", target]).fails(code);
    let beside = format!("{target}_restoring_");
    let left: Vec<String> =
        databases(cluster).into_iter().filter(|name| name == target || name.starts_with(&beside)).collect();
    assert!(left.is_empty(), "{left:?} is left: {outcome}");
    outcome.stderr
}

#[test]
fn a_flipped_byte_leaves_no_database() {
    let cluster = Cluster::shared(Version::V15);
    // With a subscription, which prevents a database from being dropped.
    let original = everything::database(cluster, "flipped");
    original.sql("CREATE TABLE letters AS SELECT repeat('x', 20000) AS x");
    for format in FORMATS {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("BACKUP_COMPRESSION", "none");
        let manifest = cellar.back_up(original.name());
        // One letter is changed: only the digests can show that.
        let letters = [b'x'; 1000];
        let place =
            |file: &PathBuf| fs::read(file).unwrap().windows(letters.len()).position(|window| window == letters);
        let files = archive(&cellar, manifest["id"].as_str().unwrap());
        let (file, at) = files.iter().find_map(|file| Some((file, place(file)?))).expect("the letters");
        let mut bytes = fs::read(file).unwrap();
        bytes[at] = b'y';
        fs::write(file, bytes).unwrap();
        let said = refused(&cellar, cluster, &cluster.name_for("damaged"), exit::DATAERR);
        assert!(
            said.contains("damaged") && said.contains(file.file_name().unwrap().to_str().unwrap()),
            "{format}: {said}"
        );
    }
}

#[test]
fn a_truncated_file_is_refused_at_once() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("cut");
    let cellar = Cellar::new(cluster);
    let manifest = cellar.back_up(original.name());
    let file = &archive(&cellar, manifest["id"].as_str().unwrap())[0];
    tree::truncate(file, file.metadata().unwrap().len() - 1);
    let id = manifest["id"].as_str().unwrap();
    cellar.run(["restore", id, "--target-database", "never"]).fails(exit::DATAERR).says("instead of");
    cellar.run(["restore", "latest", "--target-database", "never"]).fails(exit::NOINPUT).says("no good whole backup");
}

#[test]
fn an_existing_database_is_refused_before_the_start() {
    let cluster = Cluster::shared(Version::V15);
    let (original, existing) = (cluster.create("source"), cluster.create("existing"));
    existing.sql("CREATE TABLE precious AS SELECT 1 AS n");
    let before = compare::contents(&existing);
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    let run = cellar.run(["restore", "latest", "--target-database", existing.name()]);
    run.fails(exit::CANTCREAT).says("exists already");
    cellar.run(["restore", "latest"]).fails(exit::CANTCREAT).says(original.name());
    assert_eq!(compare::contents(&existing), before);
}

#[test]
fn two_restores_into_one_name_exclude_each_other() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    cellar.back_up(slow(cluster).name());
    let target = cluster.name_for("twice");
    let first = napping(&cellar, cluster, &target);
    cellar.run(["restore", "latest", "--target-database", &target]).fails(exit::TEMPFAIL).says("another pgcellar");
    first.signal(Signal::TERM);
    assert_eq!(first.wait().code(), Some(exit::TEMPFAIL));
}

#[test]
fn a_database_created_meanwhile_is_left_alone() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    cellar.back_up(slow(cluster).name());
    let target = cluster.name_for("meanwhile");
    let running = napping(&cellar, cluster, &target);
    let newer = cluster.create_named(&target);
    newer.sql("CREATE TABLE precious AS SELECT 1 AS n");
    cluster.sql("postgres", &format!("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND starts_with(datname, '{target}_restoring_')"));
    let outcome = running.wait();
    assert_ne!(outcome.code(), Some(0), "{outcome}");
    assert_eq!(newer.sql("SELECT n FROM precious"), "1");
    assert!(!databases(cluster).iter().any(|name| name.starts_with(&format!("{target}_restoring_"))), "{outcome}");
}

#[test]
fn signals_leave_no_database() {
    let cluster = Cluster::shared(Version::V15);
    let original = slow(cluster);
    for format in FORMATS {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        cellar.back_up(original.name());
        for signal in [Signal::TERM, Signal::INT] {
            let target = cluster.name_for("stopped");
            let running = napping(&cellar, cluster, &target);
            let sent = std::time::Instant::now();
            running.signal(signal);
            let outcome = running.wait();
            assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{format}: {outcome}");
            assert!(sent.elapsed() < STOP_LIMIT, "{format}: {outcome}");
            assert!(!databases(cluster).iter().any(|name| name.starts_with(&target)), "{format}: {outcome}");
        }
    }
}

#[test]
fn a_killed_program_leaves_no_database() {
    let cluster = Cluster::shared(Version::V15);
    let original = slow(cluster);
    for (format, program) in [("custom", "pg_restore"), ("plain", "psql")] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        cellar.back_up(original.name());
        let target = cluster.name_for("killed");
        let running = napping(&cellar, cluster, &target);
        kill_process(child(&running, program), Signal::KILL).unwrap();
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(exit::SYSTEM), "{outcome}");
        let outcome = outcome.says(&format!("{program} was killed by signal 9")).says("memory ran out");
        assert!(!databases(cluster).iter().any(|name| name.starts_with(&target)), "{outcome}");
    }
}

#[test]
fn the_next_run_reports_a_killed_one() {
    let cluster = &Cluster::start(Version::V15);
    let cellar = Cellar::new(cluster);
    cellar.back_up(slow(cluster).name());
    let target = cluster.name_for("left");
    let first = napping(&cellar, cluster, &target);
    first.signal(Signal::KILL);
    first.wait();
    let left: Vec<String> = databases(cluster).into_iter().filter(|name| name.starts_with(&target)).collect();
    assert!(matches!(left.as_slice(), [one] if one.starts_with(&format!("{target}_restoring_"))), "{left:?}");
    // The sessions end when the server notices the broken connection; only then can the database be dropped.
    let held = format!(
        "SELECT (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') + (SELECT count(*) FROM pg_stat_activity WHERE datname = '{}')",
        left[0]
    );
    while cluster.sql("postgres", &held) != "0" {
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = napping(&cellar, cluster, &target);
    second.wait_for_stderr(&left[0]);
    second.signal(Signal::TERM);
    second.wait();
    assert!(!databases(cluster).contains(&left[0]), "it has the mark of a process that has ended");
}

#[test]
fn a_lost_server_is_reported() {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster);
    cellar.back_up(slow(&cluster).name());
    let running = napping(&cellar, &cluster, "gone");
    cluster.kill_postmaster();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    let _ = outcome.says("gone_restoring_").says("DROP DATABASE");
}

#[test]
fn missing_requirements_are_named_before_the_start() {
    let (from, to) = (Cluster::start(Version::V15), Cluster::start(Version::V15));
    from.sql(
        "postgres",
        "CREATE ROLE owner; CREATE ROLE grantee; CREATE ROLE \"po\"\"licy\"; CREATE ROLE setting; CREATE ROLE main",
    );
    let original = from.create_named("needy");
    original.sql("CREATE TABLE t (n int); ALTER TABLE t OWNER TO owner; GRANT SELECT (n) ON t TO grantee");
    original.sql("ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t TO \"po\"\"licy\" USING (n > 1)");
    original.sql("ALTER ROLE setting IN DATABASE needy SET work_mem = '5MB'; ALTER DATABASE needy OWNER TO main");
    for format in ["custom", "directory", "tar"] {
        let cellar = Cellar::new(&to).with("BACKUP_FORMAT", format);
        let port = from.port().to_string();
        cellar.run(["backup"]).env("DB_NAME", "needy").env("DB_PORT", port).succeeds();
        let said = refused(&cellar, &to, "needy", exit::NOINPUT);
        for role in ["\"owner\"", "\"grantee\"", "\"po\"\"licy\"", "\"setting\"", "\"main\""] {
            assert!(said.contains(role), "{format}: {role} is not named: {said}");
        }
    }
}

#[test]
fn missing_and_wrong_keys() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("locked");
    for format in ["custom", "directory", "plain"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        let (right, wrong) = (keys::age(cellar.scratch(), "right"), keys::age(cellar.scratch(), "wrong"));
        let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", right.recipient.clone());
        cellar.back_up(original.name());
        let target = cluster.name_for("locked");
        assert!(refused(&cellar, cluster, &target, exit::NOPERM).contains(&right.recipient));
        let cellar = cellar.with("BACKUP_AGE_IDENTITY_FILE", wrong.identity);
        assert!(refused(&cellar, cluster, &target, exit::NOPERM).contains(&right.recipient));
    }
}

#[test]
fn roles_with_few_rights() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("postgres", "CREATE ROLE nothing LOGIN PASSWORD 'x'; CREATE ROLE maker LOGIN CREATEDB PASSWORD 'x'");
    let theirs = cluster.create_named("theirs");
    cluster.sql("postgres", "ALTER DATABASE theirs OWNER TO maker");
    theirs.sql("SET ROLE maker; CREATE SCHEMA s; CREATE TABLE s.t AS SELECT 1 AS n; CREATE EXTENSION pgcrypto");
    let others = cluster.create_named("others");
    let cellar = Cellar::new(&cluster);
    cellar.back_up(theirs.name());
    cellar.back_up(others.name());
    let restore = |database: &str, user: &str| {
        let run = cellar.run(["restore", "latest", "-t", "target", "-d", database]);
        run.env("DB_USER", user).env("DB_PASSWORD", "x")
    };
    let _ = restore("theirs", "nothing").fails(exit::NOPERM).says("may not create databases");
    let _ = restore("others", "maker").fails(exit::NOPERM).says("\"postgres\"");
    assert_eq!(databases(&cluster).len(), 5);
    restore("theirs", "maker").succeeds();
    assert_same(&theirs, &cluster.database("target"));
}

#[test]
fn privileges_and_settings_of_the_database_are_restored() {
    let cluster = Cluster::start(Version::V15);
    let original = cluster.create_named("o");
    let space = cluster.socket_dir().join("space");
    fs::create_dir(&space).unwrap();
    crate::common::process::hand_over(&space);
    cluster.sql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
    cluster.sql("postgres", "ALTER DATABASE o SET TABLESPACE fast");
    for sql in [
        "CREATE ROLE \"the \"\"owner\"; CREATE ROLE a; CREATE ROLE b",
        "ALTER DATABASE o OWNER TO \"the \"\"owner\"",
        "REVOKE ALL ON DATABASE o FROM PUBLIC; GRANT CREATE, CONNECT ON DATABASE o TO a WITH GRANT OPTION",
        "SET ROLE a; GRANT CREATE ON DATABASE o TO b",
        "ALTER DATABASE o SET default_transaction_read_only = on; ALTER DATABASE o SET search_path = '$user', \"a, \"\"b\"",
        "ALTER ROLE b IN DATABASE o SET statement_timeout = '1ms'; ALTER ROLE postgres IN DATABASE o SET lock_timeout = 5",
        "ALTER DATABASE o IS_TEMPLATE true; ALTER DATABASE o CONNECTION LIMIT 3",
        "COMMENT ON DATABASE o IS E'a \\\\ ''comment'''",
    ] {
        cluster.sql("postgres", sql);
    }
    let cellar = Cellar::new(&cluster);
    cellar.back_up("o");
    cellar.run(["restore", "latest", "--target-database", "copy"]).succeeds();
    assert_same(&original, &cluster.database("copy"));
}

/// Schemas differ between server versions: only rows, sequences and large objects are compared.
#[test]
fn from_15_into_17() {
    if !Version::V17.is_covered() {
        return;
    }
    let (from, to) = (Cluster::shared(Version::V15), Cluster::shared(Version::V17));
    let original = everything::database(from, "older");
    drop(everything::database(to, "roles"));
    let rows = |database: &Database<'_>| {
        let mut contents = compare::contents(database);
        contents.retain(|part, _| part.starts_with("rows: ") || part.starts_with("sequence: "));
        contents
    };
    for format in FORMATS {
        let cellar = Cellar::new(from).with("BACKUP_FORMAT", format);
        cellar.back_up(original.name());
        let target = to.name_for("newer");
        let run = cellar.run(["restore", "latest", "--target-database", &target]);
        run.env("DB_PORT", to.port().to_string()).env("PG_BINDIR", Version::V17.bin_dir()).succeeds();
        let differences = compare::differences(&rows(&original), &rows(&to.database(&target)));
        assert!(differences.is_empty(), "{format}: {differences:#?}");
    }
}

/// pg_restore 17 and scripts of pg_dump 17 set a parameter that 15 does not know.
#[test]
fn programs_of_17_restore_into_15() {
    if !Version::V17.is_covered() {
        return;
    }
    let cluster = Cluster::shared(Version::V15);
    let original = everything::database(cluster, "by_17");
    // pg_dump 17 writes subscriptions with options that only 16 and newer know.
    original.sql("DROP SUBSCRIPTION incoming");
    for format in FORMATS {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("PG_BINDIR", Version::V17.bin_dir());
        cellar.back_up(original.name());
        let target = cluster.name_for("by_17");
        cellar.run(["restore", "latest", "--target-database", &target]).succeeds();
        assert_same(&original, &cluster.database(&target));
    }
}

#[test]
fn an_archive_of_17_needs_programs_of_17() {
    if !Version::V17.is_covered() {
        return;
    }
    let (from, to) = (Cluster::shared(Version::V17), Cluster::shared(Version::V15));
    let original = from.create("seventeen");
    let cellar = Cellar::new(from);
    cellar.back_up(original.name());
    let run = cellar.run(["restore", "latest", "--target-database", "seventeen"]);
    let run = run.env("DB_PORT", to.port().to_string()).env("PG_BINDIR", Version::V15.bin_dir());
    let _ = run.fails(exit::SYSTEM).says("pg_dump 17").says("postgresql-client-17");
}

/// Any other error stops a newer pg_restore, and no password of the failed command is shown.
#[test]
fn only_the_known_error_is_accepted() {
    if !Version::V17.is_covered() {
        return;
    }
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("too_new");
    original.sql("CREATE SUBSCRIPTION s CONNECTION 'host=x.invalid password=subscription-secret' PUBLICATION p WITH (connect = false, slot_name = NONE)");
    for format in FORMATS {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("PG_BINDIR", Version::V17.bin_dir());
        cellar.back_up(original.name());
        let target = cluster.name_for("too_new");
        let run = cellar.run(["restore", "latest", "--verbose", "--target-database", &target]);
        let outcome = run.fails(exit::DATAERR).says("run_as_owner");
        assert!(!outcome.stderr.contains("subscription-secret"), "{format}: {outcome}");
        assert!(!databases(cluster).iter().any(|name| name.starts_with(&target)), "{format}: {outcome}");
    }
}

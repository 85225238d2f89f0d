//! Whatever fails during the restore, the old database is unchanged.

use super::*;

#[test]
fn a_run_killed_during_the_swap_replaces_nothing() {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster);
    backed_up(&cellar, &cluster);
    let old = Old::make(&cluster, "half");
    let mut holder = sleeper(&cluster, "postgres", "postgres", "BEGIN; COMMENT ON DATABASE half IS 'mine'");
    let mut running = forced(&cellar, "half").start();
    let renaming = "SELECT count(*) FROM pg_locks WHERE locktype = 'object' AND NOT granted";
    running.wait_until("the swap", || cluster.sql("postgres", renaming) == "1");
    running.signal(Signal::KILL);
    running.wait();
    // The renaming continues, and no client commits it.
    end_sleepers(&cluster);
    holder.wait().unwrap();
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgcellar'";
    eventually(|| cluster.sql("postgres", ours) == "0");
    let left: Vec<String> = beside(&old.database).difference(&old.others).cloned().collect();
    assert!(matches!(left.as_slice(), [one] if one.starts_with("half_restoring_")), "{left:?}");
    cluster.sql("postgres", &format!("DROP DATABASE {}", quote(&left[0])));
    old.is_unharmed();
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
    assert_eq!(outcome.code(), Some(exit::SYSTEM), "{outcome}");
    old.is_unharmed();
    let running = asleep(forced(&cellar, old.name()).start(), cluster, old.name());
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(exit::TEMPFAIL));
    old.is_unharmed();
}

#[test]
fn the_next_run_drops_the_database_of_a_killed_one() {
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
        eventually(|| cluster.sql("postgres", "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'") == "0");
        // A database with a similar name is left alone.
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
    // A backend crashes: the server ends all sessions and restarts by itself.
    let running = asleep(forced(&cellar, "crashed").start(), &cluster, "crashed");
    let query = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let backend = cluster.sql("postgres", query).parse().unwrap();
    kill_process(Pid::from_raw(backend).unwrap(), Signal::KILL).unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    old.is_unharmed();
    // The whole server crashes: leftovers are reported.
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
    // Space for an empty database, but not for the rows.
    cluster.sql("postgres", &format!("CREATE TABLE filler TABLESPACE small AS {fill}; INSERT INTO filler {fill}"));
    let old = Old::make(&cluster, "elsewhere");
    let _ = forced(&cellar, "elsewhere").fails(exit::CANTCREAT).says("No space left on device");
    old.is_unharmed();
}

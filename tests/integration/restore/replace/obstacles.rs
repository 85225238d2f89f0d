//! Obstacles to a swap are reported, and nothing is changed.

use super::*;

#[test]
fn replacing_a_database_by_less_is_refused() {
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
fn objects_bound_to_the_old_database_are_named_at_the_start() {
    for version in versions() {
        let cluster = Cluster::start_configured(version, &["wal_level=logical", "max_prepared_transactions=5"]);
        let cellar = Cellar::new(&cluster);
        let original = backed_up(&cellar, &cluster);
        let old = Old::make(&cluster, "needed");
        old.database
            .sql("CREATE SUBSCRIPTION \"the sub\" CONNECTION 'host=x.invalid' PUBLICATION p WITH (connect = false)");
        old.database.sql("SELECT pg_create_logical_replication_slot('the_slot', 'pgoutput')");
        old.database.sql("BEGIN; INSERT INTO marker VALUES ('prepared'); PREPARE TRANSACTION 'the ''gid'''");
        // The same in another database is no obstacle.
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
fn obstacles_that_appear_meanwhile_are_seen_before_the_swap() {
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
    // A new database of that name is not the one to be replaced.
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
fn a_lock_on_the_database_is_waited_for_and_reported() {
    let cluster = Cluster::start(Version::V15);
    let cellar = Cellar::new(&cluster);
    waiting(&cellar, &cluster);
    let old = Old::make(&cluster, "held");
    let running = asleep(forced(&cellar, "held").start(), &cluster, "held");
    // Commenting on a database locks it until the end of the transaction.
    let mut holder = sleeper(&cluster, "postgres", "postgres", "BEGIN; COMMENT ON DATABASE held IS 'mine'");
    cluster.sql("postgres", "CREATE ROLE go_on");
    running.wait_for_stderr("trying again");
    end_sleepers(&cluster);
    holder.wait().unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    old.kept();
}

#[test]
fn roles_that_must_not_replace() {
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
    let mut superuser = sleeper(&cluster, "target", "postgres", "SELECT 1");
    let _ = restore("maker").fails(exit::NOPERM).says("may not end the sessions").says("\"postgres\"");
    end_sessions(&cluster, "target");
    superuser.wait().unwrap();
    old.is_unharmed();
    end_sessions(&cluster, "target");
    let mut client = sleeper(&cluster, "target", "maker", "SELECT 1");
    restore("maker").succeeds();
    assert!(!client.wait().unwrap().success());
    assert_same(&theirs, &old.database);
}

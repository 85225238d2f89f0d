//! Connections that break during a backup, which is then repeated.

use std::fs;
use std::thread;
use std::time::Duration;

use crate::common::folder_snapshot::FolderSnapshot;
use crate::common::programs::Programs;
use crate::common::session::Session;
use crate::common::standby::Standby;
use crate::common::{Cellar, Cluster, Version};

const AGAIN: &str = "trying again in 2 s";

fn runs(programs: &Programs) -> usize {
    fs::read_to_string(programs.path().join("runs")).unwrap().lines().count()
}

/// A pg_dump that runs a shell command before its first run.
fn once_before(version: Version, command: &str) -> Programs {
    before_run(version, 1, command)
}

/// A pg_dump that runs a shell command before its run with this number.
fn before_run(version: Version, number: u32, command: &str) -> Programs {
    let programs = Programs::of(version);
    let runs = programs.path().join("runs").display().to_string();
    let counted = format!("echo run >>'{runs}'; [ \"$(wc -l <'{runs}')\" != {number} ]");
    programs.before("pg_dump", &format!("{{ {counted}; }} || {{ {command}; }} >&2"));
    programs
}

fn psql(version: Version, way: &str, sql: &str) -> String {
    let psql = version.bin_dir().join("psql");
    format!("{way} \"{}\" -X -q -A -t -v ON_ERROR_STOP=1 -c \"{sql}\"", psql.display())
}

/// So many runs of pg_dump make a backup, and recovery comes before the last of them.
fn a_standby_cancels(version: Version, format: &str, runs_of_one: u32) {
    let cluster = Cluster::start_configured(version, &["autovacuum=off"]);
    let database = cluster.create("copied");
    database.sql("CREATE TABLE wine AS SELECT n FROM generate_series(1, 1000) n");
    let standby = Standby::of(&cluster, &["max_standby_streaming_delay=0", "hot_standby_feedback=off"]);
    let way = |folder: &std::path::Path, port: u16| {
        format!("env PGHOST='{}' PGPORT={port} PGUSER=postgres PGDATABASE={}", folder.display(), database.name())
    };
    // The standby's recovery ends the session that holds the snapshot, so pg_dump does not find the snapshot.
    let vacuum = psql(version, &way(cluster.socket_dir(), cluster.port()), "DELETE FROM wine WHERE n > 900");
    let vacuum = format!("{vacuum} && {}", psql(version, &way(cluster.socket_dir(), cluster.port()), "VACUUM wine"));
    let conflicts = "SELECT sum(confl_snapshot) FROM pg_stat_database_conflicts";
    let conflicts = psql(version, &way(standby.socket_dir(), standby.port()), conflicts);
    let wait = format!("until [ \"$({conflicts})\" -gt 0 ]; do sleep 0.05; done");
    let programs = before_run(version, runs_of_one, &format!("unset PGOPTIONS; {vacuum} && {wait}"));

    let cellar = Cellar::new(&cluster).with("DB_NAME", database.name()).with("BACKUP_FORMAT", format);
    let cellar = cellar.with("BACKUP_JOBS", runs_of_one.to_string()).with("BACKUP_SPLIT_SIZE", "0");
    let cellar = cellar.with("DB_HOST", standby.socket_dir()).with("DB_PORT", standby.port().to_string());
    let outcome = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).succeeds();
    let outcome = outcome.says(AGAIN).says("hot_standby_feedback").says("max_standby_streaming_delay");
    assert_eq!(runs(&programs), 2 * usize::try_from(runs_of_one).unwrap(), "{outcome}");
    assert_eq!(cellar.list().len(), 1);
}

#[test]
fn a_standby_cancels_15() {
    a_standby_cancels(Version::V15, "custom", 1);
    a_standby_cancels(Version::V15, "custom", 2);
}

#[test]
fn a_standby_cancels_18() {
    a_standby_cancels(Version::V18, "custom", 1);
    a_standby_cancels(Version::V18, "custom", 2);
    a_standby_cancels(Version::V18, "directory", 1);
}

#[test]
fn the_session_of_the_snapshot_is_ended() {
    for (version, format) in [(Version::V15, "custom"), (Version::V15, "directory"), (Version::V18, "plain")] {
        let cluster = Cluster::shared(version);
        let database = cluster.create("ended");
        database.sql("CREATE TABLE wine AS SELECT 1 AS n");
        let (cellar, before) = FolderSnapshot::with_backup(cluster, &database);
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND application_name = 'pgcellar'";
        let programs = once_before(version, &psql(version, "", end));
        let run = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).env("BACKUP_FORMAT", format);
        let outcome = run.succeeds().says(AGAIN);
        assert_eq!(runs(&programs), 2, "{outcome}");
        before.has_one_more();
    }
}

/// pg_dump's own session is ended while it waits for a lock; only the server's statistics show that.
#[test]
fn the_session_of_pg_dump_is_ended() {
    for (version, format) in [(Version::V15, "custom"), (Version::V18, "directory")] {
        let cluster = Cluster::shared(version);
        let database = cluster.create("ended");
        database.sql("CREATE TABLE wine AS SELECT 1 AS n");
        let (cellar, before) = FolderSnapshot::with_backup(cluster, &database);
        let mut session = Session::open(&database);
        session.sql("BEGIN; LOCK TABLE wine IN ACCESS EXCLUSIVE MODE");
        let mut run = cellar.run(["backup"]).env("BACKUP_FORMAT", format).start();
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() \
             AND application_name = 'pgcellar pg_dump' AND wait_event_type = 'Lock'";
        run.wait_until("pg_dump waits for a lock", || {
            thread::sleep(Duration::from_millis(20));
            database.sql(end) == "1"
        });
        run.wait_for_stderr(AGAIN);
        drop(session);
        let outcome = run.wait();
        assert_eq!(outcome.code(), Some(0), "{outcome}");
        before.has_one_more();
    }
}

#[test]
fn a_server_that_is_started_again() {
    let cluster = Cluster::start(Version::V15);
    let database = cluster.create("started");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n");
    let (cellar, before) = FolderSnapshot::with_backup(&cluster, &database);
    let programs = Programs::of(Version::V15);
    let gate = programs.gate("pg_dump");
    let mut run = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).start();
    run.wait_until("pg_dump is there", || gate.reached().is_some());
    cluster.kill_postmaster();
    gate.open();
    run.wait_for_stderr(AGAIN);
    cluster.start_again();
    gate.open();
    let outcome = run.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    before.has_one_more();
}

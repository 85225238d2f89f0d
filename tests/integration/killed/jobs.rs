//! One job of pg_dump or pg_restore is killed, or pg_dump while it only tells its version: pgcellar says so, and blames neither
//! the archive nor the server.

use rustix::process::{Pid, Signal, kill_process};

use crate::common::before::Before;
use crate::common::family::{descendants, wait_until_gone};
use crate::common::held::Held;
use crate::common::pgcellar::{Outcome, Running};
use crate::common::programs::Programs;
use crate::common::{Cellar, Cluster, Version, exit};
use crate::restore::{databases, slow};

/// The processes of a program, the one that pgcellar has started first.
fn processes(running: &Running, name: &str) -> Vec<Pid> {
    let family = descendants(running.pid());
    let mut pids: Vec<Pid> = family.iter().filter(|process| process.name == name).map(|process| process.pid).collect();
    pids.sort_by_key(|pid| pid.as_raw_nonzero());
    pids
}

fn kill_a_job(running: Running, name: &str) -> Outcome {
    let family = descendants(running.pid());
    kill_process(*processes(&running, name).last().unwrap(), Signal::KILL).unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::SYSTEM), "{outcome}");
    wait_until_gone(&family);
    outcome.says(name).says("a worker process died").says("killed by another process, or memory ran out")
}

#[test]
fn a_job_of_pg_dump_is_killed() {
    let cluster = Cluster::shared(Version::V15);
    let held = Held::new(cluster);
    let cellar = Cellar::new(cluster).with("DB_NAME", held.database().name()).with("BACKUP_FORMAT", "directory");
    let before = Before::of(&cellar.backup_dir());
    let mut running = cellar.run(["backup"]).env("BACKUP_JOBS", "2").start();
    held.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    assert_eq!(processes(&running, "pg_dump").len(), 3);
    kill_a_job(running, "pg_dump");
    before.is_unchanged();
}

#[test]
fn a_job_of_pg_restore_is_killed() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", "directory");
    cellar.back_up(slow(cluster).name());
    let target = cluster.name_for("killed_job");
    let mut running = cellar.run(["restore", "latest", "--jobs", "2", "--target-database", &target]).start();
    let naps = format!("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname ~ '^{target}'");
    running.wait_until("the slow part", || cluster.sql("postgres", &naps) == "1");
    assert!(processes(&running, "pg_restore").len() > 1);
    let outcome = kill_a_job(running, "pg_restore");
    assert!(!outcome.stderr.contains("verify"), "{outcome}");
    assert!(!databases(cluster).iter().any(|name| name.starts_with(&target)), "{outcome}");
}

#[test]
fn pg_dump_is_killed_while_it_tells_its_version() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster).with("DB_NAME", cluster.create("version").name());
    let before = Before::of(&cellar.backup_dir());
    let programs = Programs::of(Version::V15);
    let gate = programs.gate_all("pg_dump");
    let mut running = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).start();
    running.wait_until("pg_dump waits at the gate", || gate.reached().is_some());
    kill_process(gate.reached().unwrap(), Signal::KILL).unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::SYSTEM), "{outcome}");
    let outcome = outcome.says("pg_dump was killed by signal 9");
    assert!(!outcome.stderr.contains("install"), "{outcome}");
    before.is_unchanged();
}

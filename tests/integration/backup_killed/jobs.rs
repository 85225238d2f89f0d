//! One job of pg_dump or pg_restore is killed, or `pg_dump --version`: pgcellar reports that, and blames neither the
//! archive nor the server.

use rustix::process::{Pid, Signal, kill_process};

use crate::common::folder_snapshot::FolderSnapshot;
use crate::common::halted_dump::HaltedDump;
use crate::common::pgcellar::{Outcome, Running};
use crate::common::process_tree::{descendants, leader, wait_until_gone};
use crate::common::programs::Programs;
use crate::common::{Cellar, Cluster, Version, exit};
use crate::restore::{databases, slow};

/// The processes of a program, and before them the one that pgcellar started.
fn named(running: &Running, name: &str) -> Vec<Pid> {
    let mut processes = descendants(running.pid());
    processes.retain(|process| process.name == name);
    let first = leader(&processes).map(|process| process.pid);
    processes.sort_by_key(|process| Some(process.pid) != first);
    processes.into_iter().map(|process| process.pid).collect()
}

fn kill_a_job(running: Running, name: &str) -> Outcome {
    let processes = descendants(running.pid());
    kill_process(*named(&running, name).last().unwrap(), Signal::KILL).unwrap();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::SYSTEM), "{outcome}");
    wait_until_gone(&processes);
    outcome.says(name).says("a worker process died").says("killed by another process, or memory ran out")
}

#[test]
fn a_job_of_pg_dump_is_killed() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let cellar = Cellar::new(cluster).with("DB_NAME", halted.database().name()).with("BACKUP_FORMAT", "directory");
    let before = FolderSnapshot::of(&cellar.backup_dir());
    let mut running = cellar.run(["backup"]).env("BACKUP_JOBS", "2").start();
    halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    assert_eq!(named(&running, "pg_dump").len(), 3);
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
    assert!(named(&running, "pg_restore").len() > 1);
    let outcome = kill_a_job(running, "pg_restore");
    assert!(!outcome.stderr.contains("verify"), "{outcome}");
    assert!(!databases(cluster).iter().any(|name| name.starts_with(&target)), "{outcome}");
}

#[test]
fn pg_dump_is_killed_during_version() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster).with("DB_NAME", cluster.create("version").name());
    let before = FolderSnapshot::of(&cellar.backup_dir());
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

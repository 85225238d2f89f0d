//! Backups that are interrupted: by a signal, by SIGKILL, or because the server or pg_dump is killed.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::folder_snapshot::{FolderSnapshot, listed};
use crate::common::halted_dump::HaltedDump;
use crate::common::pgcellar::Running;
use crate::common::process_tree::{Process, are_gone, descendants, leader, wait_until_gone};
use crate::common::programs::Programs;
use crate::common::{Cellar, Cluster, Database, Version, exit, keys, tree};

mod jobs;

/// Ctrl-C and SIGTERM end a run and its children within this time.
const PROMPT: Duration = Duration::from_secs(10);

fn small(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("small");
    database.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 100) n");
    database
}

/// Sends the signal and checks everything that a user expects of Ctrl-C.
#[track_caller]
fn ends_by(running: Running, signal: Signal, before: &FolderSnapshot) {
    let processes = descendants(running.pid());
    let asked = Instant::now();
    running.signal(signal);
    let outcome = running.wait();
    assert!(asked.elapsed() < PROMPT, "{outcome}");
    assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
    assert!(outcome.stderr.contains("interrupted"), "{outcome}");
    are_gone(&processes);
    before.is_unchanged();
}

/// Kills pgcellar without a chance to clean up, and checks that the next run does so.
#[track_caller]
fn is_swept_after_kill(
    running: Running,
    cellar: &Cellar,
    before: &FolderSnapshot,
    partials: bool,
    release: impl FnOnce(),
) {
    let processes = descendants(running.pid());
    assert!(!processes.is_empty(), "there was nothing to be left alone");
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal(), Some(9));
    wait_until_gone(&processes);
    before.is_listed();
    assert_eq!(has_partials(&cellar.backup_dir()), partials);
    release();
    cellar.run(["backup"]).succeeds();
    before.has_one_more();
}

/// Whether there are temporary files of backups.
fn has_partials(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    entries.into_iter().any(|name| name != "foreign.partial" && name.to_string_lossy().ends_with(".partial"))
}

fn start_at_gate(cellar: &Cellar, programs: &Programs, gate: impl Fn() -> Option<Pid>) -> Running {
    let mut running = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).start();
    running.wait_until("the program waits at the gate", || gate().is_some());
    running
}

#[test]
fn a_signal_during_pg_dump_version() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let programs = Programs::of(Version::V15);
    let gate = programs.gate_all("pg_dump");
    ends_by(start_at_gate(&cellar, &programs, || gate.reached()), Signal::TERM, &before);
}

#[test]
fn a_signal_before_the_first_byte() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    for (format, signal) in [("custom", Signal::TERM), ("plain", Signal::INT), ("directory", Signal::INT)] {
        let (cellar, programs) = (&cellar, Programs::of(Version::V15));
        let gate = programs.gate("pg_dump");
        let run = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).env("BACKUP_FORMAT", format);
        let mut running = run.start();
        running.wait_until("pg_dump waits at the gate", || gate.reached().is_some());
        ends_by(running, signal, &before);
    }
}

#[test]
fn a_signal_during_the_dump() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let cellar = Cellar::new(cluster).with("DB_NAME", halted.database().name());
    let before = FolderSnapshot::of(&cellar.backup_dir());
    let staging = tempfile::tempdir_in("/dev/shm").unwrap();
    let key = keys::age(cellar.scratch(), "key");
    let encrypted: &[(&str, &str)] = &[
        ("BACKUP_FORMAT", "directory"),
        ("BACKUP_AGE_RECIPIENTS", &key.recipient),
        ("BACKUP_STAGING_DIR", staging.path().to_str().unwrap()),
    ];
    let cases: [(&[(&str, &str)], Signal); 5] = [
        (&[("BACKUP_FORMAT", "custom")], Signal::TERM),
        (&[("BACKUP_FORMAT", "plain"), ("BACKUP_COMPRESSION", "zstd")], Signal::INT),
        (&[("BACKUP_FORMAT", "directory"), ("BACKUP_JOBS", "2")], Signal::TERM),
        (&[("BACKUP_FORMAT", "directory"), ("BACKUP_JOBS", "2")], Signal::INT),
        (encrypted, Signal::TERM),
    ];
    for (settings, signal) in cases {
        let run = settings.iter().fold(cellar.run(["backup"]), |run, (name, value)| run.env(*name, *value));
        let mut running = run.start();
        let grows = if settings.len() == 3 { staging.path().to_owned() } else { cellar.backup_dir() };
        halted.wait_for_halt(&mut running, Some(&grows));
        ends_by(running, signal, &before);
        halted.wait_until_given_up();
        assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 0, "plain bytes stay in memory");
    }
}

#[test]
fn a_signal_while_pg_dump_ignores_it() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let cellar = Cellar::new(cluster).with("DB_NAME", halted.database().name());
    let before = FolderSnapshot::of(&cellar.backup_dir());
    for format in ["custom", "directory"] {
        let mut running = cellar.run(["backup"]).env("BACKUP_FORMAT", format).env("BACKUP_JOBS", "2").start();
        halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
        // A stopped process does not handle SIGTERM.
        for program in descendants(running.pid()) {
            kill_process(program.pid, Signal::STOP).unwrap();
        }
        ends_by(running, Signal::TERM, &before);
    }
}

#[test]
fn a_signal_in_pg_dumpall() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    for signal in [Signal::TERM, Signal::INT] {
        let programs = Programs::of(Version::V15);
        let gate = programs.gate("pg_dumpall");
        let running = start_at_gate(&cellar, &programs, || gate.reached());
        assert!(has_partials(&cellar.backup_dir()), "the archive waits for its name");
        ends_by(running, signal, &before);
    }
}

/// pg_dump has ended, and its files are read to be hashed; the sparse file takes longer than the test.
#[test]
fn a_signal_while_a_directory_is_read_back() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let programs = Programs::of(Version::V15);
    let long = "\"$real\" \"$@\" || exit\nfor last; do :; done\ntruncate -s 500G \"$last/zeros.dat\"\nexit 0";
    programs.before("pg_dump", long);
    let run = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).env("BACKUP_FORMAT", "directory");
    let mut running = run.start();
    let descriptors = format!("/proc/{}/fd", running.pid().as_raw_nonzero());
    running.wait_until("the file is read", || {
        let links = fs::read_dir(&descriptors).into_iter().flatten().flatten();
        links.filter_map(|link| fs::read_link(link.path()).ok()).any(|path| path.ends_with("zeros.dat"))
    });
    ends_by(running, Signal::TERM, &before);
}

#[test]
fn sigkill_before_the_first_byte() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let programs = Programs::of(Version::V15);
    let gate = programs.gate("pg_dump");
    let running = start_at_gate(&cellar, &programs, || gate.reached());
    is_swept_after_kill(running, &cellar, &before, true, || {});
}

fn killed_in_the_middle(format: &str) {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let halted = HaltedDump::new(cluster);
    let cellar = cellar.with("DB_NAME", halted.database().name());
    let mut running = cellar.run(["backup"]).env("BACKUP_FORMAT", format).env("BACKUP_JOBS", "2").start();
    halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    is_swept_after_kill(running, &cellar, &before, true, || drop(halted.release()));
}

#[test]
fn sigkill_during_the_dump() {
    killed_in_the_middle("custom");
}

#[test]
fn sigkill_during_a_directory_dump() {
    killed_in_the_middle("directory");
}

#[test]
fn sigkill_while_plain_bytes_are_staged() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let staging = tempfile::tempdir_in("/dev/shm").unwrap();
    let cellar = Cellar::new(cluster).with("DB_NAME", halted.database().name()).with("BACKUP_FORMAT", "directory");
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", &key.recipient).with("BACKUP_STAGING_DIR", staging.path());
    let before = FolderSnapshot::of(&cellar.backup_dir());
    let mut running = cellar.run(["backup"]).start();
    halted.wait_for_halt(&mut running, Some(staging.path()));
    is_swept_after_kill(running, &cellar, &before, true, || drop(halted.release()));
    assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 0, "plain bytes stay in memory");
}

#[test]
fn sigkill_in_pg_dumpall() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let programs = Programs::of(Version::V15);
    let gate = programs.gate("pg_dumpall");
    let running = start_at_gate(&cellar, &programs, || gate.reached());
    is_swept_after_kill(running, &cellar, &before, true, || {});
}

/// Renaming takes only an instant, so the state after a kill is made by hand: the complete manifest has its temporary
/// name, and so have the files that were not renamed.
#[test]
fn sigkill_while_files_are_renamed() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    for format in ["custom", "directory"] {
        let archive = if format == "custom" { ".dump.gz" } else { "" };
        let order = [archive, ".globals.sql.gz", ".fingerprints.json.gz", ".manifest.json"];
        for unnamed in (0..order.len()).map(|first| &order[first..]) {
            let (cellar, before) = FolderSnapshot::with_backup(cluster, &database);
            let cellar = cellar.with("BACKUP_FORMAT", format);
            let directory = cellar.backup_dir();
            cellar.run(["backup"]).succeeds();
            let killed = before.has_one_more();
            let manifest = fs::read(directory.join(format!("{killed}.manifest.json"))).unwrap();
            for extension in unnamed {
                let name = format!("{killed}{extension}");
                fs::rename(directory.join(&name), directory.join(format!("{name}.partial"))).unwrap();
            }
            before.is_listed();
            cellar.run(["backup"]).succeeds();
            // In the same second it takes the name of the removed one.
            let new = fs::read(directory.join(format!("{}.manifest.json", before.has_one_more()))).unwrap();
            assert!(new != manifest, "what was killed came to be listed");
        }
    }
}

#[test]
fn sigkill_while_the_manifest_is_written() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    let directory = cellar.backup_dir();
    cellar.run(["backup"]).succeeds();
    let killed = before.has_one_more();
    for extension in [".manifest.json", ".fingerprints.json.gz", ".globals.sql.gz", ".dump.gz"] {
        let name = format!("{killed}{extension}");
        fs::rename(directory.join(&name), directory.join(format!("{name}.partial"))).unwrap();
    }
    tree::truncate(&directory.join(format!("{killed}.manifest.json.partial")), 100);
    before.is_listed();
    cellar.run(["backup"]).succeeds();
    before.has_one_more();
}

#[test]
fn the_server_is_killed_during_the_dump() {
    let cluster = Cluster::start(Version::V15);
    let small = small(&cluster);
    let (cellar, before) = FolderSnapshot::with_backup(&cluster, &small);
    let halted = HaltedDump::new(&cluster);
    let mut running = cellar.run(["backup"]).env("DB_NAME", halted.database().name()).start();
    halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    for backend in halted.backends() {
        kill_process(backend, Signal::KILL).unwrap();
    }
    // The postmaster restarts all its processes, and the backup is repeated.
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    assert!(outcome.stderr.contains("trying again in 2 s"), "{outcome}");
    before.has_one_more();

    let before = FolderSnapshot::of(&cellar.backup_dir());
    let halted = HaltedDump::new(&cluster);
    let mut running = cellar.run(["backup"]).env("DB_NAME", halted.database().name()).start();
    halted.wait_for_halt(&mut running, Some(&cellar.backup_dir()));
    cluster.kill_postmaster();
    running.wait_for_stderr("trying again in 10 s");
    before.is_unchanged();
    running.signal(Signal::TERM);
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
    before.is_unchanged();
    cellar.run(["backup"]).fails(exit::UNAVAILABLE);
    before.is_unchanged();
}

#[test]
fn pg_dump_is_killed_during_the_dump() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let cellar = Cellar::new(cluster).with("DB_NAME", halted.database().name());
    let before = FolderSnapshot::of(&cellar.backup_dir());
    for format in ["custom", "plain", "tar", "directory"] {
        let mut running = cellar.run(["backup"]).env("BACKUP_FORMAT", format).env("BACKUP_JOBS", "2").start();
        // pg_dump writes a tar archive to a temporary file, and sends all of it at the end.
        let grows = (format != "tar").then(|| cellar.backup_dir());
        halted.wait_for_halt(&mut running, grows.as_deref());
        let processes = descendants(running.pid());
        let pg_dump: Vec<Process> = processes.iter().filter(|process| process.name == "pg_dump").cloned().collect();
        kill_process(leader(&pg_dump).expect("a pg_dump").pid, Signal::KILL).unwrap();
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(exit::SYSTEM), "{outcome}");
        assert!(outcome.stderr.contains("pg_dump was killed by signal 9"), "{outcome}");
        wait_until_gone(&processes);
        before.is_unchanged();
        halted.forget();
    }
    assert!(listed(&cellar.backup_dir()).is_empty());
}

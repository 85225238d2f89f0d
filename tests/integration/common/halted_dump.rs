//! A database whose dump halts in the middle, for as long as the test needs.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::cluster::{Cluster, Database};
use super::pgcellar::Running;
use super::session::Session;

/// A database with a large table, and after it one whose only row cannot be read.
///
/// The row's value is in the TOAST table, which is locked by a session that rebuilds its index. pg_dump's own locks do
/// not conflict with that lock, so the dump begins, writes the first table, and halts in the second one.
#[derive(Debug)]
pub struct HaltedDump<'a> {
    database: Database<'a>,
    session: Session,
}

impl<'a> HaltedDump<'a> {
    /// Makes the database and takes the lock.
    pub fn new(cluster: &'a Cluster) -> HaltedDump<'a> {
        let database = cluster.create("held");
        fill(&database);
        let index = database.sql(
            "SELECT i.indexrelid::regclass FROM pg_class c JOIN pg_index i ON i.indrelid = c.reltoastrelid \
             WHERE c.relname = 'b_last'",
        );
        let mut session = Session::open(&database);
        session.sql(&format!("BEGIN; REINDEX INDEX {index}"));
        HaltedDump { database, session }
    }

    /// The database.
    pub fn database(&self) -> &Database<'a> {
        &self.database
    }

    /// Waits until the dump waits for the lock, and a part of it is in the folder.
    #[track_caller]
    pub fn wait_for_halt(&self, running: &mut Running, folder: Option<&Path>) {
        let waits = "SELECT count(*) > 0 FROM pg_stat_activity WHERE application_name = 'pgcellar pg_dump' \
                     AND datname = current_database() AND query LIKE 'COPY %b_last%' AND wait_event_type = 'Lock'";
        running.wait_until("the dump halts in the middle", || {
            folder.is_none_or(has_grown) && self.database.sql(waits) == "t"
        });
    }

    /// Process IDs of the backends that send the dump.
    pub fn backends(&self) -> Vec<rustix::process::Pid> {
        let pids = self.database.sql(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'pgcellar pg_dump' \
             AND datname = current_database()",
        );
        pids.lines().filter_map(|pid| pid.parse().ok().and_then(rustix::process::Pid::from_raw)).collect()
    }

    /// Waits until the server has ended the dump. Fails the test if it continues.
    #[track_caller]
    pub fn wait_until_given_up(&self) {
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.backends().is_empty() {
            assert!(Instant::now() < deadline, "the server still works");
        }
    }

    /// Ends the backends of a dump whose reader is gone: they do not notice that while they wait for the lock.
    pub fn forget(&self) {
        for backend in self.backends() {
            self.database.sql(&format!("SELECT pg_terminate_backend({}, 10000)", backend.as_raw_nonzero()));
        }
    }

    /// Lets the dump continue.
    pub fn release(self) -> Database<'a> {
        drop(self.session);
        self.database
    }
}

/// A table of 4 MB that does not compress, and one with a value in its TOAST table.
fn fill(database: &Database<'_>) {
    database.sql(
        "CREATE TABLE a_first AS SELECT n, (SELECT string_agg(encode(sha256((n::text || ':' || k)::bytea), 'base64'), '') \
           FROM generate_series(1, 20) k) AS text FROM generate_series(1, 4000) n; \
         CREATE TABLE b_last (text text); ALTER TABLE b_last ALTER text SET STORAGE EXTERNAL; \
         INSERT INTO b_last VALUES (repeat('x', 100000))",
    );
}

/// Whether an unfinished file is not empty.
fn has_grown(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    entries.flatten().any(|entry| {
        let path = entry.path();
        match path.metadata() {
            Ok(metadata) if metadata.is_dir() => has_grown(&path),
            Ok(metadata) => metadata.len() > 0 && is_unfinished(&path),
            Err(_) => false,
        }
    })
}

fn is_unfinished(path: &Path) -> bool {
    let path = path.to_string_lossy();
    path.contains("_20") && path.contains(".partial") || path.contains("pgcellar-staging-")
}

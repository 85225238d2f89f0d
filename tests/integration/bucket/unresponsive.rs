//! Every verb works with the directory while the bucket's server does not answer.

use std::fs;
use std::time::Duration;

use super::*;
use crate::common::backup_folder::BackupFolder;
use crate::common::fault_proxy::{Fault, FaultProxy};

/// The limit for a verb: ten seconds without a byte, and some time for a busy machine.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn every_reading_verb_soon_gives_the_local_answer() {
    let bucket = Bucket::new();
    let backups = BackupFolder { cellar: bucket.copies(BackupFolder::new().cellar) };
    let id = backups.add("shop", "2024-01-01T02:00:00Z");
    let silent = FaultProxy::start(bucket.server().port(), |_| Fault::Stall);
    let verbs: [(&[&str], i32, &str); 7] = [
        (&["list"], exit::UNAVAILABLE, "no byte in 10 s"),
        (&["show", &id, "--json"], 0, ""),
        (&["verify", &id], exit::UNAVAILABLE, "no byte in 10 s"),
        (&["restore", &id, "--recipe"], 0, "no byte in 10 s"),
        (&["pin", &id], exit::UNAVAILABLE, "is pinned"),
        (&["retention", "--dry-run"], exit::UNAVAILABLE, "no byte in 10 s"),
        (&["monitor", "report", "--format", "json"], 0, ""),
    ];
    std::thread::scope(|scope| {
        for (verb, code, says) in verbs {
            let (backups, endpoint) = (&backups, silent.endpoint());
            scope.spawn(move || {
                let run = backups.cellar.run(verb).env("AWS_ENDPOINT_URL", &endpoint).within(Duration::from_secs(120));
                let outcome = run.finish();
                assert_eq!(outcome.code(), Some(code), "{verb:?} {outcome}");
                assert!(outcome.took < SOON, "{verb:?} {outcome}");
                assert!(outcome.stderr.contains(says), "{verb:?} {outcome}");
                if verb[0] == "list" {
                    assert!(outcome.stdout.contains("good"), "{outcome}");
                }
            });
        }
    });
}

#[test]
fn a_failed_copy_ends_and_the_local_backup_stays() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let silent = FaultProxy::start(bucket.server().port(), |_| Fault::Stall);
    let run = cellar.run(["backup"]).env("AWS_ENDPOINT_URL", silent.endpoint()).within(Duration::from_secs(180));
    let outcome = run.fails(exit::UNAVAILABLE).says("no byte in 30 s");
    assert!(outcome.took < Duration::from_secs(75), "{outcome}");
    assert_eq!(cellar.run(["list", "--store", "local", "--json"]).succeeds().json().as_array().unwrap().len(), 1);
}

/// Where the bucket has no locks, a dry run does not ask for the lock of each object.
#[test]
fn retention_reads_the_lock_settings_once() {
    let bucket = Bucket::new();
    let backups = BackupFolder { cellar: bucket.copies(BackupFolder::new().cellar) };
    let ids = backups.add_daily("shop", 1..=12);
    let store = bucket.store_of("main", &rustix::system::uname().nodename().to_string_lossy());
    for path in tree::files(&backups.folder()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        store.replace(name, &fs::read(&path).unwrap(), ObjectKind::Document).unwrap();
    }
    let seen = FaultProxy::start(bucket.server().port(), |_| Fault::None);
    let run = backups.cellar.run(["retention", "--dry-run", "--keep-last", "1", "--json"]);
    let outcome = run.env("AWS_ENDPOINT_URL", seen.endpoint()).succeeds();
    let removed = outcome.json().as_array().unwrap().iter().filter(|line| line["decision"] == "remove").count();
    assert_eq!(removed, 2 * (ids.len() - 1), "{outcome}");
    let requests = seen.seen();
    assert_eq!(requests.iter().filter(|(seen, _)| seen.target.contains("object-lock")).count(), 1, "{requests:?}");
    // Only backups that are kept are read, not those that are removed.
    let newest = ids.last().unwrap();
    let of_others = |seen: &str| !seen.contains(newest.as_str());
    assert!(!requests.iter().any(|(seen, _)| seen.method == "HEAD" && of_others(&seen.target)), "{requests:?}");
}

//! A bucket whose server has stopped answering keeps no verb from what is in the directory.

use std::fs;
use std::time::Duration;

use super::*;
use crate::common::shelf::Shelf;
use crate::s3_server::faults::{Fault, FaultProxy};

/// What a verb may take: ten seconds without a byte, and what a busy machine adds.
const SOON: Duration = Duration::from_secs(30);

#[test]
fn every_verb_that_reads_gives_the_local_answer_soon() {
    let bucket = Bucket::new();
    let shelf = Shelf { cellar: bucket.copies(Shelf::new().cellar) };
    let id = shelf.lay("shop", "2024-01-01T02:00:00Z");
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
            let (shelf, endpoint) = (&shelf, silent.endpoint());
            scope.spawn(move || {
                let run = shelf.cellar.run(verb).env("AWS_ENDPOINT_URL", &endpoint).within(Duration::from_secs(120));
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
fn a_copy_to_a_server_that_is_gone_ends_and_the_backup_is_in_the_directory() {
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

/// A dry run asks for no object whether it is locked where the bucket has no locks.
#[test]
fn retention_asks_for_locks_once() {
    let bucket = Bucket::new();
    let shelf = Shelf { cellar: bucket.copies(Shelf::new().cellar) };
    let ids = shelf.lay_daily("shop", 1..=12);
    let store = bucket.store_of("main", &rustix::system::uname().nodename().to_string_lossy());
    for path in tree::files(&shelf.folder()) {
        let name = path.file_name().unwrap().to_str().unwrap();
        store.replace(name, &fs::read(&path).unwrap(), ObjectKind::Document).unwrap();
    }
    let seen = FaultProxy::start(bucket.server().port(), |_| Fault::None);
    let run = shelf.cellar.run(["retention", "--dry-run", "--keep-last", "1", "--json"]);
    let outcome = run.env("AWS_ENDPOINT_URL", seen.endpoint()).succeeds();
    let removed = outcome.json().as_array().unwrap().iter().filter(|line| line["decision"] == "remove").count();
    assert_eq!(removed, 2 * (ids.len() - 1), "{outcome}");
    let requests = seen.seen();
    assert_eq!(requests.iter().filter(|(seen, _)| seen.target.contains("object-lock")).count(), 1, "{requests:?}");
    // What takes their place is looked at, and nothing of those that go.
    let newest = ids.last().unwrap();
    let of_others = |seen: &str| !seen.contains(newest.as_str());
    assert!(!requests.iter().any(|(seen, _)| seen.method == "HEAD" && of_others(&seen.target)), "{requests:?}");
}

//! A pin that comes while retention removes the same backup from a bucket, where the time in between is that of the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgcellar::store::{ObjectKind, Store};
use serde_json::json;

use super::bucket::Both;
use crate::common::exit;
use crate::s3_server::faults::{Fault, FaultProxy, Seen};

/// Two backups in the bucket, of which the older one is to go, and what a request of retention is done to.
fn with_two() -> (Both, String, String) {
    let both = Both::new();
    let all = both.shelf.lay_daily("shop", 1..=2);
    both.copy(&all, &both.store());
    both.forget(&all);
    (both, all[0].clone(), all[1].clone())
}

fn is_deletion(seen: &Seen, key: &str) -> bool {
    seen.method == "DELETE" && seen.target.split('?').next().is_some_and(|path| path.ends_with(key))
}

/// The pin is written when retention has looked for one already, and has not deleted the manifest yet; or has.
#[test]
fn a_pin_that_comes_in_between_wins() {
    for before in [true, false] {
        let (both, old, new) = with_two();
        let store = both.store();
        let pin = json!({ "id": old, "at": "2024-02-01T00:00:00Z", "reason": null }).to_string();
        let (key, manifest) = (format!("{old}.pin.json"), format!("{old}.manifest.json"));
        let (deleted, looked) = (Arc::new(AtomicBool::new(false)), key.clone());
        let flag = Arc::clone(&deleted);
        let way = FaultProxy::start(both.bucket.server().port(), move |seen| {
            let deletes = is_deletion(seen, &manifest);
            let is_second_look =
                seen.method == "HEAD" && seen.target.ends_with(&looked) && flag.load(Ordering::Relaxed);
            if deletes && before || is_second_look && !before {
                store.replace(&looked, pin.as_bytes(), ObjectKind::Record).unwrap();
            }
            flag.fetch_or(deletes, Ordering::Relaxed);
            Fault::None
        });
        let run = both.shelf.cellar.run(["retention", "--keep-last", "1"]).env("AWS_ENDPOINT_URL", way.endpoint());
        run.fails(exit::TEMPFAIL).says("was pinned meanwhile");
        assert!(deleted.load(Ordering::Relaxed));
        assert_eq!(both.bucket.ids(), [old.clone(), new.clone()]);
        assert_eq!(both.bucket.unfinished(), [""; 0]);
        let listed = both.shelf.cellar.run(["list", "--json"]).succeeds().json();
        assert_eq!((&listed[0]["status"], &listed[0]["pin"]["id"]), (&json!("good"), &json!(old)));
        both.shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
        both.shelf.cellar.run(["verify", &old]).succeeds();
    }
}

/// The manifest has gone for good, and files are being deleted: the pin says so, and is not left behind.
#[test]
fn a_pin_that_comes_too_late_fails() {
    let (both, old, new) = with_two();
    let (manifest, archive, key) =
        (format!("{old}.manifest.json"), format!("{old}.dump.gz"), format!("{old}.pin.json"));
    // The pin finds the backup while it is there, and writes when the manifest has gone.
    let [reached, gone] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (at_its_write, may_write) = (Arc::clone(&reached), Arc::clone(&gone));
    let slow = FaultProxy::start(both.bucket.server().port(), move |seen| {
        if seen.method == "PUT" {
            at_its_write.store(true, Ordering::Relaxed);
            wait_until(|| may_write.load(Ordering::Relaxed));
        }
        Fault::None
    });
    let mut pinning = both.shelf.cellar.run(["pin", &old]).env("AWS_ENDPOINT_URL", slow.endpoint()).start();
    pinning.wait_until("the pin is about to be written", || reached.load(Ordering::Relaxed));
    let store = both.store();
    let way = FaultProxy::start(both.bucket.server().port(), move |seen| {
        if is_deletion(seen, &archive) {
            gone.store(true, Ordering::Relaxed);
            wait_until(|| store.size(&key).unwrap().is_some());
        }
        Fault::None
    });
    let run = both.shelf.cellar.run(["retention", "--keep-last", "1"]).env("AWS_ENDPOINT_URL", way.endpoint());
    run.succeeds();
    assert!(way.seen().iter().any(|(seen, _)| is_deletion(seen, &manifest)));
    let outcome = pinning.wait();
    assert_eq!(outcome.code(), Some(exit::NOINPUT), "{outcome}");
    assert!(outcome.stderr.contains("was removed from"), "{outcome}");
    assert_eq!(both.bucket.ids(), std::slice::from_ref(&new));
    assert_eq!(both.others(&[new]), [""; 0]);
}

fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() && begun.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Retention was killed when the manifest had just gone: the next run gives it back to a backup that is pinned, and removes
/// the others' remains when they are old.
#[test]
fn a_pinned_backup_whose_removal_was_killed_comes_back() {
    let (both, old, new) = with_two();
    let store = both.store();
    store.withdraw(&format!("{old}.manifest.json")).unwrap();
    assert_eq!(both.bucket.ids(), std::slice::from_ref(&new));
    both.shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(both.bucket.ids(), std::slice::from_ref(&new));
    let pin = json!({ "id": old, "at": "2024-02-01T00:00:00Z", "reason": null }).to_string();
    store.replace(&format!("{old}.pin.json"), pin.as_bytes(), ObjectKind::Record).unwrap();
    both.shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds().says("is listed again");
    assert_eq!(both.bucket.ids(), [old.clone(), new]);
    assert_eq!(both.bucket.unfinished(), [""; 0]);
    both.shelf.cellar.run(["verify", &old]).succeeds();
}

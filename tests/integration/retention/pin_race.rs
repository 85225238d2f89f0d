//! A pin while retention removes the same backup from a bucket, where requests take some time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgcellar::store::{ObjectKind, Store};
use serde_json::json;

use super::bucket::Both;
use crate::common::exit;
use crate::common::fault_proxy::{Fault, FaultProxy, Seen};

/// Two backups in the bucket, of which the older one is removed, and an action before a request of retention.
fn with_two() -> (Both, String, String) {
    let both = Both::new();
    let all = both.backups.add_daily("shop", 1..=2);
    both.copy(&all, &both.store());
    both.forget(&all);
    (both, all[0].clone(), all[1].clone())
}

fn is_deletion(seen: &Seen, key: &str) -> bool {
    seen.method == "DELETE" && seen.target.split('?').next().is_some_and(|path| path.ends_with(key))
}

/// The pin is written after retention has checked for pins, and before or after it deletes the manifest.
#[test]
fn a_pin_during_the_removal_wins() {
    for before in [true, false] {
        let (both, old, new) = with_two();
        let store = both.store();
        let pin = json!({ "id": old, "at": "2024-02-01T00:00:00Z", "reason": null }).to_string();
        let (key, manifest) = (format!("{old}.pin.json"), format!("{old}.manifest.json"));
        let (deleted, looked) = (Arc::new(AtomicBool::new(false)), key.clone());
        let flag = Arc::clone(&deleted);
        let proxy = FaultProxy::start(both.bucket.server().port(), move |seen| {
            let deletes = is_deletion(seen, &manifest);
            let is_second_look =
                seen.method == "HEAD" && seen.target.ends_with(&looked) && flag.load(Ordering::Relaxed);
            if deletes && before || is_second_look && !before {
                store.replace(&looked, pin.as_bytes(), ObjectKind::Record).unwrap();
            }
            flag.fetch_or(deletes, Ordering::Relaxed);
            Fault::None
        });
        let run = both.backups.cellar.run(["retention", "--keep-last", "1"]).env("AWS_ENDPOINT_URL", proxy.endpoint());
        run.fails(exit::TEMPFAIL).says("was pinned meanwhile");
        assert!(deleted.load(Ordering::Relaxed));
        assert_eq!(both.bucket.ids(), [old.clone(), new.clone()]);
        assert_eq!(both.bucket.unfinished(), [""; 0]);
        let listed = both.backups.cellar.run(["list", "--json"]).succeeds().json();
        assert_eq!((&listed[0]["status"], &listed[0]["pin"]["id"]), (&json!("good"), &json!(old)));
        both.backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
        both.backups.cellar.run(["verify", &old]).succeeds();
    }
}

/// The manifest is deleted, and files are being deleted: the pin fails and leaves nothing.
#[test]
fn a_late_pin_fails() {
    let (both, old, new) = with_two();
    let (manifest, archive, key) =
        (format!("{old}.manifest.json"), format!("{old}.dump.gz"), format!("{old}.pin.json"));
    // The pin finds the backup, and is written after the manifest was deleted.
    let [reached, gone] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (at_its_write, may_write) = (Arc::clone(&reached), Arc::clone(&gone));
    let slow = FaultProxy::start(both.bucket.server().port(), move |seen| {
        if seen.method == "PUT" {
            at_its_write.store(true, Ordering::Relaxed);
            wait_until(|| may_write.load(Ordering::Relaxed));
        }
        Fault::None
    });
    let mut pinning = both.backups.cellar.run(["pin", &old]).env("AWS_ENDPOINT_URL", slow.endpoint()).start();
    pinning.wait_until("the pin is about to be written", || reached.load(Ordering::Relaxed));
    let store = both.store();
    let proxy = FaultProxy::start(both.bucket.server().port(), move |seen| {
        if is_deletion(seen, &archive) {
            gone.store(true, Ordering::Relaxed);
            wait_until(|| store.size(&key).unwrap().is_some());
        }
        Fault::None
    });
    let run = both.backups.cellar.run(["retention", "--keep-last", "1"]).env("AWS_ENDPOINT_URL", proxy.endpoint());
    run.succeeds();
    assert!(proxy.seen().iter().any(|(seen, _)| is_deletion(seen, &manifest)));
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

/// Retention was killed after it withdrew the manifest: the next run restores that of a pinned backup, and removes the
/// remains of others when they are old.
#[test]
fn a_pinned_backup_survives_a_killed_removal() {
    let (both, old, new) = with_two();
    let store = both.store();
    store.withdraw(&format!("{old}.manifest.json")).unwrap();
    assert_eq!(both.bucket.ids(), std::slice::from_ref(&new));
    both.backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(both.bucket.ids(), std::slice::from_ref(&new));
    let pin = json!({ "id": old, "at": "2024-02-01T00:00:00Z", "reason": null }).to_string();
    store.replace(&format!("{old}.pin.json"), pin.as_bytes(), ObjectKind::Record).unwrap();
    both.backups.cellar.run(["retention", "--keep-last", "1"]).succeeds().says("is listed again");
    assert_eq!(both.bucket.ids(), [old.clone(), new]);
    assert_eq!(both.bucket.unfinished(), [""; 0]);
    both.backups.cellar.run(["verify", &old]).succeeds();
}

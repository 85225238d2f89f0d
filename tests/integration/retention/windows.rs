//! A pin that comes while retention removes the same backup from a bucket, where the time in between is that of the network.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pgcellar::store::Store;
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
                store.replace(&looked, pin.as_bytes()).unwrap();
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
    let cellar = both.shelf.cellar.run(["pin", &old]).within(Duration::from_secs(60));
    let pinning = std::sync::Mutex::new((Some(cellar), None));
    let pinning = Arc::new(pinning);
    let (shared, archive) = (Arc::clone(&pinning), format!("{old}.dump.gz"));
    let (store, key) = (both.store(), format!("{old}.pin.json"));
    let manifest = format!("{old}.manifest.json");
    // Its own look at the list comes before, so the pin is begun when the manifest is about to go, and held at its first
    // write until then.
    let gone = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&gone);
    let slow = FaultProxy::start(both.bucket.server().port(), move |seen| {
        while seen.method == "PUT" && !flag.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(20));
        }
        Fault::None
    });
    let endpoint = slow.endpoint();
    let way = FaultProxy::start(both.bucket.server().port(), move |seen| {
        let mut pinning = shared.lock().unwrap();
        if is_deletion(seen, &manifest)
            && let Some(run) = pinning.0.take()
        {
            pinning.1 = Some(run.env("AWS_ENDPOINT_URL", &endpoint).start());
            let begun = std::time::Instant::now();
            while slow.seen().iter().all(|(seen, _)| seen.method != "PUT") && begun.elapsed() < Duration::from_secs(20)
            {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        if is_deletion(seen, &archive) {
            gone.store(true, Ordering::Relaxed);
            while store.size(&key).unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Fault::None
    });
    let run = both.shelf.cellar.run(["retention", "--keep-last", "1"]).env("AWS_ENDPOINT_URL", way.endpoint());
    run.within(Duration::from_secs(60)).succeeds();
    let running = pinning.lock().unwrap().1.take().expect("nothing was pinned");
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::NOINPUT), "{outcome}");
    assert!(outcome.stderr.contains("was removed from"), "{outcome}");
    assert_eq!(both.bucket.ids(), [new.clone()]);
    assert_eq!(both.others(&[new]), [""; 0]);
}

/// Retention was killed when the manifest had just gone: the next run gives it back to a backup that is pinned, and removes
/// the others' remains when they are old.
#[test]
fn a_pinned_backup_whose_removal_was_killed_comes_back() {
    let (both, old, new) = with_two();
    let store = both.store();
    store.withdraw(&format!("{old}.manifest.json")).unwrap();
    assert_eq!(both.bucket.ids(), [new.clone()]);
    both.shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    assert_eq!(both.bucket.ids(), [new.clone()]);
    let pin = json!({ "id": old, "at": "2024-02-01T00:00:00Z", "reason": null }).to_string();
    store.replace(&format!("{old}.pin.json"), pin.as_bytes()).unwrap();
    both.shelf.cellar.run(["retention", "--keep-last", "1"]).succeeds().says("is listed again");
    assert_eq!(both.bucket.ids(), [old.clone(), new]);
    assert_eq!(both.bucket.unfinished(), [""; 0]);
    both.shelf.cellar.run(["verify", &old]).succeeds();
}

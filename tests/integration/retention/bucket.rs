//! Retention in a bucket, and between the folder and the bucket.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::time::Duration;

use aws_sdk_s3::primitives::ByteStream;
use pgcellar::catalogue::sweep;
use pgcellar::cli::{PlaceArgs, S3Args};
use pgcellar::config::Place;
use pgcellar::store::s3::S3Store;
use pgcellar::store::{ObjectKind, Store};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::ids;
use crate::common::backup_folder::BackupFolder;
use crate::common::bucket::Bucket;
use crate::common::cluster::CLOSED_PORT;
use crate::common::exit;
use crate::common::process::new_folder;
use crate::common::s3_server::{OWNER, READER, wait};

/// Name of this host, as backups have it.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// A folder and a bucket.
pub struct Both {
    pub backups: BackupFolder,
    pub bucket: Bucket,
}

impl Both {
    pub fn new() -> Both {
        let bucket = Bucket::new();
        let cellar = bucket.copies(BackupFolder::new().cellar);
        Both { backups: BackupFolder { cellar }, bucket }
    }

    /// The bucket as the store of the tests' instance.
    pub fn store(&self) -> S3Store {
        self.bucket.store_of("main", &host())
    }

    /// Copies backups of the folder into the bucket through that store.
    pub fn copy(&self, ids: &[String], store: &S3Store) {
        for id in ids {
            let names = fs::read_dir(self.backups.folder()).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
            names.retain(|name| name.starts_with(&format!("{id}.")));
            // The manifest last.
            names.sort_by_key(|name| name.ends_with(".manifest.json"));
            for name in names {
                put(store, &name, &fs::read(self.backups.folder().join(&name)).unwrap());
            }
        }
    }

    /// Deletes backups in the folder.
    pub fn forget(&self, ids: &[String]) {
        for entry in fs::read_dir(self.backups.folder()).unwrap().map(Result::unwrap) {
            let name = entry.file_name().into_string().unwrap();
            if ids.iter().any(|id| name.starts_with(&format!("{id}."))) {
                fs::remove_file(entry.path()).unwrap();
            }
        }
    }

    /// Ids of the backups in the folder.
    fn local(&self) -> Vec<String> {
        let cellar = crate::common::Cellar::unconnected().with("BACKUP_DIR", self.backups.folder());
        cellar.list().iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Keys in the bucket that belong to none of these backups.
    pub fn others(&self, ids: &[String]) -> Vec<String> {
        let mut keys = self.bucket.keys();
        keys.retain(|key| !ids.iter().any(|id| key.starts_with(&format!("{id}."))));
        keys
    }
}

fn put(store: &S3Store, key: &str, bytes: &[u8]) {
    let mut upload = store.create(key, Some(bytes.len() as u64), ObjectKind::Document).unwrap();
    upload.write_all(bytes).unwrap();
    upload.seal().unwrap();
    upload.commit().unwrap();
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

#[test]
fn each_store_has_its_own_rules() {
    let both = Both::new();
    let all = both.backups.add_daily("shop", 1..=12);
    both.backups.record(&all[0], true);
    both.backups.record(&all[11], true);
    both.copy(&all, &both.store());
    let run = |arguments: &[&str]| {
        let run = both.backups.cellar.run(["retention", "--json"]).arguments(arguments);
        run.env("BACKUP_S3_RETENTION_DAYS", "10").env("BACKUP_RETENTION_DAYS", "3").succeeds()
    };
    let dry = run(&["--dry-run"]).json();
    assert_eq!((both.local().len(), both.bucket.ids().len()), (12, 12));
    let outcome = run(&[]);
    let real = outcome.json();
    assert_eq!(ids(&dry, "keep"), ids(&real, "keep"));
    assert_eq!(both.local(), all[8..]);
    assert_eq!(both.bucket.ids(), all[1..]);
    assert_eq!(both.others(&all[1..]), [""; 0]);
    assert_eq!(both.bucket.unfinished(), [""; 0]);
    let of_bucket = real.as_array().unwrap().iter().filter(|backup| backup["store"] == "s3");
    assert_eq!(of_bucket.filter(|backup| backup["removed"] == true).count(), 1, "{real:#}");
}

#[test]
fn backups_not_yet_copied_are_kept_twice_as_long() {
    let both = Both::new();
    let all = both.backups.add_daily("shop", 1..=20);
    both.copy(&all[10..], &both.store());
    let run = || both.backups.cellar.run(["retention"]).env("BACKUP_S3_RETENTION_DAYS", "30");
    run().succeeds().says("not in the bucket yet").says(&all[5]);
    // 1 to 5 January are too old in any case, and the 11th and 12th are in the bucket.
    let kept: Vec<String> = [&all[5..10], &all[12..]].concat();
    assert_eq!(both.local(), kept);
    assert_eq!(both.bucket.ids(), all[10..]);

    // A copy that was deleted from the bucket is not pending.
    let address = format!("{} at {}", both.bucket.store().location(), both.bucket.server().endpoint());
    let record = json!({ "buckets": { address: [all[5], all[19]] } });
    fs::write(both.backups.folder().join(".pgcellar.copied.json"), record.to_string()).unwrap();
    run().succeeds();
    assert_eq!(both.local(), kept[1..]);
    // A damaged copy does not count.
    let damaged = both.backups.add("shop", "2024-01-07T03:00:00Z");
    both.copy(std::slice::from_ref(&damaged), &both.store());
    both.store().replace(&format!("{damaged}.dump.gz"), b"cut", ObjectKind::Document).unwrap();
    run().succeeds();
    assert!(both.local().contains(&damaged));
    // A backup that the bucket's rules would remove at once is not pending.
    both.backups.cellar.run(["retention"]).succeeds();
    assert_eq!((both.local(), both.bucket.ids()), (all[12..].to_vec(), all[12..].to_vec()));
}

#[test]
fn the_folder_is_cleaned_while_the_bucket_is_unreachable() {
    let both = Both::new();
    let all = both.backups.add_daily("shop", 1..=20);
    let run = both.backups.cellar.run(["retention"]).env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{CLOSED_PORT}"));
    run.fails(exit::UNAVAILABLE).says("is not cleaned");
    assert_eq!(both.local(), all[5..], "the contents of the bucket are unknown");
}

#[test]
fn keys_without_delete_permission() {
    let both = Both::new();
    let all = both.backups.add_daily("shop", 1..=10);
    both.copy(&all, &both.store());
    let run = both.backups.cellar.run(["retention"]);
    let run = run.env("AWS_ACCESS_KEY_ID", READER.id).env("AWS_SECRET_ACCESS_KEY", READER.secret);
    run.fails(exit::NOPERM).says("2 of 2 backups could not be removed from s3://").says(&all[1]);
    assert_eq!(both.local(), all[2..]);
    assert_eq!(both.bucket.ids(), all);
    let run = both.backups.cellar.run(["retention"]).env("AWS_SECRET_ACCESS_KEY", "wrong");
    run.fails(exit::NOPERM);
    assert_eq!(both.bucket.ids(), all);
}

#[test]
fn objects_of_others_in_the_bucket_are_kept() {
    let both = Both::new();
    let own = both.backups.add_daily("shop", 1..=3);
    both.copy(&own, &both.store());
    let mut others = Vec::new();
    for (day, instance, other_host) in [(11, "main", "elsewhere"), (21, "other", host().as_str())] {
        for day in day..day + 3 {
            let change = |manifest: &mut Value| {
                manifest["instance"] = json!(instance);
                manifest["host"] = json!(other_host);
                manifest["server"]["identity"] = json!({});
            };
            others.push(both.backups.add_changed("shop", &format!("2024-01-{day}T02:00:00Z"), change));
            both.copy(&others[others.len() - 1..], &both.bucket.store_of(instance, other_host));
        }
    }
    both.forget(&others);
    let client = both.bucket.server().client(OWNER);
    for key in ["shop_20200101_000000.dump.gz", "notes.txt", "shop_20240101_020000.sql.gz"] {
        let key = format!("database-backups/{key}");
        wait(client.put_object().bucket(both.bucket.name()).key(key).body(ByteStream::from_static(b"x")).send())
            .unwrap();
    }
    both.backups.cellar.run(["retention", "--keep-last", "1"]).succeeds();
    let expected: Vec<String> = own[2..].iter().chain(&others).cloned().collect();
    assert_eq!(sorted(both.bucket.ids()), sorted(expected.clone()));
    assert_eq!(both.others(&expected).len(), 3);
}

#[test]
fn backups_without_a_directory() {
    let both = Both::new();
    let all = both.backups.add_daily("shop", 1..=10);
    both.copy(&all, &both.store());
    both.forget(&all);
    let runtime = new_folder();
    let run =
        |verb: &[&str]| both.backups.cellar.run(verb).env("BACKUP_DIR", "").env("XDG_RUNTIME_DIR", runtime.path());
    run(&["pin", &all[0]]).succeeds();
    run(&["retention"]).succeeds().says("removed 1 backup");
    assert_eq!(both.bucket.ids(), [&all[..1], &all[2..]].concat());
    run(&["unpin", &all[0]]).succeeds();
    run(&["retention"]).succeeds();
    assert_eq!(both.bucket.ids(), all[2..]);
    assert_eq!(both.others(&all[2..]), [""; 0]);
}

#[test]
fn a_pin_in_one_store_pins_in_both() {
    let both = Both::new();
    let all = both.backups.add_daily("shop", 1..=10);
    both.copy(&all, &both.store());
    both.backups.cellar.run(["pin", &all[0], "--reason", "évidence"]).succeeds();
    let pin = format!("{}.pin.json", all[0]);
    assert!(both.bucket.keys().contains(&pin) && both.backups.folder().join(&pin).exists());
    fs::remove_file(both.backups.folder().join(&pin)).unwrap();
    both.backups.cellar.run(["retention"]).succeeds();
    let kept = [&all[..1], &all[2..]].concat();
    assert_eq!((both.local(), both.bucket.ids()), (kept.clone(), kept));
    both.backups.cellar.run(["unpin", &all[0]]).succeeds();
    assert!(!both.bucket.keys().contains(&pin));
    // An unreachable store is reported, and the pin is written to the other one.
    let run =
        both.backups.cellar.run(["pin", &all[0]]).env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{CLOSED_PORT}"));
    run.fails(exit::UNAVAILABLE).says("is pinned");
    both.backups.cellar.run(["retention"]).succeeds();
    assert!(both.bucket.ids().contains(&all[0]));
}

#[test]
fn sigkill_during_deletions_in_the_bucket() {
    let both = Both::new();
    let all: Vec<String> = (0..48)
        .map(|hour| both.backups.add("shop", &format!("2024-01-{:02}T{:02}:00:00Z", 1 + hour / 24, hour % 24)))
        .collect();
    both.copy(&all, &both.store());
    both.forget(&all);
    let run = || both.backups.cellar.run(["retention", "--keep-last", "1"]);
    let running = run().start();
    running.wait_for_stderr(&format!("removed {}", all[1]));
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal(), Some(9));
    let (left, keys) = (both.bucket.ids(), both.bucket.keys());
    assert!(left.len() > 1, "the kill came too late");
    for id in &left {
        assert_eq!(keys.iter().filter(|key| key.starts_with(&format!("{id}."))).count(), 4, "{id} is half");
    }
    run().succeeds();
    assert_eq!(both.bucket.ids(), all[47..]);
    // The leftovers are too young for this run.
    let half: BTreeSet<String> = both.others(&all[47..]).into_iter().collect();
    assert!(half.len() <= 4, "{half:?}");
    sweep::bucket::sweep(&both.store(), &place(&both), Duration::ZERO).unwrap();
    assert_eq!(both.others(&all[47..]), [""; 0]);
}

/// The stores of these tests, as from the settings.
fn place(both: &Both) -> Place {
    let args = PlaceArgs {
        instance: "main".to_owned(),
        host_name: None,
        backup_dir: Some(both.backups.folder()),
        s3: S3Args {
            bucket: None,
            prefix: String::new(),
            region: String::new(),
            endpoint_url: None,
            access_key_id_file: None,
            secret_access_key_file: None,
            storage_class: None,
            sse: None,
            sse_kms_key_id: None,
            object_lock_days: None,
            object_lock_mode: "GOVERNANCE".to_owned(),
            ca_bundle: None,
            rate_limit: None,
        },
    };
    Place::new(&args).unwrap()
}

#[test]
fn only_old_leftovers_of_our_own_are_removed() {
    let both = Both::new();
    let whole = both.backups.add_daily("shop", 1..=1);
    both.copy(&whole, &both.store());
    let announce = |store: &S3Store, id: &str, instance: &str, host: &str| {
        let claim = json!({ "id": id, "instance": instance, "host": host });
        store.announce(&format!("{id}.manifest.json"), claim.to_string().as_bytes()).unwrap();
    };
    // Unfinished uploads of three megabytes more than a part.
    let begin = |store: &S3Store, key: &str| {
        let mut upload = store.create(key, Some(40 << 20), ObjectKind::Archive).unwrap();
        upload.write_all(&vec![7; 20 << 20]).unwrap();
        std::mem::forget(upload);
    };
    let (ours, elsewhere) = (both.store(), both.bucket.store_of("main", "elsewhere"));
    put(&ours, "a_20240102_020000.dump.gz", b"deleted by half, or never finished");
    put(&ours, "a_20240103_020000/toc.dat", b"the same of a directory");
    announce(&ours, "a_20240104_020000", "main", &host());
    begin(&ours, "a_20240104_020000.dump.gz");
    put(&ours, "a_20240104_020000.globals.sql.gz", b"x");
    let others = ["b_20240102_020000.dump.gz", "b_20240103_020000.dump.gz", "notes.txt"];
    put(&elsewhere, others[0], b"x");
    announce(&elsewhere, "b_20240105_020000", "main", "elsewhere");
    begin(&elsewhere, "b_20240105_020000.dump.gz");
    begin(&ours, "unannounced_20240105_020000.dump.gz");
    put(&ours, others[2], b"not named like a backup");
    let client = both.bucket.server().client(OWNER);
    let plain = format!("database-backups/{}", others[1]);
    wait(client.put_object().bucket(both.bucket.name()).key(plain).body(ByteStream::from_static(b"x")).send()).unwrap();
    let (keys, unfinished) = (both.bucket.keys(), both.bucket.unfinished());
    let expected = [
        "a_20240104_020000.dump.gz",
        "a_20240104_020000.manifest.json",
        "b_20240105_020000.dump.gz",
        "b_20240105_020000.manifest.json",
        "unannounced_20240105_020000.dump.gz",
    ];
    assert_eq!(sorted(unfinished.clone()), expected);

    both.backups.cellar.run(["retention"]).succeeds();
    assert_eq!((both.bucket.keys(), both.bucket.unfinished()), (keys, unfinished), "it is too young");
    sweep::bucket::sweep(&ours, &place(&both), Duration::ZERO).unwrap();
    assert_eq!(both.others(&whole), others);
    assert_eq!(sorted(both.bucket.unfinished()), expected[2..]);
    assert_eq!(both.bucket.ids(), whole);
}

#[test]
fn locked_objects_are_kept_without_an_error() {
    let both = Both::new();
    let server = both.bucket.server();
    let client = server.client(OWNER);
    let name = format!("{}-locked", both.bucket.name());
    wait(client.create_bucket().bucket(&name).object_lock_enabled_for_bucket(true).send()).unwrap();
    let all = both.backups.add_daily("shop", 1..=3);
    let settings = pgcellar::config::S3Settings {
        lock: Some(pgcellar::config::ObjectLock { days: 1, compliance: false }),
        ..server.settings(&name)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let open =
        |settings: &pgcellar::config::S3Settings| runtime.block_on(S3Store::open(settings, "main", &host())).unwrap();
    both.copy(&all[..1], &open(&settings));
    both.copy(&all[1..], &open(&server.settings(&name)));
    let run = |arguments: &[&str]| {
        let run = both.backups.cellar.run(["retention", "--keep-last", "1", "--json"]).arguments(arguments);
        run.env("AWS_S3_BUCKET", &name).succeeds()
    };
    let dry = run(&["--dry-run"]);
    let real = run(&[]).says("locked by the store").says(&all[0]);
    for outcome in [dry, real] {
        let decisions = outcome.json();
        let of_bucket: Vec<&Value> =
            decisions.as_array().unwrap().iter().filter(|backup| backup["store"] == "s3").collect();
        let kept: Vec<bool> = of_bucket.iter().map(|backup| backup["decision"] == "keep").collect();
        assert_eq!(kept, [true, false, true], "{outcome}");
        assert!(of_bucket[0]["reasons"][0].as_str().unwrap().starts_with("locked until "), "{outcome}");
    }
    let keys = open(&server.settings(&name)).list().unwrap();
    assert_eq!(keys.len(), 8);
}

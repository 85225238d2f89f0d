//! What version 0.1.0 left is read by this one: its backups in a directory and in a bucket with the records beside them, and
//! what its monitor and its scheduler remembered. `tests/state` has these as that version wrote them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan};
use pgcellar::store::{ObjectKind, Store};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::bucket::{Bucket, host};
use crate::common::mail_server::{MailServer, MailServerOptions};
use crate::common::{Cellar, Cluster, Database, Version, tree};

/// The backups: a custom archive without fingerprints; one that was verified and pinned; a directory archive that a drill
/// proved; an encrypted script.
const IDS: [&str; 4] = ["shop_20261101_020000", "shop_20261102_020000", "shop_20261103_020000", "shop_20261104_020000"];

/// The folder of what version 0.1.0 left.
fn left(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state/0.1.0").join(folder)
}

/// Copies the files of one folder into another.
fn copy(from: &Path, to: &Path) {
    for file in tree::files(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}

/// With the private key of the encrypted backup.
fn with_key(cellar: Cellar) -> Cellar {
    let key = cellar.scratch().join("identity");
    fs::copy(left("identity"), &key).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    cellar.with("BACKUP_AGE_IDENTITY_FILE", key)
}

/// Lists, verifies and restores each backup. Returns a restored database.
#[track_caller]
fn can_be_used<'c>(cellar: &Cellar, cluster: &'c Cluster) -> Database<'c> {
    let listed = cellar.list();
    let of = |field: &str| listed.iter().map(|backup| backup[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("id"), IDS);
    assert_eq!(of("status"), ["good", "verified", "good", "good"]);
    assert_eq!((&listed[1]["pin"]["id"], &listed[2]["drill"]["compared"]["rows"]), (&json!(IDS[1]), &json!(50)));
    assert_eq!(of("proven"), [false, false, true, false]);
    cellar.run(["verify", "--all"]).succeeds();
    let mut restored = String::new();
    for id in IDS {
        restored = cluster.name_for(id);
        cellar.run(["restore", id, "--target-database", &restored]).succeeds();
        let rows = cluster.sql(&restored, "SELECT count(*), min(what) FROM orders");
        assert_eq!(rows, "50|02e74f10e0327ad868d138f2b4fdd6f0");
        // The first is of a database without these.
        if id != IDS[0] {
            let rest = "SELECT (SELECT last_value FROM numbers), convert_from(lo_get(oid), 'UTF8'), current_setting('work_mem') \
                FROM pg_largeobject_metadata";
            assert_eq!(cluster.sql(&restored, rest), "7|large|5MB");
        }
    }
    cellar.run(["retention", "--dry-run"]).succeeds();
    cluster.database(&restored)
}

#[test]
fn backups_in_a_directory() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("postgres", "CREATE ROLE clerk");
    let cellar = with_key(Cellar::new(&cluster));
    copy(&left("directory"), &cellar.backup_dir());
    let restored = can_be_used(&cellar, &cluster);
    let next = cellar.back_up(restored.name());
    let ids: Vec<Value> = cellar.list().iter().map(|backup| backup["id"].clone()).collect();
    assert_eq!(ids, [&IDS.map(Value::from)[..], &[next["id"].clone()]].concat());
}

#[test]
fn backups_in_a_bucket() {
    let cluster = Cluster::start(Version::V15);
    cluster.sql("postgres", "CREATE ROLE clerk");
    let bucket = Bucket::new();
    let cellar = bucket.copies(with_key(Cellar::new(&cluster)));
    let store = bucket.store_of("main", "db1");
    let folder = left("directory");
    for file in tree::files(&folder) {
        let key = file.strip_prefix(&folder).unwrap().to_str().unwrap();
        if !key.starts_with('.') {
            store.replace(key, &fs::read(&file).unwrap(), ObjectKind::Record).unwrap();
        }
    }
    can_be_used(&cellar, &cluster);
    // What a run of that version announced on this host before it was killed.
    let announced = format!(r#"{{"id":"shop_20261105_020000","instance":"main","host":"{}"}}"#, host());
    bucket.store_of("main", &host()).announce("shop_20261105_020000.manifest.json", announced.as_bytes()).unwrap();
    assert_eq!(bucket.unfinished().len(), 1);
    bucket.sweep("main");
    assert_eq!(bucket.unfinished(), [""; 0]);
}

#[test]
fn state_of_the_monitor() {
    let cluster = Cluster::start(Version::V15);
    for database in ["shop", "other"] {
        cluster.sql("postgres", &format!("CREATE DATABASE {database}"));
    }
    let mail_server = MailServer::start(MailServerOptions::plain());
    let cellar =
        Cellar::new(&cluster).with("DB_NAME", "shop,other").with("SMTP_HOST", "localhost").with("SMTP_TLS", "none");
    let cellar = cellar.with("SMTP_PORT", mail_server.port().to_string()).with("NOTIFICATION_EMAIL", "ops@example.org");
    copy(&left("directory"), &cellar.backup_dir());
    let state = cellar.scratch().join("state");
    copy(&left("unit"), &state);
    // A letter that is older than a week is not sent any more.
    let file = state.join("main.notified.json");
    let mut remembered: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    remembered["waiting"][0]["written"] = json!(Timestamp::now() - 1.hour());
    fs::write(&file, remembered.to_string()).unwrap();
    let check = || cellar.run(["monitor", "check", "--notify"]).env("STATE_DIRECTORY", &state).finish();
    let outcome = check();
    assert!(outcome.stdout.contains("no_backup other"), "first seen three weeks ago: {outcome}");
    assert!(
        mail_server.mails().iter().any(|mail| mail.subject().contains("retention failed on db1 (main)")),
        "{outcome}"
    );
    let mails = mail_server.mails().len();
    check();
    assert_eq!(mail_server.mails().len(), mails);
}

#[test]
fn state_of_the_scheduler() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("scheduled");
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name()).with("container", "oci");
    let cellar = cellar.with("TZ", "UTC");
    copy(&left("directory"), &cellar.backup_dir());
    let running = cellar.run(["schedule"]).start();
    // The backup that was running when the scheduler was killed.
    running.wait_for_stderr("2026-11-09 02:00");
    running.signal(Signal::TERM);
    assert_eq!(running.wait().code(), Some(0));
}

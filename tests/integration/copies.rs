//! Copies of backups in a bucket: what is copied, what is not, and failures.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use pgcellar::store::Store;
use rustix::process::Signal;
use serde_json::Value;

use crate::common::bucket::Bucket;
use crate::common::cluster::CLOSED_PORT;
use crate::common::pgcellar::{Outcome, Running};
use crate::common::proxies::StallingProxy;
use crate::common::s3_server::{READER, wait};
use crate::common::{Cellar, Cluster, Database, Version, exit, keys, tree};

mod shared_bucket;
mod streamed;

/// A run ends within this time after a signal.
const PROMPT: Duration = Duration::from_secs(10);

fn small(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("copied");
    database.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 1000) n");
    database
}

/// A database whose uncompressed dump takes several parts of an upload.
fn large(cluster: &Cluster, megabytes: u32) -> Database<'_> {
    let database = cluster.create("large");
    database.sql(&format!("CREATE TABLE a AS SELECT n, repeat('x', 1000000) FROM generate_series(1, {megabytes}) n"));
    database
}

/// Name of this host, as backups have it.
fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The files of the backups in the directory, without verify records, which are not copied.
fn local_files(cellar: &Cellar) -> BTreeMap<String, Vec<u8>> {
    let directory = cellar.backup_dir();
    let name = |path: &std::path::Path| path.strip_prefix(&directory).unwrap().to_str().unwrap().to_owned();
    let files = tree::files(&directory).into_iter().map(|path| (name(&path), fs::read(&path).unwrap()));
    files.filter(|(name, _)| !name.starts_with('.') && !name.ends_with(".verify.json")).collect()
}

/// Ids of the backups in the directory, the oldest first.
fn ids(cellar: &Cellar) -> Vec<String> {
    let listed = cellar.run(["list", "--json", "--store", "local"]).succeeds().json();
    listed.as_array().unwrap().iter().map(|backup| backup["id"].as_str().unwrap().to_owned()).collect()
}

/// Fails the test unless the bucket has the same files as the directory, and nothing unfinished.
#[track_caller]
fn all_is_copied(cellar: &Cellar, bucket: &Bucket) {
    let (local, copied) = (local_files(cellar), bucket.objects());
    assert_eq!(copied.keys().collect::<Vec<_>>(), local.keys().collect::<Vec<_>>());
    assert!(copied == local, "other bytes than in the directory");
    assert_eq!(bucket.unfinished(), [""; 0]);
}

/// The messages about copies, in their order.
fn copy_messages(outcome: &Outcome) -> Vec<String> {
    let lines = outcome.stderr.lines().filter_map(|line| line.strip_prefix("copied "));
    lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
}

fn stores(outcome: &Outcome) -> Value {
    outcome.json()[0]["stores"].clone()
}

/// A copy that stalls in the middle of the archive.
fn stands_still(cellar: &Cellar, proxy: &StallingProxy) -> Running {
    let mut running = cellar.run(["backup"]).env("AWS_ENDPOINT_URL", proxy.endpoint()).start();
    running.wait_until("the upload stands still", || proxy.stalls());
    running
}

#[test]
fn every_format_is_copied_byte_for_byte() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let staging = tempfile::tempdir_in("/dev/shm").unwrap();
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let key = keys::age(cellar.scratch(), "key");
    let formats = [
        ("custom", "gzip", false),
        ("custom", "zstd", true),
        ("tar", "none", false),
        ("plain", "xz", false),
        ("directory", "gzip", false),
        ("directory", "gzip", true),
    ];
    for (format, method, encrypted) in formats {
        let run = cellar.run(["backup", "--json"]).env("BACKUP_FORMAT", format).env("BACKUP_COMPRESSION", method);
        let run = if encrypted { run.env("BACKUP_AGE_RECIPIENTS", &key.recipient) } else { run };
        let outcome = run.env("BACKUP_STAGING_DIR", staging.path()).succeeds();
        assert_eq!(stores(&outcome), serde_json::json!(["local", "s3"]), "{outcome}");
        assert_eq!(copy_messages(&outcome).len(), 1, "what is there is not copied again: {outcome}");
        all_is_copied(&cellar, &bucket);
    }
    assert_eq!(bucket.ids().len(), formats.len());
    let manifest = &cellar.list()[0];
    let path = manifest["files"][0]["key"].as_str().unwrap();
    assert_eq!(path, format!("{}.dump.gz", manifest["id"].as_str().unwrap()));
    let client = bucket.server().client(READER);
    wait(client.head_object().bucket(bucket.name()).key(format!("database-backups/{path}")).send()).unwrap();
}

#[test]
fn a_directory_of_many_files_is_copied_whole_or_not_at_all() {
    let cluster = Cluster::shared(Version::V15);
    let database = cluster.create("many");
    let tables = "SELECT format('CREATE TABLE t%s AS SELECT %s AS n', n, n) FROM generate_series(1, 60) n";
    database.sql(&format!("DO $$ DECLARE t text; BEGIN FOR t IN {tables} LOOP EXECUTE t; END LOOP; END $$"));
    database.sql("CREATE TABLE big AS SELECT n, repeat('x', 1000000) FROM generate_series(1, 3) n");
    let bucket = Bucket::new();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name()).with("BACKUP_FORMAT", "directory");
    let cellar = cellar.with("BACKUP_COMPRESSION", "none");
    cellar.run(["backup"]).succeeds();
    cellar.run(["backup"]).succeeds();
    let (first, second) = (ids(&cellar).remove(0), ids(&cellar).remove(1));
    let data = tree::files(&cellar.backup_dir().join(&first));
    let some = data.iter().find(|path| path.to_string_lossy().ends_with(".dat") && !path.ends_with("toc.dat")).unwrap();
    tree::flip_byte(some, 0);
    let cellar = bucket.copies(cellar);
    let outcome = cellar.run(["backup"]).env("DB_NAME", "no such database").fails(exit::NOINPUT);
    assert_eq!(copy_messages(&outcome), [second]);
    assert!(outcome.stderr.contains(&format!("error: {first} is not copied")), "{outcome}");
    assert!(bucket.keys().iter().all(|key| !key.starts_with(&first)), "{:?}", bucket.keys());
    assert_eq!(bucket.unfinished(), [""; 0]);
    tree::flip_byte(some, 0);
    cellar.run(["backup"]).succeeds();
    assert!(bucket.keys().len() > 3 * 60);
    all_is_copied(&cellar, &bucket);
}

#[test]
fn a_pin_is_copied_with_its_backup() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    cellar.run(["backup"]).succeeds();
    cellar.run(["pin", "latest"]).succeeds();
    let cellar = bucket.copies(cellar);
    cellar.run(["backup"]).succeeds();
    assert_eq!(bucket.keys().iter().filter(|key| key.ends_with(".pin.json")).count(), 1);
    all_is_copied(&cellar, &bucket);
}

#[test]
fn after_an_outage_the_oldest_backup_is_copied_first() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    for _ in 0..2 {
        let run = cellar.run(["backup", "--json"]).env("AWS_ENDPOINT_URL", format!("http://127.0.0.1:{CLOSED_PORT}"));
        let outcome = run.fails(exit::UNAVAILABLE);
        assert_eq!(stores(&outcome), serde_json::json!(["local"]), "{outcome}");
        assert!(outcome.stderr.contains("backed up"), "{outcome}");
    }
    cellar.run(["verify", "--all"]).succeeds();
    assert_eq!(bucket.keys(), [""; 0]);
    let outcome = cellar.run(["backup"]).succeeds();
    assert_eq!(copy_messages(&outcome), ids(&cellar));
    assert_eq!(ids(&cellar).len(), 3);
    all_is_copied(&cellar, &bucket);
}

#[test]
fn losing_the_bucket_midway_fails_only_the_copies() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster, 40);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let cellar = cellar.with("BACKUP_COMPRESSION", "none");
    let proxy = StallingProxy::start(bucket.server().port(), 20 << 20);
    let running = stands_still(&cellar, &proxy);
    proxy.break_all();
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::UNAVAILABLE), "{outcome}");
    assert!(outcome.stderr.contains("1 backup is not in s3://"), "{outcome}");
    assert_eq!(bucket.ids(), [""; 0]);
    cellar.run(["verify", "latest"]).succeeds();
    let outcome = cellar.run(["backup"]).succeeds();
    assert_eq!(copy_messages(&outcome), ids(&cellar));
    all_is_copied(&cellar, &bucket);
}

#[test]
fn a_failed_dump_does_not_stop_pending_copies() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let _ =
        cellar.run(["backup"]).env("AWS_SECRET_ACCESS_KEY", "wrong").fails(exit::NOPERM).says("AWS_SECRET_ACCESS_KEY");
    assert_eq!((ids(&cellar).len(), bucket.keys().len()), (1, 0));
    let outcome = cellar.run(["backup"]).env("DB_NAME", "no such database").fails(exit::NOINPUT);
    assert_eq!(copy_messages(&outcome), ids(&cellar));
    all_is_copied(&cellar, &bucket);
}

#[test]
fn keys_without_write_access_fail_only_the_copy() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let run = cellar.run(["backup"]).env("AWS_ACCESS_KEY_ID", READER.id).env("AWS_SECRET_ACCESS_KEY", READER.secret);
    let _ = run.fails(exit::NOPERM).says("s3:PutObject").says("1 backup is not in s3://");
    assert_eq!((ids(&cellar).len(), bucket.keys().len()), (1, 0));
    cellar.run(["backup"]).succeeds();
    all_is_copied(&cellar, &bucket);
}

#[test]
fn a_missing_file_for_the_bucket_fails_only_the_copy() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let missing = cellar.scratch().join("authorities.pem");
    let _ = cellar.run(["backup"]).env("AWS_CA_BUNDLE", &missing).fails(exit::CONFIG).says("authorities.pem");
    assert_eq!((ids(&cellar).len(), bucket.keys().len()), (1, 0));
    cellar.run(["backup"]).succeeds();
    all_is_copied(&cellar, &bucket);
}

#[test]
fn a_killed_copy_is_never_listed_and_is_resumed() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster, 40);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let cellar = cellar.with("BACKUP_COMPRESSION", "none");
    let proxy = StallingProxy::start(bucket.server().port(), 20 << 20);
    let running = stands_still(&cellar, &proxy);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal(), Some(9));
    let killed = ids(&cellar);
    assert_eq!((killed.len(), bucket.ids()), (1, Vec::new()));
    let manifest = format!("{}.manifest.json", killed[0]);
    assert!(bucket.unfinished().contains(&manifest), "it is announced: {:?}", bucket.unfinished());
    let outcome = cellar.run(["backup"]).succeeds();
    assert_eq!(copy_messages(&outcome), ids(&cellar));
    all_is_copied(&cellar, &bucket);
}

/// Complete files stay in the bucket when the run is killed, and are not sent again.
#[test]
fn a_copy_killed_between_files_is_resumed_at_the_next_file() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    cellar.run(["backup"]).succeeds();
    let id = ids(&cellar).remove(0);
    let manifest = format!("{id}.manifest.json");
    let document = fs::read(cellar.backup_dir().join(&manifest)).unwrap();
    let store = bucket.store_of("main", &host());
    for (announced, sent_again) in [(document.clone(), false), (claim(&id, "main", &host()), true)] {
        fs::remove_file(cellar.backup_dir().join(".pgcellar.copied.json")).unwrap();
        store.delete(&manifest).unwrap();
        store.delete(&format!("{id}.globals.sql.gz")).unwrap();
        store.announce(&manifest, &announced).unwrap();
        let archive = format!("{id}.dump.gz");
        let written =
            || store.list().unwrap().into_iter().find(|entry| entry.key == archive).map(|entry| entry.modified);
        let before = written();
        // The bucket's times are in seconds.
        let second = Instant::now();
        while second.elapsed() < Duration::from_millis(1100) {
            std::thread::sleep(Duration::from_millis(50));
        }
        cellar.run(["backup"]).env("DB_NAME", "no such database").fails(exit::NOINPUT);
        all_is_copied(&cellar, &bucket);
        assert_eq!(written() != before, sent_again);
    }
}

#[test]
fn a_signal_during_a_copy() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster, 40);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let cellar = cellar.with("BACKUP_COMPRESSION", "none");
    for signal in [Signal::TERM, Signal::INT] {
        let proxy = StallingProxy::start(bucket.server().port(), 20 << 20);
        let running = stands_still(&cellar, &proxy);
        let asked = Instant::now();
        running.signal(signal);
        let outcome = running.wait();
        assert!(asked.elapsed() < PROMPT, "{outcome}");
        assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
        assert!(outcome.stderr.contains("interrupted"), "{outcome}");
        assert_eq!(bucket.ids(), [""; 0]);
    }
    cellar.run(["verify", "--all"]).succeeds();
    cellar.run(["backup"]).succeeds();
    assert_eq!(ids(&cellar).len(), 3);
    all_is_copied(&cellar, &bucket);
}

#[test]
fn a_damaged_file_is_not_copied_and_the_others_are() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    for _ in 0..4 {
        cellar.run(["backup"]).succeeds();
    }
    let all = ids(&cellar);
    let path = |id: &str, extension: &str| cellar.backup_dir().join(format!("{id}{extension}"));
    tree::flip_byte(&path(&all[0], ".dump.gz"), 100);
    tree::flip_byte(&path(&all[1], ".globals.sql.gz"), 100);
    tree::truncate(&path(&all[2], ".dump.gz"), 100);
    let cellar = bucket.copies(cellar);
    // Every change is reported each time.
    for _ in 0..2 {
        let outcome = cellar.run(["backup"]).fails(exit::DATAERR);
        for damaged in &all[..3] {
            assert!(outcome.stderr.contains(&format!("error: {damaged} is not copied")), "{outcome}");
        }
        assert!(outcome.stderr.contains("SHA-256") && outcome.stderr.contains("3 backups are not in"), "{outcome}");
        assert_eq!(bucket.ids(), ids_after(&cellar, 3));
        assert!(bucket.keys().iter().all(|key| !all[..3].iter().any(|damaged| key.starts_with(damaged.as_str()))));
        assert_eq!(bucket.unfinished(), [""; 0]);
    }
}

/// The ids in the directory without the oldest ones.
fn ids_after(cellar: &Cellar, oldest: usize) -> Vec<String> {
    let directory = fs::read_dir(cellar.backup_dir()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = directory.filter_map(|name| name.to_str().map(str::to_owned));
    let mut ids: Vec<String> =
        names.filter_map(|name| name.strip_suffix(".manifest.json").map(str::to_owned)).collect();
    ids.sort();
    ids.split_off(oldest)
}

#[test]
fn a_deleted_copy_is_not_repeated_unless_the_bucket_is_empty() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    cellar.run(["backup"]).succeeds();
    cellar.run(["backup"]).succeeds();
    let first = ids(&cellar).remove(0);
    bucket.delete(&first);
    let outcome = cellar.run(["backup"]).succeeds();
    assert_eq!(copy_messages(&outcome), ids(&cellar)[2..]);
    assert_eq!(bucket.ids(), ids(&cellar)[1..]);
    for id in bucket.ids() {
        bucket.delete(&id);
    }
    let outcome = cellar.run(["backup"]).succeeds();
    assert_eq!(copy_messages(&outcome), ids(&cellar));
    all_is_copied(&cellar, &bucket);
    // Another bucket has none of them.
    let another = Bucket::new();
    let cellar = another.copies(cellar);
    cellar.run(["backup"]).succeeds();
    all_is_copied(&cellar, &another);
}

#[test]
fn backups_of_other_instances_are_not_copied() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    cellar.run(["backup"]).env("PGCELLAR_INSTANCE", "other").succeeds();
    let cellar = bucket.copies(cellar);
    let outcome = cellar.run(["backup"]).succeeds();
    assert_eq!(bucket.ids(), copy_messages(&outcome));
    assert_eq!(bucket.ids().len(), 1);
}

/// The announcement of a backup in progress.
fn claim(id: &str, instance: &str, host: &str) -> Vec<u8> {
    serde_json::json!({ "id": id, "instance": instance, "host": host }).to_string().into_bytes()
}

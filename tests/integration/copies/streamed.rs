//! Backups written directly to the bucket, without a byte on the local disk.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};

use super::{PROMPT, large, small};
use crate::common::bucket::Bucket;
use crate::common::fault_proxy::{Fault, FaultProxy, Seen};
use crate::common::halted_dump::HaltedDump;
use crate::common::pgcellar::{PROGRAM, Running};
use crate::common::process::{new_folder, peak_memory, plain};
use crate::common::proxies::StallingProxy;
use crate::common::{Cellar, Cluster, Database, Version, compare, everything, exit, keys, tree};

/// The limit for a backup's memory, whatever its size.
const MEMORY: u64 = 150_000_000;

fn straight(bucket: &Bucket, cellar: Cellar, database: &Database<'_>) -> Cellar {
    bucket.copies(cellar).with("DB_NAME", database.name()).with("BACKUP_DIR", "")
}

/// A database whose dump halts after some parts of its upload are in the bucket.
fn halted_dump(cluster: &Cluster) -> HaltedDump<'_> {
    let halted = HaltedDump::new(cluster);
    halted.database().sql("CREATE TABLE a AS SELECT n, repeat('x', 1000000) FROM generate_series(1, 40) n");
    halted
}

/// Starts a backup to the bucket, and waits until it halts with an unfinished upload.
fn halted_run(cellar: &Cellar, halted: &HaltedDump<'_>, bucket: &Bucket) -> Running {
    let mut running = cellar.run(["backup"]).env("BACKUP_COMPRESSION", "none").start();
    halted.wait_for_halt(&mut running, None);
    running.wait_until("parts are there", || bucket.unfinished().iter().any(|key| key.ends_with(".dump")));
    running
}

/// A cellar whose folder has the contents of the bucket.
fn downloaded(bucket: &Bucket, cluster: &Cluster) -> Cellar {
    let cellar = Cellar::new(cluster);
    bucket.download(&cellar.backup_dir());
    cellar
}

#[test]
fn every_stream_arrives_complete_and_is_restored() {
    let cluster = Cluster::shared(Version::V15);
    let database = everything::database(cluster, "streamed");
    let key_folder = new_folder();
    let key = keys::age(key_folder.path(), "key");
    for (format, method, encrypted) in
        [("custom", "gzip", true), ("tar", "zstd", false), ("plain", "none", true), ("custom", "none", false)]
    {
        let bucket = Bucket::new();
        let cellar = straight(&bucket, Cellar::new(cluster), &database);
        let run = cellar.run(["backup", "--json"]).env("BACKUP_FORMAT", format).env("BACKUP_COMPRESSION", method);
        let run = if encrypted { run.env("BACKUP_AGE_RECIPIENTS", &key.recipient) } else { run };
        let outcome = run.succeeds();
        assert_eq!(outcome.json()[0]["stores"], serde_json::json!(["s3"]), "{outcome}");
        assert_eq!(bucket.unfinished(), [""; 0]);
        assert_eq!(tree::files(&cellar.backup_dir()).len(), 0);

        let read_back = downloaded(&bucket, cluster).with("BACKUP_AGE_IDENTITY_FILE", &key.identity);
        read_back.run(["verify", "latest"]).succeeds();
        let restored = cluster.name_for("restored");
        read_back.run(["restore", "latest", "--target-database", &restored]).succeeds();
        compare::assert_same(&database, &cluster.database(&restored));
    }
}

/// The kernel refuses files of more than a kilobyte to every process of the run; the lock file is smaller.
#[test]
fn no_byte_is_written_to_the_local_disk() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster, 20);
    let bucket = Bucket::new();
    let temporary = new_folder();
    let cellar = straight(&bucket, Cellar::new(cluster), &database).with("XDG_RUNTIME_DIR", temporary.path());
    let cellar = cellar.with("TMPDIR", temporary.path());
    let (home, files) = (tree::hashes(cellar.scratch()), |folder: &Path| tree::files(folder));
    for (format, method) in [("custom", "none"), ("plain", "gzip")] {
        let mut run = plain("sh");
        run.args(["-c", "ulimit -f 2 && exec \"$@\"", "sh", PROGRAM, "backup"]);
        run.envs(cellar.settings()).env("BACKUP_FORMAT", format).env("BACKUP_COMPRESSION", method);
        let output = run.current_dir("/").stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(tree::hashes(cellar.scratch()), home);
        let left: Vec<_> = files(temporary.path());
        assert!(left.len() == 1 && left[0].to_string_lossy().ends_with(".lock"), "{left:?}");
    }
    assert_eq!(bucket.ids().len(), 2);
    assert!(bucket.objects().values().any(|bytes| bytes.len() > 20_000_000));
}

#[test]
fn the_directory_format_needs_a_directory() {
    let bucket = Bucket::new();
    let cellar = bucket.copies(Cellar::unconnected()).with("DB_NAME", "shop").with("BACKUP_DIR", "");
    let outcome = cellar.run(["backup"]).env("BACKUP_FORMAT", "directory").fails(exit::CONFIG);
    let _ = outcome.says("BACKUP_FORMAT=directory").says("BACKUP_DIR");
}

#[test]
fn a_second_run_of_the_instance_is_refused() {
    let cluster = Cluster::shared(Version::V15);
    let halted = HaltedDump::new(cluster);
    let bucket = Bucket::new();
    let cellar = straight(&bucket, Cellar::new(cluster), halted.database());
    let mut running = cellar.run(["backup"]).start();
    halted.wait_for_halt(&mut running, None);
    let _ = cellar.run(["backup"]).fails(exit::TEMPFAIL).says("is locked by pgcellar backup, process");
    let other = small(cluster);
    cellar.run(["backup"]).env("PGCELLAR_INSTANCE", "other").env("DB_NAME", other.name()).succeeds();
    drop(halted.release());
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    assert_eq!((bucket.ids().len(), bucket.unfinished().len()), (2, 0));
}

#[test]
fn a_killed_server_leaves_nothing() {
    let cluster = Cluster::start(Version::V15);
    let halted = halted_dump(&cluster);
    let bucket = Bucket::new();
    let cellar = straight(&bucket, Cellar::new(&cluster), halted.database());
    let running = halted_run(&cellar, &halted, &bucket);
    for backend in halted.backends() {
        kill_process(backend, Signal::KILL).unwrap();
    }
    // The backup would be repeated.
    running.wait_for_stderr("trying again in 2 s");
    running.signal(Signal::TERM);
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
    assert_eq!((bucket.keys(), bucket.unfinished()), (Vec::new(), Vec::new()));
}

#[test]
fn a_signal_midway_leaves_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let halted = halted_dump(cluster);
    let bucket = Bucket::new();
    let cellar = straight(&bucket, Cellar::new(cluster), halted.database());
    for signal in [Signal::TERM, Signal::INT] {
        ends_promptly(halted_run(&cellar, &halted, &bucket), signal);
        halted.wait_until_given_up();
        assert_eq!((bucket.keys(), bucket.unfinished()), (Vec::new(), Vec::new()));
    }
}

/// The announcement arrives in the bucket after the run got its signal.
#[test]
fn a_signal_while_the_name_is_announced() {
    let cluster = Cluster::shared(Version::V15);
    let database = small(cluster);
    let bucket = Bucket::new();
    let announces = |seen: &Seen| seen.method == "PUT" && seen.target.contains(".manifest.json.partial");
    let proxy = FaultProxy::start(bucket.server().port(), move |seen| match announces(seen) {
        true => Fault::Delay(Duration::from_secs(1)),
        false => Fault::None,
    });
    let cellar = bucket.copies(Cellar::new(cluster)).with("DB_NAME", database.name());
    let cellar = cellar.with("AWS_ENDPOINT_URL", proxy.endpoint());
    for (at, run) in [cellar.run(["backup"]), cellar.run(["backup"]).env("BACKUP_DIR", "")].into_iter().enumerate() {
        let mut running = run.start();
        running.wait_until("the announcement is on its way", || proxy.faults() > at);
        ends_promptly(running, Signal::TERM);
        assert_eq!((bucket.keys(), bucket.unfinished()), (Vec::new(), Vec::new()));
    }
}

#[track_caller]
fn ends_promptly(running: Running, signal: Signal) {
    let asked = Instant::now();
    running.signal(signal);
    let outcome = running.wait();
    assert!(asked.elapsed() < PROMPT, "{outcome}");
    assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
    assert!(outcome.stderr.contains("interrupted"), "{outcome}");
}

#[test]
fn a_signal_while_the_bucket_does_not_answer() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster, 120);
    let bucket = Bucket::new();
    let cellar = straight(&bucket, Cellar::new(cluster), &database).with("BACKUP_COMPRESSION", "none");
    let proxy = StallingProxy::start(bucket.server().port(), 20 << 20);
    let mut running = cellar.run(["backup"]).env("AWS_ENDPOINT_URL", proxy.endpoint()).start();
    running.wait_until("the upload stands still", || proxy.stalls());
    ends_promptly(running, Signal::TERM);
    assert_eq!(bucket.keys(), [""; 0]);
}

#[test]
fn a_killed_run_is_never_listed_and_does_not_affect_the_next() {
    let cluster = Cluster::shared(Version::V15);
    let halted = halted_dump(cluster);
    let bucket = Bucket::new();
    let cellar = straight(&bucket, Cellar::new(cluster), halted.database());
    let running = halted_run(&cellar, &halted, &bucket);
    running.signal(Signal::KILL);
    assert_eq!(running.wait().signal(), Some(9));
    assert_eq!(bucket.keys(), [""; 0]);
    let announced = bucket.unfinished();
    assert!(announced.len() == 2 && announced[1].ends_with(".manifest.json"), "{announced:?}");
    let _database = halted.release();
    cellar.run(["backup"]).succeeds();
    assert_eq!(bucket.ids().len(), 1);
    assert_eq!(bucket.unfinished(), announced, "retention removes it, once it is old");
}

#[test]
fn memory_use_does_not_grow_with_the_database() {
    let cluster = Cluster::shared(Version::V15);
    let database = large(cluster, 300);
    let bucket = Bucket::new();
    let cellar = straight(&bucket, Cellar::new(cluster), &database).with("BACKUP_COMPRESSION", "none");
    let running = cellar.run(["backup"]).start();
    let peak = peak_memory(running.pid());
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(0), "{outcome}");
    assert!(peak > 0 && peak < MEMORY, "{} MB at the peak", peak / 1_000_000);
    assert_eq!(bucket.ids().len(), 1);
}

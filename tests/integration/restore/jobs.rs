//! Restores with several jobs: the result is the same, and the staging folder is empty afterwards.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Signal, kill_process};
use serde_json::json;

use crate::common::compare::assert_same;
use crate::common::pgcellar::Running;
use crate::common::process::{is_root, must, new_folder, plain};
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, keys, tree};
use crate::restore::{child, slow};

/// Databases left by restores into this target.
pub fn left(cluster: &Cluster, target: &str) -> String {
    let query = format!(
        "SELECT string_agg(datname, ' ') FROM pg_database WHERE datname = '{target}' OR starts_with(datname, '{target}_restoring_')"
    );
    cluster.sql("postgres", &query)
}

/// A temporary folder in memory.
fn memory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("pgcellar-test-").tempdir_in("/dev/shm").unwrap()
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

/// Restores the latest backup with two jobs, compares, and checks that the staging folder is empty.
fn comes_back(cellar: &Cellar, original: &Database<'_>, staging: &Path) {
    let cluster = original.cluster();
    let target = cluster.name_for("jobs");
    let run = cellar.run(["restore", "latest", "--jobs", "2", "--target-database", &target]);
    run.arguments(["--staging-dir".as_ref(), staging.as_os_str()]).succeeds();
    assert_same(original, &cluster.database(&target));
    assert!(is_empty(staging), "{:?}", tree::files(staging));
}

fn everything_comes_back(version: Version, ways: &[(&str, &str, bool)]) {
    if !version.is_covered() {
        return;
    }
    let cluster = Cluster::shared(version);
    let original = everything::database(cluster, "with_jobs");
    for (format, compression, encrypted) in ways {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", *format).with("BACKUP_COMPRESSION", *compression);
        let key = keys::age(cellar.scratch(), "key");
        let (memory, disk) = (memory(), cellar.scratch().join("staging"));
        fs::create_dir(&disk).unwrap();
        let (cellar, staging) = match encrypted {
            true => {
                let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient);
                (cellar.with("BACKUP_AGE_IDENTITY_FILE", key.identity), memory.path())
            }
            false => (cellar, disk.as_path()),
        };
        cellar.back_up(original.name());
        comes_back(&cellar, &original, staging);
    }
}

#[test]
fn jobs_restore_every_format_on_15() {
    let ways = [
        ("custom", "gzip", false),
        ("custom", "gzip", true),
        ("custom", "bzip2", false),
        ("custom", "xz", true),
        ("custom", "zstd", false),
        ("custom", "none", false),
        ("custom", "none", true),
        ("directory", "gzip", false),
    ];
    everything_comes_back(Version::V15, &ways);
}

#[test]
fn jobs_restore_every_format_on_17() {
    let ways = [("custom", "gzip", false), ("custom", "zstd", true), ("directory", "gzip", true)];
    everything_comes_back(Version::V17, &ways);
}

#[test]
fn jobs_restore_every_format_on_18() {
    everything_comes_back(Version::V18, &[("custom", "gzip", false)]);
}

/// In one parallel call for all sections, triggers would fire for partitions that are loaded later.
#[test]
fn no_trigger_fires_and_no_grant_is_lost() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("triggers");
    original.sql("CREATE TABLE audit (n int); CREATE TABLE days (n int, day int) PARTITION BY LIST (day)");
    original.sql("DO $$BEGIN FOR day IN 1..20 LOOP EXECUTE format('CREATE TABLE days_%s PARTITION OF days FOR VALUES IN (%s)', day, day); EXECUTE format('GRANT SELECT ON days_%s TO PUBLIC; GRANT UPDATE (n) ON days_%s TO PUBLIC', day, day); END LOOP; END$$");
    original.sql("INSERT INTO days SELECT n, n % 20 + 1 FROM generate_series(1, 2000) n");
    original.sql("CREATE FUNCTION log() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN INSERT INTO public.audit VALUES (NEW.n); RETURN NEW; END'; CREATE TRIGGER log AFTER INSERT ON days FOR EACH ROW EXECUTE FUNCTION log()");
    for format in ["custom", "directory"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        let staging = cellar.scratch().join("staging");
        fs::create_dir(&staging).unwrap();
        cellar.back_up(original.name());
        comes_back(&cellar, &original, &staging);
    }
}

/// With pg_dump's own compression, and with data offsets in the table of contents.
#[test]
fn dumps_of_other_tools_with_jobs() {
    let cluster = Cluster::shared(Version::V15);
    let original = everything::database(cluster, "foreign");
    let cellar = Cellar::new(cluster);
    let (dump, packed) = (cellar.scratch().join("their.dump"), cellar.scratch().join("packed.dump.gz"));
    must(cluster.client("pg_dump", original.name()).arg("-Fc").arg("-f").arg(&dump));
    must(plain("sh").args(["-c", "gzip -c \"$1\" > \"$2\"", "sh"]).args([&dump, &packed]));
    let staging = cellar.scratch().join("staging");
    fs::create_dir(&staging).unwrap();
    for file in [dump, packed] {
        let target = cluster.name_for("foreign");
        let run = cellar.run(["restore", "--jobs", "2", "--target-database", &target]);
        run.arguments([&file]).env("RESTORE_STAGING_DIR", &staging).succeeds();
        assert_same(&original, &cluster.database(&target));
        assert!(is_empty(&staging));
        let target = cluster.name_for("foreign");
        let run = cellar.run(["restore", "--jobs", "2", "--target-database", &target, "--schema", "ext"]);
        run.arguments([&file]).succeeds();
        assert_eq!(cluster.database(&target).sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'app'"), "0");
    }
}

#[test]
fn formats_restored_by_one_job_are_reported() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("serial");
    original.sql("CREATE TABLE t AS SELECT 1 AS n");
    for format in ["tar", "plain"] {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format);
        cellar.back_up(original.name());
        let target = cluster.name_for("serial");
        let run = cellar.run(["restore", "latest", "--jobs", "3", "--target-database", &target]);
        run.succeeds().says("serially").says(format);
        assert_same(&original, &cluster.database(&target));
    }
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    for jobs in ["0", "-1", "many", ""] {
        let (argument, target) = (format!("--jobs={jobs}"), cluster.name_for("never"));
        let _ = cellar.run(["restore", "latest", "-t", &target, &argument]).fails(exit::USAGE).says("--jobs");
    }
    // What shows a backup runs no jobs.
    for shown in ["--list", "--recipe", "--dry-run"] {
        cellar.run(["restore", "latest", "-t", "never", "--jobs=many", shown]).succeeds();
    }
}

/// A backup that takes a minute to restore, and its restore with jobs, at the slow part.
fn napping(cluster: &Cluster, staging: &Path) -> (Cellar, String, Running) {
    let original = slow(cluster);
    let cellar = Cellar::new(cluster).with("RESTORE_STAGING_DIR", staging);
    cellar.back_up(original.name());
    let target = cluster.name_for("napping");
    let mut running = cellar.run(["restore", "latest", "--jobs", "2", "--target-database", &target]).start();
    let query = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND starts_with(datname, '{target}_restoring_')"
    );
    running.wait_until("the slow part", || cluster.sql("postgres", &query) == "1");
    (cellar, target, running)
}

fn staged(staging: &Path) -> PathBuf {
    let mut folders: Vec<PathBuf> = fs::read_dir(staging).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(folders.len(), 1, "{folders:?}");
    folders.remove(0)
}

#[test]
fn signals_leave_nothing_staged() {
    let cluster = Cluster::shared(Version::V15);
    let staging = new_folder();
    let (_cellar, target, running) = napping(cluster, staging.path());
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o7777;
    let folder = staged(staging.path());
    assert_eq!(mode(&folder), 0o700);
    for file in tree::files(&folder) {
        assert_eq!(mode(&file), 0o600);
    }
    running.signal(Signal::TERM);
    let outcome = running.wait();
    assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
    assert!(is_empty(staging.path()), "{outcome}");
    assert_eq!(left(cluster, &target), "", "{outcome}");
}

#[test]
fn the_next_run_removes_the_files_of_a_killed_one() {
    let cluster = Cluster::shared(Version::V15);
    let staging = new_folder();
    let (cellar, _, killed) = napping(cluster, staging.path());
    let (_, _, living) = napping(cluster, staging.path());
    let folders = || fs::read_dir(staging.path()).unwrap().count();
    assert_eq!(folders(), 2);
    killed.signal(Signal::KILL);
    killed.wait();
    assert_eq!(folders(), 2);
    // It may use one job, and it may fail.
    cellar.run(["restore", "latest", "-t", "postgres"]).fails(exit::CANTCREAT).says("which a killed run had left");
    assert_eq!(folders(), 1, "the living one's stays");
    living.signal(Signal::TERM);
    living.wait();
    assert_eq!(folders(), 0);
}

/// Changes the size of the plain archive in the manifest.
fn say_plain_bytes(cellar: &Cellar, bytes: u64) {
    let files = tree::files(&cellar.backup_dir());
    let file = files.iter().find(|file| file.to_str().unwrap().ends_with(".manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        if file["role"] == "archive" {
            file["plain_bytes"] = json!(bytes);
        }
    }
    fs::write(file, manifest.to_string()).unwrap();
}

#[test]
fn too_little_space_is_reported_at_the_start() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("large");
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    say_plain_bytes(&cellar, 1 << 60);
    let staging = new_folder();
    let target = cluster.name_for("large");
    let run = cellar.run(["restore", "latest", "-j", "2", "-t", &target]).env("RESTORE_STAGING_DIR", staging.path());
    let needed = (1_u64 << 60).to_string();
    let _ = run.fails(exit::CANTCREAT).says(&needed).says("bytes (").says("free").says("RESTORE_STAGING_DIR");
    assert!(is_empty(staging.path()));
    assert_eq!(left(cluster, &target), "");
}

#[test]
fn a_disk_that_fills_up_leaves_nothing() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("filling");
    original.sql("CREATE TABLE t AS SELECT repeat('x', 1000) AS x FROM generate_series(1, 5000)");
    let cellar = Cellar::new(cluster);
    cellar.back_up(original.name());
    say_plain_bytes(&cellar, 1);
    let target = cluster.name_for("filling");
    let small = new_folder();
    let mut run = plain("unshare");
    run.args(if is_root() { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
    run.args(["sh", "-c", "mount -t tmpfs -o size=1m tmpfs \"$1\" || exit 1; \"$2\" restore latest -j 2 -t \"$3\"; code=$?; ls -A \"$1\"; exit $code", "run"]);
    run.arg(small.path()).arg(env!("CARGO_BIN_EXE_pgcellar")).arg(&target).envs(cellar.settings());
    let output = run.env("RESTORE_STAGING_DIR", small.path()).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit::CANTCREAT), "{stderr}");
    assert!(stderr.contains("no space left on device") && stderr.contains("RESTORE_STAGING_DIR"), "{stderr}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{stderr}");
    assert_eq!(left(cluster, &target), "");
}

#[test]
fn plain_bytes_of_an_encrypted_backup_are_not_staged_on_a_disk() {
    let cluster = Cluster::shared(Version::V15);
    let original = cluster.create("secret");
    let cellar = Cellar::new(cluster);
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient).with("BACKUP_AGE_IDENTITY_FILE", key.identity);
    cellar.back_up(original.name());
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let target = cluster.name_for("secret");
    let run = cellar.run(["restore", "latest", "-j", "2", "-t", &target]).env("RESTORE_STAGING_DIR", disk.path());
    let _ = run.fails(exit::CONFIG).says("is on a disk").says("RESTORE_STAGING_DIR");
    assert!(is_empty(disk.path()));
    assert_eq!(left(cluster, &target), "");
}

#[test]
fn damage_leaves_nothing() {
    let cluster = Cluster::start(Version::V15);
    let original = cluster.create_named("damaged");
    original.sql("CREATE TABLE t AS SELECT n, md5(n::text) AS x FROM generate_series(1, 20000) n");
    for (format, compression) in [("custom", "gzip"), ("custom", "none"), ("directory", "gzip")] {
        let cellar = Cellar::new(&cluster).with("BACKUP_FORMAT", format).with("BACKUP_COMPRESSION", compression);
        cellar.back_up(original.name());
        let staging = cellar.scratch().join("staging");
        fs::create_dir(&staging).unwrap();
        let files = tree::files(&cellar.backup_dir());
        let largest = files.iter().max_by_key(|file| file.metadata().unwrap().len()).unwrap();
        tree::flip_byte(largest, i64::try_from(largest.metadata().unwrap().len() / 2).unwrap());
        let run = cellar.run(["restore", "latest", "-j", "2", "-t", "never"]).env("RESTORE_STAGING_DIR", &staging);
        let _ = run.fails(exit::DATAERR).says("damaged");
        assert!(is_empty(&staging));
        assert_eq!(left(&cluster, "never"), "", "{format}");
    }
}

/// Rows with everything that could be taken for the end of a row, in a table large enough for several jobs.
fn large(cluster: &Cluster) -> Database<'_> {
    let original = cluster.create("large");
    original.sql(r"CREATE TABLE rows AS SELECT n, repeat(md5(n::text), 30) AS x, E'a\nb\\n\\.\n\\.' AS y FROM generate_series(1, 60000) n");
    original.sql("INSERT INTO rows VALUES (0, repeat('long', 1000000), NULL); ALTER TABLE rows ADD PRIMARY KEY (n)");
    original.sql("CREATE TABLE small AS SELECT n FROM generate_series(1, 1000) n");
    original
}

/// The number of transactions that wrote a table's rows.
const LOADERS: &str = "SELECT count(DISTINCT xmin::text) FROM rows";

const ROWS: &str = "SELECT count(*), md5(string_agg(md5(r::text), '' ORDER BY n)) FROM rows r";

#[test]
fn a_large_table_is_loaded_by_all_jobs() {
    let cluster = Cluster::shared(Version::V15);
    let original = large(cluster);
    for (compression, options, loaders) in
        [("gzip", &[][..], "2"), ("none", &[], "2"), ("zstd", &["--keep-going"], "1")]
    {
        let cellar = Cellar::new(cluster).with("BACKUP_COMPRESSION", compression);
        cellar.back_up(original.name());
        let target = cluster.name_for("large");
        cellar.run(["restore", "latest", "-j", "2", "-t", &target]).arguments(options).succeeds();
        let restored = cluster.database(&target);
        for query in
            [ROWS, "SELECT count(*), sum(n) FROM small", "SELECT count(*) FROM pg_index WHERE indexrelid > 16383"]
        {
            assert_eq!(restored.sql(query), original.sql(query), "{compression}: {query}");
        }
        assert_eq!(restored.sql(LOADERS), loaders, "{compression}");
    }
}

/// One job's rows are lost and the other's are loaded, so the table is incomplete.
#[test]
fn a_killed_job_ends_all_jobs() {
    let cluster = Cluster::shared(Version::V15);
    let original = large(cluster);
    // pg_dump adds a constraint that is NOT VALID only after the data.
    original.sql("CREATE FUNCTION nap(int) RETURNS bool LANGUAGE sql AS 'SELECT true'");
    original.sql("ALTER TABLE rows ADD CHECK (nap(n))");
    original.sql("CREATE OR REPLACE FUNCTION nap(int) RETURNS bool LANGUAGE plpgsql AS 'BEGIN IF $1 > 50000 THEN PERFORM pg_catalog.pg_sleep(60); END IF; RETURN true; END'");
    let staging = new_folder();
    let cellar = Cellar::new(cluster).with("RESTORE_STAGING_DIR", staging.path());
    cellar.back_up(original.name());
    let target = cluster.name_for("killed");
    let sleeping = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND starts_with(datname, '{target}_restoring_')"
    );
    for (signal, code) in [(Signal::KILL, exit::SYSTEM), (Signal::TERM, exit::TEMPFAIL)] {
        let mut running = cellar.run(["restore", "latest", "-j", "2", "-t", &target]).start();
        running.wait_until("both jobs", || cluster.sql("postgres", &sleeping) == "2");
        match signal {
            Signal::KILL => kill_process(child(&running, "pg_restore"), signal).unwrap(),
            _ => running.signal(signal),
        }
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(code), "{outcome}");
        assert_eq!(left(cluster, &target), "", "{outcome}");
        assert!(is_empty(staging.path()), "{outcome}");
    }
}

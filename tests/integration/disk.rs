//! Backup folders that cannot be written: full, missing, without permission, or not a folder.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use crate::common::folder_snapshot::{FolderSnapshot, listed};
use crate::common::process::{is_root, must, plain};
use crate::common::programs::Programs;
use crate::common::small_disk::SmallDisk;
use crate::common::{Cellar, Cluster, Database, Version, exit, keys};

/// A disk that has room for a small backup, but not for a large one.
fn small_disk(cellar: &Cellar) -> SmallDisk {
    let over = cellar.scratch().join("small");
    fs::create_dir(&over).unwrap();
    SmallDisk::mount(&over, 2048)
}

/// A database of 5 MB that does not compress.
fn large(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("large");
    database.sql(
        "CREATE TABLE noise AS SELECT n, (SELECT string_agg(encode(sha256((n::text || ':' || k)::bytea), 'base64'), '') \
           FROM generate_series(1, 20) k) AS text FROM generate_series(1, 5000) n",
    );
    database
}

fn small(cluster: &Cluster) -> Database<'_> {
    let database = cluster.create("small");
    database.sql("CREATE TABLE wine AS SELECT n, md5(n::text) AS label FROM generate_series(1, 100) n");
    database
}

#[test]
fn retention_frees_a_full_disk() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let disk = small_disk(&cellar);
    let cellar = cellar.with("BACKUP_DIR", disk.path()).with("DB_NAME", small(cluster).name());
    let ids: Vec<String> = (0..3)
        .map(|_| cellar.run(["backup", "--json"]).succeeds().json()[0]["id"].as_str().unwrap().to_owned())
        .collect();
    // A foreign file takes the remaining space.
    let mut filler = fs::File::create(disk.path().join("filler")).unwrap();
    let full = loop {
        if let Err(error) = filler.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    fs::write(disk.path().join(".pgcellar.lock"), "").unwrap();
    cellar.run(["retention", "--keep-last", "1"]).succeeds().says("removed 2 backups");
    assert_eq!(listed(disk.path()), ids[2..]);
}

#[test]
fn the_disk_fills_up_in_the_archive() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let disk = small_disk(&cellar);
    let cellar = cellar.with("BACKUP_DIR", disk.path());
    cellar.run(["backup"]).env("DB_NAME", small(cluster).name()).succeeds();
    let before = FolderSnapshot::of(disk.path());
    let cellar = cellar.with("DB_NAME", large(cluster).name());
    for (format, compression) in [
        ("custom", "gzip"),
        ("custom", "none"),
        ("plain", "zstd"),
        ("tar", "bzip2"),
        ("plain", "xz"),
        ("directory", "gzip"),
    ] {
        let run = cellar.run(["backup"]).env("BACKUP_FORMAT", format).env("BACKUP_COMPRESSION", compression);
        let outcome = run.fails(exit::CANTCREAT);
        assert!(outcome.stderr.to_lowercase().contains("no space left"), "{outcome}");
        assert!(outcome.stderr.contains("free space"), "no hint: {outcome}");
        before.is_unchanged();
    }
    cellar.run(["backup"]).env("DB_NAME", small(cluster).name()).succeeds();
    before.has_one_more();
}

#[test]
fn the_disk_fills_up_while_a_staged_directory_is_encrypted() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster);
    let disk = small_disk(&cellar);
    let staging = tempfile::tempdir_in("/dev/shm").unwrap();
    let key = keys::age(cellar.scratch(), "key");
    let cellar = cellar.with("DB_NAME", large(cluster).name()).with("BACKUP_FORMAT", "directory");
    let cellar = cellar.with("BACKUP_AGE_RECIPIENTS", key.recipient);
    let backups = FolderSnapshot::of(&cellar.backup_dir());

    // First the disk of the backups fills up, then the staging folder.
    let run = cellar.run(["backup"]).env("BACKUP_DIR", disk.path()).env("BACKUP_STAGING_DIR", staging.path());
    let outcome = run.fails(exit::CANTCREAT);
    assert!(outcome.stderr.contains("no space left"), "{outcome}");
    assert!(listed(disk.path()).is_empty());
    assert_eq!(
        fs::read_dir(disk.path())
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().file_name() != ".pgcellar.lock")
            .count(),
        0
    );
    assert_eq!(fs::read_dir(staging.path()).unwrap().count(), 0, "plain bytes stay in memory");

    let outcome = cellar.run(["backup"]).env("BACKUP_STAGING_DIR", disk.path()).fails(exit::CANTCREAT);
    assert!(outcome.stderr.to_lowercase().contains("no space left"), "{outcome}");
    backups.is_unchanged();
}

/// There is space for the archive, and none for the files after it.
#[test]
fn the_disk_fills_up_after_the_archive() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster).with("DB_NAME", small(cluster).name());
    let disk = small_disk(&cellar);
    let cellar = cellar.with("BACKUP_DIR", disk.path());
    cellar.run(["backup"]).succeeds();
    let filler = disk.path().join("filler");
    let fill = format!("dd if=/dev/zero of='{}' bs=4k 2>/dev/null", filler.display());
    // For the manifest, the disk is filled after the globals were written and before pg_dumpall exits.
    let arrived = format!("find '{}' -name '*.globals.*partial' -size +0 | grep -q .", disk.path().display());
    let behind_globals = format!("\"$real\" \"$@\"\nexec >&-\nuntil {arrived}; do sleep 0.01; done\n{fill}\nexit 0");
    for commands in [fill.as_str(), behind_globals.as_str()] {
        let before = FolderSnapshot::of(disk.path());
        let programs = Programs::of(Version::V15);
        programs.before("pg_dumpall", commands);
        let outcome = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).fails(exit::CANTCREAT);
        assert!(outcome.stderr.contains("no space left"), "{outcome}");
        fs::remove_file(&filler).unwrap();
        before.is_unchanged();
    }
}

#[test]
fn a_missing_folder_is_created_but_not_its_parent() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster).with("DB_NAME", small(cluster).name());
    let missing = cellar.scratch().join("missing");
    let outcome = cellar.run(["backup"]).env("BACKUP_DIR", missing.join("backups")).fails(exit::CANTCREAT);
    let _ = outcome.says(&missing.join("backups").display().to_string()).says("is its disk mounted");
    assert!(!missing.exists());
    cellar.run(["backup"]).env("BACKUP_DIR", &missing).succeeds();
    assert_eq!(listed(&missing).len(), 1);
    assert_eq!(fs::metadata(&missing).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_folder_without_write_permission() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    // If the tests run as root, the unprivileged user cannot read root's backups.
    fs::set_permissions(cellar.scratch(), fs::Permissions::from_mode(0o755)).unwrap();
    if is_root() {
        must(plain("chown").arg("root").arg(cellar.backup_dir()));
    }
    fs::set_permissions(cellar.backup_dir(), fs::Permissions::from_mode(0o555)).unwrap();
    let outcome = cellar.run(["backup"]).by_unprivileged_user().fails(exit::CANTCREAT);
    let _ = outcome.says("permission denied").says("owned by the user");
    before.is_unchanged();
    fs::set_permissions(cellar.backup_dir(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_file_in_place_of_the_folder() {
    let cluster = Cluster::shared(Version::V15);
    let cellar = Cellar::new(cluster).with("DB_NAME", small(cluster).name());
    let file = cellar.scratch().join("file");
    fs::write(&file, "kept").unwrap();
    for directory in [file.clone(), file.join("backups")] {
        let _ = cellar.run(["backup"]).env("BACKUP_DIR", directory).fails(exit::CANTCREAT).says("not a directory");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
}

/// Another process creates a file with the name of one of the backup's, after the run has chosen a free name.
#[test]
fn a_name_that_is_taken_meanwhile() {
    let cluster = Cluster::shared(Version::V15);
    let (cellar, before) = FolderSnapshot::with_backup(cluster, &small(cluster));
    for (format, extension) in [
        ("custom", ".dump.gz"),
        ("custom", ".globals.sql.gz"),
        ("custom", ".manifest.json"),
        ("directory", ""),
        ("directory", ".globals.sql.gz"),
    ] {
        let programs = Programs::of(Version::V15);
        let gate = programs.gate("pg_dumpall");
        let run = cellar.run(["backup"]).env("PG_BINDIR", programs.path()).env("BACKUP_FORMAT", format);
        let mut running = run.start();
        running.wait_until("the program waits at the gate", || gate.reached().is_some());
        let names = fs::read_dir(cellar.backup_dir()).unwrap().map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        let id = names.filter_map(|name| name.strip_suffix(".globals.sql.gz.partial").map(str::to_owned)).next();
        let taken = cellar.backup_dir().join(format!("{}{extension}", id.expect("unfinished globals")));
        fs::write(&taken, "of somebody else").unwrap();
        gate.open();
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(exit::CANTCREAT), "{outcome}");
        assert!(outcome.stderr.contains(&taken.display().to_string()), "{outcome}");
        assert_eq!(fs::read_to_string(&taken).unwrap(), "of somebody else", "{format}{extension}");
        fs::remove_file(&taken).unwrap();
        before.is_unchanged();
    }
}

#[test]
fn plain_bytes_of_an_encrypted_backup_never_reach_the_disk() {
    let cellar = Cellar::unconnected();
    let key = keys::age(cellar.scratch(), "key");
    // In the build folder: a temporary folder may be in memory.
    let disk = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let disk = disk.path();
    let cellar = cellar.with("DB_NAME", "shop").with("BACKUP_AGE_RECIPIENTS", key.recipient);
    let directory = cellar.run(["backup"]).env("BACKUP_FORMAT", "directory").env("BACKUP_STAGING_DIR", disk);
    let _ = directory.fails(exit::CONFIG).says("is on a disk").says("BACKUP_STAGING_DIR");
    let missing = cellar.run(["backup"]).env("BACKUP_FORMAT", "directory").env("BACKUP_STAGING_DIR", "/nowhere");
    let _ = missing.fails(exit::CONFIG).says("/nowhere");
    tar_is_refused(&cellar, disk);
    assert_eq!(fs::read_dir(cellar.backup_dir()).unwrap().count(), 0);
}

/// pg_dump writes a tar to /tmp first, which is in memory on some machines: for this run a folder on a disk is mounted
/// there.
fn tar_is_refused(cellar: &Cellar, disk: &Path) {
    let in_memory = rustix::fs::statfs(disk).unwrap().f_type == 0x0102_1994;
    assert!(!in_memory, "{} has to be on a disk for this test: set CARGO_TARGET_DIR", disk.display());
    let mut run = plain("unshare");
    run.args(if is_root() { &["--mount"][..] } else { &["--mount", "--map-root-user"] });
    // The build may be in /tmp itself, whose contents the mount hides.
    run.args(["sh", "-c", "exec 3<\"$2\" && mount --bind \"$1\" /tmp && exec /proc/self/fd/3 backup", "run"]);
    run.arg(disk).arg(env!("CARGO_BIN_EXE_pgcellar"));
    let recipient = keys::age(cellar.scratch(), "tar").recipient;
    run.env("DB_NAME", "shop").env("BACKUP_FORMAT", "tar").env("BACKUP_AGE_RECIPIENTS", recipient);
    let output = run.env("BACKUP_DIR", cellar.backup_dir()).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit::CONFIG), "{stderr}");
    assert!(stderr.contains("/tmp is on a disk") && stderr.contains("custom"), "{stderr}");
}

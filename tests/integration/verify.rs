//! `pgcellar verify`: intact backups are good, and each kind of damage is found, named and recorded.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flate2::bufread::GzDecoder;
use pgcellar::pipeline::digest::DigestReader;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::backup_folder::BackupFolder;
use crate::common::pgcellar::Outcome;
use crate::common::process::must;
use crate::common::small_disk::SmallDisk;
use crate::common::{Cellar, Cluster, Database, Version, everything, exit, keys, tree};

/// A database whose dump takes several blocks of each compression.
fn sample(cluster: &'static Cluster) -> Database<'static> {
    let database = cluster.create("verify");
    database.sql(
        "CREATE TABLE wine AS SELECT n, string_agg(md5(n::text || m), '') AS label
           FROM generate_series(1, 500) n, generate_series(1, 400) m GROUP BY n;
         CREATE TABLE empty_shelf (n int);
         SELECT lo_from_bytea(4711, 'a large object');",
    );
    database
}

/// A backup and its folder.
struct Kept {
    cellar: Cellar,
    manifest: Value,
}

impl Kept {
    fn new(cellar: Cellar, database: &Database<'_>) -> Kept {
        let manifest = cellar.back_up(database.name());
        Kept { cellar, manifest }
    }

    fn id(&self) -> &str {
        self.manifest["id"].as_str().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.cellar.backup_dir().join(name)
    }

    /// The key of the first file of this role.
    fn key(&self, role: &str) -> &str {
        let files = self.manifest["files"].as_array().unwrap();
        files.iter().find(|file| file["role"] == role).unwrap()["key"].as_str().unwrap()
    }

    fn archive(&self) -> PathBuf {
        self.path(self.key("archive"))
    }

    fn record(&self) -> Option<Value> {
        let bytes = fs::read(self.path(&format!("{}.verify.json", self.id()))).ok()?;
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    /// Verifies; the backup must be good, at this depth.
    #[track_caller]
    fn is_good(&self, depth: &str) -> Outcome {
        let outcome = self.cellar.run(["verify", self.id()]).succeeds();
        let record = self.record().unwrap_or_else(|| panic!("nothing is recorded: {outcome}"));
        assert_eq!((&record["passed"], &record["depth"]), (&json!(true), &json!(depth)), "{outcome}");
        assert_eq!(record["damage"], json!([]));
        outcome
    }

    /// Verifies; the damage must be reported and recorded in these words, and the backup not offered any more.
    #[track_caller]
    fn is_damaged(&self, words: &[&str]) -> Outcome {
        let outcome = self.cellar.run(["verify", self.id()]).fails(exit::DATAERR);
        let record = self.record().unwrap_or_else(|| panic!("nothing is recorded: {outcome}"));
        assert_eq!(record["passed"], json!(false), "{outcome}");
        let damage: Vec<&str> =
            record["damage"].as_array().unwrap().iter().map(|damage| damage.as_str().unwrap()).collect();
        for word in words {
            assert!(damage.iter().any(|damage| damage.contains(word)), "{word:?} is not in {damage:?}");
        }
        for damage in damage {
            assert!(outcome.stderr.contains(damage), "{damage:?} is not reported: {outcome}");
        }
        assert_eq!(self.cellar.list()[0]["status"], "damaged");
        self.cellar.run(["verify"]).fails(exit::NOINPUT).says("no good whole backup");
        outcome
    }

    /// Changes the manifest on the disk.
    fn rewrite(&self, change: impl FnOnce(&mut Value)) {
        let mut manifest = self.manifest.clone();
        change(&mut manifest);
        fs::write(self.path(&format!("{}.manifest.json", self.id())), manifest.to_string()).unwrap();
    }

    /// Makes the manifest match a changed file.
    fn accept(&self, key: &str) {
        let mut file = DigestReader::new(File::open(self.path(key)).unwrap());
        std::io::copy(&mut file, &mut std::io::sink()).unwrap();
        let digest = file.digest();
        self.rewrite(|manifest| {
            let files = manifest["files"].as_array_mut().unwrap();
            let file = files.iter_mut().find(|file| file["key"] == key).unwrap();
            file["stored_bytes"] = digest.bytes.into();
            file["stored_sha256"] = digest.hex().into();
        });
    }
}

fn middle(path: &Path) -> i64 {
    i64::try_from(fs::metadata(path).unwrap().len() / 2).unwrap()
}

const KINDS: [(&str, &str); 11] = [
    ("custom", "gzip"),
    ("custom", "bzip2"),
    ("custom", "xz"),
    ("custom", "zstd"),
    ("custom", "none"),
    ("plain", "gzip"),
    ("plain", "none"),
    ("tar", "zstd"),
    ("tar", "none"),
    ("directory", "gzip"),
    ("directory", "none"),
];

#[test]
fn a_flipped_byte_is_found_in_every_kind_of_backup() {
    let cluster = Cluster::shared(Version::V15);
    let database = sample(cluster);
    for (format, compression) in KINDS {
        let cellar = Cellar::new(cluster).with("BACKUP_FORMAT", format).with("BACKUP_COMPRESSION", compression);
        let kept = Kept::new(cellar, &database);
        kept.is_good("full").says("good, 2 tables");
        assert_eq!(kept.cellar.list()[0]["status"], "verified", "{format} {compression}");
        // The largest file is the archive, or the table with rows.
        let file = tree::files(&kept.cellar.backup_dir()).into_iter().max_by_key(|file| file.metadata().unwrap().len());
        let file = file.unwrap();
        tree::flip_byte(&file, middle(&file));
        let name = file.file_name().unwrap().to_str().unwrap();
        let how = if compression == "none" { "SHA-256 of the stored bytes" } else { "at about " };
        kept.is_damaged(&[name, how]);
        // Repaired, it is good again.
        tree::flip_byte(&file, middle(&file));
        kept.is_good("full");
    }
}

#[test]
fn every_format_is_good() {
    let cluster = Cluster::shared(Version::V15);
    let database = everything::database(cluster, "verify_all");
    for format in ["custom", "plain", "tar", "directory"] {
        let kept = Kept::new(Cellar::new(cluster).with("BACKUP_FORMAT", format), &database);
        kept.is_good("full");
    }
}

#[test]
fn all_damage_is_reported_with_its_place() {
    let cluster = Cluster::shared(Version::V15);
    let kept = Kept::new(Cellar::new(cluster), &sample(cluster));
    let (archive, globals) = (kept.archive(), kept.path(kept.key("globals")));
    let at = middle(&archive);
    tree::flip_byte(&archive, at);
    fs::remove_file(&globals).unwrap();
    let outcome = kept.is_damaged(&[kept.key("archive"), "gzip", &format!("{}: is missing", kept.key("globals"))]);
    let place: i64 =
        outcome.stderr.split("stored byte ").nth(1).unwrap().split_whitespace().next().unwrap().parse().unwrap();
    // The end of the gzip member, or the start of the block that was read.
    assert!((at - (64 << 10)..at + (2 << 20)).contains(&place), "{place} for {at}: {outcome}");
}

#[test]
fn a_truncated_file_is_reported_with_both_sizes() {
    let cluster = Cluster::shared(Version::V15);
    let kept = Kept::new(Cellar::new(cluster), &sample(cluster));
    let length = fs::metadata(kept.archive()).unwrap().len();
    tree::truncate(&kept.archive(), length - 1);
    kept.is_damaged(&[&format!("has {} of {length} bytes", length - 1)]);
}

/// Where the first gzip member of a file ends.
fn end_of_first_member(path: &Path) -> u64 {
    let bytes = fs::read(path).unwrap();
    let mut member = GzDecoder::new(bytes.as_slice());
    std::io::copy(&mut member, &mut std::io::sink()).unwrap();
    let rest = member.into_inner().len();
    assert!(rest > 0, "the file has one member only");
    (bytes.len() - rest) as u64
}

#[test]
fn a_file_cut_at_the_end_of_a_gzip_member_is_incomplete() {
    let cluster = Cluster::shared(Version::V15);
    let database = sample(cluster);
    for (format, words) in
        [("custom", "not a whole archive"), ("plain", "the script ends in the middle"), ("tar", "tar archive ends")]
    {
        let kept = Kept::new(Cellar::new(cluster).with("BACKUP_FORMAT", format), &database);
        let end = end_of_first_member(&kept.archive());
        let length = fs::metadata(kept.archive()).unwrap().len();
        tree::truncate(&kept.archive(), end);
        kept.is_damaged(&[&format!("has {end} of {length} bytes")]);
        // Even with a matching manifest, the archive's own end is missing.
        kept.accept(kept.key("archive"));
        kept.is_damaged(&[words, "the stored bytes are the ones that were written"]);
    }
}

#[test]
fn bytes_after_the_end_are_damage() {
    let cluster = Cluster::shared(Version::V15);
    let kept = Kept::new(Cellar::new(cluster).with("BACKUP_COMPRESSION", "none"), &sample(cluster));
    let mut bytes = fs::read(kept.archive()).unwrap();
    bytes.extend_from_slice(b"more");
    fs::write(kept.archive(), bytes).unwrap();
    kept.is_damaged(&["bytes instead of"]);
    kept.accept(kept.key("archive"));
    kept.is_damaged(&["not a whole archive"]);
}

#[test]
fn a_changed_manifest_is_damage() {
    let cluster = Cluster::shared(Version::V15);
    let database = sample(cluster);
    for format in ["custom", "plain", "tar", "directory"] {
        let kept = Kept::new(Cellar::new(cluster).with("BACKUP_FORMAT", format), &database);
        kept.rewrite(|manifest| manifest["contents"]["tables"] = json!(3));
        kept.is_damaged(&["the rows of 2 tables instead of 3"]);
        kept.rewrite(|manifest| manifest["files"][0]["plain_sha256"] = json!("00"));
        kept.is_damaged(&["SHA-256 of the plain bytes"]);
    }
}

#[test]
fn the_files_of_a_folder_match_its_table_of_contents() {
    let cluster = Cluster::shared(Version::V15);
    let kept = Kept::new(Cellar::new(cluster).with("BACKUP_FORMAT", "directory"), &sample(cluster));
    fs::write(kept.path(kept.id()).join("9999.dat.gz"), "x").unwrap();
    kept.is_good("full").says("9999.dat.gz: is in the archive's folder, and the manifest does not name it");
    fs::remove_file(kept.path(kept.id()).join("9999.dat.gz")).unwrap();

    let named = |text: &str| {
        let files = kept.manifest["files"].as_array().unwrap();
        files.iter().map(|file| file["key"].as_str().unwrap()).find(|key| key.contains(text)).unwrap().to_owned()
    };
    for lost in [named(".dat.gz"), named("blob_4711.dat"), named("blobs.toc"), named("toc.dat")] {
        let bytes = fs::read(kept.path(&lost)).unwrap();
        fs::remove_file(kept.path(&lost)).unwrap();
        kept.is_damaged(&[&format!("{lost}: is missing")]);
        // A manifest without it.
        kept.rewrite(|manifest| manifest["files"].as_array_mut().unwrap().retain(|file| file["key"] != lost.as_str()));
        let words = if lost.ends_with("/toc.dat") { "cannot be a whole one" } else { "which is not in the archive" };
        kept.is_damaged(&[words]);
        kept.rewrite(|_| {});
        fs::write(kept.path(&lost), bytes).unwrap();
    }
    kept.is_good("full");

    // A complete data file without its last rows.
    let rows = named(".dat.gz");
    let whole = fs::read(kept.path(&rows)).unwrap();
    let mut plain = Vec::new();
    std::io::copy(&mut GzDecoder::new(whole.as_slice()), &mut plain).unwrap();
    let mut cut = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut cut, &plain[..plain.len() - 1]).unwrap();
    fs::write(kept.path(&rows), cut.finish().unwrap()).unwrap();
    kept.accept(&rows);
    kept.is_damaged(&[&format!("{rows}: its rows do not end as pg_dump ends them")]);
}

#[test]
fn an_encrypted_backup_is_checked_as_far_as_the_keys_allow() {
    let cluster = Cluster::shared(Version::V15);
    let database = sample(cluster);
    for format in ["custom", "plain", "directory"] {
        let cellar = Cellar::new(cluster);
        let (ours, theirs) = (keys::age(cellar.scratch(), "ours"), keys::age(cellar.scratch(), "theirs"));
        let kept =
            Kept::new(cellar.with("BACKUP_FORMAT", format).with("BACKUP_AGE_RECIPIENTS", &ours.recipient), &database);
        let with =
            |key: &keys::Key| kept.cellar.run(["verify", kept.id()]).env("BACKUP_AGE_IDENTITY_FILE", &key.identity);
        let outcome = kept.is_good("stored").says("stored bytes only");
        assert!(!outcome.stderr.contains(": good"), "{outcome}");
        assert_eq!(kept.cellar.list()[0]["status"], "good");
        let before = kept.record();
        let outcome = with(&theirs).fails(exit::NOPERM).says(&ours.recipient).says("BACKUP_AGE_IDENTITY_FILE");
        assert!(!outcome.stderr.contains("damaged"), "{outcome}");
        assert_eq!(kept.record(), before, "a wrong key says nothing of the bytes");
        with(&ours).succeeds().says(": good, 2 tables");
        assert_eq!(kept.record().unwrap()["depth"], "full");
        kept.is_good("full").says("stored bytes only");
        assert_eq!(kept.cellar.list()[0]["status"], "verified", "what a full verify found still holds");

        let archive = kept.archive();
        tree::flip_byte(&archive, 30);
        kept.is_damaged(&["SHA-256 of the stored bytes"]);
        with(&theirs).fails(exit::DATAERR).says("damaged");
        with(&ours).fails(exit::DATAERR).says("damaged").says(kept.key("archive"));
        tree::flip_byte(&archive, 30);
        tree::flip_byte(&archive, -1);
        with(&ours).fails(exit::DATAERR).says("the age file is corrupt").says("stored byte");

        // The file matches the manifest, and is not an archive.
        kept.accept(kept.key("archive"));
        with(&ours).fails(exit::DATAERR).says("the age file is corrupt");
        kept.cellar.run(["verify", kept.id()]).succeeds().says("stored bytes only");
        assert_eq!(kept.cellar.list()[0]["status"], "damaged", "{format}");
    }
}

#[test]
fn verify_continues_after_damage_and_counts_unusable_manifests() {
    let cluster = Cluster::shared(Version::V15);
    let database = sample(cluster);
    let other = cluster.create("verify_other");
    let kept = Kept::new(Cellar::new(cluster), &database);
    kept.cellar.back_up(other.name());
    let all = |arguments: &[&str]| kept.cellar.run(["verify", "--all"]).arguments(arguments);
    all(&[]).succeeds().says("all 2 backups are good");

    tree::flip_byte(&kept.archive(), middle(&kept.archive()));
    let folder = kept.cellar.backup_dir();
    fs::write(folder.join("a_20231231_020000.manifest.json"), "not JSON").unwrap();
    fs::write(folder.join("b_20231231_020000.manifest.json"), r#"{"manifest_version": 99}"#).unwrap();
    let mut outside = kept.manifest.clone();
    outside["id"] = json!("c_20231231_020000");
    outside["files"][0]["key"] = json!("../../../etc/passwd");
    fs::write(folder.join("c_20231231_020000.manifest.json"), outside.to_string()).unwrap();

    let outcome = all(&["--json"]).fails(exit::DATAERR).says("4 of 5 backups are damaged").says("../../../etc/passwd");
    let results: Vec<(String, String)> = outcome
        .json()
        .as_array()
        .unwrap()
        .iter()
        .map(|report| (report["id"].as_str().unwrap().to_owned(), report["result"].as_str().unwrap().to_owned()))
        .collect();
    for id in ["a_20231231_020000", "b_20231231_020000", "c_20231231_020000", kept.id()] {
        assert!(results.contains(&(id.to_owned(), "damaged".to_owned())), "{id} in {results:?}");
    }
    assert_eq!(results.iter().filter(|(_, result)| result == "good").count(), 1, "{results:?}");
    all(&["--database", other.name()]).succeeds().says("the one backup is good");
    for (id, word) in [("a", "not JSON"), ("b", "version 99"), ("c", "does not belong to its backup")] {
        kept.cellar.run(["verify", &format!("{id}_20231231_020000")]).fails(exit::DATAERR).says(word);
    }
    kept.cellar.run(["verify", "x_20231231_020000"]).fails(exit::NOINPUT).says("no backup 'x_20231231_020000'");
    Cellar::unconnected().run(["verify", "--all"]).fails(exit::NOINPUT).says("no backup to verify");
}

#[test]
fn an_unreadable_file_is_not_damage() {
    use std::os::unix::fs::PermissionsExt;
    let cluster = Cluster::shared(Version::V15);
    let kept = Kept::new(Cellar::new(cluster), &sample(cluster));
    kept.is_good("full");
    let before = kept.record();
    for file in tree::files(&kept.cellar.backup_dir()) {
        let open = if file == kept.archive() { 0o000 } else { 0o644 };
        fs::set_permissions(&file, fs::Permissions::from_mode(open)).unwrap();
    }
    let run = kept.cellar.run(["verify", kept.id()]).by_unprivileged_user();
    let outcome = run.fails(exit::NOPERM).says(kept.key("archive")).says("permission denied");
    assert!(!outcome.stderr.contains("damaged"), "{outcome}");
    assert_eq!(kept.record(), before);
    assert_eq!(kept.cellar.list()[0]["status"], "verified");
}

#[test]
fn an_interrupted_verify_records_nothing() {
    const HUGE: u64 = 64 << 30;
    let cluster = Cluster::shared(Version::V15);
    let kept = Kept::new(Cellar::new(cluster), &sample(cluster));
    // A sparse file of many gigabytes takes long to read and no space on the disk.
    File::options().write(true).open(kept.archive()).unwrap().set_len(HUGE).unwrap();
    kept.rewrite(|manifest| manifest["files"][0]["stored_bytes"] = json!(HUGE));
    for signal in [Signal::TERM, Signal::INT] {
        let mut running = kept.cellar.run(["verify", kept.id()]).start();
        let io = format!("/proc/{}/io", running.pid().as_raw_nonzero());
        let read = move || {
            let text = fs::read_to_string(&io).unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix("rchar: ")?.parse::<u64>().ok()).unwrap_or(0)
        };
        running.wait_until("much is read", || read() > 256 << 20);
        let printed = std::time::Instant::now();
        running.signal(signal);
        let outcome = running.wait();
        assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
        assert!(printed.elapsed() < Duration::from_secs(5), "{outcome}");
        assert!(outcome.stderr.contains("interrupted"), "{outcome}");
        assert_eq!(kept.record(), None);
    }
}

#[test]
fn a_tar_archive_is_good_only_with_pg_restore() {
    let cluster = Cluster::shared(Version::V15);
    let kept = Kept::new(Cellar::new(cluster).with("BACKUP_FORMAT", "tar"), &sample(cluster));
    let outcome = kept.cellar.run(["verify"]).env("PG_BINDIR", kept.cellar.scratch()).finish();
    assert_eq!(outcome.code(), Some(71), "{outcome}");
    assert!(outcome.stderr.contains("pg_restore is not installed"), "{outcome}");
    assert_eq!(kept.record(), None);
}

/// The result of a verify does not depend on space for its record.
#[test]
fn no_room_for_the_record_is_no_failure() {
    let backups = BackupFolder::new();
    let id = backups.add("shop", "2024-01-01T02:00:00Z");
    let damaged = backups.add("shop", "2024-01-02T02:00:00Z");
    tree::flip_byte(&backups.archive(&damaged), middle(&backups.archive(&damaged)));
    let over = backups.cellar.scratch().join("disk");
    fs::create_dir(&over).unwrap();
    let disk = SmallDisk::mount(&over, 1024);
    for file in tree::files(&backups.folder()) {
        fs::copy(&file, disk.path().join(file.file_name().unwrap())).unwrap();
    }
    let filler = File::create(disk.path().join("filler")).unwrap();
    let full = std::io::copy(&mut std::io::repeat(0), &mut &filler).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let run = |arguments: &[&str]| backups.cellar.run(arguments).env("BACKUP_DIR", disk.path());
    let outcome = run(&["verify", &id, "--json"]).succeeds().says("good, not recorded").says("no space left");
    assert_eq!(outcome.json()[0]["result"], "good");
    assert!(outcome.json()[0]["error"].as_str().unwrap().contains("no space left"), "{outcome}");
    let outcome = run(&["verify", "--all"]).fails(exit::DATAERR).says("1 of 2 backups are damaged");
    assert!(outcome.stderr.contains("damaged, not recorded"), "{outcome}");
    // The other verbs need no space; a pin that cannot be written fails.
    run(&["list"]).succeeds();
    run(&["show", &id]).succeeds();
    run(&["pin", &id]).fails(exit::CANTCREAT).says("no space left");
    assert_eq!(run(&["list", "--json"]).succeeds().json()[0]["pin"], Value::Null);
}

/// Creates something under a name.
type Make = fn(&Path);

/// All verbs report the same about something in place of an archive or a manifest, and none blocks on a pipe.
#[test]
fn every_verb_reports_what_is_not_a_file() {
    let backups = BackupFolder::new();
    let id = backups.add("shop", "2024-01-01T02:00:00Z");
    let kept = backups.folder().join("kept");
    let manifest = backups.folder().join(format!("{id}.manifest.json"));
    let run = |arguments: &[&str]| backups.cellar.run(arguments).within(Duration::from_secs(30));
    let makers: [(&str, Make); 3] = [
        ("a named pipe", |path| drop(must(std::process::Command::new("mkfifo").arg(path)))),
        ("a folder", |path| fs::create_dir(path).unwrap()),
        ("a dangling symbolic link", |path| std::os::unix::fs::symlink("nowhere", path).unwrap()),
    ];
    let clear = |path: &Path| if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) }.unwrap();
    for (what, make) in makers {
        fs::rename(backups.archive(&id), &kept).unwrap();
        make(&backups.archive(&id));
        let listed = run(&["list", "--json"]).succeeds().json();
        assert_eq!(listed[0]["status"], "damaged", "{listed}");
        assert!(listed[0]["damage"][0].as_str().unwrap().contains(what), "{listed}");
        run(&["verify", &id]).fails(exit::DATAERR).says(what);
        run(&["restore", &id]).fails(exit::DATAERR).says(what);
        run(&["show", &id]).finish();
        let report = run(&["monitor", "check"]).finish();
        assert!(format!("{report}").contains(what), "{report}");
        clear(&backups.archive(&id));
        fs::rename(&kept, backups.archive(&id)).unwrap();
        fs::remove_file(backups.folder().join(format!("{id}.verify.json"))).unwrap();

        fs::rename(&manifest, &kept).unwrap();
        make(&manifest);
        run(&["list"]).succeeds().says(what);
        for verb in ["verify", "restore", "show"] {
            run(&[verb, &id]).fails(exit::DATAERR).says(what);
        }
        let report = run(&["monitor", "check"]).finish();
        assert!(format!("{report}").contains("cannot be used"), "{report}");
        clear(&manifest);
        fs::rename(&kept, &manifest).unwrap();
    }
    // A link to the archive is the archive.
    fs::rename(backups.archive(&id), &kept).unwrap();
    std::os::unix::fs::symlink(&kept, backups.archive(&id)).unwrap();
    run(&["verify", &id]).succeeds().says("good");
    assert_eq!(run(&["list", "--json"]).succeeds().json()[0]["status"], "verified");
}

/// The archive is read once, however often a manifest names it.
#[test]
fn a_manifest_that_names_a_file_twice_is_refused() {
    let backups = BackupFolder::new();
    let double = |manifest: &mut Value| {
        let archive = manifest["files"][0].clone();
        manifest["files"].as_array_mut().unwrap().push(archive);
    };
    let id = backups.add_changed("shop", "2024-01-01T02:00:00Z", double);
    backups.cellar.run(["verify", &id]).fails(exit::DATAERR).says("twice");
    let once = backups.add("shop", "2024-01-02T02:00:00Z");
    let path = backups.folder().join(format!("{once}.manifest.json"));
    let text = fs::read_to_string(&path).unwrap().replacen('{', "{\"files\": [], ", 1);
    fs::write(&path, text).unwrap();
    backups.cellar.run(["verify", &once]).fails(exit::DATAERR).says("occurs twice");
}

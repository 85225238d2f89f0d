use std::path::{Path, PathBuf};

use super::*;
use crate::catalogue::records::drill::DrillOutcome;
use crate::store::local::LocalStore;

const SAMPLE: &str = include_str!("../../tests/golden/manifest.json");

/// The store in a folder.
fn store(folder: impl Into<PathBuf>) -> Arc<dyn Store> {
    Arc::new(LocalStore::new(folder))
}

/// A directory with backups that have two small files each.
struct Shelf {
    folder: tempfile::TempDir,
}

impl Shelf {
    fn new() -> Self {
        Shelf { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    /// A whole backup of this database, made at this second of the last day of 2023.
    fn back_up(&self, database: &str, second: u8) -> String {
        self.back_up_with(database, second, |_| {})
    }

    fn back_up_with(&self, database: &str, second: u8, change: impl FnOnce(&mut Manifest)) -> String {
        let mut manifest: Manifest = serde_json::from_str(SAMPLE).unwrap();
        manifest.started = format!("2023-12-31T02:00:{second:02}Z").parse().unwrap();
        manifest.id = name::id(database, manifest.started);
        manifest.database = database.to_owned();
        manifest.partial = false;
        for (file, extension) in manifest.files.iter_mut().zip(["dump", "globals.sql"]) {
            file.key = format!("{}.{extension}", manifest.id);
            file.stored_bytes = 3;
        }
        change(&mut manifest);
        for file in &manifest.files {
            self.put(&file.key, "abc");
        }
        self.put(&Manifest::key(&manifest.id), manifest.to_json().unwrap());
        manifest.id
    }

    fn record(&self, id: &str, passed: bool, depth: Depth) {
        let at = "2024-01-01T00:00:00Z".parse().unwrap();
        let record = Verification { id: id.to_owned(), at, passed, depth, damage: Vec::new() };
        self.put(&Verification::key(id), record.to_json().unwrap());
    }

    fn read(&self) -> Catalogue {
        Catalogue::read(&store(self.path())).unwrap()
    }

    fn backup(&self, id: &str) -> Backup {
        let all = self.read().backups.into_iter().find(|backup| backup.manifest.id == id).unwrap();
        let alone = Backup::read(&store(self.path()), id).unwrap().unwrap();
        assert_eq!((alone.status, &alone.damage), (all.status, &all.damage), "read alone and with the others");
        all
    }

    fn status(&self, id: &str) -> Status {
        self.backup(id).status
    }
}

#[test]
fn backups_are_in_the_order_of_their_age() {
    let shelf = Shelf::new();
    let ids = [shelf.back_up("b", 1), shelf.back_up("a", 2), shelf.back_up("b", 3)];
    let catalogue = shelf.read();
    let found: Vec<&str> = catalogue.backups.iter().map(|backup| backup.manifest.id.as_str()).collect();
    assert_eq!(found, ids);
    assert!(catalogue.unusable.is_empty() && catalogue.unmanaged.is_empty());
}

#[test]
fn damage_is_reported() {
    let shelf = Shelf::new();
    let good = shelf.back_up("foo", 1);
    let partial = shelf.back_up_with("foo", 2, |manifest| manifest.partial = true);
    let cut = shelf.back_up_with("foo", 3, |manifest| manifest.files[0].stored_bytes = 4);
    let missing = shelf.back_up("foo", 4);
    std::fs::remove_file(shelf.path().join(format!("{missing}.globals.sql"))).unwrap();
    let failed = shelf.back_up("foo", 5);
    shelf.record(&failed, false, Depth::Full);
    assert_eq!(shelf.status(&good), Status::Good);
    assert_eq!(shelf.status(&partial), Status::Partial);
    for damaged in [&cut, &missing, &failed] {
        assert_eq!(shelf.status(damaged), Status::Damaged, "{damaged}");
    }
    assert_eq!(shelf.backup(&cut).damage, [format!("{cut}.dump has 3 bytes instead of 4")]);
    assert_eq!(shelf.backup(&missing).faults(), [format!("{missing}.globals.sql is missing")]);
    assert!(Backup::read(&store(shelf.path()), "foo_20240101_000000").unwrap().is_none());
}

#[test]
fn a_full_verify_changes_the_status() {
    let shelf = Shelf::new();
    let id = shelf.back_up("foo", 1);
    assert_eq!(shelf.status(&id), Status::Good);
    shelf.record(&id, true, Depth::Stored);
    assert_eq!(shelf.status(&id), Status::Good);
    shelf.record(&id, true, Depth::Full);
    assert_eq!(shelf.status(&id), Status::Verified);
    let other = shelf.back_up("foo", 2);
    let record = std::fs::read(shelf.path().join(Verification::key(&id))).unwrap();
    shelf.put(&Verification::key(&other), record);
    assert_eq!(shelf.status(&other), Status::Good, "another backup's record");
}

#[test]
fn an_unreadable_result_is_reported_and_proves_nothing() {
    let shelf = Shelf::new();
    let id = shelf.back_up("foo", 1);
    let mut drill: DrillRecord = serde_json::from_str(include_str!("../../tests/golden/drill.json")).unwrap();
    drill.id.clone_from(&id);
    drill.archive_sha256 = crate::catalogue::records::drill::archive_sha256(&shelf.read().backups[0].manifest);
    drill.result = DrillOutcome::Passed;
    shelf.put(&DrillRecord::key(&id), drill.to_json().unwrap());
    let twice = format!(r#"{{"id": "{id}", "at": "2024-01-01T00:00:00Z", "passed": false, "passed": true}}"#);
    for broken in ["", "not JSON", "{}", &twice] {
        shelf.put(&Verification::key(&id), broken);
        let backup = shelf.backup(&id);
        assert_eq!((backup.status, &backup.verification), (Status::Good, &None), "{broken}");
        assert!(backup.verification_error.is_some() && !backup.is_proven(), "{broken}");
    }
    std::fs::remove_file(shelf.path().join(Verification::key(&id))).unwrap();
    assert!(shelf.backup(&id).is_proven());
    std::fs::create_dir(shelf.path().join(Verification::key(&id))).unwrap();
    let backup = shelf.backup(&id);
    assert!(backup.verification_error.is_some_and(|error| error.contains("it is a folder")));
}

/// Puts something under a name.
type Make = fn(&Path);

#[test]
fn what_has_the_name_of_a_file_is_described() {
    let shelf = Shelf::new();
    let id = shelf.back_up("foo", 1);
    let archive = shelf.path().join(format!("{id}.dump"));
    let manifest = shelf.path().join(Manifest::key(&id));
    let kept = shelf.path().join("kept");
    let places: [(&str, Make); 4] = [
        ("a named pipe", |path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap()
        }),
        ("a folder", |path| std::fs::create_dir(path).unwrap()),
        ("a socket", |path| drop(std::os::unix::net::UnixListener::bind(path).unwrap())),
        ("a dangling symbolic link", |path| std::os::unix::fs::symlink(path, path).unwrap()),
    ];
    for (what, make) in places {
        std::fs::rename(&archive, &kept).unwrap();
        make(&archive);
        assert_eq!(shelf.backup(&id).damage, [format!("{id}.dump is {what}, not a file")]);
        if what == "a folder" {
            std::fs::remove_dir(&archive).unwrap()
        } else {
            std::fs::remove_file(&archive).unwrap()
        }
        std::fs::rename(&kept, &archive).unwrap();
        std::fs::rename(&manifest, &kept).unwrap();
        make(&manifest);
        let catalogue = shelf.read();
        assert_eq!((catalogue.backups.len(), catalogue.unusable.len()), (0, 1), "{what}");
        assert!(catalogue.unusable[0].error.message().contains(what), "{}", catalogue.unusable[0].error);
        if what == "a folder" {
            std::fs::remove_dir(&manifest).unwrap()
        } else {
            std::fs::remove_file(&manifest).unwrap()
        }
        // A link to the file is the file.
        std::os::unix::fs::symlink(&kept, &manifest).unwrap();
        assert_eq!(shelf.status(&id), Status::Good);
        std::fs::rename(&kept, &manifest).unwrap();
    }
    std::fs::rename(&archive, &kept).unwrap();
    std::os::unix::fs::symlink(&kept, &archive).unwrap();
    assert_eq!(shelf.status(&id), Status::Good);
    std::fs::remove_file(&kept).unwrap();
    assert_eq!(shelf.backup(&id).damage, [format!("{id}.dump is a dangling symbolic link, not a file")]);
}

#[test]
fn an_unreadable_pin_pins_too() {
    let shelf = Shelf::new();
    let (pinned, broken) = (shelf.back_up("foo", 1), shelf.back_up("foo", 2));
    shelf.back_up("foo", 3);
    let at = "2024-01-01T00:00:00Z".parse().unwrap();
    let pin = Pin { id: pinned.clone(), at, reason: Some("before the move".to_owned()) };
    shelf.put(&Pin::key(&pinned), pin.to_json().unwrap());
    shelf.put(&Pin::key(&broken), "");
    shelf.put("gone_20231231_020000.pin.json", "{}");
    let catalogue = shelf.read();
    let pins: Vec<Option<&Pin>> = catalogue.backups.iter().map(|backup| backup.pin.as_ref()).collect();
    assert_eq!(pins[0], Some(&pin));
    assert_eq!(pins[1].map(|pin| pin.id.as_str()), Some(broken.as_str()));
    assert_eq!(pins[2], None);
    assert!(catalogue.unmanaged.is_empty(), "{:?}", catalogue.unmanaged);
}

#[test]
fn a_drill_proves_its_archive_unless_it_is_damaged() {
    let shelf = Shelf::new();
    let id = shelf.back_up("foo", 1);
    let proven = || shelf.read().backups[0].is_proven();
    let manifest = shelf.read().backups[0].manifest.clone();
    let mut drill: DrillRecord = serde_json::from_str(include_str!("../../tests/golden/drill.json")).unwrap();
    drill.id.clone_from(&id);
    drill.archive_sha256 = crate::catalogue::records::drill::archive_sha256(&manifest);
    for (result, proof) in
        [(DrillOutcome::Failed, false), (DrillOutcome::Restored, false), (DrillOutcome::Passed, true)]
    {
        drill.result = result;
        shelf.put(&DrillRecord::key(&id), drill.to_json().unwrap());
        assert_eq!(proven(), proof, "{result:?}");
    }
    assert!(shelf.read().unmanaged.is_empty());
    let asked = Backup::read(&store(shelf.path()), &id).unwrap().unwrap();
    assert_eq!(asked.drill, Some(drill.clone()));
    shelf.record(&id, false, Depth::Stored);
    assert!(!proven(), "a verify has found it damaged since");
    shelf.record(&id, true, Depth::Stored);
    drill.archive_sha256 = "0".repeat(64);
    shelf.put(&DrillRecord::key(&id), drill.to_json().unwrap());
    assert!(!proven(), "another archive's record");
}

#[test]
fn unusable_manifests_are_listed() {
    let shelf = Shelf::new();
    let good = shelf.back_up("foo", 1);
    shelf.put("a_20231231_020000.manifest.json", "not JSON");
    shelf.put("b_20231231_020000.manifest.json", r#"{"manifest_version": 99}"#);
    shelf.back_up_with("foo", 2, |manifest| manifest.id = "c_20231231_020000".to_owned());
    shelf.put("foo_20240101_020000.manifest.json", std::fs::read(shelf.path().join(Manifest::key(&good))).unwrap());
    let catalogue = shelf.read();
    assert_eq!(catalogue.backups.len(), 1);
    let why: Vec<(&str, bool)> =
        catalogue.unusable.iter().map(|bad| (bad.key.as_str(), bad.error.kind() == Kind::Data)).collect();
    let keys = ["a_20231231_020000", "b_20231231_020000", "c_20231231_020000", "foo_20240101_020000"];
    assert_eq!(why, keys.map(Manifest::key).each_ref().map(|key| (key.as_str(), true)));
    let asked = Backup::read(&store(shelf.path()), "a_20231231_020000").unwrap_err();
    assert!(asked.kind() == Kind::Data && asked.message().contains("not JSON"), "{asked}");
}

#[test]
fn files_without_a_manifest_are_unmanaged() {
    let shelf = Shelf::new();
    let id = shelf.back_up("foo", 1);
    shelf.record(&id, true, Depth::Full);
    shelf.put("seed_db_20231231_020000.dump.gz", "x");
    shelf.put(&format!("{id}.dump.gz"), "x");
    std::fs::create_dir(shelf.path().join("old_20231231_020000")).unwrap();
    shelf.put("old_20231231_020000/toc.dat", "x");
    shelf.put("old_20231231_020000/1.dat", "x");
    shelf.put("gone_20231231_020000.verify.json", "{}");
    shelf.put("newer_20231231_020000.manifest.json", r#"{"manifest_version": 99}"#);
    shelf.put("newer_20231231_020000.dump.gz", "x");
    for foreign in ["README", "foo.dump", ".hidden_20231231_020000.dump", "foo_20231231_020009.dump.partial"] {
        shelf.put(foreign, "x");
    }
    let expected = ["foo_20231231_020001.dump.gz", "old_20231231_020000", "seed_db_20231231_020000.dump.gz"];
    assert_eq!(shelf.read().unmanaged, expected);
}

#[test]
fn json_of_a_backup_is_its_manifest_and_its_state() {
    let shelf = Shelf::new();
    let id = shelf.back_up("foo", 1);
    let json = serde_json::to_value(&shelf.read().backups).unwrap();
    assert_eq!(json[0]["id"], id);
    assert_eq!(json[0]["store"], "local");
    assert_eq!(json[0]["status"], "good");
    assert_eq!(json[0]["verification"], serde_json::Value::Null);
    assert_eq!(json[0]["damage"], serde_json::json!([]));
}

#[test]
fn a_missing_directory_is_an_error() {
    let error = Catalogue::read(&store("/nonexistent/backups")).unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
}

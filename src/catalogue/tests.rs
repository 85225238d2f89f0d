use std::path::Path;

use super::*;
use crate::store::local::LocalStore;

const SAMPLE: &str = include_str!("../../tests/golden/manifest.json");

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
        Catalogue::read(&LocalStore::new(self.path())).unwrap()
    }

    fn status(&self, id: &str) -> Status {
        self.read().resolve(id, None).unwrap().status
    }
}

fn id_of(found: Result<&Backup>) -> String {
    found.unwrap().manifest.id.clone()
}

#[test]
fn oldest_first() {
    let shelf = Shelf::new();
    let ids = [shelf.back_up("b", 1), shelf.back_up("a", 2), shelf.back_up("b", 3)];
    let catalogue = shelf.read();
    let found: Vec<&str> = catalogue.backups.iter().map(|backup| backup.manifest.id.as_str()).collect();
    assert_eq!(found, ids);
    assert!(catalogue.unusable.is_empty() && catalogue.unmanaged.is_empty());
}

#[test]
fn found_by_id_and_by_unique_beginning() {
    let shelf = Shelf::new();
    let (first, second) = (shelf.back_up("foo", 1), shelf.back_up("foo", 2));
    let bar = shelf.back_up("foobar", 3);
    let catalogue = shelf.read();
    assert_eq!(id_of(catalogue.resolve(&first, None)), first);
    assert_eq!(id_of(catalogue.resolve("foo_20231231_020002", None)), second);
    assert_eq!(id_of(catalogue.resolve("foobar", None)), bar);
    assert_eq!(id_of(catalogue.resolve("foobar_2023", None)), bar);
    let several = catalogue.resolve("foo", None).unwrap_err();
    assert_eq!(several.kind(), Kind::Usage);
    assert!(several.message().contains("2 backups") && several.message().contains(&first), "{several}");
}

#[test]
fn a_part_of_a_databases_name_is_no_beginning() {
    let shelf = Shelf::new();
    shelf.back_up("foobar", 1);
    let bar = shelf.back_up("foo_bar", 2);
    let catalogue = shelf.read();
    for wanted in ["foo", "foo_", "foob", "f", "", "foobar_20231231_020009", "foo_bar_20231231_0200021"] {
        assert_eq!(catalogue.resolve(wanted, None).unwrap_err().kind(), Kind::Missing, "{wanted}");
    }
    assert_eq!(id_of(catalogue.resolve("foo_bar_", None)), bar);
}

#[test]
fn latest_of_one_database() {
    let shelf = Shelf::new();
    shelf.back_up("foo", 1);
    let newest = shelf.back_up("foo", 2);
    assert_eq!(id_of(shelf.read().resolve("latest", None)), newest);
    let bar = shelf.back_up("foobar", 3);
    let catalogue = shelf.read();
    assert_eq!(id_of(catalogue.resolve("latest", Some("foo"))), newest);
    assert_eq!(id_of(catalogue.resolve("latest", Some("foobar"))), bar);
    let which = catalogue.resolve("latest", None).unwrap_err();
    assert_eq!(which.kind(), Kind::Usage);
    assert!(which.message().contains("foo, foobar"), "{which}");
    assert_eq!(catalogue.resolve("latest", Some("fo")).unwrap_err().kind(), Kind::Missing);
    assert_eq!(Shelf::new().read().resolve("latest", None).unwrap_err().kind(), Kind::Missing);
}

#[test]
fn a_database_selects_among_ids_too() {
    let shelf = Shelf::new();
    let id = shelf.back_up("foo", 1);
    assert_eq!(shelf.read().resolve(&id, Some("bar")).unwrap_err().kind(), Kind::Missing);
}

#[test]
fn latest_is_whole_and_good() {
    let shelf = Shelf::new();
    let good = shelf.back_up("foo", 1);
    let partial = shelf.back_up_with("foo", 2, |manifest| manifest.partial = true);
    let cut = shelf.back_up_with("foo", 3, |manifest| manifest.files[0].stored_bytes = 4);
    let missing = shelf.back_up("foo", 4);
    std::fs::remove_file(shelf.path().join(format!("{missing}.globals.sql"))).unwrap();
    let failed = shelf.back_up("foo", 5);
    shelf.record(&failed, false, Depth::Full);
    assert_eq!(id_of(shelf.read().resolve("latest", None)), good);
    assert_eq!(shelf.status(&partial), Status::Partial);
    for damaged in [&cut, &missing, &failed] {
        assert_eq!(shelf.status(damaged), Status::Damaged, "{damaged}");
    }
    let catalogue = shelf.read();
    assert_eq!(catalogue.resolve(&cut, None).unwrap().damage, [format!("{cut}.dump has 3 bytes instead of 4")]);
    assert_eq!(catalogue.resolve(&missing, None).unwrap().damage, [format!("{missing}.globals.sql is missing")]);
}

#[test]
fn a_full_verify_shows() {
    let shelf = Shelf::new();
    let id = shelf.back_up("foo", 1);
    assert_eq!(shelf.status(&id), Status::Good);
    shelf.record(&id, true, Depth::Stored);
    assert_eq!(shelf.status(&id), Status::Good);
    shelf.record(&id, true, Depth::Full);
    assert_eq!(shelf.status(&id), Status::Verified);
    assert_eq!(id_of(shelf.read().resolve("latest", None)), id);
    let other = shelf.back_up("foo", 2);
    let record = std::fs::read(shelf.path().join(Verification::key(&id))).unwrap();
    shelf.put(&Verification::key(&other), record);
    assert_eq!(shelf.status(&other), Status::Good, "another backup's record");
}

#[test]
fn manifests_that_cannot_be_used_are_named() {
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
    let asked = catalogue.resolve("a_20231231_020000", None).unwrap_err();
    assert!(asked.kind() == Kind::Data && asked.message().contains("not JSON"), "{asked}");
}

#[test]
fn files_without_a_manifest_are_told_and_nothing_else() {
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
fn machines_read_a_backup_as_its_manifest_and_more() {
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
fn a_directory_that_is_not_there() {
    let error = Catalogue::read(&LocalStore::new("/nonexistent/backups")).unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
}

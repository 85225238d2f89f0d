use std::io::Read;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use jiff::Timestamp;

use super::*;
use crate::catalogue::records::Verification;
use crate::store::local::LocalStore;
use crate::store::{StoreEntry, StoreKind, Upload};

const SAMPLE: &str = include_str!("../../../tests/golden/manifest.json");

/// What another process does in a folder when a step has come.
type Window = Box<dyn FnMut(&LocalStore) + Send>;

/// A folder in which another process intervenes between two steps: once, before an operation on a key with this ending.
struct Held {
    store: LocalStore,
    before: (&'static str, &'static str),
    /// How many such operations pass before.
    passes: Mutex<usize>,
    window: Mutex<Option<Window>>,
}

impl Held {
    fn new(shelf: &Shelf, before: (&'static str, &'static str), passes: usize, window: Window) -> Held {
        Held { store: shelf.store.clone(), before, passes: Mutex::new(passes), window: Mutex::new(Some(window)) }
    }

    fn step(&self, operation: &str, key: &str) {
        if self.before.0 != operation || !key.ends_with(self.before.1) {
            return;
        }
        let mut passes = self.passes.lock().unwrap();
        if *passes > 0 {
            *passes -= 1;
        } else if let Some(mut window) = self.window.lock().unwrap().take() {
            window(&self.store);
        }
    }

    fn was_open(&self) -> bool {
        self.window.lock().unwrap().is_none()
    }
}

impl Store for Held {
    fn kind(&self) -> StoreKind {
        self.store.kind()
    }

    fn location(&self) -> String {
        self.store.location()
    }

    fn create(&self, key: &str, bytes: Option<u64>, kind: ObjectKind) -> Result<Box<dyn Upload>> {
        self.store.create(key, bytes, kind)
    }

    fn read(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>> {
        self.store.read(key, offset)
    }

    fn size(&self, key: &str) -> Result<Option<u64>> {
        self.step("size", key);
        self.store.size(key)
    }

    fn list(&self) -> Result<Vec<StoreEntry>> {
        self.store.list()
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.step("delete", key);
        self.store.delete(key)
    }

    fn replace(&self, key: &str, bytes: &[u8], kind: ObjectKind) -> Result<()> {
        self.step("replace", key);
        self.store.replace(key, bytes, kind)
    }

    fn withdraw(&self, key: &str) -> Result<()> {
        self.step("withdraw", key);
        self.store.withdraw(key)
    }

    fn reinstate(&self, key: &str) -> Result<()> {
        self.step("reinstate", key);
        self.store.reinstate(key)
    }

    fn announce(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.store.announce(key, bytes)
    }

    fn partials(&self) -> Result<Vec<StoreEntry>> {
        self.store.partials()
    }

    fn read_partial(&self, key: &str) -> Result<Vec<u8>> {
        self.store.read_partial(key)
    }

    fn discard(&self, key: &str) -> Result<()> {
        self.step("discard", key);
        self.store.discard(key)
    }

    fn is_labelled(&self, key: &str) -> Result<bool> {
        self.store.is_labelled(key)
    }

    fn locked_until(&self, key: &str) -> Result<Option<Timestamp>> {
        self.store.locked_until(key)
    }
}

/// A folder with one backup.
struct Shelf {
    _folder: tempfile::TempDir,
    store: LocalStore,
    manifest: Manifest,
}

impl Shelf {
    fn new() -> Shelf {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let mut manifest: Manifest = serde_json::from_str(SAMPLE).unwrap();
        for file in &mut manifest.files {
            file.stored_bytes = 3;
            store.replace(&file.key, b"abc", ObjectKind::Archive).unwrap();
        }
        store.replace(&Manifest::key(&manifest.id), &manifest.to_json().unwrap(), ObjectKind::Document).unwrap();
        Shelf { _folder: folder, store, manifest }
    }

    fn id(&self) -> &str {
        &self.manifest.id
    }

    fn pin(&self) -> Pin {
        Pin { id: self.id().to_owned(), at: Timestamp::UNIX_EPOCH, reason: None }
    }

    fn names(&self) -> Vec<String> {
        let partials = self.store.partials().unwrap().into_iter().map(|entry| entry.key + " (partial)");
        self.store.list().unwrap().into_iter().map(|entry| entry.key).chain(partials).collect()
    }

    /// All of the backup is there, and its pin.
    fn is_pinned(&self) {
        let mut names: Vec<String> = self.manifest.files.iter().map(|file| file.key.clone()).collect();
        names.extend([Manifest::key(self.id()), Pin::key(self.id())]);
        names.sort();
        assert_eq!(self.names(), names);
    }
}

/// A removal, as retention does it.
fn remove(store: &dyn Store, manifest: &Manifest) -> Result<()> {
    withdraw(store, &manifest.id)?;
    manifest.files.iter().try_for_each(|file| store.delete(&file.key))?;
    store.delete(&Verification::key(&manifest.id))?;
    store.discard(&Manifest::key(&manifest.id))
}

fn wait_until(condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

type Pinning = Arc<Mutex<Option<JoinHandle<Result<()>>>>>;

/// Begins to pin beside, and goes on when the pin is written.
fn begins_to_pin(shelf: &Shelf) -> (Pinning, Window) {
    let (pinning, of_backup) = (Pinning::default(), shelf.pin());
    let begun = Arc::clone(&pinning);
    let window = move |store: &LocalStore| {
        let (ours, key, of_backup) = (store.clone(), Pin::key(&of_backup.id), of_backup.clone());
        *begun.lock().unwrap() = Some(std::thread::spawn(move || pin(&ours, &of_backup)));
        wait_until(|| store.size(&key).unwrap().is_some());
    };
    (pinning, Box::new(window))
}

fn ended(pinning: &Pinning) -> Result<()> {
    pinning.lock().unwrap().take().expect("nothing was pinned").join().unwrap()
}

#[test]
fn a_pin_before_the_second_check_holds() {
    // Before the manifest is withdrawn, and behind it.
    for before in [("withdraw", ".manifest.json"), ("size", ".pin.json")] {
        let shelf = Shelf::new();
        let (pinning, window) = begins_to_pin(&shelf);
        let held = Held::new(&shelf, before, usize::from(before.0 == "size"), window);
        let error = remove(&held, &shelf.manifest).unwrap_err();
        assert_eq!(error.kind(), Kind::TryAgain, "{error}");
        ended(&pinning).unwrap_or_else(|error| panic!("{before:?}: {error}"));
        shelf.is_pinned();
    }
}

#[test]
fn a_later_pin_fails_and_leaves_nothing() {
    for before in [("delete", ".dump.gz.age"), ("delete", ".verify.json"), ("discard", ".manifest.json")] {
        let shelf = Shelf::new();
        let (pinning, window) = begins_to_pin(&shelf);
        let held = Held::new(&shelf, before, 0, window);
        remove(&held, &shelf.manifest).unwrap();
        let error = ended(&pinning).unwrap_err();
        assert_eq!(error.kind(), Kind::Missing, "{before:?}: {error}");
        assert_eq!(shelf.names(), [""; 0], "{before:?}");
    }
}

/// The first of two is about to take its pin away when the manifest comes back because of the second's.
#[test]
fn one_pin_does_not_remove_another() {
    let shelf = Shelf::new();
    let manifest = Manifest::key(shelf.id());
    let bytes = shelf.manifest.to_json().unwrap();
    shelf.store.delete(&manifest).unwrap();
    let back = move |store: &LocalStore| store.replace(&manifest, &bytes, ObjectKind::Document).unwrap();
    let held = Held::new(&shelf, ("delete", ".pin.json"), 0, Box::new(back));
    pin(&held, &shelf.pin()).unwrap();
    assert!(held.was_open());
    shelf.is_pinned();
}

#[test]
fn a_pinned_backup_is_not_withdrawn() {
    let shelf = Shelf::new();
    pin(&shelf.store, &shelf.pin()).unwrap();
    assert_eq!(withdraw(&shelf.store, shelf.id()).unwrap_err().kind(), Kind::TryAgain);
    shelf.is_pinned();
}

#[test]
fn a_record_of_a_removed_backup_is_deleted() {
    let shelf = Shelf::new();
    let key = Verification::key(shelf.id());
    let manifest = shelf.manifest.clone();
    let removed = move |store: &LocalStore| remove(store, &manifest).unwrap();
    // Between the look for the manifest and the writing: the removal deletes what is there, and then this comes.
    let held = Held::new(&shelf, ("replace", ".verify.json"), 0, Box::new(removed));
    assert!(!write(&held, shelf.id(), &key, b"{}").unwrap());
    assert!(held.was_open());
    assert_eq!(shelf.names(), [""; 0]);
    let shelf = Shelf::new();
    assert!(write(&shelf.store, shelf.id(), &key, b"{}").unwrap());
    assert!(shelf.names().contains(&key));
}

#[test]
fn a_withdrawn_manifest_is_reinstated_if_the_backup_is_pinned_and_complete() {
    let shelf = Shelf::new();
    shelf.store.withdraw(&Manifest::key(shelf.id())).unwrap();
    assert!(!is_to_be_reinstated(&shelf.store, &shelf.manifest).unwrap());
    shelf.store.replace(&Pin::key(shelf.id()), &shelf.pin().to_json().unwrap(), ObjectKind::Record).unwrap();
    assert!(is_to_be_reinstated(&shelf.store, &shelf.manifest).unwrap());
    shelf.store.delete(&shelf.manifest.files[0].key).unwrap();
    assert!(!is_to_be_reinstated(&shelf.store, &shelf.manifest).unwrap());
}

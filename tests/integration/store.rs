//! The rules of every store. The suite takes an empty `&dyn Store`; each kind of store runs all of it.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pgcellar::error::Kind;
use pgcellar::store::local::LocalStore;
use pgcellar::store::s3::S3Store;
use pgcellar::store::{ObjectKind, Store, StoreKind};

use crate::common::process::new_folder;
use crate::common::s3_server::S3Server;

mod local;

/// Keys of backups, with everything that an escaped name may contain.
const KEYS: &[&str] = &[
    "shop_20231231_020000.dump.gz",
    "shop_20231231_020000.manifest.json",
    "shop_20231231_020000/toc.dat",
    "shop_20231231_020000/3456.dat.gz.age",
    "my%20shop_20231231_020000.dump",
    "%2Df%2F%2E%2E%22%27_20231231_020000.dump",
    "%C3%BC.x-y_20231231_020000.tar.zst",
];

/// Keys that must not lead anywhere.
const OUTSIDE: &[&str] = &["", "/", "/etc/passwd", "..", "../x", "a/../x", "a/../../x", "./a", "a/./b", "a\0b"];

/// All rules, in an order in which each finds the store as it needs it.
fn conforms(store: &dyn Store) {
    assert_eq!(keys(store), Vec::<String>::new(), "the suite begins with an empty store");
    written_bytes_are_read_back(store);
    any_part_is_read(store);
    nothing_is_seen_before_commit(store);
    what_is_not_committed_leaves_nothing(store);
    nothing_is_overwritten(store);
    small_objects_are_replaced_whole(store);
    missing_objects_are_reported(store);
    keys_that_lead_outside_are_refused(store);
    writers_do_not_disturb_each_other(store);
    deleted_objects_are_gone(store);
    a_folder_has_its_own_objects(store);
    large_objects_are_read_from_anywhere(store);
    long_lists_are_whole(store);
    withdrawn_objects_are_out_of_sight(store);
    announcements_are_not_listed(store);
    what_was_left_behind_can_be_discarded(store);
    assert_eq!(keys(store), Vec::<String>::new(), "the suite leaves nothing behind");
    assert_eq!(partials(store), Vec::<String>::new(), "the suite leaves nothing behind");
}

fn put(store: &dyn Store, key: &str, bytes: &[u8]) {
    let mut upload = store.create(key, None, ObjectKind::Archive).unwrap();
    upload.write_all(bytes).unwrap();
    upload.seal().unwrap();
    upload.commit().unwrap();
}

fn get(store: &dyn Store, key: &str, offset: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    store.read(key, offset).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

fn keys(store: &dyn Store) -> Vec<String> {
    store.list().unwrap().into_iter().map(|entry| entry.key).collect()
}

fn partials(store: &dyn Store) -> Vec<String> {
    store.partials().unwrap().into_iter().map(|entry| entry.key).collect()
}

fn delete_all(store: &dyn Store) {
    keys(store).iter().for_each(|key| store.delete(key).unwrap());
}

/// Bytes that differ from their neighbours.
fn pattern(length: usize, seed: u64) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 7) as u8).collect()
}

fn written_bytes_are_read_back(store: &dyn Store) {
    for (seed, key) in (0..).zip(KEYS) {
        // Several megabytes, an empty object, and sizes around those of blocks.
        let length = [0, 1, 4096, 65_537, 9 << 20][seed as usize % 5];
        put(store, key, &pattern(length, seed));
    }
    let mut sorted = KEYS.to_vec();
    sorted.sort_unstable();
    assert_eq!(keys(store), sorted);
    for (seed, key) in (0..).zip(KEYS) {
        let length = [0, 1, 4096, 65_537, 9 << 20][seed as usize % 5];
        assert!(get(store, key, 0) == pattern(length, seed), "{key}");
        assert_eq!(store.size(key).unwrap(), Some(length as u64), "{key}");
    }
    let sizes: u64 = store.list().unwrap().iter().map(|entry| entry.bytes).sum();
    assert_eq!(sizes, KEYS.iter().map(|key| store.size(key).unwrap().unwrap()).sum::<u64>());
    delete_all(store);
}

fn any_part_is_read(store: &dyn Store) {
    let bytes = pattern(100_000, 7);
    put(store, KEYS[0], &bytes);
    for offset in [0, 1, 65_536, 99_999, 100_000] {
        assert!(get(store, KEYS[0], offset) == bytes[offset as usize..], "{offset}");
    }
    let mut beginning = [0; 10];
    store.read(KEYS[0], 5).unwrap().read_exact(&mut beginning).unwrap();
    assert_eq!(beginning, bytes[5..15]);
    delete_all(store);
}

fn nothing_is_seen_before_commit(store: &dyn Store) {
    for key in KEYS {
        let unseen = || store.size(key).unwrap().is_none() && !keys(store).iter().any(|listed| listed == key);
        let mut upload = store.create(key, None, ObjectKind::Archive).unwrap();
        assert!(unseen(), "{key} is seen before its first byte");
        upload.write_all(&pattern(100_000, 1)).unwrap();
        upload.flush().unwrap();
        assert!(unseen(), "{key} is seen while it is written");
        upload.seal().unwrap();
        assert!(unseen(), "{key} is seen when it is sealed");
        assert_eq!(store.read(key, 0).err().map(|error| error.kind()), Some(Kind::Missing), "{key}");
        upload.commit().unwrap();
        assert!(!unseen(), "{key} is not seen when it is committed");
    }
    delete_all(store);
}

fn what_is_not_committed_leaves_nothing(store: &dyn Store) {
    drop(store.create(KEYS[0], None, ObjectKind::Archive).unwrap());
    let mut upload = store.create(KEYS[0], None, ObjectKind::Archive).unwrap();
    upload.write_all(b"half").unwrap();
    drop(upload);
    let mut upload = store.create(KEYS[0], None, ObjectKind::Archive).unwrap();
    upload.write_all(b"all of it").unwrap();
    upload.seal().unwrap();
    drop(upload);
    assert_eq!(keys(store), Vec::<String>::new());
    // The key is free: nothing of the earlier uploads is left.
    put(store, KEYS[0], b"new");
    assert_eq!(get(store, KEYS[0], 0), b"new");
    delete_all(store);
}

fn nothing_is_overwritten(store: &dyn Store) {
    put(store, KEYS[0], b"old");
    // A store may refuse at the start or at the commit.
    let refused = match store.create(KEYS[0], None, ObjectKind::Archive) {
        Err(error) => error,
        Ok(mut upload) => {
            upload.write_all(b"new").unwrap();
            upload.seal().unwrap();
            upload.commit().unwrap_err()
        }
    };
    assert_eq!(refused.kind(), Kind::CannotWrite, "{refused}");
    assert_eq!(get(store, KEYS[0], 0), b"old");
    assert_eq!(keys(store), [KEYS[0]]);
    delete_all(store);
}

fn small_objects_are_replaced_whole(store: &dyn Store) {
    const KEY: &str = "shop_20231231_020000.verify.json";
    store.replace(KEY, b"first", ObjectKind::Record).unwrap();
    assert_eq!(get(store, KEY, 0), b"first");
    store.replace(KEY, b"2", ObjectKind::Record).unwrap();
    assert_eq!(get(store, KEY, 0), b"2");
    // Two writers and a reader: the reader never sees a mixture or an incomplete object.
    let versions: [Vec<u8>; 2] = [vec![b'a'; 200_000], vec![b'b'; 100_000]];
    store.replace(KEY, &versions[0], ObjectKind::Record).unwrap();
    std::thread::scope(|scope| {
        let writers: Vec<_> = versions
            .iter()
            .map(|version| {
                scope.spawn(move || (0..20).for_each(|_| store.replace(KEY, version, ObjectKind::Record).unwrap()))
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            let seen = get(store, KEY, 0);
            assert!(versions.contains(&seen), "{} bytes, beginning with {:?}", seen.len(), seen.first());
        }
    });
    assert_eq!(keys(store), [KEY]);
    delete_all(store);
}

fn missing_objects_are_reported(store: &dyn Store) {
    for key in KEYS {
        assert_eq!(store.size(key).unwrap(), None, "{key}");
        assert_eq!(store.read(key, 0).err().map(|error| error.kind()), Some(Kind::Missing), "{key}");
        store.delete(key).unwrap();
    }
}

fn keys_that_lead_outside_are_refused(store: &dyn Store) {
    for key in OUTSIDE {
        assert!(store.create(key, None, ObjectKind::Archive).is_err(), "{key:?} was created");
        assert!(store.read(key, 0).is_err(), "{key:?} was read");
        assert!(store.size(key).is_err(), "{key:?} was looked at");
        assert!(store.delete(key).is_err(), "{key:?} was deleted");
        assert!(store.replace(key, b"x", ObjectKind::Record).is_err(), "{key:?} was replaced");
        assert!(store.withdraw(key).is_err(), "{key:?} was withdrawn");
        assert!(store.announce(key, b"x").is_err(), "{key:?} was announced");
        assert!(store.read_partial(key).is_err(), "{key:?} was read");
        assert!(store.discard(key).is_err(), "{key:?} was discarded");
    }
}

fn writers_do_not_disturb_each_other(store: &dyn Store) {
    std::thread::scope(|scope| {
        for (seed, key) in (0..).zip(KEYS) {
            scope.spawn(move || put(store, key, &pattern(300_000, seed)));
        }
    });
    for (seed, key) in (0..).zip(KEYS) {
        assert!(get(store, key, 0) == pattern(300_000, seed), "{key}");
    }
    delete_all(store);
    // Of several writers of one key one wins completely.
    let won: Vec<u64> = std::thread::scope(|scope| {
        let write = |seed| {
            let mut upload = store.create(KEYS[0], None, ObjectKind::Archive).ok()?;
            upload.write_all(&pattern(300_000, seed)).ok()?;
            upload.seal().ok()?;
            upload.commit().ok().map(|()| seed)
        };
        let writers: Vec<_> = (0..4).map(|seed| scope.spawn(move || write(seed))).collect();
        writers.into_iter().filter_map(|writer| writer.join().unwrap()).collect()
    });
    assert_eq!(won.len(), 1, "{won:?}");
    assert!(get(store, KEYS[0], 0) == pattern(300_000, won[0]));
    delete_all(store);
}

fn deleted_objects_are_gone(store: &dyn Store) {
    KEYS.iter().for_each(|key| put(store, key, b"x"));
    for (at, key) in KEYS.iter().enumerate() {
        store.delete(key).unwrap();
        assert_eq!(store.size(key).unwrap(), None, "{key}");
        assert_eq!(keys(store).len(), KEYS.len() - at - 1);
        store.delete(key).unwrap();
    }
}

fn a_folder_has_its_own_objects(store: &dyn Store) {
    for key in ["my%20shop/toc.dat", "my%20shop/1 +%2.dat", "my%20shopping/toc.dat", "z"] {
        put(store, key, key.as_bytes());
    }
    let found: Vec<(String, u64)> =
        store.folder("my%20shop").unwrap().into_iter().map(|entry| (entry.key, entry.bytes)).collect();
    assert_eq!(found, [("my%20shop/1 +%2.dat".to_owned(), 19), ("my%20shop/toc.dat".to_owned(), 17)]);
    for nothing in ["z", "missing", "my%20"] {
        assert_eq!(store.folder(nothing).unwrap(), [], "{nothing}");
    }
    delete_all(store);
}

/// Larger than one request of a store.
const LARGE: usize = (40 << 20) + 4321;

fn large_objects_are_read_from_anywhere(store: &dyn Store) {
    let bytes = pattern(LARGE, 3);
    for size in [None, Some(LARGE as u64)] {
        let mut upload = store.create(KEYS[0], size, ObjectKind::Archive).unwrap();
        // In pieces of an odd size.
        bytes.chunks(1_000_003).for_each(|piece| upload.write_all(piece).unwrap());
        upload.seal().unwrap();
        upload.commit().unwrap();
        for offset in [0, 1 << 20, (9 << 20) - 1, (9 << 20) + 1, 16 << 20, LARGE - 1, LARGE] {
            assert!(get(store, KEYS[0], offset as u64) == bytes[offset..], "{offset}");
        }
        // A reader may be dropped early.
        let mut reader = store.read(KEYS[0], 100).unwrap();
        let mut some = vec![0; 2 << 20];
        reader.read_exact(&mut some).unwrap();
        assert!(some == bytes[100..100 + (2 << 20)]);
        drop(reader);
        delete_all(store);
    }
}

fn long_lists_are_whole(store: &dyn Store) {
    // More than a server lists at once.
    let names: Vec<String> = (0..1_203).map(|at| format!("shop_20231231_{at:06}.verify.json")).collect();
    std::thread::scope(|scope| {
        for some in names.chunks(names.len().div_ceil(8)) {
            scope.spawn(|| {
                some.iter().for_each(|name| store.replace(name, name.as_bytes(), ObjectKind::Record).unwrap())
            });
        }
    });
    assert!(keys(store) == names);
    let now = jiff::Timestamp::now().as_second();
    let entry = &store.list().unwrap()[1_100];
    assert_eq!((entry.key.as_str(), entry.bytes), (names[1_100].as_str(), names[1_100].len() as u64));
    assert!((now - 600..now + 60).contains(&entry.modified.as_second()), "{}", entry.modified);
    std::thread::scope(|scope| {
        for some in names.chunks(names.len().div_ceil(8)) {
            scope.spawn(|| some.iter().for_each(|name| store.delete(name).unwrap()));
        }
    });
    assert_eq!(keys(store), Vec::<String>::new());
}

fn withdrawn_objects_are_out_of_sight(store: &dyn Store) {
    for key in KEYS {
        put(store, key, b"x");
        store.withdraw(key).unwrap();
        assert_eq!(store.size(key).unwrap(), None, "{key}");
        assert!(!keys(store).iter().any(|listed| listed == key), "{key}");
        assert_eq!(store.read(key, 0).err().map(|error| error.kind()), Some(Kind::Missing), "{key}");
        // Withdrawn bytes are kept until they are discarded, and can be restored.
        assert_eq!(store.read_partial(key).unwrap(), b"x", "{key}");
        store.reinstate(key).unwrap();
        assert_eq!(get(store, key, 0), b"x", "{key}");
        assert!(store.lists(key).unwrap(), "{key}");
        assert_eq!(partials(store), Vec::<String>::new(), "{key}");
        assert_eq!(store.reinstate(key).unwrap_err().kind(), Kind::Missing, "{key}");
        store.withdraw(key).unwrap();
        put(store, &format!("{key}.age"), b"y");
        assert!(!store.lists(key).unwrap(), "{key}");
        store.delete(&format!("{key}.age")).unwrap();
        store.discard(key).unwrap();
        // A missing object is no error, and the key is free.
        store.withdraw(key).unwrap();
        store.discard(key).unwrap();
        put(store, key, b"y");
    }
    delete_all(store);
}

fn announcements_are_not_listed(store: &dyn Store) {
    const KEY: &str = "my%20shop_20231231_020000.manifest.json";
    assert_eq!(store.read_partial(KEY).unwrap_err().kind(), Kind::Missing);
    store.announce(KEY, b"first").unwrap();
    assert_eq!(store.announce(KEY, b"second").unwrap_err().kind(), Kind::CannotWrite);
    assert_eq!(store.read_partial(KEY).unwrap(), b"first");
    assert_eq!(store.size(KEY).unwrap(), None);
    assert_eq!(keys(store), Vec::<String>::new());
    let entries = store.partials().unwrap();
    assert_eq!(entries.iter().map(|entry| (entry.key.as_str(), entry.bytes)).collect::<Vec<_>>(), [(KEY, 5)]);
    assert!((jiff::Timestamp::now().as_second() - entries[0].modified.as_second()).abs() < 600);
    store.discard(KEY).unwrap();
    assert_eq!(store.read_partial(KEY).unwrap_err().kind(), Kind::Missing);
    // Of several concurrent announcements one succeeds.
    let announced = std::thread::scope(|scope| {
        let all: Vec<_> = (0..4).map(|_| scope.spawn(|| store.announce(KEY, b"mine"))).collect();
        all.into_iter().filter_map(|one| one.join().unwrap().ok()).count()
    });
    assert_eq!(announced, 1);
    store.discard(KEY).unwrap();
}

/// Leftovers of a killed writer.
fn what_was_left_behind_can_be_discarded(store: &dyn Store) {
    let bytes = pattern(LARGE, 9);
    for key in [KEYS[0], KEYS[5]] {
        let mut upload = store.create(key, None, ObjectKind::Archive).unwrap();
        upload.write_all(&bytes).unwrap();
        upload.seal().unwrap();
        std::mem::forget(upload);
        // A common prefix does not mix keys.
        let mut other = store.create(&format!("{key}.age"), None, ObjectKind::Archive).unwrap();
        other.write_all(&bytes).unwrap();
        assert_eq!(partials(store), [key.to_owned(), format!("{key}.age")]);
        assert_eq!(keys(store), Vec::<String>::new());
        store.discard(key).unwrap();
        assert_eq!(partials(store), [format!("{key}.age")]);
        other.seal().unwrap();
        other.commit().unwrap();
        assert_eq!(partials(store), Vec::<String>::new());
        assert!(get(store, &format!("{key}.age"), 0) == bytes);
        put(store, key, b"new");
        delete_all(store);
    }
}

#[test]
fn local() {
    let folder = new_folder();
    let store = LocalStore::new(folder.path().join("backups"));
    store.prepare().unwrap();
    conforms(&store);
    assert_eq!(store.kind(), StoreKind::Local);
    put(&store, KEYS[0], b"x");
    assert!(!store.is_labelled(KEYS[0]).unwrap());
    assert_eq!(store.locked_until(KEYS[0]).unwrap(), None);
    let temporary = |path: &Path| path.to_string_lossy().ends_with(".partial");
    let left: Vec<_> = std::fs::read_dir(store.directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!left.iter().any(|path| temporary(path)), "{left:?}");
}

/// A runtime as in the program.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

#[test]
fn s3() {
    let server = S3Server::shared();
    let runtime = runtime();
    let settings = server.settings(&server.bucket());
    let store = runtime.block_on(S3Store::open(&settings, "main", "host")).unwrap();
    conforms(&store);
    assert_eq!((store.kind(), store.location()), (StoreKind::S3, format!("s3://{}/database-backups", settings.bucket)));
    // The same at the top of a bucket, and from a thread of the runtime.
    let mut settings = server.settings(&server.bucket());
    settings.prefix = String::new();
    let conform = async move { conforms(&S3Store::open(&settings, "main", "host").await.unwrap()) };
    runtime.block_on(runtime.spawn(conform)).unwrap();
}

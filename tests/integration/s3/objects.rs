//! What is stored with an object and listed of it: keys, labels, locks, storage class, encryption.

use super::*;

#[test]
fn only_our_own_keys_are_listed() {
    let server = S3Server::shared();
    let bucket = server.bucket();
    let client = server.client(OWNER);
    let odd = "database-backups/a b+c%20ü&<>'\"*_20231231_020000.dump";
    let foreign = ["other", "database-backups-old/x.dump", "database-backups/a/b/c", "database-backups/.x"];
    for key in foreign.iter().chain(&[odd, "database-backups/y.dump.partial"]) {
        let body = aws_sdk_s3::primitives::ByteStream::from_static(b"x");
        wait(client.put_object().bucket(&bucket).key(*key).body(body).send()).unwrap();
    }
    let store = open(&server.settings(&bucket));
    let keys =
        |entries: Vec<pgcellar::store::StoreEntry>| entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    let odd = odd.strip_prefix("database-backups/").unwrap();
    assert_eq!(keys(store.list().unwrap()), [odd]);
    assert_eq!(get(&store, odd).unwrap(), b"x");
    assert_eq!(keys(store.partials().unwrap()), ["y.dump"]);
    assert!(!store.is_labelled(odd).unwrap());
    store.discard("y.dump").unwrap();
    store.delete(odd).unwrap();
    let mut top = server.settings(&bucket);
    top.prefix = String::new();
    assert_eq!(keys(open(&top).list().unwrap()), ["database-backups-old/x.dump", "other"]);
}

#[test]
fn every_object_is_labelled_with_its_owner() {
    let server = S3Server::shared();
    let settings = server.settings(&server.bucket());
    let store = runtime().block_on(S3Store::open(&settings, "main", "höst 1")).unwrap();
    put(&store, "small", b"x", Some(1)).unwrap();
    put(&store, "large", &pattern(LARGE), None).unwrap();
    store.replace("replaced", b"x", ObjectKind::Document).unwrap();
    store.announce("announced", b"x").unwrap();
    let others = [("other", "höst 1"), ("main", "host")]
        .map(|(instance, host)| runtime().block_on(S3Store::open(&settings, instance, host)).unwrap());
    for key in ["small", "large", "replaced", "announced.partial"] {
        assert!(store.is_labelled(key).unwrap(), "{key}");
        assert!(!others.iter().any(|other| other.is_labelled(key).unwrap()), "{key}");
    }
    assert!(!store.is_labelled("missing").unwrap());
}

#[test]
fn locked_objects_are_reported() {
    let server = S3Server::shared();
    let bucket = format!("{}-locked", server.bucket());
    wait(server.client(OWNER).create_bucket().bucket(&bucket).object_lock_enabled_for_bucket(true).send()).unwrap();
    let mut settings = server.settings(&bucket);
    settings.lock = Some(pgcellar::config::ObjectLock { days: 3, compliance: false });
    let store = open(&settings);
    put(&store, KEY, b"x", Some(1)).unwrap();
    put(&store, "large.dump", &pattern(LARGE), None).unwrap();
    for key in [KEY, "large.dump"] {
        let until = store.locked_until(key).unwrap().unwrap();
        let left = until.duration_since(jiff::Timestamp::now()).as_hours();
        assert!((71..=72).contains(&left), "{key}: {until}");
    }
    store.replace("a.verify.json", b"x", ObjectKind::Record).unwrap();
    store.announce("b", b"x").unwrap();
    for key in ["a.verify.json", "b.partial", "missing"] {
        assert_eq!(store.locked_until(key).unwrap(), None, "{key}");
    }
    // The bucket shows whether objects can have locks; without the permission to ask, each object must be checked.
    assert!(store.has_locks());
    let unlocked = server.settings(&server.bucket());
    assert!(!open(&unlocked).has_locks());
    let faulty = FaultyBucket::new(|seen| match seen.target.contains("object-lock") {
        true => Fault::Answer(403, "AccessDenied"),
        false => Fault::None,
    });
    assert!(faulty.proxied.has_locks());
}

/// The settings are sent to the server, only with the requests that they apply to.
#[test]
fn objects_are_stored_as_the_settings_say() {
    let faulty = FaultyBucket::new(|_| Fault::None);
    let mut settings = settings(&faulty.proxy.endpoint(), &faulty.bucket, OWNER);
    settings.storage_class = Some("STANDARD_IA".to_owned());
    settings.encryption = Some(pgcellar::config::ServerSideEncryption::Kms(Some("key-1".to_owned())));
    let store = open(&settings);
    // Whether this server can encrypt does not matter here.
    for (key, length) in [(KEY, 1), ("large.dump", LARGE)] {
        drop(store.create(key, None, ObjectKind::Archive).and_then(|upload| fill(upload, &pattern(length))));
    }
    // Files that verbs read regularly do not get the storage class.
    for key in ["a.manifest.json", "a.globals.sql.gz", "a.fingerprints.json.zst.age"] {
        drop(put(&store, key, b"x", None));
    }
    drop(store.announce("a.manifest.json", b"x"));
    let printed = |end: &str, name: &str| {
        let is_begin = |seen: &Seen| seen.method == "PUT" || seen.target.ends_with("?uploads");
        let all = faulty.proxy.seen();
        let (seen, _) = all.iter().find(|(seen, _)| is_begin(seen) && seen.target.contains(end)).unwrap();
        seen.headers.iter().find_map(|header| header.strip_prefix(&format!("{name}: ")).map(str::to_owned))
    };
    for key in [format!("{KEY}?"), "large.dump?uploads".to_owned()] {
        assert_eq!(printed(&key, "x-amz-storage-class").as_deref(), Some("STANDARD_IA"), "{key}");
    }
    for key in [&format!("{KEY}?"), "large.dump?uploads", "a.manifest.json?", "a.manifest.json.partial?"] {
        assert_eq!(printed(key, "x-amz-server-side-encryption").as_deref(), Some("aws:kms"), "{key}");
        assert_eq!(printed(key, "x-amz-server-side-encryption-aws-kms-key-id").as_deref(), Some("key-1"), "{key}");
    }
    for key in ["a.manifest.json?", "a.manifest.json.partial?", "a.globals.sql.gz?", "a.fingerprints.json.zst.age?"] {
        assert_eq!(printed(key, "x-amz-storage-class"), None, "{key}");
    }
}

//! The S3 store when a bucket, its server or the network fails: it continues or reports the cause, and leaves nothing
//! behind.

use std::io::{Read, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pgcellar::catalogue::publish::publish;
use pgcellar::config::S3Settings;
use pgcellar::error::{Error, Kind};
use pgcellar::store::s3::S3Store;
use pgcellar::store::{ObjectKind, Store, Upload};
use tokio::runtime::Runtime;

use crate::common::fault_proxy::{Fault, FaultProxy, Seen};
use crate::common::process::new_folder;
use crate::common::s3_server::{self, Identity, OWNER, READER, S3Server, WRITER, settings, wait};

mod errors;
mod objects;

const KEY: &str = "shop_20231231_020000.dump.gz";

/// More than two parts, and not a round number.
const LARGE: usize = (37 << 20) + 12_345;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap())
}

fn open(settings: &S3Settings) -> S3Store {
    // The SDK has one retry quota for a region in a process, which the failing requests of other tests use up. The
    // server accepts any region.
    static REGIONS: AtomicU32 = AtomicU32::new(0);
    let region = format!("region-{}", REGIONS.fetch_add(1, Ordering::Relaxed));
    open_as_set(&S3Settings { region, ..settings.clone() })
}

fn open_as_set(settings: &S3Settings) -> S3Store {
    runtime().block_on(S3Store::open(settings, "main", "host")).unwrap()
}

/// A bucket behind a proxy that injects faults, and the same bucket without it.
struct FaultyBucket {
    proxy: FaultProxy,
    proxied: S3Store,
    direct: S3Store,
    bucket: String,
}

impl FaultyBucket {
    fn new(decide: impl Fn(&Seen) -> Fault + Send + Sync + 'static) -> FaultyBucket {
        let server = S3Server::shared();
        let bucket = server.bucket();
        let proxy = FaultProxy::start(server.port(), decide);
        let proxied = open(&settings(&proxy.endpoint(), &bucket, OWNER));
        FaultyBucket { proxy, proxied, direct: open(&server.settings(&bucket)), bucket }
    }

    fn is_empty(&self) {
        assert_eq!(self.direct.list().unwrap(), []);
        assert_eq!(self.direct.partials().unwrap(), []);
    }
}

/// Bytes that differ from their neighbours.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(2_654_435_761) >> 7) as u8).collect()
}

fn put(store: &dyn Store, key: &str, bytes: &[u8], size: Option<u64>) -> Result<(), Error> {
    fill(store.create(key, size, ObjectKind::Document)?, bytes)
}

fn fill(mut upload: Box<dyn Upload>, bytes: &[u8]) -> Result<(), Error> {
    upload.write_all(bytes).map_err(|error| Error::write("the upload", &error))?;
    upload.seal()?;
    upload.commit()
}

fn get(store: &dyn Store, key: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    store.read(key, 0)?.read_to_end(&mut bytes).map_err(|error| Error::read(key, &error))?;
    Ok(bytes)
}

/// Each fault hits two parts, and the upload succeeds.
/// The error of each kind of request with these settings.
fn errors(settings: &S3Settings) -> Vec<Error> {
    errors_of(&open(settings))
}

fn errors_of(store: &S3Store) -> Vec<Error> {
    errors_with(store, &pattern(LARGE))
}

/// The errors, with this object for the upload.
fn errors_with(store: &S3Store, large: &[u8]) -> Vec<Error> {
    vec![
        store.list().unwrap_err(),
        store.size(KEY).unwrap_err(),
        store.read(KEY, 0).err().unwrap(),
        put(store, KEY, b"x", Some(1)).unwrap_err(),
        put(store, KEY, large, None).unwrap_err(),
        store.delete(KEY).unwrap_err(),
        store.partials().unwrap_err(),
    ]
}

fn all_say(errors: &[Error], kind: Kind, words: &[&str]) {
    for error in errors {
        assert_eq!(error.kind(), kind, "{error}");
        for word in words {
            assert!(error.to_string().contains(word), "'{word}' is not in: {error}");
        }
        assert!(!error.to_string().contains(OWNER.secret), "{error}");
    }
}

#[test]
fn uploads_survive() {
    let bytes = pattern(LARGE);
    for fault in [
        Fault::CutRequest(0),
        Fault::CutRequest(3 << 20),
        Fault::WrongRequest(1 << 20),
        Fault::LoseAnswer,
        Fault::Answer(500, "InternalError"),
        Fault::Answer(503, "SlowDown"),
        Fault::Delay(Duration::from_millis(500)),
    ] {
        let faulty = FaultyBucket::new(move |seen| match seen.is_part() && [2, 3].contains(&seen.number) {
            true => fault,
            false => Fault::None,
        });
        put(&faulty.proxied, KEY, &bytes, None).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(get(&faulty.direct, KEY).unwrap() == bytes, "{fault:?}");
        assert!(faulty.proxy.faults() > 0, "{fault:?} was not seen");
        assert_eq!(faulty.direct.partials().unwrap(), [], "{fault:?}");
    }
}

/// The server executed the request and the answer was lost: the existing object is our own.
#[test]
fn lost_answers_are_not_failures() {
    let bytes = pattern(LARGE);
    let faulty = FaultyBucket::new(|seen| match seen.is_complete() && seen.number == 2 {
        true => Fault::LoseAnswer,
        false => Fault::None,
    });
    put(&faulty.proxied, KEY, &bytes, Some(LARGE as u64)).unwrap();
    assert_eq!(faulty.proxy.faults(), 1);
    assert!(get(&faulty.direct, KEY).unwrap() == bytes);
    assert_eq!(faulty.direct.partials().unwrap(), []);

    let faulty = FaultyBucket::new(|seen| match seen.method == "PUT" && seen.number == 1 {
        true => Fault::LoseAnswer,
        false => Fault::None,
    });
    put(&faulty.proxied, KEY, b"small", Some(5)).unwrap();
    faulty.proxied.announce("other.json", b"claim").unwrap();
    assert_eq!(get(&faulty.direct, KEY).unwrap(), b"small");
    assert_eq!(faulty.proxy.faults(), 1);
    // A foreign object is not taken for our own.
    assert_eq!(put(&faulty.proxied, KEY, b"small", Some(5)).unwrap_err().kind(), Kind::CannotWrite);
}

#[test]
fn garbled_bytes_are_sent_again() {
    let faulty = FaultyBucket::new(|seen| match seen.method == "PUT" && seen.number % 2 == 1 {
        true => Fault::WrongRequest(3),
        false => Fault::None,
    });
    put(&faulty.proxied, KEY, b"small", Some(5)).unwrap();
    faulty.proxied.replace("other.json", b"first", ObjectKind::Document).unwrap();
    assert_eq!(get(&faulty.direct, KEY).unwrap(), b"small");
    assert_eq!(get(&faulty.direct, "other.json").unwrap(), b"first");
    assert_eq!(faulty.proxy.faults(), 2);
}

/// A permanent failure has the right kind of error, and leaves nothing.
#[test]
fn failed_uploads_leave_nothing() {
    let bytes = pattern(LARGE);
    for (fault, kind) in [
        (Fault::Answer(503, "SlowDown"), Kind::Unavailable),
        (Fault::Answer(403, "AccessDenied"), Kind::NotPermitted),
        (Fault::Answer(507, "XMinioStorageFull"), Kind::CannotWrite),
        (Fault::CutRequest(1 << 20), Kind::Unavailable),
    ] {
        for size in [None, Some(LARGE as u64)] {
            let faulty =
                FaultyBucket::new(move |seen| if seen.is_part() && seen.number > 1 { fault } else { Fault::None });
            let error = put(&faulty.proxied, KEY, &bytes, size).unwrap_err();
            assert_eq!(error.kind(), kind, "{fault:?}: {error}");
            assert!(error.to_string().contains(&format!("s3://{}/database-backups/{KEY}", faulty.bucket)), "{error}");
            faulty.is_empty();
        }
    }
    // The parts are uploaded, and completing the upload fails.
    let faulty =
        FaultyBucket::new(|seen| if seen.is_complete() { Fault::Answer(403, "AccessDenied") } else { Fault::None });
    assert_eq!(put(&faulty.proxied, KEY, &bytes, None).unwrap_err().kind(), Kind::NotPermitted);
    faulty.is_empty();
}

#[test]
fn a_writer_that_continues_after_an_error_gets_no_object() {
    let faulty = FaultyBucket::new(|seen| match seen.is_part() && seen.number == 1 {
        true => Fault::Answer(403, "AccessDenied"),
        false => Fault::None,
    });
    let mut upload = faulty.proxied.create(KEY, None, ObjectKind::Document).unwrap();
    let failed = pattern(120 << 20).chunks(1 << 20).filter(|piece| upload.write_all(piece).is_err()).count();
    assert!(failed >= 1);
    assert_eq!(upload.seal().unwrap_err().kind(), Kind::Unavailable);
    assert!(upload.commit().is_err());
    faulty.is_empty();
}

#[test]
fn an_upload_dropped_on_a_runtime_thread_leaves_nothing() {
    let faulty = FaultyBucket::new(|_| Fault::None);
    let mut upload = faulty.direct.create(KEY, None, ObjectKind::Document).unwrap();
    upload.write_all(&pattern(LARGE)).unwrap();
    runtime().block_on(runtime().spawn(async move { drop(upload) })).unwrap();
    faulty.is_empty();
}

#[test]
fn an_upload_must_have_the_announced_size() {
    let faulty = FaultyBucket::new(|_| Fault::None);
    for size in [LARGE - 1, LARGE + 1] {
        let error = put(&faulty.direct, KEY, &pattern(LARGE), Some(size as u64)).unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{error}");
        faulty.is_empty();
    }
}

#[test]
fn downloads_survive() {
    let bytes = pattern(LARGE);
    for fault in [
        Fault::CutAnswer(0),
        Fault::CutAnswer(700_000),
        Fault::Answer(500, "InternalError"),
        Fault::Answer(503, "SlowDown"),
        Fault::Delay(Duration::from_millis(500)),
        Fault::LoseAnswer,
    ] {
        let faulty = FaultyBucket::new(move |seen| match seen.method == "GET" && [1, 3, 4].contains(&seen.number) {
            true => fault,
            false => Fault::None,
        });
        put(&faulty.direct, KEY, &bytes, None).unwrap();
        assert!(get(&faulty.proxied, KEY).unwrap() == bytes, "{fault:?}");
        assert_eq!(faulty.proxy.faults(), 3, "{fault:?}");
    }
}

/// A download that breaks in every answer continues as long as each answer has some bytes.
#[test]
fn downloads_resume_where_they_broke() {
    let bytes = pattern(10 << 20);
    let faulty = FaultyBucket::new(|seen| if seen.method == "GET" { Fault::CutAnswer(2 << 20) } else { Fault::None });
    put(&faulty.direct, KEY, &bytes, None).unwrap();
    assert!(get(&faulty.proxied, KEY).unwrap() == bytes);
    let asked: Vec<_> = faulty.proxy.seen().into_iter().filter(|(seen, _)| seen.method == "GET").collect();
    assert!((5..=8).contains(&asked.len()), "{} requests", asked.len());
}

#[test]
fn a_permanently_failing_download_is_an_error() {
    let faulty = FaultyBucket::new(|seen| match seen.method == "GET" && seen.number > 1 {
        true => Fault::CutAnswer(0),
        false => Fault::None,
    });
    put(&faulty.direct, KEY, &pattern(5 << 20), None).unwrap();
    let error = get(&faulty.proxied, KEY).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains(KEY), "{error}");
}

#[test]
fn stalled_connections_are_given_up() {
    let bytes = pattern(3 << 20);
    let faulty = FaultyBucket::new(|seen| match (seen.method.as_str(), seen.number) {
        ("GET", 2) => Fault::StallAnswer(100_000),
        _ => Fault::None,
    });
    put(&faulty.direct, KEY, &bytes, None).unwrap();
    assert!(get(&faulty.proxied, KEY).unwrap() == bytes);
    assert_eq!(faulty.proxy.faults(), 1);
}

/// The server never answers.
#[test]
fn missing_answers_time_out() {
    let bytes = pattern(LARGE);
    let faulty = FaultyBucket::new(|seen| match (seen.method.as_str(), seen.number) {
        ("PUT", 2) | ("GET", 1) => Fault::Stall,
        _ => Fault::None,
    });
    put(&faulty.proxied, KEY, &bytes, Some(LARGE as u64)).unwrap();
    assert_eq!(faulty.proxied.list().unwrap().len(), 1);
    assert_eq!(faulty.proxy.faults(), 2);
    assert!(get(&faulty.direct, KEY).unwrap() == bytes);
}

/// A server that accepts connections and never answers: requests end soon, and later ones at once.
#[test]
fn a_silent_server_times_out() {
    let faulty = FaultyBucket::new(|_| Fault::Stall);
    let begun = Instant::now();
    all_say(&[faulty.proxied.list().unwrap_err()], Kind::Unavailable, &["no byte in 10 s", "is the server up"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(faulty.proxied.is_silent());
    // Making it takes seconds.
    let large = pattern(LARGE);
    let again = Instant::now();
    all_say(&errors_with(&faulty.proxied, &large), Kind::Unavailable, &["no byte"]);
    assert!(again.elapsed() < Duration::from_secs(5), "{:?}", again.elapsed());
}

/// The server is lost during an upload: all its parts and its abort together take no longer than a server may be
/// silent.
#[test]
fn an_upload_to_a_lost_server_ends() {
    let (server, gone) = (S3Server::shared(), AtomicBool::new(false));
    let proxy = FaultProxy::start(server.port(), move |seen| match seen.is_part() || gone.load(Ordering::Relaxed) {
        true => {
            gone.store(true, Ordering::Relaxed);
            Fault::Stall
        }
        false => Fault::None,
    });
    let store = open(&settings(&proxy.endpoint(), &server.bucket(), OWNER));
    let large = pattern(LARGE);
    let begun = Instant::now();
    let error = put(&store, KEY, &large, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
}

/// A listing may take longer than a server may be silent, as long as bytes arrive.
#[test]
fn a_slow_list_is_waited_for() {
    let faulty = FaultyBucket::new(|seen| match seen.target.contains("list-type") {
        true => Fault::Trickle(250, Duration::from_millis(800)),
        false => Fault::None,
    });
    for number in 0..25 {
        put(&faulty.direct, &format!("shop_20231231_0200{number:02}.dump"), b"x", Some(1)).unwrap();
    }
    let begun = Instant::now();
    assert_eq!(faulty.proxied.list().unwrap().len(), 25);
    assert!(begun.elapsed() > Duration::from_secs(11), "it was not slow: {:?}", begun.elapsed());
}

/// SeaweedFS folds slashes: it finds the object by both names, and lists one.
#[test]
fn a_manifest_stored_under_another_name_is_not_a_backup() {
    let server = S3Server::shared();
    let mut settings = server.settings(&server.bucket());
    publish(&open(&settings), "shop_20231231_020000.manifest.json", b"{}").unwrap();
    settings.prefix = "a//b".to_owned();
    let store = open(&settings);
    let error = publish(&store, "shop_20231231_020000.manifest.json", b"{}").unwrap_err();
    all_say(&[error], Kind::CannotWrite, &["does not list it", "AWS_S3_PREFIX"]);
    assert_eq!(store.size("shop_20231231_020000.manifest.json").unwrap(), Some(2));
    // A key that may write and not list cannot check.
    settings.keys = s3_server::settings(&server.endpoint(), "x", WRITER).keys;
    publish(&open(&settings), "shop_20231231_020001.manifest.json", b"{}").unwrap();
}

#[test]
fn an_object_that_changes_while_read_is_an_error() {
    let faulty = FaultyBucket::new(|_| Fault::None);
    put(&faulty.direct, KEY, &pattern(LARGE), None).unwrap();
    let mut reader = faulty.direct.read(KEY, 0).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    faulty.direct.delete(KEY).unwrap();
    put(&faulty.direct, KEY, &pattern(LARGE)[1..], None).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("was changed or removed while it was read"), "{error}");
}

#[test]
fn a_server_without_conditional_writes_and_upload_listings_suffices() {
    let faulty = FaultyBucket::new(|seen| {
        let asked = seen.target.contains("uploads") && seen.method == "GET";
        let refused = seen.method == "PUT" && seen.number == 1;
        if asked || refused { Fault::Answer(501, "NotImplemented") } else { Fault::None }
    });
    put(&faulty.proxied, KEY, b"x", Some(1)).unwrap();
    assert_eq!(put(&faulty.proxied, KEY, b"y", Some(1)).unwrap_err().kind(), Kind::CannotWrite);
    assert_eq!(get(&faulty.direct, KEY).unwrap(), b"x");
    assert_eq!(faulty.proxied.partials().unwrap(), []);
    faulty.proxied.discard(KEY).unwrap();
}

#[test]
fn uploads_keep_to_the_rate() {
    let server = S3Server::shared();
    let mut settings = server.settings(&server.bucket());
    settings.rate_limit = Some(8 << 20);
    let store = open(&settings);
    let bytes = pattern(20 << 20);
    let begun = Instant::now();
    put(&store, KEY, &bytes, None).unwrap();
    // A lower bound holds on a busy machine too.
    assert!(begun.elapsed() > Duration::from_millis(2300), "{:?}", begun.elapsed());
    assert!(get(&store, KEY).unwrap() == bytes);
}

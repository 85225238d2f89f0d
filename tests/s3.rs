//! What the store does when a bucket, its server or the way there fails: it goes on or says clearly why not, and leaves
//! nothing behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test says what went wrong by panicking")]

use std::io::{Read, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pgcellar::catalogue::publish::publish;
use pgcellar::config::S3Settings;
use pgcellar::error::{Error, Kind};
use pgcellar::store::s3::S3Store;
use pgcellar::store::{ObjectKind, Store, Upload};
use tokio::runtime::Runtime;

mod s3_server;

use s3_server::faults::{Fault, FaultProxy, Seen};
use s3_server::{Identity, OWNER, READER, S3Server, WRITER, settings, wait};

const KEY: &str = "shop_20231231_020000.dump.gz";

/// More than two parts, and not a round number.
const LARGE: usize = (37 << 20) + 12_345;

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap())
}

fn open(settings: &S3Settings) -> S3Store {
    runtime().block_on(S3Store::open(settings, "main", "host")).unwrap()
}

/// A bucket behind a proxy that does harm, and the same bucket without it.
struct Ground {
    proxy: FaultProxy,
    spoilt: S3Store,
    direct: S3Store,
    bucket: String,
}

impl Ground {
    fn new(decide: impl Fn(&Seen) -> Fault + Send + Sync + 'static) -> Ground {
        let server = S3Server::shared();
        let bucket = server.bucket();
        let proxy = FaultProxy::start(server.port(), decide);
        let spoilt = open(&settings(&proxy.endpoint(), &bucket, OWNER));
        Ground { proxy, spoilt, direct: open(&server.settings(&bucket)), bucket }
    }

    fn is_empty(&self) {
        assert_eq!(self.direct.list().unwrap(), []);
        assert_eq!(self.direct.partials().unwrap(), []);
    }
}

/// Bytes in which each place can be told from its neighbours.
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

/// Each fault hits the first and the last of something, and all goes well.
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
        let ground = Ground::new(move |seen| match seen.is_part() && [2, 3].contains(&seen.number) {
            true => fault,
            false => Fault::None,
        });
        put(&ground.spoilt, KEY, &bytes, None).unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        assert!(get(&ground.direct, KEY).unwrap() == bytes, "{fault:?}");
        assert!(ground.proxy.spoilt() > 0, "{fault:?} was not seen");
        assert_eq!(ground.direct.partials().unwrap(), [], "{fault:?}");
    }
}

/// The server did what it was asked for and the answer got lost: the object that is there is our own.
#[test]
fn lost_answers_are_no_failures() {
    let bytes = pattern(LARGE);
    let ground = Ground::new(|seen| match seen.is_complete() && seen.number == 2 {
        true => Fault::LoseAnswer,
        false => Fault::None,
    });
    put(&ground.spoilt, KEY, &bytes, Some(LARGE as u64)).unwrap();
    assert_eq!(ground.proxy.spoilt(), 1);
    assert!(get(&ground.direct, KEY).unwrap() == bytes);
    assert_eq!(ground.direct.partials().unwrap(), []);

    let ground = Ground::new(|seen| match seen.method == "PUT" && seen.number == 1 {
        true => Fault::LoseAnswer,
        false => Fault::None,
    });
    put(&ground.spoilt, KEY, b"small", Some(5)).unwrap();
    ground.spoilt.announce("other.json", b"claim").unwrap();
    assert_eq!(get(&ground.direct, KEY).unwrap(), b"small");
    assert_eq!(ground.proxy.spoilt(), 1);
    // Somebody else's object is not taken for our own.
    assert_eq!(put(&ground.spoilt, KEY, b"small", Some(5)).unwrap_err().kind(), Kind::CannotWrite);
}

#[test]
fn bytes_that_were_garbled_are_sent_again() {
    let ground = Ground::new(|seen| match seen.method == "PUT" && seen.number % 2 == 1 {
        true => Fault::WrongRequest(3),
        false => Fault::None,
    });
    put(&ground.spoilt, KEY, b"small", Some(5)).unwrap();
    ground.spoilt.replace("other.json", b"first", ObjectKind::Document).unwrap();
    assert_eq!(get(&ground.direct, KEY).unwrap(), b"small");
    assert_eq!(get(&ground.direct, "other.json").unwrap(), b"first");
    assert_eq!(ground.proxy.spoilt(), 2);
}

/// What fails for good is an error of its own kind, and nothing of it stays.
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
            let ground = Ground::new(move |seen| if seen.is_part() && seen.number > 1 { fault } else { Fault::None });
            let error = put(&ground.spoilt, KEY, &bytes, size).unwrap_err();
            assert_eq!(error.kind(), kind, "{fault:?}: {error}");
            assert!(error.to_string().contains(&format!("s3://{}/database-backups/{KEY}", ground.bucket)), "{error}");
            ground.is_empty();
        }
    }
    // The parts are there, and cannot be put together.
    let ground = Ground::new(|seen| if seen.is_complete() { Fault::Answer(403, "AccessDenied") } else { Fault::None });
    assert_eq!(put(&ground.spoilt, KEY, &bytes, None).unwrap_err().kind(), Kind::NotPermitted);
    ground.is_empty();
}

#[test]
fn a_writer_that_goes_on_after_an_error_gets_no_object() {
    let ground = Ground::new(|seen| match seen.is_part() && seen.number == 1 {
        true => Fault::Answer(403, "AccessDenied"),
        false => Fault::None,
    });
    let mut upload = ground.spoilt.create(KEY, None, ObjectKind::Document).unwrap();
    let failed = pattern(120 << 20).chunks(1 << 20).filter(|piece| upload.write_all(piece).is_err()).count();
    assert!(failed >= 1);
    assert_eq!(upload.seal().unwrap_err().kind(), Kind::Unavailable);
    assert!(upload.commit().is_err());
    ground.is_empty();
}

#[test]
fn an_upload_that_is_dropped_on_a_thread_of_the_runtime_leaves_nothing() {
    let ground = Ground::new(|_| Fault::None);
    let mut upload = ground.direct.create(KEY, None, ObjectKind::Document).unwrap();
    upload.write_all(&pattern(LARGE)).unwrap();
    runtime().block_on(runtime().spawn(async move { drop(upload) })).unwrap();
    ground.is_empty();
}

#[test]
fn a_size_that_was_told_is_kept() {
    let ground = Ground::new(|_| Fault::None);
    for size in [LARGE - 1, LARGE + 1] {
        let error = put(&ground.direct, KEY, &pattern(LARGE), Some(size as u64)).unwrap_err();
        assert_eq!(error.kind(), Kind::Data, "{error}");
        ground.is_empty();
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
        let ground = Ground::new(move |seen| match seen.method == "GET" && [1, 3, 4].contains(&seen.number) {
            true => fault,
            false => Fault::None,
        });
        put(&ground.direct, KEY, &bytes, None).unwrap();
        assert!(get(&ground.spoilt, KEY).unwrap() == bytes, "{fault:?}");
        assert_eq!(ground.proxy.spoilt(), 3, "{fault:?}");
    }
}

/// A download that breaks in every answer still gets on as long as each brings something.
#[test]
fn downloads_go_on_where_they_broke() {
    let bytes = pattern(10 << 20);
    let ground = Ground::new(|seen| if seen.method == "GET" { Fault::CutAnswer(2 << 20) } else { Fault::None });
    put(&ground.direct, KEY, &bytes, None).unwrap();
    assert!(get(&ground.spoilt, KEY).unwrap() == bytes);
    let asked: Vec<_> = ground.proxy.seen().into_iter().filter(|(seen, _)| seen.method == "GET").collect();
    assert!((5..=8).contains(&asked.len()), "{} requests", asked.len());
}

#[test]
fn a_download_that_fails_for_good_is_an_error() {
    let ground = Ground::new(|seen| match seen.method == "GET" && seen.number > 1 {
        true => Fault::CutAnswer(0),
        false => Fault::None,
    });
    put(&ground.direct, KEY, &pattern(5 << 20), None).unwrap();
    let error = get(&ground.spoilt, KEY).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(error.to_string().contains(KEY), "{error}");
}

#[test]
fn connections_that_stand_still_are_given_up() {
    let bytes = pattern(3 << 20);
    let ground = Ground::new(|seen| match (seen.method.as_str(), seen.number) {
        ("GET", 2) => Fault::StallAnswer(100_000),
        _ => Fault::None,
    });
    put(&ground.direct, KEY, &bytes, None).unwrap();
    assert!(get(&ground.spoilt, KEY).unwrap() == bytes);
    assert_eq!(ground.proxy.spoilt(), 1);
}

/// The server takes the request, or does not even do that, and never answers.
#[test]
fn answers_that_never_come_are_not_waited_for() {
    let bytes = pattern(LARGE);
    let ground = Ground::new(|seen| match (seen.method.as_str(), seen.number) {
        ("PUT", 2) | ("GET", 1) => Fault::Stall,
        _ => Fault::None,
    });
    put(&ground.spoilt, KEY, &bytes, Some(LARGE as u64)).unwrap();
    assert_eq!(ground.spoilt.list().unwrap().len(), 1);
    assert_eq!(ground.proxy.spoilt(), 2);
    assert!(get(&ground.direct, KEY).unwrap() == bytes);
}

/// A server that takes connections and says nothing: what is looked up is given up soon, and not tried again at once.
#[test]
fn a_silent_server_is_not_waited_for() {
    let ground = Ground::new(|_| Fault::Stall);
    let begun = Instant::now();
    all_say(&[ground.spoilt.list().unwrap_err()], Kind::Unavailable, &["no byte in 10 s", "is the server up"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(ground.spoilt.is_silent());
    let again = Instant::now();
    all_say(&errors_of(&ground.spoilt), Kind::Unavailable, &["no byte"]);
    assert!(again.elapsed() < Duration::from_secs(5), "{:?}", again.elapsed());
}

/// The server is gone in the middle of an upload: the parts of it, and the end of what was begun, take no longer together
/// than a server may be silent.
#[test]
fn an_upload_to_a_server_that_is_gone_ends() {
    let (server, gone) = (S3Server::shared(), AtomicBool::new(false));
    let proxy = FaultProxy::start(server.port(), move |seen| match seen.is_part() || gone.load(Ordering::Relaxed) {
        true => {
            gone.store(true, Ordering::Relaxed);
            Fault::Stall
        }
        false => Fault::None,
    });
    let store = open(&settings(&proxy.endpoint(), &server.bucket(), OWNER));
    let begun = Instant::now();
    let error = put(&store, KEY, &pattern(LARGE), None).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(50), "{:?}", begun.elapsed());
}

/// A list may take longer than a server may be silent, as long as something comes.
#[test]
fn a_slow_list_is_waited_for() {
    let ground = Ground::new(|seen| match seen.target.contains("list-type") {
        true => Fault::Trickle(250, Duration::from_millis(700)),
        false => Fault::None,
    });
    for number in 0..25 {
        put(&ground.direct, &format!("shop_20231231_0200{number:02}.dump"), b"x", Some(1)).unwrap();
    }
    let begun = Instant::now();
    assert_eq!(ground.spoilt.list().unwrap().len(), 25);
    assert!(begun.elapsed() > Duration::from_secs(11), "it was not slow: {:?}", begun.elapsed());
}

/// SeaweedFS folds the slashes, and answers to both names; its lists know one.
#[test]
fn a_manifest_that_the_server_keeps_under_another_name_is_no_backup() {
    let server = S3Server::shared();
    let mut settings = server.settings(&server.bucket());
    publish(&open(&settings), "shop_20231231_020000.manifest.json", b"{}").unwrap();
    settings.prefix = "a//b".to_owned();
    let store = open(&settings);
    let error = publish(&store, "shop_20231231_020000.manifest.json", b"{}").unwrap_err();
    all_say(&[error], Kind::CannotWrite, &["does not list it", "AWS_S3_PREFIX"]);
    assert_eq!(store.size("shop_20231231_020000.manifest.json").unwrap(), Some(2));
    // Who may write and not list cannot look.
    settings.keys = s3_server::settings(&server.endpoint(), "x", WRITER).keys;
    publish(&open(&settings), "shop_20231231_020001.manifest.json", b"{}").unwrap();
}

#[test]
fn an_object_that_changes_while_it_is_read_is_an_error() {
    let ground = Ground::new(|_| Fault::None);
    put(&ground.direct, KEY, &pattern(LARGE), None).unwrap();
    let mut reader = ground.direct.read(KEY, 0).unwrap();
    reader.read_exact(&mut [0; 10]).unwrap();
    ground.direct.delete(KEY).unwrap();
    put(&ground.direct, KEY, &pattern(LARGE)[1..], None).unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("was changed or removed while it was read"), "{error}");
}

/// The errors of each request with these settings, all of which must be alike.
fn errors(settings: &S3Settings) -> Vec<Error> {
    errors_of(&open(settings))
}

fn errors_of(store: &S3Store) -> Vec<Error> {
    vec![
        store.list().unwrap_err(),
        store.size(KEY).unwrap_err(),
        store.read(KEY, 0).err().unwrap(),
        put(store, KEY, b"x", Some(1)).unwrap_err(),
        put(store, KEY, &pattern(LARGE), None).unwrap_err(),
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
fn wrong_keys_are_told() {
    let server = S3Server::shared();
    let bucket = server.bucket();
    let unknown = settings(&server.endpoint(), &bucket, Identity { id: "NOBODY", secret: OWNER.secret });
    all_say(
        &errors(&unknown),
        Kind::NotPermitted,
        &["AWS_ACCESS_KEY_ID", "InvalidAccessKeyId", &server.endpoint()[7..]],
    );
    let wrong = settings(&server.endpoint(), &bucket, Identity { id: OWNER.id, secret: "wrong+secret" });
    all_say(&errors(&wrong), Kind::NotPermitted, &["AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch", &bucket]);
}

#[test]
fn a_missing_bucket_is_told() {
    let server = S3Server::shared();
    let store = open(&server.settings("no-such-bucket"));
    let errors = [
        store.list().unwrap_err(),
        store.read(KEY, 0).err().unwrap(),
        put(&store, KEY, b"x", Some(1)).unwrap_err(),
        store.partials().unwrap_err(),
    ];
    all_say(&errors, Kind::Config, &["there is no bucket no-such-bucket", "AWS_S3_BUCKET"]);
}

#[test]
fn a_wrong_region_is_told() {
    let ground = Ground::new(|_| Fault::Answer(400, "AuthorizationHeaderMalformed"));
    let settings = settings(&ground.proxy.endpoint(), &ground.bucket, OWNER);
    all_say(&errors(&settings), Kind::Config, &["region us-east-1", "set AWS_REGION to eu-central-1"]);
}

#[test]
fn missing_permissions_are_named() {
    let server = S3Server::shared();
    let bucket = server.bucket();
    let owner = open(&server.settings(&bucket));
    put(&owner, KEY, b"x", Some(1)).unwrap();
    let reader = open(&settings(&server.endpoint(), &bucket, READER));
    assert_eq!(get(&reader, KEY).unwrap(), b"x");
    all_say(&[reader.delete(KEY).unwrap_err()], Kind::NotPermitted, &["cannot delete s3://", "s3:DeleteObject"]);
    let refused = [
        put(&reader, "a.dump", b"x", Some(1)).unwrap_err(),
        reader.replace(KEY, b"y", ObjectKind::Document).unwrap_err(),
    ];
    all_say(&refused, Kind::NotPermitted, &["cannot write s3://", "s3:PutObject"]);
    let writer = open(&settings(&server.endpoint(), &bucket, WRITER));
    all_say(&[writer.list().unwrap_err()], Kind::NotPermitted, &["cannot list s3://", "s3:ListBucket"]);
    assert_eq!(get(&owner, KEY).unwrap(), b"x");
}

#[test]
fn an_archive_in_cold_storage_is_told() {
    let ground = Ground::new(|seen| match seen.method == "GET" {
        true => Fault::Answer(403, "InvalidObjectState"),
        false => Fault::None,
    });
    put(&ground.direct, KEY, b"x", None).unwrap();
    all_say(&[ground.spoilt.read(KEY, 0).err().unwrap()], Kind::Unavailable, &["retrieved first", "restore-object"]);
}

#[test]
fn a_server_that_is_not_there_is_told() {
    let port = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let store = open(&settings(&format!("http://127.0.0.1:{port}"), "bucket", OWNER));
    all_say(&[store.list().unwrap_err()], Kind::Unavailable, &["connection refused", "AWS_ENDPOINT_URL"]);
}

#[test]
fn the_servers_certificate_is_checked() {
    let server = S3Server::shared();
    let bucket = server.bucket();
    let mut settings = settings(&server.tls_endpoint(), &bucket, OWNER);
    all_say(&[open(&settings).list().unwrap_err()], Kind::Unavailable, &["certificate", "AWS_CA_BUNDLE"]);
    settings.ca_bundle = Some(server.authority());
    let store = open(&settings);
    let bytes = pattern(LARGE);
    put(&store, KEY, &bytes, None).unwrap();
    assert!(get(&store, KEY).unwrap() == bytes);
    for wrong in ["/nonexistent/ca.pem", "/etc/passwd"] {
        settings.ca_bundle = Some(wrong.into());
        let refused = runtime().block_on(S3Store::open(&settings, "main", "host")).unwrap_err();
        all_say(&[refused], Kind::Config, &["AWS_CA_BUNDLE", wrong]);
    }
}

/// Not a test of its own: what the tests run in another environment. It says how a list went.
#[test]
fn in_another_environment() {
    let Ok(endpoint) = std::env::var("IN_ANOTHER_ENVIRONMENT") else { return };
    let bucket = std::env::var("AWS_S3_BUCKET").unwrap();
    let mut settings = settings(&endpoint, &bucket, OWNER);
    settings.ca_bundle = std::env::var_os("AWS_CA_BUNDLE").map(Into::into);
    if std::env::var_os("WITHOUT_KEYS").is_some() {
        settings.keys = None;
    }
    match open(&settings).list() {
        Ok(entries) => println!("listed: {}", entries.len()),
        Err(error) => println!("status {}: {error}", error.kind().exit_status()),
    }
}

/// What [`in_another_environment`] says.
fn elsewhere(before: &[&str], endpoint: &str, bucket: &str, environment: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().unwrap();
    let words: Vec<_> = before.iter().map(std::ffi::OsStr::new).chain([program.as_os_str()]).collect();
    let mut command = std::process::Command::new(words[0]);
    command.args(&words[1..]).args(["--exact", "in_another_environment", "--nocapture"]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command.env("IN_ANOTHER_ENVIRONMENT", endpoint).env("AWS_S3_BUCKET", bucket);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn a_clock_that_is_off_by_a_day_is_told() {
    let server = S3Server::shared();
    let said = elsewhere(&["faketime", "--exclude-monotonic", "-f", "-1d"], &server.endpoint(), &server.bucket(), &[]);
    for word in ["status 77", "clocks", "RequestTimeTooSkewed", "the server's clock says"] {
        assert!(said.contains(word), "'{word}' is not in: {said}");
    }
}

#[test]
fn without_keys_the_chain_is_asked() {
    let server = S3Server::shared();
    let (endpoint, bucket) = (server.endpoint(), server.bucket());
    let begun = Instant::now();
    let said = elsewhere(&["env"], &endpoint, &bucket, &[("WITHOUT_KEYS", "1")]);
    for word in ["status 77", "no access key was found", "AWS_ACCESS_KEY_ID", "instance role"] {
        assert!(said.contains(word), "'{word}' is not in: {said}");
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let home = tempfile::tempdir().unwrap();
    let profile = home.path().join("credentials");
    let text = format!("[cellar]\naws_access_key_id = {}\naws_secret_access_key = {}\n", OWNER.id, OWNER.secret);
    std::fs::write(&profile, text).unwrap();
    let file = ("AWS_SHARED_CREDENTIALS_FILE", profile.to_str().unwrap());
    let said = elsewhere(&["env"], &endpoint, &bucket, &[("WITHOUT_KEYS", "1"), ("AWS_PROFILE", "cellar"), file]);
    assert!(said.contains("listed: 0"), "{said}");
}

#[test]
fn a_proxy_is_used_unless_it_is_not_for_the_server() {
    let server = S3Server::shared();
    let (endpoint, bucket, authority) = (server.tls_endpoint(), server.bucket(), server.authority());
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let proxy = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let for_thread = std::sync::Arc::clone(&asked);
    std::thread::spawn(move || listener.incoming().for_each(|client| tunnel(client.unwrap(), &for_thread)));
    let both = [("HTTPS_PROXY", proxy.as_str()), ("AWS_CA_BUNDLE", authority.to_str().unwrap())];
    assert!(elsewhere(&["env"], &endpoint, &bucket, &both).contains("listed: 0"));
    assert_eq!(*asked.lock().unwrap(), [format!("CONNECT {} HTTP/1.1", endpoint.trim_start_matches("https://"))]);
    let not = [both[0], both[1], ("NO_PROXY", "example.org,localhost")];
    assert!(elsewhere(&["env"], &endpoint, &bucket, &not).contains("listed: 0"));
    assert_eq!(asked.lock().unwrap().len(), 1);
}

/// What a proxy does for TLS: it connects, and passes bytes on.
fn tunnel(mut client: std::net::TcpStream, asked: &std::sync::Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let line = String::from_utf8(head).unwrap().lines().next().unwrap().to_owned();
    let mut server = std::net::TcpStream::connect(line.split(' ').nth(1).unwrap()).unwrap();
    asked.lock().unwrap().push(line);
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    std::thread::spawn(move || std::io::copy(&mut from_client, &mut to_server));
    std::thread::spawn(move || std::io::copy(&mut server, &mut client));
}

#[test]
fn a_server_without_conditional_writes_and_lists_of_uploads_will_do() {
    let ground = Ground::new(|seen| {
        let asked = seen.target.contains("uploads") && seen.method == "GET";
        let refused = seen.method == "PUT" && seen.number == 1;
        if asked || refused { Fault::Answer(501, "NotImplemented") } else { Fault::None }
    });
    put(&ground.spoilt, KEY, b"x", Some(1)).unwrap();
    assert_eq!(put(&ground.spoilt, KEY, b"y", Some(1)).unwrap_err().kind(), Kind::CannotWrite);
    assert_eq!(get(&ground.direct, KEY).unwrap(), b"x");
    assert_eq!(ground.spoilt.partials().unwrap(), []);
    ground.spoilt.discard(KEY).unwrap();
}

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
fn every_object_says_whose_it_is() {
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
fn locked_objects_are_told() {
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
    // Whether it is worth asking about each object, the bucket tells, and who may not ask that has to.
    assert!(store.has_locks());
    let unlocked = server.settings(&server.bucket());
    assert!(!open(&unlocked).has_locks());
    let ground = Ground::new(|seen| match seen.target.contains("object-lock") {
        true => Fault::Answer(403, "AccessDenied"),
        false => Fault::None,
    });
    assert!(ground.spoilt.has_locks());
}

/// What the settings ask for is asked of the server, and only where it fits.
#[test]
fn objects_are_stored_as_the_settings_say() {
    let ground = Ground::new(|_| Fault::None);
    let mut settings = settings(&ground.proxy.endpoint(), &ground.bucket, OWNER);
    settings.storage_class = Some("STANDARD_IA".to_owned());
    settings.encryption = Some(pgcellar::config::ServerSideEncryption::Kms(Some("key-1".to_owned())));
    let store = open(&settings);
    // Whether this server can encrypt does not matter here.
    for (key, length) in [(KEY, 1), ("large.dump", LARGE)] {
        drop(store.create(key, None, ObjectKind::Archive).and_then(|upload| fill(upload, &pattern(length))));
    }
    // What verbs read in the ordinary course of things is not the bulk, whatever it is called.
    for key in ["a.manifest.json", "a.globals.sql.gz", "a.fingerprints.json.zst.age"] {
        drop(put(&store, key, b"x", None));
    }
    drop(store.announce("a.manifest.json", b"x"));
    let told = |end: &str, name: &str| {
        let is_begin = |seen: &Seen| seen.method == "PUT" || seen.target.ends_with("?uploads");
        let all = ground.proxy.seen();
        let (seen, _) = all.iter().find(|(seen, _)| is_begin(seen) && seen.target.contains(end)).unwrap();
        seen.headers.iter().find_map(|header| header.strip_prefix(&format!("{name}: ")).map(str::to_owned))
    };
    for key in [format!("{KEY}?"), "large.dump?uploads".to_owned()] {
        assert_eq!(told(&key, "x-amz-storage-class").as_deref(), Some("STANDARD_IA"), "{key}");
    }
    for key in [&format!("{KEY}?"), "large.dump?uploads", "a.manifest.json?", "a.manifest.json.partial?"] {
        assert_eq!(told(key, "x-amz-server-side-encryption").as_deref(), Some("aws:kms"), "{key}");
        assert_eq!(told(key, "x-amz-server-side-encryption-aws-kms-key-id").as_deref(), Some("key-1"), "{key}");
    }
    for key in ["a.manifest.json?", "a.manifest.json.partial?", "a.globals.sql.gz?", "a.fingerprints.json.zst.age?"] {
        assert_eq!(told(key, "x-amz-storage-class"), None, "{key}");
    }
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
    // A bound from below is no measurement: a machine that is busy only takes longer.
    assert!(begun.elapsed() > Duration::from_millis(2300), "{:?}", begun.elapsed());
    assert!(get(&store, KEY).unwrap() == bytes);
}

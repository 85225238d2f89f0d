//! What a wrong setting, a missing permission or another fault of the surroundings says.

use super::*;
use crate::common::cluster::CLOSED_PORT;

#[test]
fn wrong_keys_are_reported() {
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
fn a_missing_bucket_is_reported() {
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
fn a_wrong_region_is_reported() {
    let faulty = FaultyBucket::new(|_| Fault::Answer(400, "AuthorizationHeaderMalformed"));
    let settings = settings(&faulty.proxy.endpoint(), &faulty.bucket, OWNER);
    let errors = errors_of(&open_as_set(&settings));
    all_say(&errors, Kind::Config, &["region us-east-1", "set AWS_REGION to eu-central-1"]);
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
fn an_object_in_cold_storage_is_reported() {
    let faulty = FaultyBucket::new(|seen| match seen.method == "GET" {
        true => Fault::Answer(403, "InvalidObjectState"),
        false => Fault::None,
    });
    put(&faulty.direct, KEY, b"x", None).unwrap();
    all_say(&[faulty.proxied.read(KEY, 0).err().unwrap()], Kind::Unavailable, &["retrieved first", "restore-object"]);
}

#[test]
fn a_missing_server_is_reported() {
    let store = open(&settings(&format!("http://127.0.0.1:{CLOSED_PORT}"), "bucket", OWNER));
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

/// Not a test of its own: tests run it in another environment. It prints the result of a listing.
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

/// The output of [`in_another_environment`].
fn elsewhere(before: &[&str], endpoint: &str, bucket: &str, environment: &[(&str, &str)]) -> String {
    let program = std::env::current_exe().unwrap();
    let words: Vec<_> = before.iter().map(std::ffi::OsStr::new).chain([program.as_os_str()]).collect();
    let mut command = std::process::Command::new(words[0]);
    command.args(&words[1..]).args(["--exact", "s3::errors::in_another_environment", "--nocapture"]);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command.env("IN_ANOTHER_ENVIRONMENT", endpoint).env("AWS_S3_BUCKET", bucket);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn a_clock_off_by_a_day_is_reported() {
    let server = S3Server::shared();
    let said = elsewhere(&["faketime", "--exclude-monotonic", "-f", "-1d"], &server.endpoint(), &server.bucket(), &[]);
    for word in ["status 77", "clocks", "RequestTimeTooSkewed", "the server's clock says"] {
        assert!(said.contains(word), "'{word}' is not in: {said}");
    }
}

#[test]
fn without_keys_the_provider_chain_is_used() {
    let server = S3Server::shared();
    let (endpoint, bucket) = (server.endpoint(), server.bucket());
    let begun = Instant::now();
    let said = elsewhere(&["env"], &endpoint, &bucket, &[("WITHOUT_KEYS", "1")]);
    for word in ["status 77", "no access key was found", "AWS_ACCESS_KEY_ID", "instance role"] {
        assert!(said.contains(word), "'{word}' is not in: {said}");
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    let home = new_folder();
    let profile = home.path().join("credentials");
    let text = format!("[cellar]\naws_access_key_id = {}\naws_secret_access_key = {}\n", OWNER.id, OWNER.secret);
    std::fs::write(&profile, text).unwrap();
    let file = ("AWS_SHARED_CREDENTIALS_FILE", profile.to_str().unwrap());
    let said = elsewhere(&["env"], &endpoint, &bucket, &[("WITHOUT_KEYS", "1"), ("AWS_PROFILE", "cellar"), file]);
    assert!(said.contains("listed: 0"), "{said}");
}

#[test]
fn a_proxy_is_used_unless_no_proxy_excludes_the_server() {
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

/// An HTTP proxy for TLS: connects, and passes bytes on.
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

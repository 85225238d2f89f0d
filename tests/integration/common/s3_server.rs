//! A real S3 server for tests: SeaweedFS, on ports of its own, in a folder of its own.
//!
//! [`S3Server::start`] starts one, [`S3Server::shared`] has one for the whole test program. Buckets are made by
//! [`S3Server::bucket`], each with a new name; [`S3Server::settings`] are what the store needs. It ends with its handle,
//! by SIGKILL: there is nothing in it that anybody wants to keep.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use pgcellar::config::secret::Secret;
use pgcellar::config::{Keys, S3Settings};
use rustix::process::Pid;
use tokio::runtime::Runtime;

use super::process::Sweeper;

/// An access key of the server.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// `AWS_ACCESS_KEY_ID`.
    pub id: &'static str,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret: &'static str,
}

/// May do everything.
pub const OWNER: Identity = Identity { id: "OWNERKEY", secret: "owner+secret/0123456789" };
/// May read and list, and neither write nor delete.
pub const READER: Identity = Identity { id: "READERKEY", secret: "reader+secret/0123456789" };
/// May read and write, and not list.
pub const WRITER: Identity = Identity { id: "WRITERKEY", secret: "writer+secret/0123456789" };

/// A running server.
#[derive(Debug)]
pub struct S3Server {
    child: Child,
    port: u16,
    tls_port: u16,
    // Dropped after the child.
    folder: tempfile::TempDir,
    _sweeper: Sweeper,
}

impl S3Server {
    /// Starts a server and waits until it answers.
    pub fn start() -> S3Server {
        // Another program may take the port before it is used.
        (0..5).find_map(|_| S3Server::try_start()).expect("SeaweedFS does not start")
    }

    /// A server for the whole test program; it ends with the program.
    pub fn shared() -> &'static S3Server {
        static SHARED: OnceLock<S3Server> = OnceLock::new();
        SHARED.get_or_init(S3Server::start)
    }

    fn try_start() -> Option<S3Server> {
        let folder = tempfile::Builder::new().prefix("pgcellar-s3-").tempdir().unwrap();
        let identities = folder.path().join("identities.json");
        std::fs::write(&identities, identities_json()).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        let ports = free_ports(9);
        make_certificates(folder.path());
        let mut weed = Command::new("setpriv");
        weed.args(["--pdeathsig", "KILL"]).arg(program()).arg("server");
        weed.arg(format!("-dir={}", folder.path().join("data").display()));
        weed.arg(format!("-s3.config={}", identities.display()));
        weed.arg(format!("-filer.localSocket={}", folder.path().join("filer.sock").display()));
        weed.arg(format!("-s3.localSocket={}", folder.path().join("s3.sock").display()));
        weed.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.telemetry=false", "-filer", "-s3"]);
        weed.args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false"]);
        // Each bucket takes several volumes.
        weed.args(["-volume.max=5000", "-master.volumeSizeLimitMB=1024"]);
        let names = ["master", "master.port.grpc", "volume", "volume.port.grpc", "filer", "filer.port.grpc", "s3"];
        for (name, port) in names.iter().zip(&ports) {
            let name = if name.contains('.') { (*name).to_owned() } else { format!("{name}.port") };
            weed.arg(format!("-{name}={port}"));
        }
        weed.arg(format!("-s3.port.grpc={}", ports[7])).arg(format!("-s3.port.https={}", ports[8]));
        weed.arg(format!("-s3.cert.file={}", folder.path().join("server.crt").display()));
        weed.arg(format!("-s3.key.file={}", folder.path().join("server.key").display()));
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        weed.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).current_dir(folder.path());
        let child = spawn_for_the_process(weed);
        let sweeper = Sweeper::of(folder.path(), Some(Pid::from_child(&child)));
        let mut server = S3Server { child, port: ports[6], tls_port: ports[8], folder, _sweeper: sweeper };
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(120) {
            if server.child.try_wait().unwrap().is_some() {
                return None;
            }
            if server.is_ready() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = std::fs::read_to_string(server.folder.path().join("log")).unwrap_or_default();
        panic!("SeaweedFS is not ready after 120 seconds: {}", &log[log.len().saturating_sub(3000)..]);
    }

    /// A server is ready when it can make a bucket and put an object into it.
    fn is_ready(&self) -> bool {
        let client = self.client(OWNER);
        wait(async {
            if client.head_bucket().bucket("ready").send().await.is_err() {
                client.create_bucket().bucket("ready").send().await?;
            }
            client.put_object().bucket("ready").key("x").body(ByteStream::from_static(b"x")).send().await?;
            Ok::<_, aws_sdk_s3::Error>(())
        })
        .is_ok()
    }

    /// `AWS_ENDPOINT_URL`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// `AWS_ENDPOINT_URL` for the same with TLS, which needs [`S3Server::authority`].
    pub fn tls_endpoint(&self) -> String {
        format!("https://localhost:{}", self.tls_port)
    }

    /// `AWS_CA_BUNDLE`.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.crt")
    }

    /// The port of the S3 API.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a bucket with a new name.
    pub fn bucket(&self) -> String {
        static BUCKETS: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}-{}", std::process::id(), BUCKETS.fetch_add(1, Ordering::Relaxed));
        wait(self.client(OWNER).create_bucket().bucket(&name).send()).expect("the bucket cannot be made");
        name
    }

    /// Settings for a bucket of this server.
    pub fn settings(&self, bucket: &str) -> S3Settings {
        settings(&self.endpoint(), bucket, OWNER)
    }

    /// A plain client of the server, for what the store does not offer.
    pub fn client(&self, identity: Identity) -> Client {
        let http =
            aws_smithy_http_client::Builder::new().tls_provider(Provider::rustls(CryptoMode::Ring)).build_https();
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(http)
            .endpoint_url(self.endpoint())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(identity.id, identity.secret, None, None, "test"))
            .force_path_style(true)
            .build();
        Client::from_conf(config)
    }
}

/// Waits for requests of the plain client.
pub fn wait<T>(work: impl Future<Output = T>) -> T {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = || tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    RUNTIME.get_or_init(runtime).block_on(work)
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Settings for a bucket behind an endpoint.
pub fn settings(endpoint: &str, bucket: &str, identity: Identity) -> S3Settings {
    S3Settings {
        bucket: bucket.to_owned(),
        prefix: "database-backups".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        misspelt_endpoint: None,
        keys: Some(Keys { id: Secret::new(identity.id), secret: Secret::new(identity.secret), token: None }),
        storage_class: None,
        encryption: None,
        lock: None,
        ca_bundle: None,
        rate_limit: None,
    }
}

fn identities_json() -> String {
    let identity = |name: &str, identity: Identity, actions: &[&str]| {
        serde_json::json!({
            "name": name,
            "credentials": [{ "accessKey": identity.id, "secretKey": identity.secret }],
            "actions": actions,
        })
    };
    serde_json::json!({ "identities": [
        identity("owner", OWNER, &["Admin", "Read", "List", "Tagging", "Write"]),
        identity("reader", READER, &["Read", "List"]),
        identity("writer", WRITER, &["Read", "Write"]),
    ]})
    .to_string()
}

/// Starts a child that the kernel kills with this process. The signal is sent when the thread that started the child
/// ends.
fn spawn_for_the_process(mut command: Command) -> Child {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        sender.send(command.spawn()).unwrap();
        loop {
            std::thread::park();
        }
    });
    receiver.recv().unwrap().expect("SeaweedFS cannot be started")
}

/// Path of `weed`; the script installs it once.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/tool");
        let output =
            Command::new(script).arg("weed").stderr(Stdio::inherit()).output().expect("scripts/tool cannot be run");
        assert!(output.status.success(), "scripts/tool weed failed");
        PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
    })
}

/// Makes an authority and a certificate for `localhost` that it signed.
fn make_certificates(folder: &Path) {
    let make = |name: &str, subject: &str, extension: &str, signed: bool| {
        let mut openssl = Command::new("openssl");
        openssl.current_dir(folder).stdout(Stdio::null()).stderr(Stdio::null());
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-days", "30"]);
        openssl.args(["-subj", subject, "-addext", extension, "-keyout", &format!("{name}.key")]);
        openssl.args(["-out", &format!("{name}.crt")]);
        if signed {
            openssl.args(["-CA", "authority.crt", "-CAkey", "authority.key"]);
            openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        }
        assert!(openssl.status().expect("openssl cannot be started").success(), "openssl failed");
    };
    make("authority", "/CN=pgcellar test authority", "basicConstraints=critical,CA:TRUE", false);
    make("server", "/CN=localhost", "subjectAltName=DNS:localhost", true);
}

/// Different ports that are free at the moment.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0)).unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

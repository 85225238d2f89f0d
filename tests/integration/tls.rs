//! TLS to PostgreSQL: our own sessions accept and refuse the same servers as libpq.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgcellar::config::secret::Secret;
use pgcellar::config::{Connection, Host, SslMode, Tls};
use pgcellar::postgres::client::connect;

use crate::common::cluster::{Cluster, PASSWORD, SUPERUSER};
use crate::common::pgcellar::{Cellar, exit};
use crate::common::process::{attempt, hand_over, must, new_folder, plain};
use crate::common::version::Version;

const MODES: [SslMode; 4] = [SslMode::Prefer, SslMode::Require, SslMode::VerifyCa, SslMode::VerifyFull];

/// A cluster with TLS whose certificate can be changed.
struct Servers {
    cluster: Cluster,
}

/// A folder with certificates of every kind.
fn kinds() -> &'static Path {
    static MADE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let make = || {
        let folder = new_folder();
        must(plain("sh").current_dir(folder.path()).args(["-c", include_str!("tls/kinds.sh")]));
        folder
    };
    MADE.get_or_init(make).path()
}

impl Servers {
    fn start(version: Version) -> Servers {
        Servers { cluster: Cluster::start_with_tls(version) }
    }

    fn root(kind: &str) -> PathBuf {
        kinds().join(kind).join("root.crt")
    }

    /// Gives the server the certificate of this kind.
    fn show(&self, kind: &str) {
        let loaded = || self.cluster.sql("postgres", "SELECT pg_conf_load_time()");
        let before = loaded();
        for name in ["server.crt", "server.key"] {
            let to = self.cluster.data_dir().join(name);
            fs::copy(kinds().join(kind).join(name), &to).unwrap();
            fs::set_permissions(&to, fs::Permissions::from_mode(0o600)).unwrap();
            hand_over(&to);
        }
        let refusals = || self.cluster.log().matches("SSL configuration was not reloaded").count();
        let refused = refusals();
        rustix::process::kill_process(self.cluster.postmaster(), rustix::process::Signal::HUP).unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while loaded() == before {
            assert!(Instant::now() < deadline, "the server does not load its settings");
        }
        assert_eq!(refusals(), refused, "{kind}: {}", self.cluster.log());
    }

    /// Whether psql connects, or its error.
    fn psql(&self, host: &str, mode: SslMode, root: Option<&Path>) -> Result<String, String> {
        let mut psql = plain(self.cluster.version().bin_dir().join("psql"));
        psql.env("PGHOST", host).env("PGPORT", self.cluster.port().to_string()).env("PGUSER", SUPERUSER);
        psql.env("PGPASSWORD", PASSWORD).env("PGSSLMODE", mode.name()).env("HOME", kinds());
        // libpq has no channel binding for Ed25519 (`be_tls_get_certificate_hash`), and fails.
        psql.env("PGCHANNELBINDING", "disable");
        psql.envs(root.map(|root| ("PGSSLROOTCERT", root)));
        psql.args(["-w", "-X", "-A", "-t", "-d", "postgres"]);
        attempt(psql.args(["-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"]))
    }

    /// Whether a session of ours connects, or its error.
    fn own(&self, host: &str, mode: SslMode, root: Option<&Path>) -> Result<String, String> {
        let connection = Connection {
            host: Host::Name(host.to_owned()),
            port: self.cluster.port(),
            user: Some(SUPERUSER.to_owned()),
            password: Some(Secret::new(PASSWORD)),
            tls: Tls { mode, root_cert: root.map(Path::to_owned), cert: None, key: None },
            bindir: None,
            parameters: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = connect(&connection, "postgres").await.map_err(|error| error.to_string())?;
            let ssl = "SELECT ssl::text FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
            let row = client.query_one(ssl, &[]).await.map_err(|error| error.to_string())?;
            Ok(row.get::<_, String>(0))
        })
    }

    /// Compares psql and a session of ours for every kind and mode.
    fn compare(&self) {
        let mut kinds: Vec<_> = fs::read_dir(kinds()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        kinds.sort();
        let mut differences = String::new();
        let (mut taken, mut refused) = (0, 0);
        for kind in kinds.iter().map(|kind| kind.to_str().unwrap()) {
            self.show(kind);
            let root = Servers::root(kind);
            let root = Some(root.as_path());
            let by_name = MODES.iter().flat_map(|mode| [("localhost", *mode, None), ("localhost", *mode, root)]);
            for (host, mode, root) in by_name.chain([("127.0.0.1", SslMode::VerifyFull, root)]) {
                // Without an authority libpq refuses to verify, and we use the system's, which signed none of these.
                let (libpq, own) = (self.psql(host, mode, root), self.own(host, mode, root));
                match own.is_ok() {
                    true => taken += 1,
                    false => refused += 1,
                }
                if libpq.is_ok() != own.is_ok() {
                    let (mode, named) = (mode.name(), root.is_some());
                    writeln!(differences, "{kind}, {host}, {mode}, root {named}:\n  {libpq:?}\n  {own:?}").unwrap();
                }
            }
        }
        assert_eq!(differences, "");
        assert!(taken > 100 && refused > 100, "{taken} {refused}");
    }
}

#[test]
fn sessions_accept_the_same_certificates_as_libpq() {
    Servers::start(Version::V15).compare();
}

#[test]
fn sessions_accept_the_same_certificates_as_the_newest_libpq() {
    Servers::start(Version::V18).compare();
}

#[test]
fn sessions_of_tls_1_2_accept_the_same() {
    let servers = Servers::start(Version::V15);
    servers.cluster.sql("postgres", "ALTER SYSTEM SET ssl_max_protocol_version = 'TLSv1.2'");
    servers.compare();
}

#[test]
fn a_server_may_require_the_curve_p_521() {
    let servers = Servers::start(Version::V15);
    servers.cluster.sql("postgres", "ALTER SYSTEM SET ssl_ecdh_curve = 'secp521r1'");
    let kind = "P-521";
    servers.show(kind);
    let root = Servers::root(kind);
    let connected = servers.own("localhost", SslMode::VerifyFull, Some(&root));
    assert_eq!(connected.as_deref(), Ok("true"));
}

#[test]
fn a_refused_certificate_is_reported_with_a_hint() {
    let servers = Servers::start(Version::V15);
    let database = servers.cluster.create("over_tls");
    let cellar = Cellar::new(&servers.cluster).with("DB_NAME", database.name()).with("DB_HOST", "localhost");
    for (kind, texts) in [
        ("unknown self-signed", ["no trusted certificate of its issuer 'CN=localhost'", "DB_SSLROOTCERT"]),
        ("another name", ["is for 127.0.0.2, and not for 'localhost'", "DB_HOST"]),
        ("another alternative name", ["is for elsewhere, and not for 'localhost'", "verify-ca"]),
        ("expired", ["'CN=localhost' has expired", "the server needs a new certificate"]),
        ("expired root", ["'CN=r' has expired", "the server needs a new certificate"]),
        ("for clients", ["is not for servers (extendedKeyUsage)", "issued for servers"]),
        ("no authority between", ["'CN=an authority between' is not of an authority", "issued for servers"]),
    ] {
        servers.show(kind);
        let run = cellar.run(["backup"]).env("DB_SSLMODE", "verify-full").env("DB_SSLROOTCERT", Servers::root(kind));
        let outcome = run.fails(exit::UNAVAILABLE);
        for text in texts {
            assert!(outcome.stderr.contains(text), "{kind}: {outcome}");
        }
        assert!(!outcome.stderr.contains("pg_hba.conf"), "{kind}: {outcome}");
    }
}

#[test]
fn a_root_certificate_in_the_home_directory_is_used_as_by_libpq() {
    let servers = Servers::start(Version::V15);
    let database = servers.cluster.create("home");
    let cellar = Cellar::new(&servers.cluster).with("DB_NAME", database.name()).with("DB_HOST", "localhost");
    servers.show("manual, own authority");
    let home = cellar.scratch().join(".postgresql");
    fs::create_dir(&home).unwrap();
    fs::copy(Servers::root("manual, own authority"), home.join("root.crt")).unwrap();
    for mode in ["prefer", "require", "verify-ca", "verify-full"] {
        cellar.run(["backup"]).env("DB_SSLMODE", mode).succeeds();
    }
    fs::copy(Servers::root("version 3"), home.join("root.crt")).unwrap();
    // `prefer` falls back to no TLS, which this server refuses.
    cellar.run(["backup"]).env("DB_SSLMODE", "prefer").fails(exit::NOPERM);
    for mode in ["require", "verify-ca", "verify-full"] {
        let outcome = cellar.run(["backup"]).env("DB_SSLMODE", mode).fails(exit::UNAVAILABLE);
        assert!(outcome.stderr.contains("DB_SSLROOTCERT"), "{outcome}");
    }
}

#[test]
fn a_client_certificate_may_be_of_version_1() {
    let cluster = Cluster::start_with_tls(Version::V15);
    let database = cluster.create("by_certificate");
    let certificates = cluster.certificates();
    let folder = new_folder();
    let make = "openssl req -new -nodes -out r.csr -keyout c.key -subj /CN=certified && \
                openssl x509 -req -in r.csr -CA \"$1\" -CAkey \"$2\" -CAcreateserial -CAserial s -days 9 -out c.crt";
    let mut openssl = plain("sh");
    openssl.current_dir(folder.path()).args(["-c", make, "sh"]);
    must(openssl.arg(certificates.certificate("authority")).arg(certificates.key("authority")));
    let cellar = Cellar::new(&cluster)
        .with("DB_NAME", database.name())
        .with("DB_HOST", "localhost")
        .with("DB_USER", "certified")
        .with("DB_SSLMODE", "verify-full")
        .with("DB_SSLROOTCERT", certificates.certificate("authority"));
    let run = || cellar.run(["backup"]).without("DB_PASSWORD");
    let (certificate, key) = (folder.path().join("c.crt"), folder.path().join("c.key"));
    run().env("DB_SSLCERT", &certificate).env("DB_SSLKEY", &key).succeeds();
    let other = run().env("DB_SSLCERT", &certificate).env("DB_SSLKEY", certificates.key("client"));
    let outcome = other.fails(exit::CONFIG);
    assert!(outcome.stderr.contains("DB_SSLKEY"), "{outcome}");
    // libpq's own places.
    let home = cellar.scratch().join(".postgresql");
    fs::create_dir(&home).unwrap();
    fs::copy(&certificate, home.join("postgresql.crt")).unwrap();
    fs::copy(&key, home.join("postgresql.key")).unwrap();
    run().succeeds();
}

//! Real PostgreSQL servers, started for the tests and removed with them.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::process::{Sweeper, attempt, hand_over, must, new_folder, plain, unprivileged};
use super::tls::Certificates;
use super::version::Version;

/// The superuser of every cluster.
pub const SUPERUSER: &str = "postgres";
/// The superuser's password over TCP. Nothing that pgcellar prints or writes may ever contain it.
pub const PASSWORD: &str = "correct-horse-battery-staple";

/// Starting a server takes less than a second; a machine under load gets a minute.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Runs the server as its child, waits until its stdin closes, which the end of the test process does in any case, then
/// stops the server and removes the folder. The shutdown is immediate: the data is thrown away.
const GUARD: &str = r#"
folder=$1 data=$1/data
shift
"$@" >"$folder/log" 2>&1 </dev/null &
server=$!
read -r _
postmaster=$(head -n 1 "$data/postmaster.pid" 2>/dev/null) || postmaster=
is_ours() { [ -n "$postmaster" ] && [ "$(readlink "/proc/$postmaster/cwd")" = "$data" ]; }
tries=0
while is_ours; do
    if [ "$tries" -lt 100 ]; then kill -QUIT "$postmaster"; else kill -KILL "$postmaster"; fi
    tries=$((tries + 1))
    sleep 0.05
done 2>/dev/null
kill -KILL "$server" 2>/dev/null
wait
tries=0
until rm -rf "$folder" 2>/dev/null || [ "$tries" -ge 100 ]; do
    tries=$((tries + 1))
    sleep 0.05
done
"#;

/// A PostgreSQL cluster in a folder of its own, on a socket in that folder and on a free port of 127.0.0.1.
///
/// The socket lets everybody in; TCP asks for the password (SCRAM). It stops when it is dropped, and also when the test
/// process ends in any other way, with or without a panic.
#[derive(Debug)]
pub struct Cluster {
    version: Version,
    folder: PathBuf,
    port: u16,
    certificates: Option<Certificates>,
    guard: Child,
    names: AtomicUsize,
}

impl Cluster {
    /// The one cluster of this version that the tests of this process share, started by the first that asks. Each test
    /// works in databases of its own, and leaves roles and settings of the cluster alone.
    pub fn shared(version: Version) -> &'static Cluster {
        static CLUSTERS: OnceLock<Mutex<HashMap<Version, &'static Cluster>>> = OnceLock::new();
        let mut clusters = CLUSTERS.get_or_init(Mutex::default).lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        clusters.entry(version).or_insert_with(|| Box::leak(Box::new(Cluster::start(version))))
    }

    /// A cluster of the test's own.
    pub fn start(version: Version) -> Cluster {
        Cluster::start_with(version, None, &[], None)
    }

    /// A cluster of the test's own whose messages are in German.
    pub fn start_in_german(version: Version) -> Cluster {
        // A bare system has no locale but C's, so the server gets one of its own (`LOCPATH` of locale(7)).
        Cluster::start_configured(version, &["lc_messages=de_DE.UTF-8"])
    }

    /// A cluster of the test's own, with further settings (`name=value`) of postgresql.conf.
    pub fn start_configured(version: Version, settings: &[&str]) -> Cluster {
        Cluster::start_with(version, None, settings, None)
    }

    /// A cluster whose TCP port speaks TLS only: with the password, or as role `certified` with its client certificate.
    pub fn start_with_tls(version: Version) -> Cluster {
        Cluster::start_with(version, Some(Certificates::make()), &[], None)
    }

    /// A cluster with one more disk, [`Cluster::small_disk`], that has room for this many bytes. Only the server sees it.
    pub fn start_with_small_disk(version: Version, bytes: u64) -> Cluster {
        Cluster::start_with(version, None, &[], Some(bytes))
    }

    fn start_with(
        version: Version,
        certificates: Option<Certificates>,
        settings: &[&str],
        small_disk: Option<u64>,
    ) -> Cluster {
        for _ in 0..10 {
            let folder = new_folder().keep();
            let data = folder.join("data");
            hand_over(&folder);
            copy_template(version, &data);
            fs::write(data.join("pg_hba.conf"), access_rules(certificates.is_some())).unwrap();
            let mut settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
            settings.extend(certificates.iter().flat_map(|certificates| certificates.server_settings(&data)));
            let port = free_port();
            let guard = spawn_guarded(version, &folder, port, &settings, small_disk);
            let mut cluster = Cluster { version, folder, port, certificates: None, guard, names: AtomicUsize::new(0) };
            match cluster.wait_until_ready() {
                Ok(()) => {
                    cluster.certificates = certificates;
                    // The default before version 14 is MD5.
                    let roles = format!(
                        "SET password_encryption = 'scram-sha-256'; ALTER ROLE {SUPERUSER} PASSWORD '{PASSWORD}'; \
                         CREATE ROLE certified SUPERUSER LOGIN"
                    );
                    cluster.sql("postgres", &roles);
                    return cluster;
                }
                // Another process took the port before the server bound it.
                Err(log) if log.contains("could not bind") => continue,
                Err(log) => panic!("PostgreSQL {} did not start:\n{log}", version.0),
            }
        }
        panic!("no free port for PostgreSQL {}", version.0);
    }

    fn wait_until_ready(&self) -> Result<(), String> {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            let state = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
            if state.lines().nth(7).is_some_and(|line| line.trim() == "ready") {
                return Ok(());
            }
            let log = self.log();
            // A worker of an extension may look for a database that the test is about to make.
            let has_failed = log.lines().any(|line| line.contains("FATAL:") && !line.ends_with("does not exist"));
            if has_failed || Instant::now() > deadline {
                return Err(log);
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The server's version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder with the Unix socket, as `DB_HOST` takes it.
    pub fn socket_dir(&self) -> &Path {
        &self.folder
    }

    /// The data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Where a server sees its small disk.
    pub fn small_disk(&self) -> PathBuf {
        self.folder.join("small")
    }

    /// Starts the server again after its postmaster's death, with the settings that it had.
    pub fn start_again(&self) {
        let data = self.data_dir();
        let deadline = Instant::now() + START_LIMIT;
        // The dead postmaster is a zombie, so its ID is in use and its lock files have to be removed. That is safe once
        // its last process has left the data directory.
        while processes_in(&data) {
            assert!(Instant::now() < deadline, "processes of the dead server still run");
            thread::sleep(Duration::from_millis(10));
        }
        fs::remove_file(data.join("postmaster.pid")).unwrap();
        fs::remove_file(self.folder.join(format!(".s.PGSQL.{}.lock", self.port))).unwrap();
        let call = fs::read_to_string(data.join("postmaster.opts")).unwrap();
        let (_, options) = call.trim().split_once(' ').expect("the server's options");
        let mut pg_ctl = unprivileged(self.version.bin_dir().join("pg_ctl"));
        pg_ctl.current_dir("/").args(["start", "--silent", "--wait", "--options", options]);
        let log = self.folder.join("second_log");
        let started = attempt(pg_ctl.arg("--pgdata").arg(&data).arg("--log").arg(&log));
        assert!(started.is_ok(), "{started:?}\n{}", fs::read_to_string(&log).unwrap_or_default());
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read(self.folder.join("log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
    }

    /// The certificates of a cluster started by [`Cluster::start_with_tls`].
    pub fn certificates(&self) -> &Certificates {
        self.certificates.as_ref().expect("a cluster with TLS")
    }

    /// The process ID of the postmaster.
    pub fn postmaster(&self) -> rustix::process::Pid {
        let state = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap();
        let pid = state.lines().next().and_then(|line| line.trim().parse().ok()).expect("a process ID");
        rustix::process::Pid::from_raw(pid).expect("a process ID")
    }

    /// Kills the postmaster with SIGKILL, as the kernel does when memory runs out.
    pub fn kill_postmaster(&self) {
        rustix::process::kill_process(self.postmaster(), rustix::process::Signal::KILL).unwrap();
    }

    /// One of this version's client programs (psql, pg_dump …), connected as superuser through the socket. `database`
    /// may be any name: it is passed as PGDATABASE, which is not parsed.
    pub fn client(&self, program: &str, database: &str) -> Command {
        let mut command = plain(self.version.bin_dir().join(program));
        command.env("PGHOST", &self.folder).env("PGPORT", self.port.to_string());
        command.env("PGUSER", SUPERUSER).env("PGDATABASE", database);
        command
    }

    /// Waits until the server has ended all sessions of a role: they count towards its limit.
    pub fn wait_for_the_end_of_sessions(&self, role: &str) {
        let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE usename = '{role}'");
        while self.sql("postgres", &sessions) != "0" {
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Runs SQL by psql and returns its unaligned output, without the last line end; stops at the first error and fails
    /// the test with it.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        self.try_sql(database, sql).unwrap_or_else(|complaint| panic!("{complaint}"))
    }

    /// Runs SQL by psql: its unaligned output, or the error.
    pub fn try_sql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut psql = self.client("psql", database);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose", "-c", sql]);
        attempt(&mut psql).map(|output| output.strip_suffix('\n').unwrap_or(&output).to_owned())
    }

    /// A name that no other database of this cluster has.
    pub fn name_for(&self, purpose: &str) -> String {
        format!("{purpose}_{}", self.names.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes an empty database, named after `purpose`.
    pub fn create(&self, purpose: &str) -> Database<'_> {
        self.create_named(&self.name_for(purpose))
    }

    /// Makes an empty database with exactly this name.
    pub fn create_named(&self, name: &str) -> Database<'_> {
        self.sql("postgres", &format!("CREATE DATABASE {} TEMPLATE template0", quote_identifier(name)));
        self.database(name)
    }

    /// A database that exists already.
    pub fn database(&self, name: &str) -> Database<'_> {
        Database { cluster: self, name: name.to_owned() }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        if let Err(error) = self.guard.wait() {
            eprintln!("cannot wait for the guard of {}: {error}", self.folder.display());
        }
    }
}

/// A database of a cluster.
#[derive(Clone, Debug)]
pub struct Database<'a> {
    cluster: &'a Cluster,
    name: String,
}

impl<'a> Database<'a> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The cluster that it is in.
    pub fn cluster(&self) -> &'a Cluster {
        self.cluster
    }

    /// Runs SQL in it; see [`Cluster::sql`].
    pub fn sql(&self, sql: &str) -> String {
        self.cluster.sql(&self.name, sql)
    }

    /// A connection string that names this database and nothing else, for programs that parse their `-d`.
    pub fn connection_string(&self) -> String {
        format!("dbname='{}'", self.name.replace('\\', "\\\\").replace('\'', "\\'"))
    }
}

/// Quotes a name for SQL.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether a process runs in this folder.
fn processes_in(folder: &Path) -> bool {
    let mut processes = fs::read_dir("/proc").unwrap().flatten();
    processes.any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd == folder))
}

/// A port of 127.0.0.1 that refuses connections: no other test is given one below 1024.
pub const CLOSED_PORT: u16 = 1;

/// A port of 127.0.0.1 on which nothing listens at the moment.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).unwrap().port()
}

/// Makes a data directory: initdb runs once for each version, and each cluster is a copy with an identifier of its own. It
/// runs for each cluster where the version has no pg_resetwal.
fn copy_template(version: Version, data: &Path) {
    let pg_resetwal = version.bin_dir().join("pg_resetwal");
    if !pg_resetwal.exists() {
        return initdb(version, data);
    }
    static TEMPLATES: Mutex<BTreeMap<Version, (PathBuf, Sweeper)>> = Mutex::new(BTreeMap::new());
    let template = {
        let mut templates = TEMPLATES.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let make = || {
            let folder = new_folder().keep();
            hand_over(&folder);
            initdb(version, &folder.join("data"));
            (folder.join("data"), Sweeper::of(&folder, None))
        };
        templates.entry(version).or_insert_with(make).0.clone()
    };
    must(unprivileged("cp").current_dir("/").arg("--archive").arg(template).arg(data));
    // The identifier is the first field of the file (`ControlFileData` of pg_control.h), and stands in the WAL too.
    // pg_resetwal, when forced, takes the file in spite of its checksum, and writes both anew.
    let path = data.join("global/pg_control");
    let mut control = fs::read(&path).unwrap();
    control[..8].copy_from_slice(&system_identifier().to_ne_bytes());
    fs::write(&path, control).unwrap();
    let mut reset = unprivileged(pg_resetwal);
    must(reset.current_dir("/").arg("--force").arg("--pgdata").arg(data));
}

/// A number that no other cluster has: time and process, as initdb takes them.
fn system_identifier() -> u64 {
    static CLUSTERS: AtomicU64 = AtomicU64::new(0);
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    seconds << 32 | CLUSTERS.fetch_add(1, Ordering::Relaxed) << 22 | u64::from(std::process::id())
}

fn initdb(version: Version, data: &Path) {
    let mut initdb = unprivileged(version.bin_dir().join("initdb"));
    initdb.current_dir("/").arg("--pgdata").arg(data).args(["--username", SUPERUSER, "--encoding=UTF8"]);
    must(initdb.args(["--locale=C.UTF-8", "--no-sync", "--auth=trust"]));
}

fn access_rules(tls: bool) -> &'static str {
    if tls {
        "local all all trust\nhostssl all certified 127.0.0.1/32 cert\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
    } else {
        "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    }
}

fn spawn_guarded(version: Version, folder: &Path, port: u16, settings: &[String], small_disk: Option<u64>) -> Child {
    let postgres = version.bin_dir().join("postgres");
    let mut server = match small_disk {
        None => unprivileged(postgres),
        Some(bytes) => {
            let disk = folder.join("small");
            fs::create_dir(&disk).unwrap();
            hand_over(&disk);
            let mut bwrap = unprivileged("bwrap");
            bwrap.args(["--dev-bind", "/", "/", "--size", &bytes.to_string(), "--tmpfs"]).arg(disk);
            bwrap.arg("--").arg(postgres);
            bwrap
        }
    };
    server.arg("-D").arg(folder.join("data"));
    let socket = format!("unix_socket_directories={}", folder.display());
    let port = format!("port={port}");
    let ours = [
        "listen_addresses=127.0.0.1",
        "fsync=off",
        "max_wal_size=256MB",
        "dynamic_shared_memory_type=mmap",
        "shared_buffers=64MB",
        "timezone=UTC",
    ];
    for setting in ours.into_iter().chain([socket.as_str(), port.as_str()]).chain(settings.iter().map(String::as_str)) {
        server.arg("-c").arg(setting);
    }
    let mut guard = plain("sh");
    if settings.iter().any(|setting| setting.ends_with("de_DE.UTF-8")) {
        let locales = folder.join("locales");
        fs::create_dir(&locales).unwrap();
        must(plain("localedef").args(["-i", "de_DE", "-f", "UTF-8"]).arg(locales.join("de_DE.UTF-8")));
        guard.env("LOCPATH", locales);
    }
    guard.current_dir("/").args(["-c", GUARD, "guard"]).arg(folder);
    guard.arg(server.get_program()).args(server.get_args());
    // A group of its own: Ctrl-C ends the tests, and the guard cleans up behind them.
    guard.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    guard.spawn().expect("sh")
}

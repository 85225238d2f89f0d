//! A connection pooler before the server, through which no dump may be made.
//!
//! pg_dump empties `search_path` in its session. A pooler that shares backends between clients breaks other clients by
//! that, and one that ignores the options of a session drops those of the dump.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::common::cluster::free_port;
use crate::common::pgcellar::Run;
use crate::common::process::{hand_over, must, new_folder, plain, unprivileged};
use crate::common::programs::Programs;
use crate::common::{Cellar, Cluster, Database, Version, exit};

const IGNORING: &str = "ignore_startup_parameters = options, extra_float_digits";

/// pgbouncer before a cluster. It ends when it is dropped.
struct Pooler {
    _folder: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Pooler {
    fn before(cluster: &Cluster, mode: &str, settings: &str) -> Pooler {
        let folder = new_folder();
        hand_over(folder.path());
        let (port, path) = (free_port(), folder.path());
        let (users, ini) = (path.join("users"), path.join("pgbouncer.ini"));
        fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let text = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             auth_type = trust\nauth_file = {}\npool_mode = {mode}\nunix_socket_dir =\n{settings}\n",
            cluster.socket_dir().display(),
            cluster.port(),
            users.display()
        );
        fs::write(&ini, text).unwrap();
        hand_over(&users);
        hand_over(&ini);
        // Ends with the thread of the test, however that ends.
        let mut server = unprivileged("setpriv");
        server.args(["--pdeathsig", "QUIT", "--", "pgbouncer", "-q"]).arg(&ini).current_dir("/");
        let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let pooler = Pooler { _folder: folder, port, server };
        let deadline = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "pgbouncer did not start");
            std::thread::sleep(Duration::from_millis(10));
        }
        pooler
    }

    /// The search path that an application gets through it.
    fn sql(&self, database: &Database<'_>, sql: &str) -> String {
        let mut psql = plain(database.cluster().version().bin_dir().join("psql"));
        psql.env("PGHOST", "127.0.0.1").env("PGPORT", self.port.to_string()).env("PGUSER", "postgres");
        must(psql.args(["-X", "-A", "-t", "-q", "-d", database.name(), "-c", sql])).trim_end().to_owned()
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Programs that create a file when they are started.
fn watched(version: Version) -> Programs {
    let programs = Programs::of(version);
    let file = programs.path().join("started").display().to_string();
    for program in ["pg_dump", "pg_dumpall", "pg_restore", "psql"] {
        programs.before(program, &format!("touch '{file}'"));
    }
    programs
}

fn refused(run: Run, programs: &Path) {
    let outcome = run.env("PG_BINDIR", programs).fails(exit::CONFIG);
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("pooler") && said.contains("DB_HOST and DB_PORT"), "{outcome}");
    assert!(!programs.join("started").exists(), "a program was started: {outcome}");
}

fn nothing_goes_through(version: Version, mode: &str, settings: &str) {
    let cluster = Cluster::shared(version);
    let database = cluster.create("pooled");
    database.sql("CREATE TABLE wine AS SELECT 1 AS n");
    let cellar = Cellar::new(cluster).with("DB_NAME", database.name());
    cellar.run(["backup"]).succeeds();
    let pooler = Pooler::before(cluster, mode, settings);
    let shown = "SHOW search_path; SELECT n FROM wine";
    assert_eq!(pooler.sql(&database, shown), "\"$user\", public\n1");

    let cellar = cellar.with("DB_PORT", pooler.port.to_string());
    let programs = watched(version);
    let restored = cluster.name_for("pooled_again");
    for arguments in [
        vec!["backup"],
        vec!["doctor", "database"],
        vec!["restore", "latest", "--target-database", &restored],
        vec!["verify", "latest", "--against-live", database.name()],
    ] {
        refused(cellar.run(arguments), programs.path());
        assert_eq!(pooler.sql(&database, shown), "\"$user\", public\n1", "{mode} {settings}");
    }
    refused(cellar.run(["backup"]).env("DB_NAME", "*"), programs.path());
    let outcome = cellar.run(["monitor", "check"]).finish();
    assert!(outcome.stdout.contains("DB_HOST and DB_PORT"), "{outcome}");
}

#[test]
fn transactions_share_backends() {
    nothing_goes_through(Version::V15, "transaction", IGNORING);
    nothing_goes_through(Version::V18, "transaction", IGNORING);
}

#[test]
fn a_session_pooler_that_ignores_our_options_is_refused() {
    nothing_goes_through(Version::V15, "session", IGNORING);
}

#[test]
fn options_are_refused() {
    nothing_goes_through(Version::V15, "transaction", "");
}

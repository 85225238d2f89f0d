//! A throwaway cluster: created by initdb in a private folder, reachable only by a socket in it, without durability, and
//! removed with its folder.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio_postgres::Client;

use crate::config::{Connection, Host, SslMode, Tls};
use crate::error::{Error, Kind, Result};
use crate::postgres::child::Child;
use crate::postgres::client::{connect, failed};
use crate::postgres::columns::text;
use crate::postgres::programs::Programs;
use crate::stop::Stop;

/// A part of the socket's name. The socket is in a folder of our own, so that any number serves.
const PORT: u16 = 5432;

/// How long a new server may take until it accepts connections: an empty one takes less than a second.
const START: Duration = Duration::from_secs(120);

/// Pause between attempts to connect.
const PAUSE: Duration = Duration::from_millis(20);

/// Longest path of a socket in bytes, including the terminating zero (`sun_path` of unix(7)).
const SOCKET_PATH: usize = 108;

/// Settings of a server whose data is thrown away: no network, no durability, no background work.
const SETTINGS: &[&str] = &[
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_logical_replication_workers=0",
    "max_wal_size=2GB",
    // Segments are not filled with zeros before they are written.
    "wal_init_zero=off",
    "checkpoint_timeout=1h",
    "autovacuum=off",
    "jit=off",
    // A container has a small /dev/shm, and files there outlive a killed server.
    "dynamic_shared_memory_type=mmap",
    "restart_after_crash=off",
    "logging_collector=off",
    "log_destination=stderr",
    "log_min_messages=error",
    "log_min_error_statement=panic",
    "lc_messages=C",
    "timezone=UTC",
    "cluster_name=pgcellar-drill",
];

/// Settings of a server that logs its errors for machines; the file has the name that the server gives a log in JSON.
const LOGGING: &[&str] = &[
    "logging_collector=on",
    "log_destination=jsonlog",
    "log_rotation_age=0",
    "log_rotation_size=0",
    "log_file_mode=0600",
];

/// Name of the log, to which the server adds a suffix.
const LOG: &str = "errors";

/// First version with such a log.
const HAS_JSON_LOG: u32 = 15;

/// How to create a cluster.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Programs of the server's version, initdb and postgres among them.
    pub programs: &'a Programs,
    /// A private, empty folder.
    pub folder: &'a Path,
    /// Name of the role with OID 10.
    pub superuser: &'a str,
    /// Number of concurrent sessions.
    pub jobs: NonZeroUsize,
    /// Memory that it may use, in bytes.
    pub memory: u64,
    /// Whether the server writes [`Plan::log`], which servers before version 15 cannot.
    pub logs: bool,
    /// Libraries to preload.
    pub preload: &'a [String],
    /// Further parameters, which those of a throwaway server override.
    pub settings: &'a BTreeMap<String, String>,
}

impl Plan<'_> {
    /// The file of the server's errors, a JSON object in each line.
    pub fn log(&self) -> PathBuf {
        self.folder.join(format!("{LOG}.json"))
    }
}

/// A running cluster. Dropped without [`Cluster::stop`], its server is killed.
#[derive(Debug)]
pub struct Cluster {
    server: Child,
    connection: Connection,
    /// `server_version`.
    pub version: String,
}

impl Cluster {
    /// Creates a cluster, whose server is not started yet.
    ///
    /// # Errors
    /// `System` if initdb fails.
    pub async fn initialize(plan: Plan<'_>, stop: &Stop) -> Result<()> {
        initdb(plan, &plan.folder.join("data"), stop).await
    }

    /// Starts the server of a cluster.
    ///
    /// # Errors
    /// `System` if it does not start.
    pub async fn start(plan: Plan<'_>, stop: &Stop) -> Result<Self> {
        let (data, socket) = (plan.folder.join("data"), plan.folder.to_owned());
        if socket.join(format!(".s.PGSQL.{PORT}")).as_os_str().len() >= SOCKET_PATH {
            let message = format!("the path of the folder {} is too long for a socket", socket.display());
            return Err(Error::new(Kind::System, message).hint("choose a folder with a shorter path"));
        }
        let connection = Connection {
            host: Host::Socket(socket),
            port: PORT,
            user: Some(plan.superuser.to_owned()),
            password: None,
            tls: Tls { mode: SslMode::Disable, root_cert: None, cert: None, key: None },
            bindir: Some(plan.programs.folder.clone()),
            parameters: Vec::new(),
        };
        let mut command = plan.programs.server("postgres");
        command.arg("-D").arg(&data).args(["-k"]).arg(plan.folder).args(["-p", &PORT.to_string()]);
        for setting in settings(plan) {
            command.args(["-c", &setting]);
        }
        command.stdout(Stdio::null()).current_dir(plan.folder);
        let mut cluster = Cluster { server: Child::start("postgres", command)?, connection, version: String::new() };
        match stop.or(cluster.answers()).await {
            Ok(version) => cluster.version = version,
            Err(error) => {
                cluster.stop().await;
                return Err(error);
            }
        }
        Ok(cluster)
    }

    /// The connection to the server.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Waits until the server accepts a connection, and returns its version.
    async fn answers(&mut self) -> Result<String> {
        let deadline = tokio::time::Instant::now() + START;
        loop {
            tokio::select! {
                ended = self.server.wait() => {
                    let (_, messages) = ended?;
                    let why = messages.lines().filter(|line| !line.is_empty()).last().unwrap_or("it wrote no message").to_owned();
                    return Err(Error::new(Kind::System, format!("the throwaway server did not start: {why}")));
                }
                () = tokio::time::sleep(PAUSE) => {}
            }
            match connect(&self.connection, "postgres").await {
                Ok(client) => return version(&client).await,
                Err(error) if tokio::time::Instant::now() > deadline => {
                    return Err(
                        Error::new(Kind::System, error.message()).context("the throwaway server does not answer")
                    );
                }
                Err(_) => {}
            }
        }
    }

    /// Ends the server immediately. The caller removes its folder.
    pub async fn stop(mut self) {
        self.server.quit().await;
    }
}

async fn version(client: &Client) -> Result<String> {
    let row = client.query_one("SELECT split_part(current_setting('server_version'), ' ', 1)", &[]).await;
    text(&row.map_err(failed("the server's version cannot be read"))?, 0)
}

async fn initdb(plan: Plan<'_>, data: &PathBuf, stop: &Stop) -> Result<()> {
    let mut command = plan.programs.command("initdb");
    command.arg("--pgdata").arg(data).arg(format!("--username={}", plan.superuser));
    // Databases of any encoding and locale can be created from template0 of such a cluster.
    command.args(["--encoding=UTF8", "--no-locale", "--auth=trust", "--no-sync"]);
    if plan.programs.major >= 18 {
        command.arg("--no-data-checksums");
    }
    command.stdout(Stdio::null());
    let mut child = Child::start("initdb", command)?;
    tokio::select! {
        biased;
        () = stop.wait() => {
            child.kill().await;
            Err(stop.error())
        }
        made = child.succeed() => made.map(drop).map_err(|error| match error.kind() {
            Kind::CannotWrite => error,
            _ => Error::new(Kind::System, error.message()).context("the throwaway cluster cannot be created"),
        }),
    }
}

/// Its parameters: a quarter of the memory for shared buffers, a half for building indexes.
fn settings(plan: Plan<'_>) -> Vec<String> {
    const MEBIBYTE: u64 = 1 << 20;
    let jobs = plan.jobs.get() as u64;
    let shared = (plan.memory / 4 / MEBIBYTE).clamp(16, 2048);
    let sorting = (plan.memory / 2 / jobs / MEBIBYTE).clamp(16, 1024);
    let mut all: Vec<String> = plan.settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
    all.extend(SETTINGS.iter().map(|setting| (*setting).to_owned()));
    all.push(format!("shared_buffers={shared}MB"));
    all.push(format!("maintenance_work_mem={sorting}MB"));
    all.push(format!("max_connections={}", jobs * 2 + 20));
    if plan.logs && plan.programs.major >= HAS_JSON_LOG {
        all.extend(LOGGING.iter().map(|setting| (*setting).to_owned()));
        all.push(format!("log_directory={}", plan.folder.display()));
        all.push(format!("log_filename={LOG}.log"));
    }
    all.push(format!("shared_preload_libraries={}", plan.preload.join(",")));
    if !plan.preload.is_empty() {
        // No worker of a library can be registered, so none can start the jobs of the restored database.
        all.push("max_worker_processes=0".to_owned());
    }
    if plan.programs.major >= 17 {
        // Event triggers are restored but must not fire: one for logins could refuse our sessions.
        all.push("event_triggers=off".to_owned());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_divided() {
        let programs = Programs { folder: PathBuf::from("/x"), version: "15.1".to_owned(), major: 15 };
        let of = |memory, jobs| {
            let jobs = NonZeroUsize::new(jobs).unwrap();
            let (preload, further) =
                (&["age".to_owned(), "pg_cron".to_owned()], &BTreeMap::from([("a.b".into(), "1".into())]));
            let folder = Path::new("/y");
            settings(Plan {
                programs: &programs,
                folder,
                superuser: "postgres",
                jobs,
                memory,
                logs: false,
                preload,
                settings: further,
            })
        };
        let all = of(4 << 30, 2);
        assert!(all.contains(&"shared_buffers=1024MB".to_owned()), "{all:?}");
        assert!(all.contains(&"maintenance_work_mem=1024MB".to_owned()), "{all:?}");
        assert!(all.contains(&"shared_preload_libraries=age,pg_cron".to_owned()), "{all:?}");
        assert!(all.contains(&"max_worker_processes=0".to_owned()) && all[0] == "a.b=1", "{all:?}");
        assert!(of(0, 8).contains(&"maintenance_work_mem=16MB".to_owned()));
        assert!(!all.iter().any(|setting| setting.starts_with("event_triggers")));
    }
}

//! A standby of a cluster.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cluster::{Cluster, free_port};
use super::process::{hand_over, must, new_folder, unprivileged};

/// A standby of a cluster. It ends when it is dropped.
#[derive(Debug)]
pub struct Standby {
    folder: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Standby {
    /// Copies a cluster, and starts the copy with further settings (`name=value`).
    pub fn of(cluster: &Cluster, settings: &[&str]) -> Standby {
        let rules = cluster.data_dir().join("pg_hba.conf");
        let text = fs::read_to_string(&rules).unwrap();
        fs::write(&rules, format!("local replication all trust\n{text}")).unwrap();
        cluster.sql("postgres", "SELECT pg_reload_conf()");

        let folder = new_folder();
        hand_over(folder.path());
        let data = folder.path().join("data");
        let mut copy = unprivileged(cluster.version().bin_dir().join("pg_basebackup"));
        copy.current_dir("/").args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--username=postgres"]);
        copy.arg("--host").arg(cluster.socket_dir()).arg(format!("--port={}", cluster.port()));
        must(copy.arg("--pgdata").arg(&data));
        let port = free_port();
        // Ends with the thread of the test, however that ends.
        let mut server = unprivileged("setpriv");
        server.args(["--pdeathsig", "QUIT", "--"]).arg(cluster.version().bin_dir().join("postgres"));
        server.current_dir("/").arg("-D").arg(&data).arg("-c").arg(format!("port={port}"));
        server.arg("-c").arg(format!("unix_socket_directories={}", folder.path().display()));
        settings.iter().for_each(|setting| {
            server.arg("-c").arg(setting);
        });
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let server = server.stdin(Stdio::null()).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let standby = Standby { folder, port, server };
        standby.wait_until_ready(&data);
        standby
    }

    fn wait_until_ready(&self, data: &Path) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let is_ready = || {
            let state = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
            state.lines().nth(7).is_some_and(|line| line.trim() == "ready")
        };
        while !is_ready() {
            let log = || fs::read_to_string(self.log()).unwrap_or_default();
            assert!(Instant::now() < deadline && !log().contains("FATAL:"), "the standby did not start:\n{}", log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The folder with the Unix socket, as `DB_HOST` takes it.
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        // The server itself, not its wrapper, which may ignore the signal.
        let state = fs::read_to_string(self.folder.path().join("data/postmaster.pid")).unwrap_or_default();
        let postmaster = state.lines().next().and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
        let _ = kill_process(postmaster.unwrap_or(Pid::from_child(&self.server)), Signal::QUIT);
        let _ = self.server.wait();
    }
}

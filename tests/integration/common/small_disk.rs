//! A small file system in memory that no other process sees. It ends with the test process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::process::{is_root, plain};

/// Mounts in a namespace of its own, says so, and holds the namespace until its input ends.
const HOLD: &str = r#"mount -t tmpfs -o "size=$1,mode=0700" tmpfs "$2" && echo mounted && read -r _"#;

/// A tmpfs of a few megabytes.
#[derive(Debug)]
pub struct SmallDisk {
    holder: Child,
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts it over an empty folder. Fails the test where neither root nor a user namespace may mount.
    pub fn mount(over: &Path, kilobytes: u32) -> SmallDisk {
        let mut holder = plain("unshare");
        holder.arg("--mount");
        if !is_root() {
            holder.arg("--map-root-user");
        }
        holder.args(["sh", "-c", HOLD, "hold"]).arg(format!("{kilobytes}k")).arg(over);
        let mut holder = holder.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("unshare");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "mounted\n", "this test has to mount a tmpfs, as root or in a user namespace");
        // Another process's root leads into its mounts (proc_pid_root(5)).
        let path = format!("/proc/{}/root{}", holder.id(), over.display());
        SmallDisk { holder, path: PathBuf::from(path) }
    }

    /// Its path, for every process that may read the holder's root.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}

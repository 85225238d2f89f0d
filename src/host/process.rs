//! The identity of a process, by which another process can find out later whether that one has ended.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

/// A process: its boot, its PID namespace, its ID there and its start time. IDs are reused; the start time
/// distinguishes processes with the same ID.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The host's name, for messages.
    pub host: String,
    /// `/proc/sys/kernel/random/boot_id`.
    boot: String,
    /// What `/proc/self/ns/pid` points to.
    namespace: String,
    /// Process ID.
    pub pid: u32,
    /// Field 22 of `/proc/PID/stat`, in clock ticks since the boot (`proc_pid_stat(5)`).
    started: u64,
}

impl Process {
    /// This process.
    pub fn own() -> io::Result<Self> {
        let pid = std::process::id();
        Ok(Process {
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            boot: boot()?,
            namespace: namespace()?,
            pid,
            started: started(pid)?,
        })
    }

    /// Whether it has certainly ended. One on another host, of another boot or in another container cannot be examined
    /// from here, and counts as running.
    pub fn has_ended(&self) -> bool {
        let here = boot().is_ok_and(|boot| boot == self.boot) && namespace().is_ok_and(|own| own == self.namespace);
        here && match started(self.pid) {
            Ok(started) => started != self.started,
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

fn namespace() -> io::Result<String> {
    Ok(fs::read_link("/proc/self/ns/pid")?.to_string_lossy().into_owned())
}

fn started(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    field(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/PID/stat cannot be parsed"))
}

/// The start time. The second field, the program's name, is in parentheses, and may contain blanks and parentheses.
fn field(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_follows_the_name() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(field(&format!("12 (a) b) {rest}")), Some(4711));
        assert_eq!(field("12 (a) S 1"), None);
        assert_eq!(field(""), None);
    }

    #[test]
    fn only_a_process_of_this_host_can_have_ended() {
        let own = Process::own().unwrap();
        assert!(!own.has_ended());
        assert!(Process { started: own.started + 1, ..own.clone() }.has_ended());
        assert!(!Process { started: own.started + 1, boot: "another".into(), ..own.clone() }.has_ended());
        assert!(!Process { started: own.started + 1, namespace: "pid:[1]".into(), ..own }.has_ended());
    }

    #[test]
    fn an_ended_child_has_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let process = Process { pid: child.id(), started: started(child.id()).unwrap(), ..Process::own().unwrap() };
        assert!(!process.has_ended());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(process.has_ended());
    }
}

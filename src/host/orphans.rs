//! Processes that a child leaves behind when it ends: this process becomes their parent instead of init, and kills
//! them.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid};

use crate::error::{Error, Kind, Result};

/// How long that may take. What forks faster than this ends with its container.
const LONGEST: Duration = Duration::from_secs(10);

/// How often they are listed.
const INTERVAL: Duration = Duration::from_millis(5);

/// Makes this process the parent of orphans among its descendants from now on (`PR_SET_CHILD_SUBREAPER` of `prctl(2)`).
///
/// # Errors
/// `System` where the kernel refuses.
pub fn adopt() -> Result<()> {
    set_child_subreaper(Some(getpid()))
        .map_err(|error| Error::new(Kind::System, format!("cannot become the parent of orphaned processes: {error}")))
}

/// Kills all children, and those that become children by that, until there are none. Call it only when no child is
/// needed.
///
/// # Errors
/// `System` if some are left after 10 seconds.
pub fn end() -> Result<()> {
    let deadline = Instant::now() + LONGEST;
    loop {
        let left = children()?;
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::new(Kind::System, format!("{} orphaned processes do not end", left.len())));
        }
        for child in left {
            let _ = kill_process(child, Signal::KILL);
            // A dead one only waits to be reaped.
            let _ = waitpid(Some(child), WaitOptions::NOHANG);
        }
        std::thread::sleep(INTERVAL);
    }
}

fn children() -> Result<Vec<Pid>> {
    let own = getpid();
    let processes = fs::read_dir("/proc").map_err(|error| Error::read("/proc", &error))?.flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    Ok(ids.filter(|id| parent_of(*id) == Some(own)).collect())
}

/// The parent of a process: field 4 of `/proc/PID/stat` (`proc_pid_stat(5)`): the name before it stands in brackets,
/// and may have any character.
pub fn parent_of(id: Pid) -> Option<Pid> {
    let stat = fs::read(format!("/proc/{}/stat", id.as_raw_nonzero())).ok()?;
    let name_ends = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_ends + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok().and_then(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use super::*;

    #[test]
    fn a_child_has_its_parent() {
        let mut child: Child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = Pid::from_child(&child);
        assert_eq!(parent_of(id), Some(getpid()));
        assert!(children().unwrap().contains(&id));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!children().unwrap().contains(&id));
    }
}

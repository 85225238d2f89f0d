//! Runs that were started by hand in a container, beside its first process. When that process ends, the container ends
//! and kills them; so they are asked to end before.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::host::orphans::parent_of;

/// How long they may take to end: a container that is stopped has 10 seconds by default.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often their end is checked.
const INTERVAL: Duration = Duration::from_millis(50);

/// Sends them SIGTERM and waits for their end, if the end of this process is that of the container. Blocks.
pub fn end() {
    if !comes_from_init(getpid()) {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    let runs = runs();
    if runs.is_empty() {
        return;
    }
    log::info!("ending {} started by hand", if runs.len() == 1 { "a run that was" } else { "runs that were" });
    for run in &runs {
        let _ = kill_process(*run, Signal::TERM);
    }
    while runs.iter().any(|run| is_ours(*run)) && Instant::now() < deadline {
        std::thread::sleep(INTERVAL);
    }
}

/// Processes of the same program in the same container that are no descendants of its first process.
fn runs() -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    ids.filter(|id| is_ours(*id) && !comes_from_init(*id)).collect()
}

/// Whether a process is a descendant of the first process. What `docker exec` runs has no parent in the container.
fn comes_from_init(mut process: Pid) -> bool {
    while !process.is_init() {
        match parent_of(process) {
            Some(parent) => process = parent,
            None => return false,
        }
    }
    true
}

/// Containers may share a PID namespace; processes of other containers have another mount namespace.
fn is_ours(process: Pid) -> bool {
    let link = |process: &str, what: &str| -> Option<PathBuf> { fs::read_link(format!("/proc/{process}/{what}")).ok() };
    let other = process.as_raw_nonzero().to_string();
    ["exe", "ns/mnt"].iter().all(|what| link(&other, what).is_some_and(|found| Some(found) == link("self", what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_not_ended() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_ours(getpid()) && !is_ours(Pid::from_child(&child)));
        assert!(comes_from_init(Pid::INIT));
        assert_eq!(comes_from_init(Pid::from_child(&child)), comes_from_init(getpid()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

//! Runs that were begun by hand in a container, beside its first program. The end of that one ends the container, and kills them in
//! the middle of what they do; so they are told before.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, getpid, kill_process};

use crate::host::orphans::parent_of;

/// How long they have to end: a container that is stopped has 10 seconds unless it was given more.
const PATIENCE: Duration = Duration::from_secs(8);

/// How often is looked whether they have.
const LOOK: Duration = Duration::from_millis(50);

/// Tells them to end, and waits for it, where the end of our own process is that of a container. Blocks.
pub fn end() {
    if !comes_from_init(getpid()) {
        return;
    }
    let deadline = Instant::now() + PATIENCE;
    let runs = runs();
    if runs.is_empty() {
        return;
    }
    log::info!("ending {} begun by hand", if runs.len() == 1 { "a run that was" } else { "runs that were" });
    for run in &runs {
        let _ = kill_process(*run, Signal::TERM);
    }
    while runs.iter().any(|run| is_ours(*run)) && Instant::now() < deadline {
        std::thread::sleep(LOOK);
    }
}

/// Those of the same program and the same user in the same container that its first process has not started.
fn runs() -> Vec<Pid> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    ids.filter(|id| is_ours(*id) && !comes_from_init(*id)).collect()
}

/// Whether the first process is among those that a process comes from. What `docker exec` runs has no parent in the container.
fn comes_from_init(mut process: Pid) -> bool {
    while !process.is_init() {
        match parent_of(process) {
            Some(parent) => process = parent,
            None => return false,
        }
    }
    true
}

/// Processes of other containers can be seen where these share their process ids; they have other mounts.
fn is_ours(process: Pid) -> bool {
    let look = |process: &str, what: &str| -> Option<PathBuf> { fs::read_link(format!("/proc/{process}/{what}")).ok() };
    let other = process.as_raw_nonzero().to_string();
    ["exe", "ns/mnt"].iter().all(|what| look(&other, what).is_some_and(|found| Some(found) == look("self", what)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_is_no_run_of_ours() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(is_ours(getpid()) && !is_ours(Pid::from_child(&child)));
        assert!(comes_from_init(Pid::INIT));
        assert_eq!(comes_from_init(Pid::from_child(&child)), comes_from_init(getpid()));
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

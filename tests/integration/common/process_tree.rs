//! The descendants of a process, and which of them still run (`proc_pid_stat(5)`).

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// A process, told from later ones with the same ID by its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its ID.
    pub pid: Pid,
    /// Name of its program, shortened by the kernel to 15 bytes.
    pub name: String,
    parent: i32,
    state: String,
    started: String,
}

impl Process {
    /// The process with this ID, if it runs.
    pub fn of(pid: Pid) -> Option<Process> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
        let (start, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let process = Process {
            pid,
            name: start.split_once('(')?.1.to_owned(),
            state: (*fields.first()?).to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            started: (*fields.get(19)?).to_owned(),
        };
        // A zombie has ended.
        (process.state != "Z" && process.state != "X").then_some(process)
    }

    fn runs(&self) -> bool {
        Process::of(self.pid).is_some_and(|now| now.started == self.started)
    }
}

/// Children of a process and their children.
pub fn descendants(pid: Pid) -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok().and_then(Pid::from_raw));
    let all: HashMap<i32, Process> =
        pids.filter_map(Process::of).map(|process| (process.pid.as_raw_nonzero().get(), process)).collect();
    let descends = |process: &&Process| {
        let mut at = process.parent;
        while let Some(parent) = all.get(&at) {
            if at == pid.as_raw_nonzero().get() {
                return true;
            }
            at = parent.parent;
        }
        false
    };
    all.values().filter(descends).cloned().collect()
}

/// The one that none of the others has started: the leader of a program with several processes. IDs do not tell, because they begin
/// again at the highest one.
pub fn leader(processes: &[Process]) -> Option<&Process> {
    let is_of = |child: &Process, other: &Process| other.pid.as_raw_nonzero().get() == child.parent;
    processes.iter().find(|process| !processes.iter().any(|other| is_of(process, other)))
}

/// Waits until all of them have ended. Fails the test if one does not.
#[track_caller]
pub fn wait_until_gone(processes: &[Process]) {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        let running: Vec<&Process> = processes.iter().filter(|process| process.runs()).collect();
        if running.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "still running: {running:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Fails the test if one of them runs.
#[track_caller]
pub fn are_gone(processes: &[Process]) {
    let running: Vec<&Process> = processes.iter().filter(|process| process.runs()).collect();
    assert!(running.is_empty(), "still running: {running:?}");
}

//! The process that is killed, and how the run ends.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::random::Random;
use crate::common::exit;
use crate::common::pgcellar::{Outcome, Running};
use crate::common::process_tree::{Process, descendants, wait_until_gone};

/// Programs of PostgreSQL that a run starts.
const PROGRAMS: [&str; 4] = ["pg_dump", "pg_dumpall", "pg_restore", "psql"];

/// How long a run may continue after SIGTERM or the death of a child.
const PROMPT: Duration = Duration::from_secs(20);

/// Which process gets which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victim {
    /// SIGKILL for pgcellar alone: its children have to end by themselves.
    Pgcellar,
    /// SIGKILL for pgcellar and all its children at once, as a service manager or the kernel ends a control group.
    Family,
    /// SIGKILL for one of PostgreSQL's programs, while pgcellar continues.
    Child,
    /// SIGTERM for pgcellar.
    Told,
}

/// How a run ended.
pub struct End {
    outcome: Outcome,
    /// The process that was hit; none if the run had ended before.
    hit: Option<String>,
}

impl End {
    /// Whether pgcellar itself was killed, and could not clean up.
    pub fn is_kill(&self) -> bool {
        self.outcome.code().is_none()
    }

    /// Whether the run succeeded in spite of the kill, or because it came too late.
    pub fn is_success(&self) -> bool {
        self.outcome.code() == Some(0)
    }
}

impl fmt::Display for End {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hit = self.hit.as_deref().unwrap_or("nothing");
        let how = match (self.outcome.code(), self.outcome.signal()) {
            (Some(code), _) => format!("exit code {code}"),
            (None, signal) => format!("signal {}", signal.unwrap_or_default()),
        };
        let said: Vec<&str> = self.outcome.stderr.lines().filter(|line| line.contains("error: ")).collect();
        let took = self.outcome.took.as_millis();
        write!(formatter, "{hit} was hit, {how} after {took} ms; {}", said.join(" / "))
    }
}

/// Waits for the moment, sends the signal, and waits until all processes of the run have ended.
pub fn strike(running: Running, victim: Victim, moment: Duration, random: &mut Random) -> End {
    let pid = running.pid();
    let begun = Instant::now();
    while begun.elapsed() < moment && lives(pid) {
        thread::sleep(moment.saturating_sub(begun.elapsed()).min(Duration::from_millis(5)));
    }
    let struck = Instant::now();
    let (hit, processes) = match victim {
        Victim::Child => kill_child(pid, random),
        _ => hit(&running, victim),
    };
    let outcome = running.wait();
    let end = End { outcome, hit };
    if !end.is_success() {
        wait_until_gone(&processes);
        assert!(struck.elapsed() < PROMPT, "it took {:?}: {}", struck.elapsed(), end.outcome);
    }
    judge(&end, victim);
    end
}

fn lives(pid: Pid) -> bool {
    Process::of(pid).is_some()
}

/// Signals pgcellar, which is stopped first so that it starts no child after its children were listed.
fn hit(running: &Running, victim: Victim) -> (Option<String>, Vec<Process>) {
    let pid = running.pid();
    if victim == Victim::Told {
        let processes = descendants(pid);
        let hit = lives(pid).then(|| "pgcellar".to_owned());
        running.signal(Signal::TERM);
        return (hit, processes);
    }
    running.signal(Signal::STOP);
    let processes = descendants(pid);
    let hit = lives(pid).then(|| format!("pgcellar (children: {})", names(&processes)));
    running.signal(Signal::KILL);
    if victim == Victim::Family {
        for process in &processes {
            // It may have ended by itself.
            let _ = kill_process(process.pid, Signal::KILL);
        }
    }
    (hit, processes)
}

fn names(processes: &[Process]) -> String {
    let names: Vec<&str> = processes.iter().map(|process| process.name.as_str()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(" ") }
}

/// Kills one of PostgreSQL's programs as soon as there is one.
fn kill_child(pid: Pid, random: &mut Random) -> (Option<String>, Vec<Process>) {
    while lives(pid) {
        let mut processes = descendants(pid);
        processes.sort_by_key(|process| process.pid.as_raw_nonzero());
        let programs: Vec<&Process> =
            processes.iter().filter(|process| PROGRAMS.contains(&process.name.as_str())).collect();
        if !programs.is_empty() {
            let victim = *random.pick(&programs);
            let killed = kill_process(victim.pid, Signal::KILL).is_ok();
            let which = programs.iter().position(|process| process.pid == victim.pid).unwrap_or_default();
            return (killed.then(|| format!("{} ({which} of {})", victim.name, programs.len())), processes);
        }
        thread::sleep(Duration::from_millis(1));
    }
    (None, Vec::new())
}

/// Fails unless exit code and message match the signal.
#[track_caller]
fn judge(end: &End, victim: Victim) {
    let End { outcome, hit } = end;
    assert!(!outcome.stderr.contains("panicked at"), "{outcome}");
    if end.is_success() {
        return;
    }
    match (hit, victim) {
        (None, _) => panic!("it failed by itself: {outcome}"),
        (Some(_), Victim::Pgcellar | Victim::Family) => assert_eq!(outcome.signal(), Some(9), "{outcome}"),
        (Some(_), Victim::Told) => {
            // Before pgcellar handles the signal, it ends as any program.
            let at_once = outcome.signal() == Some(15);
            let summary = outcome.code() == Some(exit::TEMPFAIL) && outcome.stderr.contains("interrupted");
            assert!(at_once || summary, "{outcome}");
        }
        (Some(program), Victim::Child) => {
            let name = program.split(' ').next().unwrap();
            assert_eq!(outcome.code(), Some(exit::SYSTEM), "{outcome}");
            assert!(outcome.stderr.contains(name) && outcome.stderr.contains("killed by another process"), "{outcome}");
        }
    }
}

//! How a child has ended: in words, and as the variables that systemd sets for a triggered unit.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::Signal;

use crate::calendar::tasks::Task;
use crate::format::span;

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct RunOutcome {
    /// How.
    pub end: End,
    /// The last lines of its output.
    pub lines: Vec<String>,
    /// How long it ran.
    pub took: Duration,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub enum End {
    /// The process ended by itself or by a signal.
    Process(ExitStatus),
    /// It made no progress for too long, and was stopped.
    TimedOut(ExitStatus),
    /// The kernel killed it because no memory was left.
    OutOfMemory(ExitStatus),
    /// It could not be started: the reason.
    NotStarted(String),
    /// It was interrupted together with the scheduler.
    Interrupted,
}

/// The variables with which a unit learns of another one's end (`systemd.exec(5)`, "Environment Variables Set on
/// Triggered Units").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TriggerVariables {
    /// `MONITOR_SERVICE_RESULT`.
    pub result: &'static str,
    /// `MONITOR_EXIT_CODE`.
    pub code: &'static str,
    /// `MONITOR_EXIT_STATUS`.
    pub status: String,
}

impl RunOutcome {
    /// A run that was killed together with the scheduler.
    pub fn killed() -> Self {
        RunOutcome { end: End::Interrupted, lines: Vec::new(), took: Duration::ZERO }
    }

    /// Whether this is a success for a run of this task.
    pub fn is_success(&self, task: &Task) -> bool {
        match self.end {
            End::Process(status) => status.code().is_some_and(|code| code == 0 || task.success.contains(&code)),
            _ => false,
        }
    }

    /// The outcome in words.
    pub fn in_words(&self) -> String {
        let took = span(self.took);
        let by = |status: ExitStatus| match (status.code(), status.signal()) {
            (Some(code), _) => format!("exit status {code}"),
            (None, Some(signal)) => format!("killed by SIG{}", name(signal)),
            (None, None) => "an end without a status".to_owned(),
        };
        match &self.end {
            End::Process(status) if status.success() => format!("done in {took}"),
            End::Process(status) => format!("ended after {took} with {}", by(*status)).replace("with killed", "killed"),
            End::TimedOut(status) => {
                format!("stopped after {took}, because it made no progress ({})", by(*status))
            }
            End::OutOfMemory(status) => {
                format!("ended after {took}: the kernel had no memory left ({})", by(*status))
            }
            End::NotStarted(why) => format!("could not be started: {why}"),
            End::Interrupted => "interrupted with the scheduler".to_owned(),
        }
    }

    /// The variables for an alert.
    pub fn facts(&self) -> TriggerVariables {
        let process = |result: Option<&'static str>, status: ExitStatus| match (status.code(), status.signal()) {
            (Some(code), _) => {
                TriggerVariables { result: result.unwrap_or("exit-code"), code: "exited", status: code.to_string() }
            }
            (None, signal) => {
                let status_name = name(signal.unwrap_or_default());
                let (own, code) = if status.core_dumped() { ("core-dump", "dumped") } else { ("signal", "killed") };
                TriggerVariables { result: result.unwrap_or(own), code, status: status_name }
            }
        };
        match &self.end {
            End::Process(status) => process(None, *status),
            End::TimedOut(status) => process(Some("timeout"), *status),
            End::OutOfMemory(status) => process(Some("oom-kill"), *status),
            // EX_OSERR: the system refused it.
            End::NotStarted(_) => TriggerVariables { result: "exit-code", code: "exited", status: "71".to_owned() },
            End::Interrupted => TriggerVariables { result: "signal", code: "killed", status: "KILL".to_owned() },
        }
    }
}

/// A signal's name without SIG, as systemd has it.
fn name(signal: i32) -> String {
    match Signal::from_named_raw(signal) {
        Some(named) => format!("{named:?}")
            .trim_start_matches("Signal::")
            .trim_matches('"')
            .trim_start_matches("Signal::")
            .to_owned(),
        None => signal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::tasks::TASKS;

    fn ended(end: End) -> RunOutcome {
        RunOutcome { end, lines: Vec::new(), took: Duration::from_secs(3) }
    }

    fn raw(status: i32) -> ExitStatus {
        ExitStatus::from_raw(status)
    }

    #[test]
    fn ends_in_words_and_as_systemd_has_them() {
        let cases = [
            (End::Process(raw(0)), "done in", ("exit-code", "exited", "0")),
            (End::Process(raw(69 << 8)), "with exit status 69", ("exit-code", "exited", "69")),
            (End::Process(raw(9)), "killed by SIGKILL", ("signal", "killed", "KILL")),
            (End::Process(raw(11 | 0x80)), "killed by SIGSEGV", ("core-dump", "dumped", "SEGV")),
            (End::TimedOut(raw(75 << 8)), "made no progress (exit status 75)", ("timeout", "exited", "75")),
            (End::OutOfMemory(raw(9)), "no memory left (killed by SIGKILL)", ("oom-kill", "killed", "KILL")),
            (End::NotStarted("no".to_owned()), "could not be started: no", ("exit-code", "exited", "71")),
            (End::Interrupted, "interrupted", ("signal", "killed", "KILL")),
        ];
        for (end, words, (result, code, status)) in cases {
            let ended = ended(end);
            assert!(ended.in_words().contains(words), "{}", ended.in_words());
            assert_eq!(ended.facts(), TriggerVariables { result, code, status: status.to_owned() });
        }
    }

    #[test]
    fn a_verdict_is_no_failure() {
        let monitor = TASKS.iter().find(|task| task.name == "monitor").unwrap();
        let backup = TASKS.iter().find(|task| task.name == "backup").unwrap();
        for (status, of_monitor, of_backup) in
            [(0, true, true), (2 << 8, true, false), (69 << 8, false, false), (9, false, false)]
        {
            let ended = ended(End::Process(raw(status)));
            assert_eq!((ended.is_success(monitor), ended.is_success(backup)), (of_monitor, of_backup), "{status}");
        }
    }
}

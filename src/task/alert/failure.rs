//! A failed run.

use crate::cli::AlertArgs;
use crate::config::{Databases, Place};
use crate::error::{Cause, Error, Kind, Result};
use crate::host::unit_failure::{self, UnitFailure};
use crate::printable::printable;
use crate::task::alert::missing_units;
use crate::task::alert::missing_units::MissingUnit;

/// A run that failed.
#[derive(Clone, Debug, Default)]
pub struct FailedTask {
    /// Task, such as `backup`.
    pub task: String,
    /// Unit of systemd.
    pub unit: Option<String>,
    /// Its run.
    pub invocation: Option<String>,
    /// systemd's result of it.
    pub result: Option<String>,
    /// How the process ended: `exited`, `killed`, `dumped`.
    pub code: Option<String>,
    /// Its exit status or signal.
    pub status: Option<String>,
    /// Host.
    pub host: String,
    /// Instance.
    pub instance: String,
    /// Databases that are configured, if they are.
    pub databases: Option<Databases>,
    /// The cause of the failure that the run itself logged.
    pub cause: Option<Cause>,
    /// The missing units because of which systemd did not start it; none if it was started. Empty if nothing is missing
    /// any more.
    pub lacking: Option<Vec<MissingUnit>>,
}

impl FailedTask {
    /// The run that the command line or systemd's variables describe.
    pub fn new(args: &AlertArgs, place: &Place) -> Result<Self> {
        let task = args.task.as_deref().or_else(|| args.unit.as_deref().and_then(task_of)).ok_or_else(|| {
            Error::new(Kind::Usage, "the task that failed is not specified")
                .hint("name it with --task, or its unit with --unit or MONITOR_UNIT")
        })?;
        Ok(FailedTask {
            task: printable(task),
            unit: args.unit.clone(),
            invocation: args.invocation.clone(),
            result: args.result.clone(),
            code: args.exit_code.clone(),
            status: args.exit_status.clone(),
            host: place.host.clone(),
            instance: place.instance.clone(),
            // A wrong name must not prevent the alert.
            databases: Databases::new(&args.databases).ok(),
            cause: None,
            lacking: None,
        })
    }

    /// The name by which the monitor identifies it.
    pub fn subject(&self) -> &str {
        self.unit.as_deref().unwrap_or(&self.task)
    }

    /// The task and its databases.
    pub fn what(&self) -> String {
        match (&self.databases, self.task.as_str()) {
            (Some(Databases::AllBut(_)), "backup") => "backup of all databases".to_owned(),
            (Some(Databases::Named(names)), "backup") => {
                let shown: Vec<String> = names.iter().take(3).map(|name| printable(name)).collect();
                let more = if names.len() > shown.len() { ", …" } else { "" };
                format!("backup of {}{more}", shown.join(", "))
            }
            (_, task) => task.to_owned(),
        }
    }

    /// The subject line.
    pub fn headline(&self) -> String {
        format!("{} {} on {} ({})", self.what(), self.end(), self.host, self.instance)
    }

    /// The task and its outcome, for the log.
    pub fn in_short(&self) -> String {
        format!("{} {}", self.task, self.end())
    }

    fn end(&self) -> &'static str {
        if self.has_run() { "failed" } else { "could not start" }
    }

    /// Whether it could not report its failure itself.
    pub fn is_silent(&self) -> bool {
        self.was_killed() || !self.has_run()
    }

    /// Whether it was killed.
    pub fn was_killed(&self) -> bool {
        matches!(self.code.as_deref(), Some("killed" | "dumped"))
            || matches!(self.result.as_deref(), Some("signal" | "core-dump" | "timeout" | "watchdog" | "oom-kill"))
    }

    /// Whether the task's program ran at all.
    pub fn has_run(&self) -> bool {
        self.lacking.is_none() && self.not_set_up().is_none()
    }

    /// Why systemd could not start the program, if it tried.
    pub fn not_set_up(&self) -> Option<UnitFailure> {
        let status = || self.status.as_deref().and_then(|status| status.parse().ok());
        let exited = || self.code.as_deref().is_none_or(|code| code == "exited");
        self.result.as_deref().and_then(|result| unit_failure::of_result(result, &self.instance)).or_else(|| {
            status().filter(|_| exited()).and_then(|status| unit_failure::of_status(status, &self.instance))
        })
    }

    /// How it ended, and a hint: systemd's `$SERVICE_RESULT` and `$EXIT_STATUS` in words (`systemd.exec(5)`).
    pub fn how(&self) -> (String, String) {
        if let Some(units) = &self.lacking {
            return missing_units::in_words(units, self.subject());
        }
        if let Some(UnitFailure { what, hint }) = self.not_set_up() {
            return (what, hint);
        }
        let status = self.status.as_deref().map(printable).unwrap_or_default();
        let (how, hint) = match self.result.as_deref() {
            Some("timeout" | "watchdog") => (
                "it made no progress within its time limit, and was stopped".to_owned(),
                "does the server answer, does the dump wait for a lock, are the disk and the bucket fast enough?",
            ),
            Some("oom-kill") => (
                "the kernel killed it, because there was no memory left".to_owned(),
                match self.unit {
                    Some(_) => "free memory, or give its unit more (MemoryMax=)",
                    None => "free memory, or give the container more",
                },
            ),
            Some("signal") => (
                format!("it was killed{}", signal(&status)),
                "find out who killed it; the next run starts from the beginning",
            ),
            Some("core-dump") => {
                (format!("it crashed{}", signal(&status)), "this is a fault of the program: please report it")
            }
            _ => match (self.code.as_deref(), status.parse::<u16>()) {
                (Some("killed" | "dumped"), _) => {
                    (format!("it was killed{}", signal(&status)), "the next run starts from the beginning")
                }
                (_, Ok(status)) => self.exited(status),
                (_, Err(_)) => ("it failed".to_owned(), ""),
            },
        };
        (how, hint.to_owned())
    }

    fn exited(&self, status: u16) -> (String, &'static str) {
        let (meaning, hint) = match status {
            64 => ("the command line is wrong", ""),
            65 => ("data is damaged, or is not what was backed up", ""),
            66 => ("something is missing", ""),
            69 => ("a server or the bucket could not be reached, or closed the connection", ""),
            70 => ("an error inside pgcellar", ""),
            71 => ("the system refused a resource, or a program is missing", ""),
            73 => ("a file could not be written", ""),
            75 => passing(self.cause),
            77 => ("not permitted", ""),
            78 => ("a setting is wrong", ""),
            _ => return (format!("it exited with status {status}"), ""),
        };
        (format!("{meaning} (exit status {status})"), hint)
    }
}

/// The meaning of `EX_TEMPFAIL`, and a hint.
fn passing(cause: Option<Cause>) -> (&'static str, &'static str) {
    match cause {
        Some(Cause::AnotherRun) => ("another run was active", "the next scheduled run follows"),
        Some(Cause::TableLock) => (
            "another session held a lock on a table for too long",
            "pg_stat_activity shows who; run it at a quieter time, or let it wait longer with BACKUP_LOCK_WAIT_TIMEOUT",
        ),
        Some(Cause::TablesDropped) => ("tables were dropped during each dump", "run it when nothing drops tables"),
        Some(Cause::Stopped) => ("it was asked to stop", "it was stopped by hand, or the host went down; run it again"),
        Some(Cause::SandboxStopped) => (
            "its sandbox was stopped",
            "RuntimeMaxSec= of pgcellar-drill-sandbox@.service ends a drill that takes longer; or it was stopped by hand",
        ),
        None => ("a temporary failure", ""),
    }
}

/// A signal by its name, or by its number, as `systemctl show` has it.
fn signal(status: &str) -> String {
    match status {
        "" => String::new(),
        number if number.bytes().all(|byte| byte.is_ascii_digit()) => format!(" (signal {number})"),
        name => format!(" (SIG{})", name.trim_start_matches("SIG")),
    }
}

/// `pgcellar-backup@main.service` is the task `backup`.
fn task_of(unit: &str) -> Option<&str> {
    let name = unit.strip_prefix("pgcellar-").unwrap_or(unit);
    name.split(['@', '.']).next().filter(|task| !task.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(result: Option<&str>, code: Option<&str>, status: Option<&str>) -> FailedTask {
        FailedTask {
            task: "backup".to_owned(),
            result: result.map(str::to_owned),
            code: code.map(str::to_owned),
            status: status.map(str::to_owned),
            host: "db1".to_owned(),
            instance: "main".to_owned(),
            ..FailedTask::default()
        }
    }

    #[test]
    fn how_a_run_ended() {
        let cases = [
            (Some("exit-code"), Some("exited"), Some("69"), "could not be reached", false),
            (Some("exit-code"), Some("exited"), Some("75"), "a temporary failure (exit status 75)", false),
            (Some("exit-code"), Some("exited"), Some("1"), "status 1", false),
            (Some("signal"), Some("killed"), Some("KILL"), "killed (SIGKILL)", true),
            (Some("signal"), Some("killed"), Some("9"), "killed (signal 9)", true),
            (Some("core-dump"), Some("dumped"), Some("SEGV"), "(SIGSEGV)", true),
            (Some("timeout"), Some("killed"), Some("TERM"), "made no progress", true),
            (Some("timeout"), Some("exited"), Some("75"), "made no progress", true),
            (Some("oom-kill"), Some("killed"), Some("KILL"), "no memory", true),
            (None, None, Some("73"), "could not be written", false),
            (None, Some("killed"), Some("SIGKILL"), "killed (SIGKILL)", true),
            (None, None, None, "it failed", false),
        ];
        for (result, code, status, expected, killed) in cases {
            let failure = failure(result, code, status);
            let (how, _) = failure.how();
            assert!(how.contains(expected), "{result:?} {code:?} {status:?}: {how}");
            assert_eq!(failure.was_killed(), killed, "{result:?} {code:?} {status:?}");
            assert_eq!((failure.has_run(), failure.is_silent()), (true, killed), "{result:?} {code:?} {status:?}");
        }
    }

    #[test]
    fn a_run_that_was_not_started() {
        let cases = [
            (Some("exit-code"), Some("exited"), Some("203"), "execute its program"),
            (Some("exit-code"), Some("exited"), Some("243"), "load its credentials"),
            (Some("start-limit-hit"), None, None, "start-limit-hit"),
            (Some("resources"), None, None, "(resources)"),
        ];
        for (result, code, status, expected) in cases {
            let failure = failure(result, code, status);
            assert!(failure.is_silent() && !failure.has_run() && !failure.was_killed());
            assert!(failure.how().0.contains(expected), "{:?}", failure.how());
            assert_eq!(failure.headline(), "backup could not start on db1 (main)");
        }
    }

    #[test]
    fn the_cause_that_the_run_logged_is_shown() {
        let mut failure = failure(Some("exit-code"), Some("exited"), Some("75"));
        for (cause, expected) in [
            (Cause::AnotherRun, "another run"),
            (Cause::TableLock, "a lock on a table"),
            (Cause::TablesDropped, "were dropped"),
            (Cause::Stopped, "asked to stop"),
            (Cause::SandboxStopped, "its sandbox was stopped"),
        ] {
            failure.cause = Some(cause);
            assert!(failure.how().0.contains(expected), "{:?}", failure.how());
        }
    }

    #[test]
    fn tasks_of_units() {
        for (unit, task) in [
            ("pgcellar-backup@main.service", Some("backup")),
            ("pgcellar-monitor.service", Some("monitor")),
            ("other@x.service", Some("other")),
            ("", None),
        ] {
            assert_eq!(task_of(unit), task, "{unit}");
        }
    }

    #[test]
    fn headlines_name_the_databases() {
        let mut failure = failure(None, None, None);
        assert_eq!(failure.headline(), "backup failed on db1 (main)");
        let names = |names: &[&str]| Some(Databases::Named(names.iter().map(|name| (*name).to_owned()).collect()));
        failure.databases = names(&["größe", "b\n"]);
        assert_eq!(failure.headline(), r"backup of größe, b\u{a} failed on db1 (main)");
        failure.databases = names(&["a", "b", "c", "d"]);
        assert_eq!(failure.headline(), "backup of a, b, c, … failed on db1 (main)");
        failure.databases = Some(Databases::AllBut(Vec::new()));
        assert_eq!(failure.headline(), "backup of all databases failed on db1 (main)");
        failure.task = "retention".to_owned();
        assert_eq!(failure.headline(), "retention failed on db1 (main)");
    }
}

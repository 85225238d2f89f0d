//! The alert of a failed run: `pgcellar alert` with the variables that systemd would set.

use crate::calendar::tasks::Task;
use crate::task::schedule::child::ChildCommand;
use crate::task::schedule::outcome::RunOutcome;

/// The command that mails it; its standard input is the run's last lines.
pub fn call(task: &'static Task, instance: &str, ended: RunOutcome) -> ChildCommand {
    let facts = ended.facts();
    let mut call = ChildCommand::new(task, instance, ["alert", "--task", task.name, "--log", "-"]);
    call.variables.extend([
        ("MONITOR_SERVICE_RESULT", facts.result.to_owned()),
        ("MONITOR_EXIT_CODE", facts.code.to_owned()),
        ("MONITOR_EXIT_STATUS", facts.status),
    ]);
    call.input = ended.lines.iter().map(|line| format!("{line}\n")).collect();
    call
}

//! The mail of an alert.

use jiff::Timestamp;

use crate::config::local_zone;
use crate::error::{Error, Result};
use crate::format::time;
use crate::host::mail::{Letter, Page, Tone};
use crate::host::run_log::RunLog;
use crate::host::surroundings::Surroundings;
use crate::printable::printable;
use crate::stop::INTERRUPTED;
use crate::task::alert::failure::FailedTask;

/// How many of the run's errors are shown above the log's last lines.
const ERRORS: usize = 5;

/// What the mail shows of the run's log.
#[derive(Clone, Copy)]
pub enum LogExcerpt<'a> {
    /// Its last lines, or why they could not be read.
    Lines(&'a Result<RunLog>),
    /// Nothing, because backups are encrypted, and errors name tables and contain values.
    Concealed,
    /// There is no log.
    Nothing,
}

/// The text in place of the last lines.
const CONCEALED: &str = "The log stays on its host, because backups are encrypted there and errors may name what is in the \
                         database.";

/// Problems other than the failed run.
#[derive(Debug, Default)]
pub struct Doubts {
    /// Why the regular alert could not be sent, and what to do about it.
    pub silent: Option<(String, String)>,
    /// Errors with files that systemd needs to start the task.
    pub files: Vec<Error>,
    /// Errors of settings that the alert itself needs.
    pub settings: Vec<Error>,
}

/// Composes the letter.
pub fn compose(
    failure: &FailedTask,
    excerpt: LogExcerpt<'_>,
    good: &Result<Vec<(String, String)>>,
    doubts: &Doubts,
) -> Letter {
    let logged = match excerpt {
        LogExcerpt::Lines(logged) => Some(logged),
        LogExcerpt::Concealed | LogExcerpt::Nothing => None,
    };
    let (how, hint) = failure.how();
    let mut page = Page::new().words(&format!("{}, {}.", failure.headline(), time(Timestamp::now(), &local_zone())));
    for error in errors(failure, logged) {
        page = page.item(Tone::Bad, "Error", error, "");
    }
    for error in &doubts.files {
        page = page.item(Tone::Bad, "Error", error.message(), error.hint_text().unwrap_or_default());
    }
    page = page.item(Tone::Bad, "Result", &how, &hint);
    if let Some((why, hint)) = &doubts.silent {
        page = page.item(Tone::Doubtful, "Alert", why, hint);
    }
    for error in &doubts.settings {
        page = page.item(Tone::Doubtful, "Settings", error.message(), error.hint_text().unwrap_or_default());
    }
    page = page.facts(facts(failure));
    page = match good {
        Ok(good) if good.is_empty() => {
            page.heading("Last good backup").words("None: there is nothing to restore from.")
        }
        Ok(good) => page.heading("Last good backup").facts(good.clone()),
        Err(error) => page.heading("Last good backup").words(&format!("Unknown: {error}.")),
    };
    page = page.heading("For details").lines(commands(failure));
    page = match logged {
        None if matches!(excerpt, LogExcerpt::Concealed) => page.heading("Last lines").words(CONCEALED),
        Some(Ok(logged)) if !logged.lines.is_empty() => page.heading("Last lines").lines(logged.lines.clone()),
        Some(Err(error)) => page.heading("Last lines").words(&format!("{error}.")),
        _ => page,
    };
    Letter::new(format!("[pgcellar] {}", failure.headline()), &page)
}

/// The last errors that the run logged, without the one that it was interrupted if the result shows why.
fn errors<'a>(failure: &FailedTask, logged: Option<&'a Result<RunLog>>) -> Vec<&'a str> {
    let all = logged.and_then(|logged| logged.as_ref().ok()).map(|logged| logged.errors.as_slice()).unwrap_or_default();
    let relevant = |error: &&str| !(failure.was_killed() && error.starts_with(INTERRUPTED));
    let errors: Vec<&str> = all.iter().map(String::as_str).filter(relevant).collect();
    errors[errors.len().saturating_sub(ERRORS)..].to_vec()
}

fn facts(failure: &FailedTask) -> Vec<(String, String)> {
    let mut facts = vec![("Host", failure.host.clone()), ("Instance", failure.instance.clone())];
    facts.push(("Task", failure.what()));
    facts.extend(failure.unit.as_deref().map(|unit| ("Unit", printable(unit))));
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

fn commands(failure: &FailedTask) -> Vec<String> {
    let (mut commands, place) = (Vec::new(), Surroundings::here());
    let lacking = failure.lacking.iter().flatten();
    commands.extend(lacking.map(|one| format!("systemctl status {}", printable(&one.unit))));
    if place.is_container() {
        commands.push(place.log(""));
    }
    if let Some(unit) = failure.unit.as_deref().map(printable) {
        commands.push(format!("systemctl status {unit}"));
        commands.push(match &failure.invocation {
            // The run's own lines, and systemd's about it.
            Some(run) => format!("journalctl _SYSTEMD_INVOCATION_ID={0} + INVOCATION_ID={0}", printable(run)),
            None => format!("journalctl -u {unit}"),
        });
    }
    commands.push(place.call(&failure.instance, "list"));
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_is_mentioned_once() {
        let failure = |result: &str| FailedTask {
            task: "backup".to_owned(),
            result: Some(result.to_owned()),
            code: Some("exited".to_owned()),
            status: Some("75".to_owned()),
            host: "db1".to_owned(),
            instance: "main".to_owned(),
            ..FailedTask::default()
        };
        let stopped = "interrupted (no partial files were left; run it again)".to_owned();
        let logged =
            Ok(RunLog { lines: Vec::new(), errors: vec!["no space left".to_owned(), stopped.clone()], cause: None });
        assert_eq!(errors(&failure("timeout"), Some(&logged)), ["no space left"]);
        // Somebody has stopped it, and that is the reason.
        assert_eq!(errors(&failure("exit-code"), Some(&logged)), ["no space left", &stopped]);
    }
}

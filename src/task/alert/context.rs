//! What systemd and the journal add to the arguments of an alert.

use crate::blocking;
use crate::cli::AlertArgs;
use crate::config::credential_files::rename_command;
use crate::config::usable_settings;
use crate::config::{credential_problems, stored_credentials};
use crate::error::{Error, Kind, Result};
use crate::host::run_log::{Job, RunLog};
use crate::host::systemctl;
use crate::host::{unit, unit_failure};
use crate::task::alert::failure::FailedTask;
use crate::task::alert::missing_units;
use crate::task::alert::missing_units::MissingUnit;

/// The properties read of the failed unit.
const PROPERTIES: &str = "Id,Result,ExecMainCode,ExecMainStatus,InvocationID";

/// The unit whose failure the unit `alert` reports, if it is an alert: `pgcellar-backup-alert@main.service` reports
/// `pgcellar-backup@main.service`.
fn task_unit(alert: &str) -> Option<String> {
    let (task, instance) = alert.split_once("-alert@")?;
    Some(format!("{task}@{instance}"))
}

/// The outcome of an earlier alert that failed itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// This is the first alert.
    None,
    /// Its program has run, and has logged what it could not do.
    HasSpoken,
    /// It could not report anything: the reason, and what to do about it.
    Silent(String, String),
}

/// If the failed unit is an alert that could not start, replaces it by its task's unit in `failure`.
pub async fn predecessor(failure: &mut FailedTask) -> Predecessor {
    let Some(unit) = failure.unit.as_deref().and_then(task_unit) else { return Predecessor::None };
    if failure.has_run() && !failure.was_killed() {
        return Predecessor::HasSpoken;
    }
    let alert = failure.unit.replace(unit.clone()).unwrap_or_default();
    let (how, hint) = failure.how();
    let units = systemctl::show([unit], PROPERTIES).await;
    let of = |name: &str| units.first().map(|unit| unit.get(name).to_owned()).filter(|text| !text.is_empty());
    failure.result = of("Result");
    // The codes of waitid(2), as systemd shows them.
    failure.code = of("ExecMainCode").and_then(|code| match code.as_str() {
        "1" => Some("exited".to_owned()),
        "2" => Some("killed".to_owned()),
        "3" => Some("dumped".to_owned()),
        _ => None,
    });
    failure.status = of("ExecMainStatus").filter(|_| failure.code.is_some());
    failure.invocation = of("InvocationID");
    Predecessor::Silent(format!("{alert}: {how}; this mail was sent without credentials and folders"), hint)
}

/// Records in `failure` if systemd did not start the unit at all, because a dependency is missing. Then the arguments
/// of the alert describe an earlier run, which succeeded or has been reported.
///
/// `reported` is the run that the last alert of this unit was about.
pub async fn lacking(failure: &mut FailedTask, reported: Option<&str>) {
    let Some(unit) = failure.unit.clone() else { return };
    let is_of_run_before = match failure.result.as_deref() {
        // OnFailure= is triggered by a failed job as well as by a failed run.
        Some("success") => true,
        Some(_) => match Job::last(&unit).await {
            // A later run has another ID, and its end may not be in the journal yet.
            Some(job) => {
                let is_later = |run: &String| failure.invocation.as_ref().is_some_and(|own| own != run);
                job.is_not_started() && !job.invocation.as_ref().is_some_and(is_later)
            }
            // Without a journal.
            None => reported.is_some() && reported == failure.invocation.as_deref(),
        },
        None => false,
    };
    if is_of_run_before {
        failure.lacking = Some(missing_units::of(&unit).await);
        failure.invocation = None;
    }
}

/// The log of the failed run; of one that was not started, that of its missing units.
pub async fn logged(args: &AlertArgs, failure: &mut FailedTask) -> Option<Result<RunLog>> {
    let logged = match (args.log.clone(), &failure.lacking, &failure.invocation) {
        (Some(path), ..) => Some(blocking::to_end(move || RunLog::of_file(&path)).await),
        (None, Some(units), _) => Some(of_lacking(failure.subject(), units).await),
        (None, None, Some(invocation)) => Some(RunLog::of_run(invocation).await),
        (None, None, None) => None,
    };
    failure.cause = logged.as_ref().and_then(|logged| logged.as_ref().ok()?.cause);
    logged
}

async fn of_lacking(unit: &str, units: &[MissingUnit]) -> Result<RunLog> {
    let mut all = RunLog::default();
    for one in units.iter().rev() {
        match one.has_failed() && !one.invocation.is_empty() {
            true => all.append(RunLog::of_run(&one.invocation).await?),
            false => all.lines.extend(Job::last(&one.unit).await.filter(Job::is_not_started).map(|job| job.message)),
        }
    }
    all.lines.extend(Job::last(unit).await.filter(Job::is_not_started).map(|job| job.message));
    Ok(all)
}

/// Errors with files that systemd needs to set the run up: which one is missing, or cannot be loaded.
pub fn files(failure: &FailedTask) -> Vec<Error> {
    let instance = &failure.instance;
    // The result of a unit whose file of settings systemd cannot read.
    let is_resources = failure.result.as_deref() == Some("resources");
    match failure.not_set_up() {
        Some(unstarted) if unstarted.hint == unit_failure::credentials_hint(instance) => {
            let problems = credential_problems();
            match problems.is_empty() {
                true => undecryptable(instance, &stored_credentials()).into_iter().collect(),
                false => problems.into_iter().map(Error::from).collect(),
            }
        }
        Some(_) if !usable_settings::any_is_set() || is_resources && usable_settings::are_from_file() => {
            let path = unit::settings(instance);
            let message = match path.try_exists() {
                Ok(false) => format!("there is no {}", path.display()),
                _ => format!("{} cannot be used", path.display()),
            };
            let hint = format!("pgcellar config check -i {instance} shows its errors");
            vec![Error::new(Kind::Config, message).hint(hint)]
        }
        _ => Vec::new(),
    }
}

/// The error for well-formed files that systemd cannot decrypt; only root can find out the reason.
fn undecryptable(instance: &str, stored: &[(&str, String)]) -> Option<Error> {
    let message = match stored {
        [] => return None,
        [(credential, path)] => {
            format!("{path} cannot be decrypted as {credential}.encrypted: it has another name, or is of another host")
        }
        several => {
            let paths: Vec<&str> = several.iter().map(|(_, path)| path.as_str()).collect();
            format!(
                "one of these cannot be decrypted, because it has another name, or is of another host: {}",
                paths.join(", ")
            )
        }
    };
    let error = Error::new(Kind::Config, message);
    Some(match stored {
        [(credential, _)] => error.hint(format!("{} corrects its name", rename_command(instance, credential))),
        _ => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_are_of_tasks() {
        assert_eq!(task_unit("pgcellar-backup-alert@a-b.service").as_deref(), Some("pgcellar-backup@a-b.service"));
        assert_eq!(task_unit("pgcellar-backup@a-alert.service"), None);
    }

    #[tokio::test]
    async fn an_alert_that_has_run_has_spoken() {
        let failure = |result: &str, status: &str| FailedTask {
            task: "backup".to_owned(),
            unit: Some("pgcellar-backup-alert@no-such.service".to_owned()),
            result: Some(result.to_owned()),
            code: Some("exited".to_owned()),
            status: Some(status.to_owned()),
            instance: "no-such".to_owned(),
            ..FailedTask::default()
        };
        assert_eq!(predecessor(&mut failure("exit-code", "69")).await, Predecessor::HasSpoken);
        let mut silent = failure("exit-code", "243");
        let Predecessor::Silent(why, _) = predecessor(&mut silent).await else { panic!("it has spoken") };
        assert!(
            why.starts_with("pgcellar-backup-alert@no-such.service: systemd could not load its credentials"),
            "{why}"
        );
        assert_eq!(silent.subject(), "pgcellar-backup@no-such.service");
        let mut first =
            FailedTask { unit: Some("pgcellar-backup@no-such.service".to_owned()), ..failure("signal", "9") };
        assert_eq!(predecessor(&mut first).await, Predecessor::None);
    }
}

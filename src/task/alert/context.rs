//! What systemd and the journal add to what an alert was told.

use crate::blocking;
use crate::cli::AlertArgs;
use crate::config::credential_files::rename_command;
use crate::config::{credential_problems, stored_credentials};
use crate::error::{Error, Kind, Result};
use crate::host::run_log::{Job, Logged};
use crate::host::systemctl;
use crate::host::{unit, unit_failure};
use crate::task::alert::failure::FailedTask;
use crate::task::alert::missing_units;
use crate::task::alert::missing_units::MissingUnit;
use crate::task::usable_settings;

/// What is asked of the unit that failed.
const PROPERTIES: &str = "Id,Result,ExecMainCode,ExecMainStatus,InvocationID";

/// The unit that the alert `alert` is for, if it is an alert: `pgcellar-backup-alert@main.service` is that of
/// `pgcellar-backup@main.service`.
fn task_unit(alert: &str) -> Option<String> {
    let (task, instance) = alert.split_once("-alert@")?;
    Some(format!("{task}@{instance}"))
}

/// What came of an alert that failed itself.
#[derive(Debug, PartialEq, Eq)]
pub enum Predecessor {
    /// This is the first alert.
    None,
    /// Its program has run, and has said what it could not do.
    HasSpoken,
    /// It could not tell anything; why, and what to do about that.
    Silent(String, String),
}

/// Where the unit that failed is an alert, which could not start, the failure is that of its task.
pub async fn predecessor(failure: &mut FailedTask) -> Predecessor {
    let Some(unit) = failure.unit.as_deref().and_then(task_unit) else { return Predecessor::None };
    if failure.has_run() && !failure.was_killed() {
        return Predecessor::HasSpoken;
    }
    let alert = failure.unit.replace(unit.clone()).unwrap_or_default();
    let (how, hint) = failure.how();
    let shown = systemctl::show([unit], PROPERTIES).await;
    let of = |name: &str| shown.first().map(|unit| unit.get(name).to_owned()).filter(|text| !text.is_empty());
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
    Predecessor::Silent(format!("{alert}: {how}; this mail comes without credentials and folders"), hint)
}

/// Whether systemd did not start the unit at all, because of what it needs. Then what the alert was told is of a run
/// before, which was good, or has been told.
///
/// `told` is the run that the last alert of this unit was about.
pub async fn lacking(failure: &mut FailedTask, told: Option<&str>) {
    let Some(unit) = failure.unit.clone() else { return };
    let is_of_run_before = match failure.result.as_deref() {
        // OnFailure= comes of a job that failed, as well as of a run.
        Some("success") => true,
        Some(_) => match Job::last(&unit).await {
            // A later run has another id, whose end the journal may not have yet.
            Some(job) => {
                let is_later = |run: &String| failure.invocation.as_ref().is_some_and(|told| told != run);
                job.is_not_started() && !job.invocation.as_ref().is_some_and(is_later)
            }
            // Without a journal.
            None => told.is_some() && told == failure.invocation.as_deref(),
        },
        None => false,
    };
    if is_of_run_before {
        failure.lacking = Some(missing_units::of(&unit).await);
        failure.invocation = None;
    }
}

/// The lines of the run that failed; of one that was not started, those of what it lacks.
pub async fn logged(args: &AlertArgs, failure: &mut FailedTask) -> Option<Result<Logged>> {
    let logged = match (args.log.clone(), &failure.lacking, &failure.invocation) {
        (Some(path), ..) => Some(blocking::to_end(move || Logged::of_file(&path)).await),
        (None, Some(units), _) => Some(of_lacking(failure.subject(), units).await),
        (None, None, Some(invocation)) => Some(Logged::of_run(invocation).await),
        (None, None, None) => None,
    };
    failure.cause = logged.as_ref().and_then(|logged| logged.as_ref().ok()?.cause);
    logged
}

async fn of_lacking(unit: &str, units: &[MissingUnit]) -> Result<Logged> {
    let mut all = Logged::default();
    for one in units.iter().rev() {
        match one.has_failed() && !one.invocation.is_empty() {
            true => all.append(Logged::of_run(&one.invocation).await?),
            false => all.lines.extend(Job::last(&one.unit).await.filter(Job::is_not_started).map(|job| job.message)),
        }
    }
    all.lines.extend(Job::last(unit).await.filter(Job::is_not_started).map(|job| job.message));
    Ok(all)
}

/// What else is to be said of a run that systemd could not set up: which file is missing, or cannot be loaded.
pub fn files(failure: &FailedTask) -> Vec<Error> {
    let instance = &failure.instance;
    // So ends a unit whose file of settings systemd cannot take.
    let is_resources = failure.result.as_deref() == Some("resources");
    match failure.not_set_up() {
        Some(unstarted) if unstarted.hint == unit_failure::credentials_hint(instance) => {
            let problems = credential_problems();
            match problems.is_empty() {
                true => undecryptable(instance, &stored_credentials()).into_iter().collect(),
                false => problems.into_iter().map(Error::from).collect(),
            }
        }
        Some(_) if !usable_settings::are_there() || is_resources && usable_settings::are_of_file() => {
            let path = unit::settings(instance);
            let message = match path.try_exists() {
                Ok(false) => format!("there is no {}", path.display()),
                _ => format!("{} cannot be used", path.display()),
            };
            let hint = format!("pgcellar config check -i {instance} says what is wrong with it");
            vec![Error::new(Kind::Config, message).hint(hint)]
        }
        _ => Vec::new(),
    }
}

/// Files that are what they should be and that systemd cannot decrypt: what is in them only root can find out.
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
        [(credential, _)] => error.hint(format!("{} gives it its name", rename_command(instance, credential))),
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

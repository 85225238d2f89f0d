//! Checks of the settings in this environment, as `pgcellar config check` does them.

use std::sync::Arc;

use crate::blocking;
use crate::cli::DoctorPart;
use crate::config::credential_files;
use crate::config::credential_problems;
use crate::config::readers::warning_of_instance;
use crate::error::{Error, Kind};
use crate::host::{settings_check, unit};
use crate::task::doctor::check::Checks;
use crate::task::doctor::services::Services;

/// Errors with the files of credentials: those of this unit, and for root those of the instance.
async fn credentials(instance: &str) -> Vec<Error> {
    let of_unit = credential_problems();
    if !of_unit.is_empty() {
        return of_unit.into_iter().map(Error::from).collect();
    }
    let instance = instance.to_owned();
    let problems = move || Ok(credential_files::of_host(&instance));
    let found = blocking::to_end(problems).await.unwrap_or_default();
    found.into_iter().filter(|problem| !problem.is_harmless).map(Error::from).collect()
}

/// Reports every error of the settings and credentials.
pub async fn check(services: &Arc<Services>) -> Checks {
    let mut checks = Checks::new(DoctorPart::Settings);
    let args = &services.args;
    let given = [
        ("DB_NAME", args.databases.dbname.clone()),
        ("AWS_S3_BUCKET", args.place.s3.bucket.clone()),
        ("SMTP_HOST", args.mail.smtp_host.clone()),
        ("NOTIFICATION_EMAIL", args.mail.notification_email.clone()),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let found = settings_check::of_environment(given).await;
    for (is_warning, text) in &found {
        let (name, what) = text.split_once(": ").unwrap_or(("environment", text));
        match is_warning {
            true => checks.warning(name, what, "see pgcellar.env(5)"),
            false => checks.failed(name, &Error::new(Kind::Config, what)),
        }
    }
    let open = warning_of_instance(&unit::settings(&args.place.instance));
    if let Some(warning) = &open {
        checks.warning("file", warning, "see pgcellar.env(5)");
    }
    let mut credentials = credentials(&args.place.instance).await;
    // The check of a setting that needs the credential may have reported it.
    credentials.retain(|error| !found.iter().any(|(_, text)| text.contains(error.message())));
    credentials.iter().for_each(|error| checks.failed("credentials", error));
    if found.is_empty() && open.is_none() && credentials.is_empty() {
        checks.ok("environment", "every variable is known, and can be used");
    }
    checks
}

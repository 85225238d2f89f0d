//! Checks of the mail server, up to the recipients.

use std::sync::Arc;

use crate::cli::DoctorPart;
use crate::config::{MailSettings, secret_place};
use crate::error::{Error, Kind};
use crate::host::mail::{MailStep, ask, step_of};
use crate::task::doctor::check::Checks;
use crate::task::doctor::services::Services;

/// Runs every step of sending a mail except the message itself.
pub async fn check(services: &Arc<Services>) -> Checks {
    let mut checks = Checks::new(DoctorPart::Mail);
    let args = &services.args.mail;
    let settings = match MailSettings::new(args, &services.host) {
        Ok(Some(settings)) => settings,
        Ok(None) => {
            let hint = "set SMTP_HOST and NOTIFICATION_EMAIL, and SMTP_USER and SMTP_PASS if the server wants a login";
            checks.failed("settings", &Error::new(Kind::Config, "no mail is configured").hint(hint));
            return checks;
        }
        Err(error) => {
            checks.failed("settings", &error);
            return checks;
        }
    };
    let password = secret_place("smtp-password", "SMTP_PASS", args.smtp_pass_file.as_deref());
    let asked = {
        let mut on_step = |step: MailStep, what: &str| match (step, &password) {
            (MailStep::Login, Some(place)) => checks.ok(step.name(), format!("{what} with the password of {place}")),
            _ => checks.ok(step.name(), what),
        };
        ask(&settings, &mut on_step).await
    };
    let failures = match asked {
        Ok(refused) if refused.is_empty() => {
            checks.ok("message", "none was sent: pgcellar monitor test-mail sends one");
            return checks;
        }
        Ok(refused) => refused,
        Err(error) => vec![error],
    };
    for error in &failures {
        match step_of(&settings, error) {
            Some((MailStep::Recipient, _)) => checks.failed(MailStep::Recipient.name(), error),
            Some((step, why)) => checks.failed_because(step.name(), why, error),
            None => checks.failed("server", error),
        }
    }
    checks
}

//! The settings of this environment: what `pgcellar config check` says of them.

use std::sync::Arc;

use crate::cli::Part;
use crate::config::readers::warning_of_instance;
use crate::error::{Error, Kind};
use crate::host::systemd_run;
use crate::task::config;
use crate::task::doctor::check::Checks;
use crate::task::doctor::known::Known;

/// Tells everything that is wrong with them.
pub async fn check(known: &Arc<Known>) -> Checks {
    let mut checks = Checks::new(Part::Settings);
    let args = &known.args;
    let given = [
        ("DB_NAME", args.databases.dbname.clone()),
        ("AWS_S3_BUCKET", args.place.s3.bucket.clone()),
        ("SMTP_HOST", args.mail.smtp_host.clone()),
        ("NOTIFICATION_EMAIL", args.mail.notification_email.clone()),
    ];
    let given = given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    let found = config::of_environment(given).await;
    for (is_warning, text) in &found {
        let (name, what) = text.split_once(": ").unwrap_or(("environment", text));
        match is_warning {
            true => checks.warning(name, what, "see pgcellar.env(5)"),
            false => checks.failed(name, &Error::new(Kind::Config, what)),
        }
    }
    let open = warning_of_instance(&systemd_run::settings(&args.place.instance));
    if let Some(warning) = &open {
        checks.warning("file", warning, "see pgcellar.env(5)");
    }
    if found.is_empty() && open.is_none() {
        checks.ok("environment", "every variable is known, and can be used");
    }
    checks
}

//! Settings for alerts and the monitor, whose mail must be sent even if some settings are wrong.

use std::path::PathBuf;

use crate::cli::{MailArgs, PlaceArgs};
use crate::config::variables::{FROM_FILE, PREFIXES, SYSTEMD};
use crate::config::{KnownMail, MailSettings, Place, S3Settings};
use crate::error::Error;

/// The settings for mail.
#[derive(Debug)]
pub struct Mail {
    /// None if no mail is configured, or if none of it can be used.
    pub settings: Option<MailSettings>,
    /// The error of the configured settings.
    pub error: Option<Error>,
}

/// The settings as configured; or without the wrong ones; or the last usable ones, which are `known`. If the
/// environment has settings (`any_is_set`) and none for mail, no mail is configured.
pub fn mail(args: &MailArgs, host: &str, known: Option<KnownMail>, any_is_set: bool) -> Mail {
    let error = match MailSettings::new(args, host) {
        Ok(Some(settings)) => return Mail { settings: Some(settings), error: None },
        // Mail is not configured.
        Ok(None) if any_is_set => return Mail { settings: None, error: None },
        Ok(None) => None,
        Err(error) => Some(error),
    };
    let known = known.map(|known| known.args());
    let corrected = corrected(args, host);
    let attempts =
        [Some(without_login(args)), known.clone(), known.as_ref().map(without_login), Some(corrected.clone())];
    let attempts = attempts.into_iter().flatten().chain([without_login(&corrected)]);
    // A host name that is invalid in an address must not prevent mail.
    let settings = attempts.flat_map(|args| [(args.clone(), host), (args, "localhost")]).find_map(|(args, host)| {
        match args.smtp_user.is_some() {
            true => MailSettings::new(&args, host).ok()?,
            false => MailSettings::with_password(&args, host, None).ok()?,
        }
    });
    Mail { settings, error }
}

fn without_login(args: &MailArgs) -> MailArgs {
    MailArgs { smtp_user: None, smtp_pass_file: None, ..args.clone() }
}

/// Replaces invalid values by the defaults, and leaves out invalid recipients.
fn corrected(args: &MailArgs, host: &str) -> MailArgs {
    let usable = |args: &MailArgs| MailSettings::with_password(&without_login(args), host, None).is_ok();
    let plain = MailArgs {
        smtp_port: "587".to_owned(),
        smtp_tls: None,
        smtp_from: Some("pgcellar@localhost".to_owned()),
        notification_email: Some("root@localhost".to_owned()),
        ..args.clone()
    };
    let keeps = |change: &dyn Fn(&mut MailArgs)| {
        let mut args = plain.clone();
        change(&mut args);
        usable(&args)
    };
    let mut corrected = plain.clone();
    if keeps(&|plain| plain.smtp_port.clone_from(&args.smtp_port)) {
        corrected.smtp_port.clone_from(&args.smtp_port);
    }
    if keeps(&|plain| plain.smtp_tls.clone_from(&args.smtp_tls)) {
        corrected.smtp_tls.clone_from(&args.smtp_tls);
    }
    corrected.smtp_from = args.smtp_from.clone().filter(|from| keeps(&|plain| plain.smtp_from = Some(from.clone())));
    let recipients = args.notification_email.iter().flat_map(|all| all.split(','));
    let good: Vec<&str> =
        recipients.filter(|one| keeps(&|plain| plain.notification_email = Some((*one).to_owned()))).collect();
    corrected.notification_email = Some(good.join(",")).filter(|all| !all.trim().is_empty());
    corrected
}

/// Whether the environment has settings. A unit whose file of settings is optional has none if systemd cannot read the
/// file.
pub fn any_is_set() -> bool {
    let is_setting = |name: &str| PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !SYSTEMD.contains(&name);
    std::env::vars_os().any(|(name, _)| name.to_str().is_some_and(is_setting))
}

/// Whether the settings were read from an alert's file by this program, and not by systemd (`host::settings_file`).
pub fn are_from_file() -> bool {
    std::env::var_os(FROM_FILE).is_some()
}

/// Where the backups are, from the usable settings, and the error of the others.
pub fn place(args: &PlaceArgs) -> (Place, Option<Error>) {
    let error = match Place::new(args) {
        Ok(place) => return (place, None),
        Err(error) => error,
    };
    let own_host = || rustix::system::uname().nodename().to_string_lossy().into_owned();
    let alone = |host_name: Option<String>| {
        let directory = Some(PathBuf::from("/"));
        let mut args = PlaceArgs { backup_dir: directory, host_name, ..args.clone() };
        args.s3.bucket = None;
        Place::new(&args).ok()
    };
    let place = Place {
        instance: args.instance.clone(),
        host: alone(args.host_name.clone()).map_or_else(own_host, |place| place.host),
        directory: args.backup_dir.clone().filter(|directory| directory.is_absolute()),
        s3: S3Settings::new(&args.s3).ok().flatten(),
        server: std::sync::Arc::default(),
    };
    (place, Some(error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> MailArgs {
        MailArgs {
            smtp_host: Some("localhost".to_owned()),
            smtp_port: "2525".to_owned(),
            smtp_user: None,
            smtp_pass_file: None,
            smtp_tls: Some("none".to_owned()),
            smtp_ca_file: None,
            smtp_from: None,
            notification_email: Some("ops@example.org".to_owned()),
        }
    }

    fn found(args: &MailArgs, known: Option<&MailArgs>) -> (MailSettings, Option<String>) {
        let mail = mail(args, "db1", known.map(KnownMail::of), true);
        (mail.settings.unwrap(), mail.error.map(|error| error.to_string()))
    }

    #[test]
    fn what_is_wrong_is_left_out() {
        assert_eq!(found(&args(), None).1, None);
        let bad_file =
            MailArgs { smtp_user: Some("me".to_owned()), smtp_pass_file: Some("/nonexistent".into()), ..args() };
        let (settings, error) = found(&bad_file, None);
        assert!(settings.login.is_none() && error.unwrap().contains("/nonexistent"));
        let typos = MailArgs {
            smtp_port: "25x".to_owned(),
            smtp_from: Some("nobody".to_owned()),
            notification_email: Some("root, ops@example.org".to_owned()),
            ..args()
        };
        let (settings, error) = found(&typos, None);
        assert_eq!((settings.port, settings.to.len()), (587, 1));
        assert!(error.is_some());
        // What worked before is better than a default.
        let (settings, _) = found(&typos, Some(&MailArgs { smtp_port: "26".to_owned(), ..args() }));
        assert_eq!(settings.port, 26);
        assert!(mail(&MailArgs { smtp_host: None, ..args() }, "db1", None, true).settings.is_none());
        let (settings, _) = found(&MailArgs { smtp_host: None, ..args() }, Some(&args()));
        assert_eq!((settings.host.as_str(), settings.port), ("localhost", 2525));
        assert!(mail(&args(), "no host", None, true).settings.is_some());
        let none = MailArgs { smtp_host: None, notification_email: None, ..args() };
        let known = || Some(KnownMail::of(&args()));
        assert!(mail(&none, "db1", known(), true).settings.is_none(), "no mail is wanted");
        assert!(mail(&none, "db1", known(), false).settings.is_some(), "the settings cannot be read");
    }
}

//! The verdict of a monitor that systemd could not start, as far as it goes without credentials.

use crate::cli::{Cli, MonitorAction, PlaceArgs, Verb};
use crate::config::{MailSettings, Place};
use crate::error::{Error, Kind, Result};
use crate::health::Finding;
use crate::stop::Stop;
use crate::task::monitor::check::cannot_look;
use crate::task::monitor::gather::gather;
use crate::task::monitor::notify::mail;

/// Looks at what can be looked at, and mails what is new of it and of `unstarted`, which says why the monitor itself does not
/// run. So it is one mail, however often the timer comes.
pub async fn notify(
    args: &PlaceArgs,
    place: &Place,
    settings: &MailSettings,
    unstarted: Finding,
    stop: &Stop,
) -> Result<()> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let verb = Cli::of_variables(&["monitor", "check"], &variable)
        .map_err(|error| Error::new(Kind::Config, error.to_string()))?;
    let Verb::Monitor(monitor) = verb else { return Err(Error::new(Kind::Internal, "the monitor is no verb")) };
    let MonitorAction::Check(mut check) = monitor.action else {
        return Err(Error::new(Kind::Internal, "the monitor has no check"));
    };
    check.health.place = args.clone();
    check.health.without_credentials = true;
    let mut findings = vec![unstarted];
    match gather(&check.health, stop).await {
        Ok(looked) => findings.extend(looked.findings),
        Err(error) => findings.push(cannot_look(&error)),
    }
    mail(settings, place, &findings, None, || None).await
}

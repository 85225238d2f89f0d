//! The monitor's mail where systemd could not start it: the checks that need no credentials.

use crate::cli::{Cli, MonitorAction, PlaceArgs, Verb};
use crate::config::{MailSettings, usable_settings};
use crate::error::{Error, Kind, Result};
use crate::health::Finding;
use crate::stop::Stop;
use crate::task::monitor::check::unusable_settings;
use crate::task::monitor::gather::gather;
use crate::task::monitor::notify::mail;

/// Runs the checks that need no credentials, and mails what is new of their findings and of `unstarted`, the finding that the
/// monitor itself does not run. So it is one mail, however often the timer elapses.
pub async fn notify(args: &PlaceArgs, settings: &MailSettings, unstarted: Finding, stop: &Stop) -> Result<()> {
    let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
    let verb = Cli::of_variables(&["monitor", "check"], &variable)
        .map_err(|error| Error::new(Kind::Config, error.to_string()))?;
    let Verb::Monitor(monitor) = verb else { return Err(Error::new(Kind::Internal, "the monitor is no verb")) };
    let MonitorAction::Check(mut check) = monitor.action else {
        return Err(Error::new(Kind::Internal, "the monitor has no check"));
    };
    let (place, _) = usable_settings::place(args);
    check.health.place = args.clone();
    check.health.without_credentials = true;
    let mut findings = vec![unstarted];
    match gather(&check.health, stop).await {
        Ok(gathered) => findings.extend(gathered.findings),
        Err(error) => findings.push(unusable_settings(&error)),
    }
    mail(settings, &place, &findings, None, || None).await
}

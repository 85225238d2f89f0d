//! `pgcellar monitor`: checks and reports the state of the backups.

use std::path::Path;
use std::process::ExitCode;

use crate::cli::{HealthArgs, MonitorAction, MonitorArgs, ReportArgs, TestMailArgs};
use crate::config::{MailSettings, Place, ReportFormat};
use crate::error::{Error, Kind, Result};
use crate::health::report::{Overview, html, json, prometheus, text};
use crate::host::mail::{Letter, MailStep, Page, Tone, send};
use crate::host::replace_file;
use crate::stdout;
use crate::stop::Stop;
use crate::task::monitor::gather::gather;

mod acknowledge;
mod check;
pub mod fallback;
mod gather;
mod notify;

/// Runs the action. The exit status of `check` is its verdict, not an error.
pub async fn run(args: &MonitorArgs, stop: &Stop) -> Result<ExitCode> {
    match &args.action {
        MonitorAction::Check(args) => check::run(args, stop).await,
        MonitorAction::Report(args) => report(args, stop).await.map(|()| ExitCode::SUCCESS),
        MonitorAction::Acknowledge(args) => acknowledge::run(args, stop).await.map(|()| ExitCode::SUCCESS),
        MonitorAction::TestMail(args) => test_mail(args, stop).await.map(|()| ExitCode::SUCCESS),
    }
}

/// Other programs read a report: a metrics collector, a web server.
const MODE: u32 = 0o644;

/// Writes the state of an instance as text, HTML, JSON or Prometheus metrics.
async fn report(args: &ReportArgs, stop: &Stop) -> Result<()> {
    let format = ReportFormat::new(&args.format)?;
    let health = HealthArgs { counts_rows: true, ..args.health.clone() };
    let gathered = gather(&health, stop).await?;
    let overview = Overview::new(&gathered.facts, &gathered.settings, &gathered.findings);
    let report = match format {
        ReportFormat::Text => text::render(&overview),
        ReportFormat::Json => json::render(&overview)?,
        ReportFormat::Html => html::render(&overview),
        ReportFormat::Prometheus => prometheus::render(&overview),
    };
    write(&report, args.output.as_deref())
}

fn write(report: &str, output: Option<&Path>) -> Result<()> {
    match output {
        Some(path) => {
            replace_file::replace(path, report.as_bytes(), MODE).map_err(|error| Error::write(path.display(), &error))
        }
        None => stdout::print(report),
    }
}

/// Sends a test mail and prints each successful step. A refused recipient is an error, though the others receive the mail.
async fn test_mail(args: &TestMailArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let settings = MailSettings::new(&args.mail, &place.host)?.ok_or_else(|| {
        Error::new(Kind::Config, "no mail is configured").hint("set SMTP_HOST and NOTIFICATION_EMAIL")
    })?;
    let page = Page::new()
        .item(Tone::Good, "Mail works", "this is what pgcellar's mails will look like", "")
        .facts(vec![("Host".to_owned(), place.host.clone()), ("Instance".to_owned(), place.instance.clone())]);
    let letter = Letter::new(format!("[pgcellar] test from {} ({})", place.host, place.instance), &page);
    let mut printed = Ok(());
    let mut on_step = |step: MailStep, what: &str| {
        // A closed standard output does not stop the mail.
        let line = stdout::print(format!("{:<11} {what}\n", step.name()));
        printed = std::mem::replace(&mut printed, Ok(())).and(line);
    };
    let refused = stop.or(send(&settings, &letter, &mut on_step)).await?;
    let mut refused = refused.into_iter();
    let Some(first) = refused.next() else { return printed };
    refused.for_each(|error| log::error!("{error}"));
    Err(first)
}

//! `pgcellar alert`: mails that a task has failed. Tasks never mail themselves: a killed one cannot, and the user sees
//! the result of one that is run by hand.
//!
//! An alert must be sent whatever is broken: it names what it cannot find out, and leaves out its own unusable
//! settings.

use std::time::Duration;

use jiff::Timestamp;

use crate::cli::{AlertArgs, PlaceArgs};
use crate::config::usable_settings;
use crate::config::usable_settings::Mail;
use crate::config::{KnownMail, MailSettings, PingUrl, Place};
use crate::error::{Error, Kind, Result};
use crate::health::notified::{Notified, UNIT_FAILED};
use crate::health::{Finding, Level};
use crate::host::mail::{Letter, deliver};
use crate::host::ping::Ping;
use crate::host::run_log::RunLog;
use crate::host::state::{StateFile, peek};
use crate::stop::Stop;
use crate::task::alert::context::Predecessor;

pub mod context;
mod failure;
mod last_good;
mod letter;
pub mod missing_units;

use failure::FailedTask;
use last_good::LastGood;
use letter::{Doubts, LogExcerpt};

/// How long to wait for a run of the monitor that is mailing.
const PATIENCE: Duration = Duration::from_secs(180);

/// Mails that a task has failed, and records it. A mail that cannot be sent waits for the next run of the monitor.
///
/// Where systemd could not start the monitor itself, `monitor` mails what it can check without credentials, with the
/// finding that the monitor does not run.
pub async fn run(
    args: &AlertArgs,
    monitor: impl AsyncFn(&PlaceArgs, &MailSettings, Finding, &Stop) -> Result<()>,
    stop: &Stop,
) -> Result<()> {
    let (place, wrong_place) = usable_settings::place(&args.place);
    let mut failure = FailedTask::new(args, &place)?;
    let silent = match context::predecessor(&mut failure).await {
        Predecessor::HasSpoken => {
            log::info!("see the log of the failed alert");
            return Ok(());
        }
        Predecessor::Silent(why, hint) => Some((why, hint)),
        Predecessor::None => None,
    };
    let state: Notified = peek(&place, Notified::NAME).unwrap_or_default();
    let reported = state.runs.get(failure.subject()).cloned();
    context::lacking(&mut failure, reported.as_deref()).await;
    let logged = context::logged(args, &mut failure).await;
    ping(args, &failure, &logged).await;

    let Mail { settings, error } =
        usable_settings::mail(&args.mail, &place.host, state.mail, usable_settings::any_is_set());
    let Some(settings) = settings else { return no_mail(&failure, error) };
    let files = context::files(&failure);
    if failure.task == "monitor" && !failure.has_run() {
        let finding = unstarted(&failure, &files);
        match monitor(&args.place, &settings, finding, stop).await {
            Ok(()) => return Ok(()),
            Err(error) => log::error!("{error}"),
        }
    }
    let good = last_good(&place, &failure).await;
    // A drill or a run of retention may handle encrypted backups without having recipients set. systemd's messages
    // about a run that was not started name nothing from inside a database.
    let encrypted = args.recipients.are_set() || good.as_ref().is_ok_and(|good| good.encrypted);
    let encrypted = encrypted && failure.has_run();
    let excerpt = match encrypted {
        true => LogExcerpt::Concealed,
        false => logged.as_ref().map_or(LogExcerpt::Nothing, LogExcerpt::Lines),
    };
    let as_set = error.is_none();
    let doubts = Doubts { silent, files, settings: error.into_iter().chain(wrong_place).collect() };
    let letter = letter::compose(&failure, excerpt, &good.map(|good| good.backups), &doubts);
    let known = as_set.then(|| KnownMail::of(&args.mail)).filter(|_| args.mail.smtp_host.is_some());
    send(&place, &failure, &settings, letter, known, stop).await
}

/// Pings in place of a run that could not. Lines of a run with encrypted backups are not sent.
async fn ping(args: &AlertArgs, failure: &FailedTask, logged: &Option<Result<RunLog>>) {
    if !failure.is_silent() || failure.task != "backup" {
        return;
    }
    let lines = logged.as_ref().and_then(|logged| logged.as_ref().ok()).map(|logged| logged.lines.clone());
    let mut lines = lines.unwrap_or_default();
    lines.push(failure.how().0);
    let ping = Ping::new(PingUrl::new(&args.ping)).without_lines(args.recipients.are_set() && failure.has_run());
    ping.report_failure(&lines).await;
}

/// The result where no mail can be sent.
fn no_mail(failure: &FailedTask, error: Option<Error>) -> Result<()> {
    let what = failure.in_short();
    match error {
        Some(error) => Err(error.context(format!("cannot mail that {what}"))),
        None if usable_settings::any_is_set() => {
            log::info!("no mail is sent that {what}: no mail is configured (SMTP_HOST, NOTIFICATION_EMAIL)");
            Ok(())
        }
        None => {
            let message = format!("cannot mail that {what}: there are no settings");
            let instance = &failure.instance;
            Err(Error::new(Kind::Config, message)
                .hint(format!("does /etc/pgcellar/{instance}.env exist, and is it UTF-8?")))
        }
    }
}

/// The last good backups; an error if their disk is not mounted or the settings are missing, where the list would be
/// wrong.
async fn last_good(place: &Place, failure: &FailedTask) -> Result<LastGood> {
    let mounts = failure.lacking.iter().flatten().filter_map(|one| one.mount.as_ref());
    let directory = place.directory.as_deref();
    match mounts.map(|(mount, _)| mount).find(|mount| directory.is_some_and(|directory| directory.starts_with(mount))) {
        Some(mount) => Err(Error::new(Kind::Missing, format!("they are on the disk of {mount}, which is not mounted"))),
        None if !failure.has_run() && !usable_settings::any_is_set() => {
            Err(Error::new(Kind::Missing, "without settings their place is unknown"))
        }
        None => last_good::find(place, &failure.databases).await,
    }
}

/// The finding that the monitor itself could not start.
fn unstarted(failure: &FailedTask, files: &[Error]) -> Finding {
    let (how, hint) = failure.how();
    let problems: Vec<String> = files.iter().map(ToString::to_string).collect();
    let hint = if problems.is_empty() { hint } else { problems.join("; ") };
    let message = format!("{}: {how}", failure.headline());
    Finding { level: Level::Critical, check: UNIT_FAILED, subject: failure.subject().to_owned(), message, hint }
}

async fn send(
    place: &Place,
    failure: &FailedTask,
    settings: &MailSettings,
    letter: Letter,
    known: Option<KnownMail>,
    stop: &Stop,
) -> Result<()> {
    let sent = stop.or(deliver(settings, &letter)).await;
    if sent.is_ok() {
        log::info!("mailed that {}", failure.in_short());
    }
    let remembered = remember(place, failure, sent.is_err().then_some(letter), known).await;
    match (sent, remembered) {
        (Err(error), Ok(())) => Err(error.context("the alert waits for the next run of the monitor")),
        (Err(error), Err(also)) => {
            log::error!("{also}");
            Err(error)
        }
        // The mail was sent: that this was not recorded costs a second mail at most.
        (Ok(()), Err(error)) => {
            log::warn!("the monitor may report it again: {error}");
            Ok(())
        }
        (Ok(()), Ok(())) => Ok(()),
    }
}

async fn remember(
    place: &Place,
    failure: &FailedTask,
    waiting: Option<Letter>,
    known: Option<KnownMail>,
) -> Result<()> {
    let file = StateFile::open(place, Notified::NAME, PATIENCE).await?;
    let mut state: Notified = file.read()?;
    state.record_run(failure.subject(), &failure.headline(), Timestamp::now());
    state.mail = known.or(state.mail);
    if let (Some(unit), Some(run)) = (&failure.unit, &failure.invocation) {
        state.runs.insert(unit.clone(), run.clone());
    }
    if let Some(letter) = waiting {
        state.keep(letter);
    }
    file.write(&state)
}

//! `pgcellar alert`: tells people that a task has failed. Tasks never mail: what was killed cannot, and what ran by hand
//! has somebody who sees it.

use std::time::Duration;

use jiff::Timestamp;

use crate::cli::AlertArgs;
use crate::config::{MailSettings, PingUrl, Place};
use crate::error::Result;
use crate::health::notified::Notified;
use crate::host::logged::Logged;
use crate::host::mail::{Letter, deliver};
use crate::host::ping::Ping;
use crate::host::state::StateFile;
use crate::host::stop::Stop;
use crate::host::thread::joined;

mod failure;
mod last_good;
mod letter;

use failure::Failure;
use letter::Told;

/// How long a monitor's run that mails is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// Mails that a task has failed, and remembers that it did. A mail that cannot be sent waits for the next run of the
/// monitor.
pub async fn run(args: &AlertArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let failure = Failure::new(args, &place)?;
    let encrypted = args.recipients.are_set();
    let logged = logged(args).await;
    if failure.was_killed() && failure.task == "backup" {
        let lines = logged.as_ref().and_then(|logged| logged.as_ref().ok()).map(|logged| logged.lines.as_slice());
        let ping = Ping::new(PingUrl::new(&args.ping)).without_lines(encrypted);
        ping.report_failure(lines.unwrap_or_default()).await;
    }
    let Some(settings) = MailSettings::new(&args.mail, &place.host)? else {
        log::info!(
            "nobody is told that {} failed: no mail is configured (SMTP_HOST, NOTIFICATION_EMAIL)",
            failure.task
        );
        return Ok(());
    };
    let good = last_good::find(&place, &failure.databases).await;
    // Whoever drills or retains encrypted backups need not know for whom they are encrypted.
    let encrypted = encrypted || good.as_ref().is_ok_and(|good| good.encrypted);
    let told = match encrypted {
        true => Told::Concealed,
        false => logged.as_ref().map_or(Told::Nothing, Told::Lines),
    };
    let letter = letter::compose(&failure, told, &good.map(|good| good.backups));
    let sent = stop.or(deliver(&settings, &letter)).await;
    if sent.is_ok() {
        log::info!("mailed that {} failed", failure.task);
    }
    let remembered = remember(&place, &failure, sent.is_err().then_some(letter)).await;
    match (sent, remembered) {
        (Err(error), Ok(())) => Err(error.context("the alert waits for the next run of the monitor")),
        (Err(error), Err(also)) => {
            log::error!("{also}");
            Err(error)
        }
        // It was told: that this is not known costs a second mail at most.
        (Ok(()), Err(error)) => {
            log::warn!("the monitor may tell it again: {error}");
            Ok(())
        }
        (Ok(()), Ok(())) => Ok(()),
    }
}

async fn logged(args: &AlertArgs) -> Option<Result<Logged>> {
    match (args.log.clone(), &args.invocation) {
        (Some(path), _) => Some(joined(tokio::task::spawn_blocking(move || Logged::of_file(&path)).await)),
        (None, Some(invocation)) => Some(Logged::of_run(invocation).await),
        (None, None) => None,
    }
}

async fn remember(place: &Place, failure: &Failure, waiting: Option<Letter>) -> Result<()> {
    let file = StateFile::open(place, Notified::NAME, PATIENCE).await?;
    let mut state: Notified = file.read()?;
    state.record_run(failure.subject(), &failure.headline(), Timestamp::now());
    if let Some(letter) = waiting {
        state.keep(letter);
    }
    file.write(&state)
}

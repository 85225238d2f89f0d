//! `pgcellar monitor check`: a verdict for a monitoring system, and mail for people.

use std::process::ExitCode;

use crate::cli::CheckArgs;
use crate::config::Place;
use crate::error::{Error, Result};
use crate::health::report::{Overview, html, json, plugin, text};
use crate::health::{Finding, Level};
use crate::host::event;
use crate::host::stop::Stop;
use crate::printable::printable;
use crate::stdout;
use crate::task::monitor::gather::{Looked, look};
use crate::task::monitor::notify::{Status, notify};

/// Prints the verdict and its reasons. Where a setting is wrong nothing can be said of the backups, and the verdict is
/// UNKNOWN: another exit status would tell a monitoring system nothing. The verdict stands, whether it can be mailed or
/// not.
pub async fn run(args: &CheckArgs, stop: &Stop) -> Result<ExitCode> {
    let looked = look(&args.health, stop).await;
    let (level, text) = match &looked {
        Ok(looked) => {
            let overview = overview(looked);
            let text = if args.json { json::verdict(&overview)? } else { plugin::render(&overview) };
            (overview.level, text)
        }
        Err(_) if stop.requested() => return Err(stop.error()),
        Err(error) => {
            log::error!("{error}");
            (Level::Unknown, if args.json { json::unknown(error)? } else { plugin::unknown(error) })
        }
    };
    // What cannot be printed can be mailed all the same.
    let printed = stdout::print(text);
    if args.notify.notify
        && let Err(error) = stop.or(tell(args, &looked)).await
    {
        log::error!(MESSAGE_ID = event::MAIL_FAILED; "{error}");
    }
    printed?;
    let bad_enough = args.fail_on != "critical" || matches!(level, Level::Critical | Level::Unknown);
    Ok(if bad_enough { ExitCode::from(level.exit_status()) } else { ExitCode::SUCCESS })
}

fn overview(looked: &Looked) -> Overview<'_> {
    Overview::new(&looked.facts, &looked.settings, &looked.findings)
}

async fn tell(args: &CheckArgs, looked: &Result<Looked>) -> Result<()> {
    let place = Place::new(&args.health.place)?;
    match looked {
        Ok(looked) => {
            looked.findings.iter().filter(|finding| finding.level > Level::Ok).for_each(record);
            let overview = overview(looked);
            let status = || Some(Status { text: text::render(&overview), html: html::render(&overview) });
            notify(&args.notify, &place, &looked.findings, status).await
        }
        Err(error) => notify(&args.notify, &place, &[cannot_look(error)], || None).await,
    }
}

/// The journal can be asked for what was found.
fn record(finding: &Finding) {
    let level = if finding.level == Level::Critical { log::Level::Error } else { log::Level::Warn };
    log::log!(
        level, MESSAGE_ID = event::FINDING, PGCELLAR_CHECK = finding.check;
        "{}", printable(&finding.message)
    );
}

fn cannot_look(error: &Error) -> Finding {
    Finding {
        level: Level::Unknown,
        check: "settings",
        subject: String::new(),
        message: error.message().to_owned(),
        hint: error.hint_text().unwrap_or_default().to_owned(),
    }
}

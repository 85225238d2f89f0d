//! `pgcellar monitor check`: a verdict for a monitoring system, and mail for people.

use std::process::ExitCode;

use crate::cli::CheckArgs;
use crate::error::{Error, Result};
use crate::health::report::{Overview, html, json, plugin, text};
use crate::health::{Finding, Level};
use crate::host::{event, journal};
use crate::stdout;
use crate::stop::Stop;
use crate::task::monitor::gather::{Gathered, gather};
use crate::task::monitor::notify::{StatusMail, notify};
use crate::task::usable_settings;

/// Prints the verdict and its reasons, or has them in the journal if that is where standard output goes. Where a setting is
/// wrong nothing can be said of the backups, and the verdict is UNKNOWN: another exit status would tell a monitoring system
/// nothing. The verdict stands, whether it can be mailed or not.
pub async fn run(args: &CheckArgs, stop: &Stop) -> Result<ExitCode> {
    let looked = gather(&args.health, stop).await;
    if looked.is_err() && stop.requested() {
        return Err(stop.error());
    }
    let level = looked.as_ref().map_or(Level::Unknown, Gathered::verdict);
    let in_journal = !args.json && journal::has_standard_output();
    // What cannot be printed can be mailed all the same.
    let printed = match in_journal {
        true => Ok(()),
        false => stdout::print(text(&looked, args.json)?),
    };
    if in_journal || args.notify.notify || looked.is_err() {
        record_all(&looked);
    }
    if args.notify.notify
        && let Err(error) = stop.or(notify_people(args, &looked)).await
    {
        log::error!(MESSAGE_ID = event::MAIL_FAILED; "{error}");
    }
    printed?;
    let bad_enough = args.fail_on != "critical" || matches!(level, Level::Critical | Level::Unknown);
    Ok(if bad_enough { ExitCode::from(level.exit_status()) } else { ExitCode::SUCCESS })
}

fn text(looked: &Result<Gathered>, as_json: bool) -> Result<String> {
    match (looked, as_json) {
        (Ok(looked), true) => json::verdict(&overview(looked)),
        (Ok(looked), false) => Ok(plugin::render(&overview(looked))),
        (Err(error), true) => json::unknown(error),
        (Err(error), false) => Ok(plugin::unknown(error)),
    }
}

fn overview(looked: &Gathered) -> Overview<'_> {
    Overview::new(&looked.facts, &looked.settings, &looked.findings)
}

async fn notify_people(args: &CheckArgs, looked: &Result<Gathered>) -> Result<()> {
    let (place, _) = usable_settings::place(&args.health.place);
    match looked {
        Ok(looked) => {
            let overview = overview(looked);
            let status = || Some(StatusMail { text: text::render(&overview), html: html::render(&overview) });
            notify(&args.notify, &place, &looked.findings, status).await
        }
        Err(error) => notify(&args.notify, &place, &[cannot_look(error)], || None).await,
    }
}

/// Has each finding in the journal, which can be asked for them, as one entry. Where all is well, the verdict is one too.
fn record_all(looked: &Result<Gathered>) {
    match looked {
        Err(error) => record(&cannot_look(error)),
        Ok(looked) => {
            looked.findings.iter().for_each(record);
            if looked.verdict() == Level::Ok {
                log::info!(target: journal::ALONE, "{}", plugin::verdict(&overview(looked)));
            }
        }
    }
}

fn record(finding: &Finding) {
    let Finding { level, check, subject, message, hint } = finding;
    let text = if hint.is_empty() { message.clone() } else { format!("{message} ({hint})") };
    let (name, subject) = (level.name(), subject.as_str());
    let priority = match level {
        // What is as it should be is no event.
        Level::Ok => {
            log::info!(
                target: journal::ALONE, PGCELLAR_CHECK = check, PGCELLAR_LEVEL = name, PGCELLAR_SUBJECT = subject;
                "{text}"
            );
            return;
        }
        Level::Warning => log::Level::Warn,
        Level::Unknown | Level::Critical => log::Level::Error,
    };
    log::log!(
        target: journal::ALONE, priority, MESSAGE_ID = event::FINDING, PGCELLAR_CHECK = check, PGCELLAR_LEVEL = name,
        PGCELLAR_SUBJECT = subject;
        "{text}"
    );
}

/// The finding of a look that a wrong setting has kept from being taken.
pub fn cannot_look(error: &Error) -> Finding {
    Finding {
        level: Level::Unknown,
        check: "settings",
        subject: String::new(),
        message: error.message().to_owned(),
        hint: error.hint_text().unwrap_or_default().to_owned(),
    }
}

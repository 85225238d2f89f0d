//! `pgcellar monitor check`: a verdict for a monitoring system, and mail for administrators.

use std::process::ExitCode;

use crate::cli::CheckArgs;
use crate::config::usable_settings;
use crate::error::{Error, Result};
use crate::health::report::{Overview, html, json, plugin, text};
use crate::health::{Finding, Level};
use crate::host::{event, journal};
use crate::stdout;
use crate::stop::Stop;
use crate::task::monitor::gather::{Gathered, gather};
use crate::task::monitor::notify::{StatusMail, notify};

/// Prints the verdict and its reasons, or logs them to the journal if standard output goes there. With a wrong setting
/// the backups cannot be judged, and the verdict is UNKNOWN: a monitoring system knows no other exit status for that.
/// The verdict does not depend on whether it can be mailed.
pub async fn run(args: &CheckArgs, stop: &Stop) -> Result<ExitCode> {
    let gathered = gather(&args.health, stop).await;
    if gathered.is_err() && stop.requested() {
        return Err(stop.error());
    }
    let level = gathered.as_ref().map_or(Level::Unknown, Gathered::verdict);
    let in_journal = !args.json && journal::has_standard_output();
    // If printing fails, the mail is sent all the same.
    let printed = match in_journal {
        true => Ok(()),
        false => stdout::print(text(&gathered, args.json)?),
    };
    if in_journal || args.notify.notify || gathered.is_err() {
        record_all(&gathered);
    }
    if args.notify.notify
        && let Err(error) = stop.or(notify_people(args, &gathered)).await
    {
        log::error!(MESSAGE_ID = event::MAIL_FAILED; "{error}");
    }
    printed?;
    let bad_enough = args.fail_on != "critical" || matches!(level, Level::Critical | Level::Unknown);
    Ok(if bad_enough { ExitCode::from(level.exit_status()) } else { ExitCode::SUCCESS })
}

fn text(gathered: &Result<Gathered>, as_json: bool) -> Result<String> {
    match (gathered, as_json) {
        (Ok(gathered), true) => json::verdict(&overview(gathered)),
        (Ok(gathered), false) => Ok(plugin::render(&overview(gathered))),
        (Err(error), true) => json::unknown(error),
        (Err(error), false) => Ok(plugin::unknown(error)),
    }
}

fn overview(gathered: &Gathered) -> Overview<'_> {
    Overview::new(&gathered.facts, &gathered.settings, &gathered.findings)
}

async fn notify_people(args: &CheckArgs, gathered: &Result<Gathered>) -> Result<()> {
    let (place, _) = usable_settings::place(&args.health.place);
    match gathered {
        Ok(gathered) => {
            let overview = overview(gathered);
            let status = || Some(StatusMail { text: text::render(&overview), html: html::render(&overview) });
            notify(&args.notify, &place, &gathered.findings, status).await
        }
        Err(error) => notify(&args.notify, &place, &[unusable_settings(error)], || None).await,
    }
}

/// Logs each finding to the journal as one entry with fields; if all is well, the verdict.
fn record_all(gathered: &Result<Gathered>) {
    match gathered {
        Err(error) => record(&unusable_settings(error)),
        Ok(gathered) => {
            gathered.findings.iter().for_each(record);
            if gathered.verdict() == Level::Ok {
                log::info!(target: journal::ALONE, "{}", plugin::verdict(&overview(gathered)));
            }
        }
    }
}

fn record(finding: &Finding) {
    let Finding { level, check, subject, message, hint } = finding;
    let text = if hint.is_empty() { message.clone() } else { format!("{message} ({hint})") };
    let (name, subject) = (level.name(), subject.as_str());
    let priority = match level {
        // A finding at level OK is no event.
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

/// The finding that the backups could not be checked because of a wrong setting.
pub fn unusable_settings(error: &Error) -> Finding {
    Finding {
        level: Level::Unknown,
        check: "settings",
        subject: String::new(),
        message: error.message().to_owned(),
        hint: error.hint_text().unwrap_or_default().to_owned(),
    }
}

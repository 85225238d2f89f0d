//! The monitor's mail: new, lasting and resolved findings, and the status report.

use std::time::Duration;

use jiff::{Timestamp, Zoned};

use crate::cli::NotifyArgs;
use crate::config::usable_settings;
use crate::config::usable_settings::Mail;
use crate::config::{KnownMail, MailSettings, Place, ReportPeriod, local_zone};
use crate::error::{Kind, Result};
use crate::format::time;
use crate::health::notified::{News, Notified};
use crate::health::{Finding, Level};
use crate::host::event;
use crate::host::mail::{Letter, Page, Tone, deliver};
use crate::host::state::{StateFile, peek};
use crate::host::surroundings::Surroundings;
use crate::printable::printable;

/// How long to wait for another run that is mailing.
const PATIENCE: Duration = Duration::from_secs(180);

/// The status report of an instance.
#[derive(Clone, Debug)]
pub struct StatusMail {
    /// As text.
    pub text: String,
    /// As an HTML document.
    pub html: String,
}

/// Mails what has not been mailed yet, if mail is configured.
pub async fn notify(
    args: &NotifyArgs,
    place: &Place,
    findings: &[Finding],
    status: impl FnOnce() -> Option<StatusMail>,
) -> Result<()> {
    let period = ReportPeriod::new(&args.report).unwrap_or_else(|error| {
        log::error!("{error}");
        None
    });
    let known = peek(place, Notified::NAME).and_then(|state: Notified| state.mail);
    let Mail { settings, error } = usable_settings::mail(&args.mail, &place.host, known, true);
    let Some(settings) = settings else { return error.map_or(Ok(()), Err) };
    let file = StateFile::open(place, Notified::NAME, PATIENCE).await?;
    let mut state: Notified = file.read()?;
    let known = Some(KnownMail::of(&args.mail));
    if let Some(error) = error {
        log::error!(MESSAGE_ID = event::MAIL_FAILED; "mail is sent without its unusable settings: {error}");
    } else if state.mail != known {
        state.mail = known;
        file.write(&state)?;
    }
    drop(file);
    mail(&settings, place, findings, period, status).await
}

/// The same with these settings. A finding counts as reported only once it is mailed, so the next run tries again.
pub async fn mail(
    settings: &MailSettings,
    place: &Place,
    findings: &[Finding],
    period: Option<ReportPeriod>,
    status: impl FnOnce() -> Option<StatusMail>,
) -> Result<()> {
    let file = StateFile::open(place, Notified::NAME, PATIENCE).await?;
    let mut state: Notified = file.read()?;
    // If a waiting letter is the cause of the failure, the new one can still be sent.
    let waiting = send_waiting(settings, &file, &mut state).await;

    let news = state.compare(findings, Timestamp::now());
    if !news.is_empty() {
        deliver(settings, &letter(place, &news)).await?;
    }
    if state.findings != news.findings {
        state.findings = news.findings;
        file.write(&state)?;
    }

    let due = period.is_some_and(|period| state.is_report_due(period, &Zoned::now()));
    if let Some(StatusMail { text, html }) = due.then(status).flatten() {
        let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
        let subject = format!("[pgcellar] {} {}: status of {:.0}", worst.name(), whose(place), Zoned::now().date());
        deliver(settings, &Letter::of_parts(subject, text, html)).await?;
        state.reported = Some(Timestamp::now());
        file.write(&state)?;
    }
    waiting
}

/// Sends the letters that an earlier run could not send. One that the server rejects for its content does not block the
/// others.
async fn send_waiting(settings: &MailSettings, file: &StateFile, state: &mut Notified) -> Result<()> {
    let stale = state.give_up(Timestamp::now());
    for letter in &stale {
        log::error!(MESSAGE_ID = event::MAIL_FAILED; "'{}' of {:.0} could not be mailed for days; giving up", letter.subject, letter.written);
    }
    if !stale.is_empty() {
        file.write(state)?;
    }
    while let Some(letter) = state.waiting.first() {
        match deliver(settings, letter).await {
            Ok(()) => log::info!("mailed '{}', which had waited", letter.subject),
            Err(error) if error.kind() == Kind::Data => {
                log::error!(MESSAGE_ID = event::MAIL_FAILED; "giving up on '{}': {error}", letter.subject)
            }
            Err(error) => return Err(error),
        }
        state.waiting.remove(0);
        file.write(state)?;
    }
    Ok(())
}

fn whose(place: &Place) -> String {
    format!("{} ({})", place.host, place.instance)
}

fn letter(place: &Place, news: &News) -> Letter {
    let (mut page, zone) = (Page::new(), local_zone());
    for finding in &news.new {
        page = page.item(tone(finding.level), finding.level.name(), &finding.message, &finding.hint);
    }
    for (finding, since) in &news.lasting {
        let label = format!("still {}, since {}", finding.level.name(), time(*since, &zone));
        page = page.item(tone(finding.level), &label, &finding.message, &finding.hint);
    }
    for over in &news.over {
        let words = format!("{} (since {})", over.message, time(over.since, &zone));
        page = page.item(Tone::Good, "recovered", &words, "");
    }
    let facts = [("Host", &place.host), ("Instance", &place.instance)];
    let facts = facts.map(|(name, value)| (name.to_owned(), value.clone())).to_vec();
    let command = Surroundings::here().call(&place.instance, "monitor check");
    let page = page.facts(facts).heading("For details").lines(vec![command]);
    Letter::new(subject(place, news), &page)
}

/// The worst finding, and how many more there are.
fn subject(place: &Place, news: &News) -> String {
    let mut entries: Vec<(Level, String, &str)> = news
        .new
        .iter()
        .map(|finding| (finding.level, finding.level.name().to_owned(), finding.message.as_str()))
        .collect();
    entries.sort_by_key(|(level, ..)| std::cmp::Reverse(*level));
    entries
        .extend(news.lasting.iter().map(|(f, _)| (f.level, format!("still {}", f.level.name()), f.message.as_str())));
    entries.extend(news.over.iter().map(|over| (Level::Ok, "recovered".to_owned(), over.message.as_str())));
    let more = match entries.len() {
        0 | 1 => String::new(),
        number => format!(" (and {} more)", number - 1),
    };
    match entries.first() {
        Some((_, word, message)) => format!("[pgcellar] {word} {}: {}{more}", whose(place), printable(message)),
        None => format!("[pgcellar] {}", whose(place)),
    }
}

fn tone(level: Level) -> Tone {
    match level {
        Level::Ok => Tone::Good,
        Level::Unknown | Level::Warning => Tone::Doubtful,
        Level::Critical => Tone::Bad,
    }
}

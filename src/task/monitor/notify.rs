//! Mail of the monitor: what is new, what lasts, what is over, and the status report.

use std::time::Duration;

use jiff::{Timestamp, Zoned};

use crate::cli::NotifyArgs;
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
use crate::task::usable_settings::{self, Mail};

/// How long another run that mails is waited for.
const PATIENCE: Duration = Duration::from_secs(180);

/// The state of an instance for people.
#[derive(Clone, Debug)]
pub struct StatusMail {
    /// As text.
    pub text: String,
    /// As an HTML document.
    pub html: String,
}

/// Mails what people do not know yet, if mail is configured.
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
        log::error!(MESSAGE_ID = event::MAIL_FAILED; "mail is sent without what is wrong in its settings: {error}");
    } else if state.mail != known {
        state.mail = known;
        file.write(&state)?;
    }
    drop(file);
    mail(&settings, place, findings, period, status).await
}

/// The same by these settings. What could not be mailed is tried again by the next run; nothing counts as told before.
pub async fn mail(
    settings: &MailSettings,
    place: &Place,
    findings: &[Finding],
    period: Option<ReportPeriod>,
    status: impl FnOnce() -> Option<StatusMail>,
) -> Result<()> {
    let file = StateFile::open(place, Notified::NAME, PATIENCE).await?;
    let mut state: Notified = file.read()?;
    // What cannot go out yet may be one letter's fault, and then the news can.
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

/// Letters that an earlier run could not send. One that the server will not have as it is does not hold up the others.
async fn send_waiting(settings: &MailSettings, file: &StateFile, state: &mut Notified) -> Result<()> {
    let stale = state.give_up(Timestamp::now());
    for letter in &stale {
        log::error!(MESSAGE_ID = event::MAIL_FAILED; "'{}' of {:.0} could not be mailed for days, and is given up", letter.subject, letter.written);
    }
    if !stale.is_empty() {
        file.write(state)?;
    }
    while let Some(letter) = state.waiting.first() {
        match deliver(settings, letter).await {
            Ok(()) => log::info!("mailed '{}', which had waited", letter.subject),
            Err(error) if error.kind() == Kind::Data => {
                log::error!(MESSAGE_ID = event::MAIL_FAILED; "'{}' is given up: {error}", letter.subject)
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
    for told in &news.over {
        let words = format!("{} (since {})", told.message, time(told.since, &zone));
        page = page.item(Tone::Good, "recovered, this is over", &words, "");
    }
    let facts = [("Host", &place.host), ("Instance", &place.instance)];
    let facts = facts.map(|(name, value)| (name.to_owned(), value.clone())).to_vec();
    let look = Surroundings::here().call(&place.instance, "monitor check");
    let page = page.facts(facts).heading("To look closer").lines(vec![look]);
    Letter::new(subject(place, news), &page)
}

/// The worst in the first place, and how many more there are.
fn subject(place: &Place, news: &News) -> String {
    let mut told: Vec<(Level, String, &str)> = news
        .new
        .iter()
        .map(|finding| (finding.level, finding.level.name().to_owned(), finding.message.as_str()))
        .collect();
    told.sort_by_key(|(level, ..)| std::cmp::Reverse(*level));
    told.extend(news.lasting.iter().map(|(f, _)| (f.level, format!("still {}", f.level.name()), f.message.as_str())));
    told.extend(news.over.iter().map(|told| (Level::Ok, "recovered".to_owned(), told.message.as_str())));
    let more = match told.len() {
        0 | 1 => String::new(),
        number => format!(" (and {} more)", number - 1),
    };
    match told.first() {
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

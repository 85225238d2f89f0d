//! Mail by SMTP (RFC 5321): built, and sent step by step, so that an error names the step that failed.

use std::time::{Duration, UNIX_EPOCH};

use jiff::Timestamp;
use lettre::Message;
use lettre::address::Envelope;
use lettre::message::MultiPart;
use lettre::message::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::config::MailSettings;
use crate::error::{Error, Kind, Result};
use crate::host::mail::session::SmtpSession;

mod connection;
mod failure;
mod page;
mod session;
mod step;

pub use failure::step_of;
pub use page::{Page, Tone};
pub use step::{MailStep, OnStep};

/// A mail, before it has a sender and recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The left part of its Message-ID: mail programs show a letter once that is sent twice because it is unknown
    /// whether the first one arrived.
    pub id: String,
    /// When it was written.
    pub written: Timestamp,
    /// Subject, in one line.
    pub subject: String,
    /// Body as text.
    pub text: String,
    /// Body as HTML, a whole document.
    pub html: String,
}

impl Letter {
    /// A letter written now with the same content as text and as HTML.
    pub fn new(subject: String, page: &Page) -> Self {
        let (text, html) = (page.text(), page.html(&subject));
        Letter::of_parts(subject, text, html)
    }

    /// A letter written now.
    pub fn of_parts(subject: String, text: String, html: String) -> Self {
        let written = Timestamp::now();
        let id = format!("{}.{}", written.as_nanosecond(), std::process::id());
        Letter { id, written, subject, text, html }
    }

    fn message(&self, settings: &MailSettings) -> Result<Message> {
        let refused = |error| Error::new(Kind::Internal, format!("a mail cannot be built: {error}"));
        let seconds = u64::try_from(self.written.as_second()).unwrap_or_default();
        let automatic = HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        let message = Message::builder()
            .from(settings.from.clone())
            .date(UNIX_EPOCH + Duration::from_secs(seconds))
            .message_id(Some(format!("<{}@{}>", self.id, settings.hello)))
            .subject(&self.subject)
            // RFC 3834: no out-of-office notice comes back.
            .raw_header(automatic);
        let message = settings.to.iter().fold(message, |message, to| message.to(to.clone()));
        message.multipart(MultiPart::alternative_plain_html(self.text.clone(), self.html.clone())).map_err(refused)
    }
}

/// Sends a letter. Returns the errors of the recipients that the server refused while it accepted others; if it accepts
/// none, that is the error.
pub async fn send(settings: &MailSettings, letter: &Letter, on_step: &mut OnStep<'_>) -> Result<Vec<Error>> {
    let message = letter.message(settings)?;
    let mut session = SmtpSession::open(settings, on_step).await?;
    let refused = session.deliver(&message).await;
    session.close().await;
    refused
}

/// Asks the server whether it would accept a mail, without sending a message. Returns the errors of the recipients that
/// it refuses.
pub async fn ask(settings: &MailSettings, on_step: &mut OnStep<'_>) -> Result<Vec<Error>> {
    let to = settings.to.iter().map(|to| to.email.clone()).collect();
    let envelope = Envelope::new(Some(settings.from.email.clone()), to)
        .map_err(|error| Error::new(Kind::Internal, format!("a mail cannot be addressed: {error}")))?;
    let mut session = SmtpSession::open(settings, on_step).await?;
    let refused = session.ask(&envelope).await;
    session.close().await;
    refused
}

/// Sends a letter, and logs the recipients that were refused.
pub async fn deliver(settings: &MailSettings, letter: &Letter) -> Result<()> {
    let mut on_step = |step: MailStep, what: &str| log::debug!("mail, {}: {what}", step.name());
    for refused in send(settings, letter, &mut on_step).await? {
        log::warn!("the mail was sent to the other recipients only: {refused}");
    }
    Ok(())
}

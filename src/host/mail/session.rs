//! An SMTP session: login, sender, recipients, message.

use std::time::Duration;

use lettre::Message;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::AsyncSmtpConnection;
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{Extension, MailParameter};

use crate::config::{Login, MailSettings};
use crate::error::{Error, Kind, Result};
use crate::host::mail::connection::{STEP, open, within};
use crate::host::mail::failure::{answer, at};
use crate::host::mail::step::{MailStep, OnStep};
use crate::printable::printable;

/// How long a server may take to accept a message.
const MESSAGE: Duration = Duration::from_secs(60);

/// How long QUIT and RSET may take.
const FAREWELL: Duration = Duration::from_secs(2);

/// An open session.
pub struct SmtpSession<'a, 'b> {
    settings: &'a MailSettings,
    connection: AsyncSmtpConnection,
    on_step: &'a mut OnStep<'b>,
}

impl<'a, 'b> SmtpSession<'a, 'b> {
    /// Connects, and logs in if there is a login.
    pub async fn open(settings: &'a MailSettings, on_step: &'a mut OnStep<'b>) -> Result<Self> {
        let connection = open(settings, on_step).await?;
        let mut session = SmtpSession { settings, connection, on_step };
        match &settings.login {
            Some(login) => session.log_in(login).await?,
            None => (session.on_step)(MailStep::Login, "none"),
        }
        Ok(session)
    }

    async fn log_in(&mut self, login: &Login) -> Result<()> {
        let settings = self.settings;
        let mechanisms = [Mechanism::Plain, Mechanism::Login];
        if self.connection.server_info().get_auth_mechanism(&mechanisms).is_none() {
            return Err(at(settings, MailStep::Login, Kind::Unavailable, "the server offers no login by password")
                .hint("remove SMTP_USER and SMTP_PASS if it needs none; many servers offer it under TLS only"));
        }
        let credentials = Credentials::new(login.user.clone(), login.password.expose().to_owned());
        let work = self.connection.auth(&mechanisms, &credentials);
        within(settings, MailStep::Login, STEP, work, |error| answer(settings, MailStep::Login, &error)).await?;
        (self.on_step)(MailStep::Login, &format!("as {}", printable(&login.user)));
        Ok(())
    }

    /// Sends the message to all recipients that the server accepts. Returns the errors of the others; if all are
    /// refused, that is the error.
    pub async fn deliver(&mut self, message: &Message) -> Result<Vec<Error>> {
        let refused = self.address(message.envelope()).await?;
        if refused.len() == message.envelope().to().len() {
            return Err(all_refused(refused));
        }
        self.message(&message.formatted()).await?;
        Ok(refused)
    }

    /// Sends the sender and the recipients, and resets the transaction. Returns the errors of the refused recipients.
    pub async fn ask(&mut self, envelope: &Envelope) -> Result<Vec<Error>> {
        let refused = self.address(envelope).await?;
        // A server that rejects RSET has no message to deliver all the same.
        drop(tokio::time::timeout(FAREWELL, self.connection.command(Rset)).await);
        Ok(refused)
    }

    /// Sends the sender and the recipients; returns the errors of the refused recipients.
    async fn address(&mut self, envelope: &Envelope) -> Result<Vec<Error>> {
        let settings = self.settings;
        self.sender(envelope).await?;
        let mut refused = Vec::new();
        for recipient in envelope.to() {
            let work = self.connection.command(Rcpt::new(recipient.clone(), Vec::new()));
            let taken = within(settings, MailStep::Recipient, STEP, work, |error| {
                answer(settings, MailStep::Recipient, &error).context(recipient)
            });
            match taken.await {
                Ok(_) => (self.on_step)(MailStep::Recipient, recipient.as_ref()),
                Err(error) if error.kind() == Kind::Unavailable => return Err(error),
                Err(error) => refused.push(error),
            }
        }
        Ok(refused)
    }

    async fn sender(&mut self, envelope: &Envelope) -> Result<()> {
        let settings = self.settings;
        let mut addresses = envelope.from().into_iter().chain(envelope.to());
        let strange = addresses.any(|address| !address.to_string().is_ascii())
            && self.connection.server_info().supports_feature(Extension::SmtpUtfEight);
        let parameters = strange.then_some(MailParameter::SmtpUtfEight).into_iter().collect();
        let work = self.connection.command(Mail::new(envelope.from().cloned(), parameters));
        within(settings, MailStep::Sender, STEP, work, |error| answer(settings, MailStep::Sender, &error)).await?;
        (self.on_step)(MailStep::Sender, settings.from.email.as_ref());
        Ok(())
    }

    async fn message(&mut self, bytes: &[u8]) -> Result<()> {
        let settings = self.settings;
        let work = async {
            self.connection.command(Data).await?;
            self.connection.message(bytes).await
        };
        let taken =
            within(settings, MailStep::Message, MESSAGE, work, |error| answer(settings, MailStep::Message, &error));
        let answer = taken.await?;
        (self.on_step)(MailStep::Message, &printable(&answer.message().collect::<Vec<_>>().join(" ")));
        Ok(())
    }

    /// Ends the session. Delivered messages stay delivered.
    pub async fn close(mut self) {
        drop(tokio::time::timeout(FAREWELL, self.connection.quit()).await);
    }
}

fn all_refused(refused: Vec<Error>) -> Error {
    let number = refused.len();
    // If one may be accepted later, another attempt is worthwhile.
    let kind = match refused.iter().any(|error| error.kind() == Kind::TryAgain) {
        true => Kind::TryAgain,
        false => Kind::NotPermitted,
    };
    let mut refused = refused.into_iter();
    match (refused.next(), number) {
        (Some(only), 1) => only,
        (Some(first), _) => {
            let all: Vec<String> =
                std::iter::once(&first).chain(refused.as_slice()).map(|error| error.message().to_owned()).collect();
            Error::new(kind, all.join("; ")).hint(first.hint_text().unwrap_or("are the addresses right?").to_owned())
        }
        (None, _) => Error::new(Kind::Config, "the mail has no recipient"),
    }
}

//! The steps of sending a mail.

/// A step of sending a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailStep {
    /// The server's name is looked up.
    Name,
    /// A connection is made, and the server greets.
    Connection,
    /// The connection is encrypted, and the server's certificate is verified.
    Tls,
    /// We log in.
    Login,
    /// The server accepts the sender.
    Sender,
    /// The server accepts a recipient.
    Recipient,
    /// The server accepts the message.
    Message,
}

impl MailStep {
    /// The word in messages.
    pub fn name(self) -> &'static str {
        match self {
            MailStep::Name => "name",
            MailStep::Connection => "connection",
            MailStep::Tls => "TLS",
            MailStep::Login => "login",
            MailStep::Sender => "sender",
            MailStep::Recipient => "recipient",
            MailStep::Message => "message",
        }
    }
}

/// Called with each successful step and its result.
pub type OnStep<'a> = dyn FnMut(MailStep, &str) + Send + 'a;

//! Errors of sending a mail, in words.

use std::error::Error as StdError;
use std::io;

use jiff::Timestamp;
use lettre::transport::smtp::Error as SmtpError;
use rustls::CertificateError;
use rustls::pki_types::UnixTime;

use crate::config::{MailSettings, Security};
use crate::error::{Error, Kind, reason};
use crate::host::mail::step::MailStep;
use crate::printable::printable;

/// The error of a step.
pub fn at(settings: &MailSettings, step: MailStep, kind: Kind, why: &str) -> Error {
    Error::new(kind, format!("mail server {}:{}, {}: {why}", settings.host, settings.port, step.name()))
}

/// The step of an error, and its message without the server and the step.
pub fn step_of<'a>(settings: &MailSettings, error: &'a Error) -> Option<(MailStep, &'a str)> {
    let message = error.message();
    // A recipient's error begins with the address.
    let begin = format!("mail server {}:{}, ", settings.host, settings.port);
    let (_, rest) = message.split_once(&begin)?;
    let (name, why) = rest.split_once(": ")?;
    STEPS.iter().find(|step| step.name() == name).map(|step| (*step, why))
}

const STEPS: [MailStep; 7] = [
    MailStep::Name,
    MailStep::Connection,
    MailStep::Tls,
    MailStep::Login,
    MailStep::Sender,
    MailStep::Recipient,
    MailStep::Message,
];

/// The server did not answer in time.
pub fn too_late(settings: &MailSettings, step: MailStep, seconds: u64) -> Error {
    let error = at(settings, step, Kind::Unavailable, &format!("no answer within {seconds} s"));
    match (step, settings.security) {
        (MailStep::Connection, Security::StartTls) => {
            error.hint("is SMTP_PORT right? A port that starts with TLS, such as 465, needs SMTP_TLS=tls")
        }
        (MailStep::Connection, _) => error.hint("is SMTP_PORT right, and does a firewall let it through?"),
        _ => error,
    }
}

/// The error for a server's reply, or for a missing one.
pub fn answer(settings: &MailSettings, step: MailStep, error: &SmtpError) -> Error {
    let Some(code) = error.status() else { return at(settings, step, Kind::Unavailable, &broken(error)) };
    let text = error.source().map(|text| printable(&text.to_string())).unwrap_or_default();
    let found = at(settings, step, refusal(step, error.is_transient()), format!("{code} {text}").trim_end());
    match step {
        _ if error.is_transient() => found.hint("the server may accept it later"),
        MailStep::Login => found.hint("are SMTP_USER and SMTP_PASS right? Gmail and others require an app password"),
        MailStep::Sender => found.hint("set SMTP_FROM to an address that this server lets you send from"),
        MailStep::Recipient => found.hint("is the address in NOTIFICATION_EMAIL right? Some servers require a login"),
        _ => found,
    }
}

/// A message that the server rejects would be rejected again; every other refusal may pass.
fn refusal(step: MailStep, transient: bool) -> Kind {
    match step {
        _ if transient => Kind::TryAgain,
        MailStep::Message => Kind::Data,
        _ => Kind::NotPermitted,
    }
}

fn broken(error: &SmtpError) -> String {
    let source = error.source();
    if let Some(error) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        return connection_lost(error);
    }
    match source.map(ToString::to_string).as_deref() {
        // lettre's text for a truncated reply.
        Some("incomplete response") => "the server closed the connection".to_owned(),
        Some(text) if error.is_response() => format!("the server's reply is not SMTP: {}", printable(text)),
        Some(text) => printable(text),
        None => error.to_string(),
    }
}

/// The reason for a lost connection.
pub fn connection_lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the server closed the connection".to_owned()
        }
        _ => reason(error),
    }
}

/// The error for a failed TLS handshake.
pub fn handshake(settings: &MailSettings, error: &io::Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let refuse = |why: &str| at(settings, MailStep::Tls, Kind::Unavailable, why);
    match inner {
        Some(rustls::Error::InvalidCertificate(error)) => certificate(settings, error),
        Some(rustls::Error::InvalidMessage(_)) if settings.security == Security::Tls => {
            refuse("the server does not start with TLS").hint("set SMTP_TLS=starttls, and SMTP_PORT to 587 or 25")
        }
        Some(error) => refuse(&printable(&error.to_string())),
        None => refuse(&connection_lost(error)),
    }
}

fn certificate(settings: &MailSettings, error: &CertificateError) -> Error {
    let refuse = |why: &str| at(settings, MailStep::Tls, Kind::Unavailable, why);
    let renew = "the server's certificate has to be renewed, or this host's clock is wrong";
    let name = "set SMTP_HOST to the name that the certificate has";
    match error {
        CertificateError::Expired => refuse("the server's certificate has expired").hint(renew),
        CertificateError::ExpiredContext { not_after, .. } => {
            refuse(&format!("the server's certificate has expired on {}", day(*not_after))).hint(renew)
        }
        CertificateError::NotValidYet => refuse("the server's certificate is not valid yet").hint(renew),
        CertificateError::NotValidYetContext { not_before, .. } => {
            refuse(&format!("the server's certificate is not valid before {}", day(*not_before))).hint(renew)
        }
        CertificateError::NotValidForName => {
            refuse(&format!("the server's certificate is not for '{}'", settings.host)).hint(name)
        }
        CertificateError::NotValidForNameContext { presented, .. } => {
            let why = format!("the server's certificate is for {}, not for '{}'", presented.join(", "), settings.host);
            refuse(&printable(&why)).hint(name)
        }
        // webpki reports a self-signed certificate as that of an authority used as a server's.
        CertificateError::UnknownIssuer | CertificateError::Other(_) => {
            refuse("the server's certificate is signed by itself, or by an authority that is not trusted here")
                .hint("set SMTP_CA_FILE to the authority's certificate, or to the server's own")
        }
        other => refuse(&printable(&format!("the server's certificate is invalid: {other}"))),
    }
}

fn day(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}

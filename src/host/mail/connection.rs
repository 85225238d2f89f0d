//! The connection to a mail server: name, connection, TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream};
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{MailSettings, Security};
use crate::error::{Error, Kind, Result, reason};
use crate::host::mail::failure::{answer, at, connection_lost, handshake, too_late};
use crate::host::mail::step::{MailStep, OnStep};
use crate::printable::printable;
use crate::tls::{SYSTEM_ROOTS, Trust, client};

/// How long a step may take. RFC 5321 suggests minutes; here every caller can try again.
pub const STEP: Duration = Duration::from_secs(15);

/// How many addresses of a server are tried.
const ADDRESSES: usize = 4;

/// Longest unencrypted reply, in bytes.
const LONGEST_ANSWER: usize = 64 << 10;

/// Runs a step within a time limit.
pub async fn within<T, E>(
    settings: &MailSettings,
    step: MailStep,
    limit: Duration,
    work: impl Future<Output = std::result::Result<T, E>>,
    failed: impl FnOnce(E) -> Error,
) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(failed),
        Err(_) => Err(too_late(settings, step, limit.as_secs())),
    }
}

/// Connects, encrypts and sends EHLO, by the settings.
pub async fn open(settings: &MailSettings, on_step: &mut OnStep<'_>) -> Result<AsyncSmtpConnection> {
    let addresses = addresses(settings).await?;
    on_step(MailStep::Name, &printable(&format!("{} is {}", settings.host, list(&addresses))));
    let mut stream = connect(settings, &addresses).await?;
    let peer = stream.peer_addr().map(|peer| peer.to_string()).unwrap_or_default();
    let greeting: &[u8] = match settings.security {
        Security::None => {
            let connection = greet(settings, Box::new(stream)).await?;
            on_step(MailStep::Connection, &peer);
            on_step(MailStep::Tls, "none");
            return Ok(connection);
        }
        Security::Tls => b"",
        Security::StartTls => {
            start_tls(settings, &mut stream).await?;
            // lettre waits for a greeting, and after STARTTLS there is none.
            b"220 TLS\r\n"
        }
    };
    on_step(MailStep::Connection, &peer);
    let encrypted = encrypt(settings, stream).await?;
    let version = encrypted.get_ref().1.protocol_version();
    let connection = greet(settings, Box::new(Encrypted { greeting, inner: encrypted })).await?;
    let version = version.and_then(|version| version.as_str()).unwrap_or("TLS");
    on_step(MailStep::Tls, &version.replace('_', "."));
    Ok(connection)
}

async fn addresses(settings: &MailSettings) -> Result<Vec<SocketAddr>> {
    let failed = |error: io::Error| {
        let text = reason(&error);
        let why = text.strip_prefix("failed to lookup address information: ").unwrap_or(&text);
        at(settings, MailStep::Name, Kind::Unavailable, &format!("'{}' cannot be found: {why}", settings.host))
            .hint("is SMTP_HOST right, and does this host's name service work?")
    };
    let lookup = tokio::net::lookup_host((settings.host.as_str(), settings.port));
    let found: Vec<SocketAddr> = within(settings, MailStep::Name, STEP, lookup, failed).await?.collect();
    match found.is_empty() {
        true => Err(at(settings, MailStep::Name, Kind::Unavailable, &format!("'{}' has no address", settings.host))),
        false => Ok(found),
    }
}

fn list(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(|address| address.ip().to_string()).collect::<Vec<_>>().join(", ")
}

async fn connect(settings: &MailSettings, addresses: &[SocketAddr]) -> Result<TcpStream> {
    let mut failure = None;
    for address in addresses.iter().take(ADDRESSES) {
        let failed = |error: io::Error| {
            at(settings, MailStep::Connection, Kind::Unavailable, &format!("{address}: {}", reason(&error)))
                .hint("is SMTP_PORT right, and does the server listen there?")
        };
        match within(settings, MailStep::Connection, STEP, TcpStream::connect(address), failed).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure.get_or_insert(error),
        };
    }
    Err(failure.unwrap_or_else(|| at(settings, MailStep::Connection, Kind::Unavailable, "no address")))
}

/// lettre reads the server's greeting and says EHLO.
async fn greet(settings: &MailSettings, stream: Box<dyn AsyncTokioStream>) -> Result<AsyncSmtpConnection> {
    let hello = hello(settings);
    let work = AsyncSmtpConnection::connect_with_transport(stream, &hello);
    let failed = |error| answer(settings, MailStep::Connection, &error);
    within(settings, MailStep::Connection, STEP, work, failed).await
}

fn hello(settings: &MailSettings) -> ClientId {
    ClientId::Domain(settings.hello.clone())
}

/// Requests TLS (RFC 3207). Not by lettre, which would read text that an attacker injects behind the server's
/// unencrypted reply as a reply under TLS (CVE-2011-0411).
async fn start_tls(settings: &MailSettings, stream: &mut TcpStream) -> Result<()> {
    expect(settings, stream, MailStep::Connection, None, "220").await?;
    let hello = format!("EHLO {}\r\n", hello(settings));
    let offers = expect(settings, stream, MailStep::Connection, Some(&hello), "250").await?;
    // Lines begin with the code and a blank or a dash.
    if !offers.lines().skip(1).any(|line| line.get(4..).is_some_and(|offer| offer.trim() == "STARTTLS")) {
        return Err(at(settings, MailStep::Tls, Kind::Unavailable, "the server offers no STARTTLS")
            .hint("set SMTP_TLS=tls for a port that starts with TLS, or SMTP_TLS=none to send unencrypted"));
    }
    expect(settings, stream, MailStep::Tls, Some("STARTTLS\r\n"), "220").await.map(drop)
}

async fn expect(
    settings: &MailSettings,
    stream: &mut TcpStream,
    step: MailStep,
    command: Option<&str>,
    code: &str,
) -> Result<String> {
    let talk = async {
        stream.write_all(command.unwrap_or_default().as_bytes()).await?;
        read_answer(stream).await
    };
    let lost = |error: io::Error| at(settings, step, Kind::Unavailable, &connection_lost(&error));
    let answer = within(settings, step, STEP, talk, lost).await?;
    if answer.starts_with(code) {
        return Ok(answer);
    }
    let kind = if answer.starts_with('4') { Kind::TryAgain } else { Kind::Unavailable };
    Err(at(settings, step, kind, printable(answer.trim_end()).as_str()))
}

/// Reads a reply and not one byte more: a line with a dash behind its code is followed by another.
async fn read_answer(stream: &mut TcpStream) -> io::Result<String> {
    let (mut answer, mut begin) = (Vec::new(), 0);
    while answer.len() < LONGEST_ANSWER {
        answer.push(stream.read_u8().await?);
        if answer.last() == Some(&b'\n') {
            if answer.get(begin + 3) != Some(&b'-') {
                return Ok(String::from_utf8_lossy(&answer).into_owned());
            }
            begin = answer.len();
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the server's reply does not end"))
}

async fn encrypt(settings: &MailSettings, stream: TcpStream) -> Result<TlsStream<TcpStream>> {
    let trust = match &settings.ca_file {
        Some(path) => Trust::read("SMTP_CA_FILE", path),
        None => Trust::read("the system's certificates", Path::new(SYSTEM_ROOTS)),
    }?;
    let connector = TlsConnector::from(Arc::new(client(trust)?.with_no_client_auth()));
    let name = ServerName::try_from(settings.host.clone()).map_err(|_| {
        at(settings, MailStep::Tls, Kind::Config, "no certificate can have this name").hint("set SMTP_HOST to a name")
    })?;
    within(settings, MailStep::Tls, STEP, connector.connect(name, stream), |error| handshake(settings, &error)).await
}

/// A TLS connection as lettre expects one.
#[derive(Debug)]
struct Encrypted {
    /// What is read before the first byte of the connection.
    greeting: &'static [u8],
    inner: TlsStream<TcpStream>,
}

impl AsyncTokioStream for Encrypted {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.inner.get_ref().0.peer_addr()
    }
}

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.greeting.is_empty() {
            true => Pin::new(&mut self.inner).poll_read(cx, buffer),
            false => {
                let (now, later) = self.greeting.split_at(self.greeting.len().min(buffer.remaining()));
                buffer.put_slice(now);
                self.greeting = later;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

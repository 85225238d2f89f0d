//! Settings of mail and of the dead man's switch.

use std::path::PathBuf;

use lettre::Address;
use lettre::message::Mailbox;

use crate::cli::{MailArgs, PingArgs};
use crate::config::credentials::secret;
use crate::config::refusal::{no_password, url_instead, wrong};
use crate::config::secret::Secret;
use crate::error::{Error, Kind, Result};

/// The mail server, the sender and the recipients.
#[derive(Clone, Debug)]
pub struct MailSettings {
    /// Server.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is encrypted.
    pub security: Security,
    /// Name and password.
    pub login: Option<Login>,
    /// Certificates of the authorities that may sign the server's certificate (PEM).
    pub ca_file: Option<PathBuf>,
    /// Sender.
    pub from: Mailbox,
    /// Recipients.
    pub to: Vec<Mailbox>,
    /// Name of this host (EHLO, Message-ID).
    pub hello: String,
}

/// How the connection to a mail server is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// The connection begins unencrypted, and must change to TLS before anything else is sent (RFC 3207).
    StartTls,
    /// TLS from the first byte on (RFC 8314).
    Tls,
    /// No encryption.
    None,
}

/// User name and password for a mail server.
#[derive(Clone, Debug)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password.
    pub password: Secret,
}

/// The last usable mail settings without the password, for an alert that has no settings.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct KnownMail {
    host: Option<String>,
    port: String,
    user: Option<String>,
    password_file: Option<PathBuf>,
    tls: Option<String>,
    ca_file: Option<PathBuf>,
    from: Option<String>,
    to: Option<String>,
}

impl KnownMail {
    /// Those of a command line.
    pub fn of(args: &MailArgs) -> Self {
        KnownMail {
            host: args.smtp_host.clone(),
            port: args.smtp_port.clone(),
            user: args.smtp_user.clone(),
            password_file: args.smtp_pass_file.clone(),
            tls: args.smtp_tls.clone(),
            ca_file: args.smtp_ca_file.clone(),
            from: args.smtp_from.clone(),
            to: args.notification_email.clone(),
        }
    }

    /// The command line with these settings.
    pub fn args(self) -> MailArgs {
        MailArgs {
            smtp_host: self.host,
            smtp_port: self.port,
            smtp_user: self.user,
            smtp_pass_file: self.password_file,
            smtp_tls: self.tls,
            smtp_ca_file: self.ca_file,
            smtp_from: self.from,
            notification_email: self.to,
        }
    }
}

/// How often a status report is mailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReportPeriod {
    /// Each day.
    Daily,
    /// Each Monday.
    Weekly,
}

impl MailSettings {
    /// Checks the settings; none if no mail is configured. `host` is this host's name.
    pub fn new(args: &MailArgs, host: &str) -> Result<Option<Self>> {
        if args.smtp_host.is_none() && args.notification_email.is_none() {
            return Ok(None);
        }
        MailSettings::with_password(args, host, password(args)?)
    }

    /// The same with this password.
    pub fn with_password(args: &MailArgs, host: &str, password: Option<Secret>) -> Result<Option<Self>> {
        let (server, to) = match (&args.smtp_host, &args.notification_email) {
            (None, None) => return Ok(None),
            (Some(server), Some(to)) => (server.trim().to_owned(), to),
            (Some(_), None) => return Err(half("SMTP_HOST", "NOTIFICATION_EMAIL")),
            (None, Some(_)) => return Err(half("NOTIFICATION_EMAIL", "SMTP_HOST")),
        };
        if server.contains('@') || server.contains("://") {
            return Err(url_instead(
                "SMTP_HOST (--smtp-host)",
                "set SMTP_HOST, SMTP_PORT, SMTP_USER and SMTP_PASS, one part each",
            ));
        }
        no_password(
            "SMTP_USER (--smtp-user)",
            args.smtp_user.as_deref(),
            "set SMTP_USER and SMTP_PASS, one part each",
        )?;
        if server.is_empty() || server.contains(|c: char| c.is_whitespace() || matches!(c, '/' | '@')) {
            return Err(wrong("SMTP_HOST (--smtp-host)", &server, "the name or address of a mail server"));
        }
        let port = port(&args.smtp_port)?;
        let login = login(args.smtp_user.clone(), password)?;
        Ok(Some(MailSettings {
            security: security(args.smtp_tls.as_deref(), &server, port, login.is_some())?,
            from: sender(args.smtp_from.as_deref(), login.as_ref(), host)?,
            to: recipients(to)?,
            host: server,
            port,
            login,
            ca_file: args.smtp_ca_file.clone(),
            hello: host.to_owned(),
        }))
    }
}

fn half(set: &str, missing: &str) -> Error {
    Error::new(Kind::Config, format!("{set} is set, and {missing} is not")).hint("mail needs both, or neither")
}

fn port(text: &str) -> Result<u16> {
    match text.trim().parse() {
        Ok(port @ 1..) => Ok(port),
        _ => Err(wrong("SMTP_PORT (--smtp-port)", text, "a number from 1 to 65535")),
    }
}

fn password(args: &MailArgs) -> Result<Option<Secret>> {
    secret("smtp-password", "SMTP_PASS", args.smtp_pass_file.as_deref())
}

fn login(user: Option<String>, password: Option<Secret>) -> Result<Option<Login>> {
    match (user, password) {
        (Some(user), Some(password)) => Ok(Some(Login { user, password })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::new(Kind::Config, "SMTP_USER is set, and there is no password")
            .hint("set SMTP_PASS or SMTP_PASS_FILE, or the credential smtp-password; or leave SMTP_USER out")),
        (None, Some(_)) => {
            Err(Error::new(Kind::Config, "there is a password for the mail server, and SMTP_USER is not set")
                .hint("set it, or leave SMTP_PASS out"))
        }
    }
}

/// The value of `SMTP_TLS`, or the default for the port. A password is sent unencrypted only to this machine, or with the value
/// `insecure`.
fn security(text: Option<&str>, server: &str, port: u16, password: bool) -> Result<Security> {
    match text {
        None if port == 465 => Ok(Security::Tls),
        None | Some("starttls") => Ok(Security::StartTls),
        Some("tls") => Ok(Security::Tls),
        Some("insecure") => Ok(Security::None),
        Some("none") if !password || is_this_machine(server) => Ok(Security::None),
        Some("none") => Err(Error::new(
            Kind::Config,
            format!("SMTP_TLS is none, and the password would be sent to {server} unencrypted"),
        )
        .hint("set SMTP_TLS=starttls or tls, or SMTP_TLS=insecure to send it unencrypted")),
        Some(other) => Err(wrong("SMTP_TLS (--smtp-tls)", other, "starttls, tls, none or insecure")),
    }
}

fn is_this_machine(server: &str) -> bool {
    server.eq_ignore_ascii_case("localhost")
        || server.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn sender(text: Option<&str>, login: Option<&Login>, host: &str) -> Result<Mailbox> {
    if let Some(text) = text {
        return mailbox("SMTP_FROM (--smtp-from)", text);
    }
    // Most servers that require a login also require its address as the sender.
    if let Some(address) = login.and_then(|login| login.user.parse::<Address>().ok()) {
        return Ok(Mailbox::new(Some("pgcellar".to_owned()), address));
    }
    let address = Address::new("pgcellar", host).map_err(|_| {
        Error::new(Kind::Config, format!("'pgcellar@{host}' is not a valid sender address")).hint("set SMTP_FROM")
    })?;
    Ok(Mailbox::new(None, address))
}

fn recipients(text: &str) -> Result<Vec<Mailbox>> {
    let setting = "NOTIFICATION_EMAIL (--notification-email)";
    let mut quoted = false;
    let parts = text.split(|c| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let found: Vec<Mailbox> = parts
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(|part| mailbox(setting, part))
        .collect::<Result<_>>()?;
    match found.is_empty() {
        true => Err(wrong(setting, text, "addresses separated by commas")),
        false => Ok(found),
    }
}

/// `a@example.org` or `Name <a@example.org>`.
fn mailbox(setting: &str, text: &str) -> Result<Mailbox> {
    let text = text.trim();
    let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
        Some((name, address)) => (name.trim().trim_matches('"'), address.trim()),
        None => ("", text),
    };
    let shown = crate::printable::printable(text);
    let address: Address = address
        .parse()
        .map_err(|_| wrong(setting, &shown, "an address such as admin@example.com or Admin <admin@example.com>"))?;
    Ok(Mailbox::new(Some(name.to_owned()).filter(|name| !name.is_empty()), address))
}

impl ReportPeriod {
    /// Checks `MONITOR_REPORT`; none means never.
    pub fn new(text: &str) -> Result<Option<Self>> {
        match text.trim() {
            "daily" => Ok(Some(ReportPeriod::Daily)),
            "weekly" => Ok(Some(ReportPeriod::Weekly)),
            "never" => Ok(None),
            other => Err(wrong("MONITOR_REPORT (--report)", other, "daily, weekly or never")),
        }
    }
}

/// The URL of the dead man's switch. It is a secret, because its owner can suppress the alarm, so only its host is shown.
#[derive(Clone, Debug)]
pub struct PingUrl {
    url: Secret,
    /// Its host, for messages.
    pub host: String,
}

impl PingUrl {
    /// Reads and checks the URL; none if none is set.
    pub fn new(args: &PingArgs) -> Result<Option<Self>> {
        secret("ping-url", "MONITOR_PING_URL", args.ping_url_file.as_deref())?.map(PingUrl::parse).transpose()
    }

    /// Checks a URL.
    pub fn parse(url: Secret) -> Result<Self> {
        let text = url.expose();
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let authority = rest.and_then(|rest| rest.split(['/', '?']).next()).unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default().to_owned();
        let printable = text.chars().all(|c| c.is_ascii_graphic() && c != '#');
        match host.is_empty() || !printable || authority.contains('@') {
            true => Err(Error::new(Kind::Config, "MONITOR_PING_URL is not a valid URL")
                .hint("it begins with https:// or http://, as in https://hc-ping.com/UUID")),
            false => Ok(PingUrl { url, host }),
        }
    }

    /// The URL with `/start`, `/fail` or nothing appended to its path.
    pub fn with(&self, action: &str) -> Secret {
        let text = self.url.expose();
        let (path, query) = match text.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (text, String::new()),
        };
        match action {
            "" => self.url.clone(),
            _ => Secret::new(format!("{}{action}{query}", path.trim_end_matches('/'))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_sent_unencrypted_only_if_that_is_set() {
        let cases = [
            (None, "mail", 587, true, Some(Security::StartTls)),
            (None, "mail", 25, false, Some(Security::StartTls)),
            (None, "mail", 465, true, Some(Security::Tls)),
            (Some("starttls"), "mail", 465, true, Some(Security::StartTls)),
            (Some("tls"), "mail", 2525, true, Some(Security::Tls)),
            (Some("none"), "mail", 25, false, Some(Security::None)),
            (Some("none"), "mail", 25, true, None),
            (Some("none"), "localhost", 25, true, Some(Security::None)),
            (Some("none"), "127.0.0.1", 25, true, Some(Security::None)),
            (Some("none"), "::1", 25, true, Some(Security::None)),
            (Some("none"), "localhost.example.org", 25, true, None),
            (Some("insecure"), "mail", 25, true, Some(Security::None)),
            (Some("ssl"), "mail", 25, false, None),
        ];
        for (text, server, port, password, expected) in cases {
            let found = security(text, server, port, password);
            assert_eq!(found.as_ref().ok().copied(), expected, "{text:?} {server} {port} {password}: {found:?}");
        }
    }

    #[test]
    fn recipients_are_addresses_with_or_without_names() {
        let read = |text| recipients(text).map(|found| found.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(read("a@example.org").unwrap(), ["a@example.org"]);
        assert_eq!(read(" a@example.org , ,b@localhost,").unwrap(), ["a@example.org", "b@localhost"]);
        let named = r#""Doe, Jörg" <j@example.org>, Ops <ops@example.org>"#;
        let found = recipients(named).unwrap();
        assert_eq!(found[0].name.as_deref(), Some("Doe, Jörg"));
        assert_eq!(found[1].email.to_string(), "ops@example.org");
        for wrong in ["", ",", "root", "a@example.org b@example.org", "a@b@c", "<a@example.org", "a@exam ple.org"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_sender_is_the_login_or_this_host() {
        let login = |user: &str| Login { user: user.to_owned(), password: Secret::new("x") };
        let from = |text, login: Option<Login>, host| sender(text, login.as_ref(), host).map(|found| found.to_string());
        assert_eq!(from(None, Some(login("me@gmail.com")), "db1").unwrap(), "pgcellar <me@gmail.com>");
        assert_eq!(from(None, Some(login("apikey")), "db1.example.org").unwrap(), "pgcellar@db1.example.org");
        assert_eq!(from(Some("x@y.example"), Some(login("me@gmail.com")), "db1").unwrap(), "x@y.example");
        assert!(from(None, None, "no host").is_err());
    }

    #[test]
    fn ping_addresses() {
        let parse = |text: &str| PingUrl::parse(Secret::new(text));
        let url = parse("https://hc-ping.com/key/slug?create=1").unwrap();
        assert_eq!(url.host, "hc-ping.com");
        assert_eq!(url.with("/start").expose(), "https://hc-ping.com/key/slug/start?create=1");
        assert_eq!(url.with("").expose(), "https://hc-ping.com/key/slug?create=1");
        let url = parse("http://[::1]:8000/ping/abc/").unwrap();
        assert_eq!((url.host.as_str(), url.with("/fail").expose()), ("[::1]:8000", "http://[::1]:8000/ping/abc/fail"));
        for wrong in ["", "hc-ping.com/abc", "ftp://x/", "https://", "https:///abc", "http://a b/", "http://u:p@h/"] {
            let error = parse(wrong).unwrap_err().to_string();
            assert!(!error.contains("abc") && !error.contains("u:p"), "{error}");
        }
        assert!(!format!("{:?}", parse("https://hc-ping.com/s3cr3t").unwrap()).contains("s3cr3t"));
    }

    #[test]
    fn periods() {
        assert_eq!(ReportPeriod::new("daily").unwrap(), Some(ReportPeriod::Daily));
        assert_eq!(ReportPeriod::new("weekly").unwrap(), Some(ReportPeriod::Weekly));
        assert_eq!(ReportPeriod::new("never").unwrap(), None);
        assert!(ReportPeriod::new("hourly").is_err());
    }
}

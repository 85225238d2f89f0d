//! Settings of the connection to the server.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::cli::ConnectionArgs;
use crate::config::credentials::secret;
use crate::config::refusal::{no_password, url_instead, wrong};
use crate::config::secret::Secret;
use crate::error::{Error, Kind, Result};
use crate::redacted::shown_path;

/// How to connect to the server. The same for pgcellar's own sessions and for PostgreSQL's programs.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where the server listens.
    pub host: Host,
    /// Port, which is also part of the socket's name.
    pub port: u16,
    /// Role, or the name of the operating system's user.
    pub user: Option<String>,
    /// Password of the settings. Without one, the password file may have it, or the server needs none.
    pub password: Option<Secret>,
    /// TLS.
    pub tls: Tls,
    /// Folder of PostgreSQL's programs, if it is set.
    pub bindir: Option<PathBuf>,
    /// Parameters of each session, which override those of the server, the database and the role. No secrets: the server shows
    /// them to everyone who may see its sessions.
    pub parameters: Vec<(String, String)>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// The folder of a Unix socket.
    Socket(PathBuf),
    /// A host name or address.
    Name(String),
}

/// libpq's TLS settings (PostgreSQL documentation, "SSL Support").
#[derive(Clone, Debug)]
pub struct Tls {
    /// What is required of the server.
    pub mode: SslMode,
    /// Trusted authorities; the system's if not set.
    pub root_cert: Option<PathBuf>,
    /// The client certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// libpq's `sslmode`, but for `allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SslMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it.
    Prefer,
    /// TLS; the server's identity is not checked unless a root certificate is set.
    Require,
    /// TLS, with a certificate that a trusted authority signed.
    VerifyCa,
    /// The same, and the certificate must name the host.
    VerifyFull,
}

impl SslMode {
    /// libpq's name.
    pub fn name(self) -> &'static str {
        match self {
            SslMode::Disable => "disable",
            SslMode::Prefer => "prefer",
            SslMode::Require => "require",
            SslMode::VerifyCa => "verify-ca",
            SslMode::VerifyFull => "verify-full",
        }
    }
}

/// What to set instead of a URL.
pub const PARTS: &str = "set DB_HOST, DB_PORT, DB_USER, DB_NAME and DB_PASSWORD, one part each";

impl Connection {
    /// Checks the connection's settings and reads its password.
    pub fn new(args: &ConnectionArgs) -> Result<Self> {
        // No host name has these letters, and libpq would accept such a text as a connection string.
        let is_host = |host: &&str| !host.contains(['@', '=']) && !host.contains("://");
        if args.host.as_deref().is_some_and(|host| !host.starts_with('/') && !is_host(&host)) {
            return Err(url_instead("DB_HOST (--host)", PARTS));
        }
        no_password("DB_USER (--username)", args.username.as_deref(), PARTS)?;
        let port = match args.port.parse() {
            Ok(port) if port > 0 => port,
            _ => return Err(wrong("DB_PORT (--port)", &args.port, "a number from 1 to 65535")),
        };
        let password = secret("db-password", "DB_PASSWORD", args.password_file.as_deref())?;
        Ok(Connection {
            host: Host::new(args.host.as_deref(), port),
            port,
            user: args.username.clone(),
            password,
            tls: Tls::new(args)?,
            bindir: args.pg_bindir.clone(),
            parameters: Vec::new(),
        })
    }

    /// The parameters in the form of [`startup_options`].
    pub fn options(&self) -> String {
        startup_options(self.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())))
    }
}

/// Parameters as the start-up packet has them (the server splits them by `pg_split_opts` of src/backend/utils/init/postinit.c),
/// and PGOPTIONS of libpq.
pub fn startup_options<'a>(parameters: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut options = String::new();
    for (name, value) in parameters {
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str("-c ");
        options.push_str(name);
        options.push('=');
        for letter in value.chars() {
            if letter == '\\' || letter.is_ascii_whitespace() || letter == '\x0b' {
                options.push('\\');
            }
            options.push(letter);
        }
    }
    options
}

impl Host {
    fn new(host: Option<&str>, port: u16) -> Self {
        match host {
            Some(folder) if folder.starts_with('/') => Host::Socket(PathBuf::from(folder)),
            Some(name) => Host::Name(name.to_owned()),
            None => Host::Socket(local_socket(port)),
        }
    }
}

/// Folder of the local server's socket: that of Debian, or PostgreSQL's compiled-in default.
fn local_socket(port: u16) -> PathBuf {
    let folders = ["/var/run/postgresql", "/run/postgresql", "/tmp"];
    let has_socket = |folder: &&str| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists();
    PathBuf::from(folders.iter().find(|folder| has_socket(folder)).unwrap_or(&folders[0]))
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Socket(folder) => write!(f, "{}/.s.PGSQL.{}", folder.display(), self.port),
            Host::Name(name) if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Tls {
    fn new(args: &ConnectionArgs) -> Result<Self> {
        let mode = match args.sslmode.as_str() {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            other => {
                let expected = "disable, prefer, require, verify-ca or verify-full";
                return Err(wrong("DB_SSLMODE (--sslmode)", other, expected));
            }
        };
        if args.sslcert.is_some() != args.sslkey.is_some() {
            return Err(Error::new(Kind::Config, "only one of DB_SSLCERT and DB_SSLKEY is set")
                .hint("a client certificate needs its key"));
        }
        let files = [&args.sslrootcert, &args.sslcert, &args.sslkey];
        for (variable, file) in ["DB_SSLROOTCERT", "DB_SSLCERT", "DB_SSLKEY"].iter().zip(files) {
            if let Some(path) = file {
                std::fs::File::open(path).map_err(|error| {
                    let read = Error::read(shown_path(path), &error).context(variable);
                    Error::new(Kind::Config, read.message())
                })?;
            }
        }
        Ok(Tls { mode, root_cert: args.sslrootcert.clone(), cert: args.sslcert.clone(), key: args.sslkey.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_one_word_each() {
        let options = |value| startup_options([("a", "1"), ("lc_monetary", value)].into_iter());
        assert_eq!(options("de_DE.UTF-8@euro"), "-c a=1 -c lc_monetary=de_DE.UTF-8@euro");
        assert_eq!(options("Norwegian (Bokm\\l)\tNorway"), "-c a=1 -c lc_monetary=Norwegian\\ (Bokm\\\\l)\\\tNorway");
        assert_eq!(options(""), "-c a=1 -c lc_monetary=");
    }

    #[test]
    fn hosts() {
        assert_eq!(Host::new(Some("/tmp/x"), 1), Host::Socket("/tmp/x".into()));
        assert_eq!(Host::new(Some("db"), 1), Host::Name("db".into()));
        assert!(matches!(Host::new(None, 1), Host::Socket(_)));
    }
}

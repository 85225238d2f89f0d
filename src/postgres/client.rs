//! Our own connections to a server.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode as ClientSslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{Connection, Host, SslMode};
use crate::error::{Error, Kind, Result};
use crate::postgres::own_encoding::{self, InOwnEncoding, Socket, TlsInOwnEncoding};
use crate::postgres::passfile;
use crate::postgres::tls::Problem;

type Dialled = InOwnEncoding<Socket>;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Timeouts of every supported version, switched off where a session begins: what a database or a role has set would
/// else hold from its first statement on (PostgreSQL documentation, "Parameter Interaction via the Shell").
pub const NO_TIMEOUTS: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0";

/// Connects to a database. The connection ends when the client is dropped.
pub async fn connect(connection: &Connection, database: &str) -> Result<Client> {
    let mut config = tokio_postgres::Config::new();
    let user = match &connection.user {
        Some(user) => user.clone(),
        None => whoami::username().map_err(|error| {
            Error::new(Kind::Config, format!("the name of this user cannot be found: {error}")).hint("set DB_USER")
        })?,
    };
    config.port(connection.port).dbname(database).user(&user).application_name("pgcellar");
    config.options(NO_TIMEOUTS);
    config.connect_timeout(CONNECT_TIMEOUT).keepalives_idle(Duration::from_secs(60));
    match &connection.host {
        Host::Socket(folder) => config.host_path(folder),
        Host::Name(name) => config.host(name),
    };
    if let Some(password) = connection.password.clone().or_else(|| passfile::password(connection, &user, database)) {
        config.password(password.expose());
    }
    let connected = match start(&mut config, connection, false).await? {
        // The server cannot convert the database's encoding to UTF-8.
        Err(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
            config.options(format!("{NO_TIMEOUTS}{}", own_encoding::OPTION));
            start(&mut config, connection, true).await?
        }
        connected => connected,
    };
    connected.map_err(|error| unreachable(connection, &user, database, &error))
}

type Started = std::result::Result<Client, tokio_postgres::Error>;

/// Starts a session with TLS as the connection's mode asks, in UTF-8 or in the database's own encoding.
async fn start(config: &mut tokio_postgres::Config, connection: &Connection, own: bool) -> Result<Started> {
    let place = own.then_some(connection);
    match (&connection.host, connection.tls.mode) {
        (Host::Socket(_), _) | (_, SslMode::Disable) => {
            open(config.ssl_mode(ClientSslMode::Disable), NoTls, "", place).await
        }
        (Host::Name(host), SslMode::Prefer) => prefer(config, connection.tls.connector(host)?, host, place).await,
        (Host::Name(host), _) => {
            open(config.ssl_mode(ClientSslMode::Require), connection.tls.connector(host)?, host, place).await
        }
    }
}

/// libpq's `prefer`: with TLS first, and without where TLS does not come about or the server refuses this client with it.
async fn prefer(
    config: &mut tokio_postgres::Config,
    connector: MakeRustlsConnect,
    host: &str,
    place: Option<&Connection>,
) -> Result<Started> {
    match open(config.ssl_mode(ClientSslMode::Prefer), connector, host, place).await? {
        Err(error)
            if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
                || tls_failure(&error).is_some() =>
        {
            log::debug!("no connection with TLS: {}", reason(&error));
            open(config.ssl_mode(ClientSslMode::Disable), NoTls, host, place).await
        }
        other => Ok(other),
    }
}

/// Why TLS did not come about, if that is why there is no connection.
fn tls_failure(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

/// Connects; in the database's own encoding, if there is a place to dial.
fn open<T>(
    config: &tokio_postgres::Config,
    mut tls: T,
    host: &str,
    place: Option<&Connection>,
) -> BoxFuture<'static, Result<Started>>
where
    T: MakeTlsConnect<tokio_postgres::Socket> + MakeTlsConnect<Dialled> + Send + 'static,
    <T as MakeTlsConnect<tokio_postgres::Socket>>::Stream: Send + 'static,
    <T as MakeTlsConnect<tokio_postgres::Socket>>::TlsConnect: Send,
    <<T as MakeTlsConnect<tokio_postgres::Socket>>::TlsConnect as TlsConnect<tokio_postgres::Socket>>::Future: Send,
    <T as MakeTlsConnect<Dialled>>::Stream: Send + 'static,
    <T as MakeTlsConnect<Dialled>>::TlsConnect: Send,
    <<T as MakeTlsConnect<Dialled>>::TlsConnect as TlsConnect<Dialled>>::Future: Send + 'static,
{
    let (config, host, place) = (config.clone(), host.to_owned(), place.cloned());
    Box::pin(async move {
        let Some(place) = place else {
            let connected = config.connect(tls).await;
            return Ok(connected.map(|(client, driver)| drive(client, driver)));
        };
        let shown = place.to_string();
        let failed = |error: String| Error::new(Kind::Unavailable, format!("cannot connect to {shown}: {error}"));
        let dialled = tokio::time::timeout(CONNECT_TIMEOUT, own_encoding::dial(place)).await;
        let stream =
            dialled.map_err(|late| failed(late.to_string()))?.map_err(|error| failed(crate::error::reason(&error)))?;
        let tls = MakeTlsConnect::<Dialled>::make_tls_connect(&mut tls, &host)
            .map_err(|error| failed(error.into().to_string()))?;
        let connected = config.connect_raw(stream, TlsInOwnEncoding(tls)).await;
        Ok(connected.map(|(client, driver)| drive(client, driver)))
    })
}

/// Leaves a session's driver to run by itself.
fn drive<S, T>(client: Client, driver: tokio_postgres::Connection<S, T>) -> Client
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            log::debug!("the connection to the server ended: {}", reason(&error));
        }
    });
    client
}

fn unreachable(connection: &Connection, user: &str, database: &str, error: &tokio_postgres::Error) -> Error {
    let why = reason(error);
    let code = error.code();
    if code == Some(&SqlState::INVALID_CATALOG_NAME) {
        return Error::new(Kind::Missing, format!("there is no database '{database}' at {connection}"))
            .hint("look at DB_NAME, and at the names that psql -l shows");
    }
    let what = format!("cannot connect to {connection} as '{user}': {why}");
    if let Some(failure) = tls_failure(error) {
        let hint = Problem::of(failure).map_or(
            "TLS did not come about: look at DB_SSLMODE, DB_SSLCERT and DB_SSLKEY, and at the server's log",
            Problem::hint,
        );
        return Error::new(Kind::Unavailable, what).hint(hint);
    }
    if code == Some(&SqlState::FEATURE_NOT_SUPPORTED) {
        return Error::new(Kind::Unavailable, what).hint(
            "the server lacks something that a session of pgcellar asks for; psql with the same settings says more",
        );
    }
    let hint = match code {
        Some(code) if *code == SqlState::INVALID_PASSWORD => {
            "look at DB_USER and DB_PASSWORD, or the credential db-password"
        }
        Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "does the role exist, may it log in, and does pg_hba.conf let this host in?"
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => "the role may not connect to this database",
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            return Error::new(Kind::Unavailable, what)
                .hint("raise max_connections, or run the backup at a quieter time");
        }
        // A server that starts, stops or recovers, or has no memory left (classes 57 and 53).
        Some(code) if !code.code().starts_with("57") && !code.code().starts_with("53") => {
            return Error::new(Kind::Unavailable, what)
                .hint("psql with the same settings says more, and the server's log why");
        }
        Some(_) => {
            return Error::new(Kind::Unavailable, what).hint("the server refuses connections for now, try again later");
        }
        None if why.contains("password missing") => "set DB_PASSWORD, or the credential db-password, or ~/.pgpass",
        None => {
            return Error::new(Kind::Unavailable, what)
                .hint("is it running at this host and port, and does pg_hba.conf let this host in?");
        }
    };
    Error::new(Kind::NotPermitted, what).hint(hint)
}

/// The server's own message, or the lowest cause of a failure below it.
pub fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if let Some(problem) = tls_failure(error).and_then(Problem::of) {
        return problem.to_string();
    }
    match cause.downcast_ref::<std::io::Error>() {
        Some(io) => crate::error::reason(io),
        None => cause.to_string(),
    }
}

/// Turns a failed query into an error: what was asked, and why it failed.
pub fn failed(what: &str) -> impl Fn(tokio_postgres::Error) -> Error + '_ {
    move |error| {
        let kind = match error.code() {
            Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => Kind::NotPermitted,
            _ => Kind::Unavailable,
        };
        let failed = Error::new(kind, format!("{what}: {}", reason(&error)));
        match error.is_closed() {
            true => failed.hint("the server closed the connection; look at its log"),
            false => failed,
        }
    }
}

/// Quotes a name as an SQL identifier (PostgreSQL documentation, "Identifiers and Key Words").
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a text as an SQL string, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''")),
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

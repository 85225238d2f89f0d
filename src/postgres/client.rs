//! Our own connections to a server.

use std::time::Duration;

use tokio_postgres::config::SslMode as ClientSslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{Connection, Host, SslMode};
use crate::error::{Error, Kind, Result};
use crate::postgres::passfile;
use crate::postgres::tls::Problem;

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
    let connected = match (&connection.host, connection.tls.mode) {
        (Host::Socket(_), _) | (_, SslMode::Disable) => open(config.ssl_mode(ClientSslMode::Disable), NoTls).await,
        (Host::Name(host), SslMode::Prefer) => prefer(&mut config, connection.tls.connector(host)?).await,
        (Host::Name(host), _) => open(config.ssl_mode(ClientSslMode::Require), connection.tls.connector(host)?).await,
    };
    connected.map_err(|error| unreachable(connection, &user, database, &error))
}

/// libpq's `prefer`: with TLS first, and without where TLS does not come about or the server refuses this client with it.
async fn prefer(
    config: &mut tokio_postgres::Config,
    connector: MakeRustlsConnect,
) -> std::result::Result<Client, tokio_postgres::Error> {
    match open(config.ssl_mode(ClientSslMode::Prefer), connector).await {
        Err(error)
            if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
                || tls_failure(&error).is_some() =>
        {
            log::debug!("no connection with TLS: {}", reason(&error));
            open(config.ssl_mode(ClientSslMode::Disable), NoTls).await
        }
        other => other,
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

async fn open<T>(config: &tokio_postgres::Config, tls: T) -> std::result::Result<Client, tokio_postgres::Error>
where
    T: tokio_postgres::tls::MakeTlsConnect<tokio_postgres::Socket> + 'static,
    T::Stream: Send + 'static,
{
    let (client, driver) = config.connect(tls).await?;
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            log::debug!("the connection to the server ended: {}", reason(&error));
        }
    });
    Ok(client)
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
            "pgcellar asks for UTF8, and the server cannot convert this database's encoding: pg_dump alone can back it up",
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

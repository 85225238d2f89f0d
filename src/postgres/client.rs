//! Our own connections to a server.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_postgres::config::SslMode as ClientSslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::{Connection, Host, SslMode};
use crate::error::{Error, Kind, Result};
use crate::postgres::own_encoding::{self, InOwnEncoding, ServerSocket, TlsInOwnEncoding};
use crate::postgres::passfile;
use crate::postgres::tls::CertificateProblem;

mod pooler;
mod refused;

pub use refused::is_of_database;

/// Databases that exist on every server, to ask for the others and to make them from.
pub const MAINTENANCE: &[&str] = &["postgres", "template1"];

/// What to do where a standby's recovery gets in the way of a backup.
pub const OF_STANDBY: &str = "a standby ends queries that its recovery conflicts with: set hot_standby_feedback = on there, \
     or raise its max_standby_streaming_delay above the length of a backup, or back up the primary";
type Dialled = InOwnEncoding<ServerSocket>;

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a server is asked again, and how often.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// Timeouts of every supported version, switched off where a session begins: what a database or a role has set would
/// else hold from its first statement on (PostgreSQL documentation, "Parameter Interaction via the Shell").
pub const NO_TIMEOUTS: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0";

/// A path that a database or a role has set can have functions and operators of its owner before the server's own
/// (PostgreSQL documentation, "Writing SECURITY DEFINER Functions Safely"): they would run with our rights. Set here it
/// holds from the session's first statement on.
const NO_SEARCH_PATH: &str = "-c search_path=";

/// Connects to a database. The connection ends when the client is dropped.
///
/// # Errors
/// `Config` where a connection pooler answers that keeps our sessions' options from the server.
pub async fn connect(connection: &Connection, database: &str) -> Result<Client> {
    session_with(connection, database, NO_SEARCH_PATH).await
}

/// Connects to run a script, which may lean on the search path that the database has.
pub async fn connect_for_script(connection: &Connection, database: &str) -> Result<Client> {
    session_with(connection, database, "").await
}

async fn session_with(connection: &Connection, database: &str, path: &str) -> Result<Client> {
    let user = match &connection.user {
        Some(user) => user.clone(),
        None => whoami::username().map_err(|error| {
            Error::new(Kind::Config, format!("the name of this user cannot be found: {error}")).hint("set DB_USER")
        })?,
    };
    let mark = pooler::mark();
    match log_in(connection, &user, database, &format!("{path} {}", pooler::option(&mark))).await? {
        Ok(client) => {
            pooler::refuse(connection, &client, &mark).await?;
            Ok(client)
        }
        Err(error) => Err(refused::explain(connection, &user, database, &error).await),
    }
}

/// Logs in, with these options and those of the connection.
async fn log_in(
    connection: &Connection,
    user: &str,
    database: &str,
    options: &str,
) -> Result<std::result::Result<Client, tokio_postgres::Error>> {
    let mut config = tokio_postgres::Config::new();
    config.port(connection.port).dbname(database).user(user).application_name("pgcellar");
    let options = format!("{NO_TIMEOUTS} {} {options}", connection.options());
    config.options(&options);
    config.connect_timeout(CONNECT_TIMEOUT).keepalives_idle(Duration::from_secs(60));
    match &connection.host {
        Host::Socket(folder) => config.host_path(folder),
        Host::Name(name) => config.host(name),
    };
    if let Some(password) = connection.password.clone().or_else(|| passfile::password(connection, user, database)) {
        config.password(password.expose());
    }
    match start(&mut config, connection, false).await? {
        // The server cannot convert the database's encoding to UTF-8.
        Err(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
            config.options(format!("{options}{}", own_encoding::OPTION));
            start(&mut config, connection, true).await
        }
        connected => Ok(connected),
    }
}

/// Connects to a database that hours of work have gone into: a server that has no connection left for a moment, or is
/// starting again, is asked for a while.
pub async fn connect_patiently(connection: &Connection, database: &str) -> Result<Client> {
    let begun = Instant::now();
    loop {
        match connect(connection, database).await {
            Err(error) if error.kind() == Kind::Unavailable && begun.elapsed() < PATIENCE => {
                log::info!("{}; trying again", error.message());
                tokio::time::sleep(PAUSE).await;
            }
            connected => return connected,
        }
    }
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

/// The server's own message, or the lowest cause of a failure below it.
pub fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if let Some(problem) = tls_failure(error).and_then(CertificateProblem::of) {
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
        let failed = if breaks_session(&error) { failed.transient() } else { failed };
        match error.code() {
            Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE => failed.hint(OF_STANDBY),
            None if error.is_closed() => failed.hint("the server closed the connection; look at its log"),
            _ => failed,
        }
    }
}

/// Whether an error has ended a session or a statement and tells nothing of what was asked: the next session may see none
/// (PostgreSQL documentation, "PostgreSQL Error Codes"). In a transaction that only reads, a serialization failure and a
/// deadlock are what a standby's recovery conflicts with (`src/backend/tcop/postgres.c`).
fn breaks_session(error: &tokio_postgres::Error) -> bool {
    let Some(code) = error.code() else {
        let io = std::error::Error::source(error).is_some_and(|source| source.is::<std::io::Error>());
        return error.is_closed() || io;
    };
    let transient = [
        SqlState::T_R_SERIALIZATION_FAILURE,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::QUERY_CANCELED,
        SqlState::ADMIN_SHUTDOWN,
        SqlState::CRASH_SHUTDOWN,
        SqlState::CANNOT_CONNECT_NOW,
    ];
    transient.contains(code) || (code.code().starts_with("08") && *code != SqlState::PROTOCOL_VIOLATION)
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

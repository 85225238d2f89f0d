//! Logs in to a server: TLS as the connection's mode says, in UTF-8 or in the database's own encoding.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_postgres::config::SslMode as ClientSslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::errors::{reason, tls_failure};
use crate::config::{Connection, Host, SslMode};
use crate::error::{Error, Kind, Result};
use crate::postgres::copy_output::CopyOutput;
use crate::postgres::own_encoding;
use crate::postgres::passfile;
use crate::postgres::session_stream::{KEEPALIVES_IDLE, ServerSocket, SessionChanges, SessionStream, SessionTls, dial};

/// Databases that exist on every server, for sessions that list, create and drop the others.
pub const MAINTENANCE: &[&str] = &["postgres", "template1"];

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Disables the timeouts of every supported version from the first statement of a session on, whatever is set for the
/// database or the role (PostgreSQL documentation, "Parameter Interaction via the Shell").
pub const NO_TIMEOUTS: &str = "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0";

/// Empties the search path from the first statement of a session on. One that is set for a database or a role may put
/// functions and operators of its owner before the server's own, which would run with our privileges (PostgreSQL
/// documentation, "Writing SECURITY DEFINER Functions Safely").
pub(super) const NO_SEARCH_PATH: &str = "-c search_path=";

/// Has the server quote names only where it must, whatever is set for it: messages show them as PostgreSQL's own do.
const PLAIN_NAMES: &str = "-c quote_all_identifiers=off";

type ChangedSocket = SessionStream<ServerSocket>;

type Started = std::result::Result<Client, tokio_postgres::Error>;

/// Logs in, with these options and those of the connection. The inner error is the server's or the network's.
pub(super) async fn log_in(
    connection: &Connection,
    user: &str,
    database: &str,
    options: &str,
    copy: Option<&CopyOutput>,
) -> Result<Started> {
    let mut config = tokio_postgres::Config::new();
    config.port(connection.port).dbname(database).user(user).application_name("pgcellar");
    let options = format!("{NO_TIMEOUTS} {PLAIN_NAMES} {} {options}", connection.options());
    config.options(&options);
    config.connect_timeout(CONNECT_TIMEOUT).keepalives_idle(KEEPALIVES_IDLE);
    match &connection.host {
        Host::Socket(folder) => config.host_path(folder),
        Host::Name(name) => config.host(name),
    };
    if let Some(password) = connection.password.clone().or_else(|| passfile::password(connection, user, database)) {
        config.password(password.expose());
    }
    let changes = SessionChanges { own_encoding: false, copy: copy.cloned() };
    match start(&mut config, connection, &changes).await? {
        // The server cannot convert the database's encoding to UTF-8.
        Err(error) if error.code() == Some(&SqlState::FEATURE_NOT_SUPPORTED) => {
            config.options(format!("{options}{}", own_encoding::OPTION));
            start(&mut config, connection, &SessionChanges { own_encoding: true, ..changes }).await
        }
        connected => Ok(connected),
    }
}

/// Starts a session with the TLS mode of the connection.
async fn start(
    config: &mut tokio_postgres::Config,
    connection: &Connection,
    changes: &SessionChanges,
) -> Result<Started> {
    let changed = changes.are_any().then_some((connection, changes));
    match (&connection.host, connection.tls.mode) {
        (Host::Socket(_), _) | (_, SslMode::Disable) => {
            open(config.ssl_mode(ClientSslMode::Disable), NoTls, "", changed).await
        }
        (Host::Name(host), SslMode::Prefer) => prefer(config, connection.tls.connector(host)?, host, changed).await,
        (Host::Name(host), _) => {
            open(config.ssl_mode(ClientSslMode::Require), connection.tls.connector(host)?, host, changed).await
        }
    }
}

/// The mode `prefer` of libpq: tries TLS first, and connects without it if TLS fails or the server refuses this client with it.
async fn prefer(
    config: &mut tokio_postgres::Config,
    connector: MakeRustlsConnect,
    host: &str,
    changed: Option<(&Connection, &SessionChanges)>,
) -> Result<Started> {
    match open(config.ssl_mode(ClientSslMode::Prefer), connector, host, changed).await? {
        Err(error)
            if error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION)
                || tls_failure(&error).is_some() =>
        {
            log::debug!("TLS failed, connecting without it: {}", reason(&error));
            open(config.ssl_mode(ClientSslMode::Disable), NoTls, host, changed).await
        }
        other => Ok(other),
    }
}

/// Connects; through a stream of our own if the session has changes.
fn open<T>(
    config: &tokio_postgres::Config,
    mut tls: T,
    host: &str,
    changed: Option<(&Connection, &SessionChanges)>,
) -> BoxFuture<'static, Result<Started>>
where
    T: MakeTlsConnect<tokio_postgres::Socket> + MakeTlsConnect<ChangedSocket> + Send + 'static,
    <T as MakeTlsConnect<tokio_postgres::Socket>>::Stream: Send + 'static,
    <T as MakeTlsConnect<tokio_postgres::Socket>>::TlsConnect: Send,
    <<T as MakeTlsConnect<tokio_postgres::Socket>>::TlsConnect as TlsConnect<tokio_postgres::Socket>>::Future: Send,
    <T as MakeTlsConnect<ChangedSocket>>::Stream: Send + 'static,
    <T as MakeTlsConnect<ChangedSocket>>::TlsConnect: Send,
    <<T as MakeTlsConnect<ChangedSocket>>::TlsConnect as TlsConnect<ChangedSocket>>::Future: Send + 'static,
{
    let (config, host) = (config.clone(), host.to_owned());
    let changed = changed.map(|(address, changes)| (address.clone(), changes.clone()));
    Box::pin(async move {
        let Some((address, changes)) = changed else {
            let connected = config.connect(tls).await;
            return Ok(connected.map(|(client, driver)| drive(client, driver)));
        };
        let pauses = changes.copy.is_some();
        let session = async move {
            let shown = address.to_string();
            let failed = |error: String| Error::new(Kind::Unavailable, format!("cannot connect to {shown}: {error}"));
            let socket = tokio::time::timeout(CONNECT_TIMEOUT, dial(address, &changes)).await;
            let stream = socket
                .map_err(|late| failed(late.to_string()))?
                .map_err(|error| failed(crate::error::reason(&error)))?;
            let tls = MakeTlsConnect::<ChangedSocket>::make_tls_connect(&mut tls, &host)
                .map_err(|error| failed(error.into().to_string()))?;
            Ok(config.connect_raw(stream, SessionTls { tls, changes }).await)
        };
        match pauses {
            true => on_a_thread(session).await,
            false => Ok(session.await?.map(|(client, driver)| drive(client, driver))),
        }
    })
}

/// Runs the driver of a session in a task of its own.
fn drive<S, T>(client: Client, driver: tokio_postgres::Connection<S, T>) -> Client
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(run(driver));
    client
}

async fn run<S, T>(driver: tokio_postgres::Connection<S, T>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    if let Err(error) = driver.await {
        log::debug!("the connection to the server ended: {}", reason(&error));
    }
}

/// Starts a session on a thread of its own, which may block. The thread ends with the session.
async fn on_a_thread<S, T>(
    session: impl Future<
        Output = Result<std::result::Result<(Client, tokio_postgres::Connection<S, T>), tokio_postgres::Error>>,
    > + Send
    + 'static,
) -> Result<Started>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let cannot = |error| Error::new(Kind::System, format!("cannot start a thread: {error}"));
    let (to, started) = oneshot::channel();
    let work = move || {
        // Without a receiver the client is dropped, which ends the driver.
        let runtime = match Builder::new_current_thread().enable_io().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => return drop(to.send(Err(cannot(error)))),
        };
        runtime.block_on(async move {
            match session.await {
                Ok(Ok((client, driver))) => {
                    drop(to.send(Ok(Ok(client))));
                    run(driver).await;
                }
                Ok(Err(error)) => drop(to.send(Ok(Err(error)))),
                Err(error) => drop(to.send(Err(error))),
            }
        });
    };
    std::thread::Builder::new().name("copy".to_owned()).spawn(work).map_err(cannot)?;
    started.await.map_err(|_| Error::new(Kind::Internal, "the thread of a session has ended"))?
}

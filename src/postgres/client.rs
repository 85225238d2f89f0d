//! Our own connections to a server.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use crate::config::Connection;
use crate::error::{Error, Kind, Result};

pub(super) mod errors;
mod login;
mod pooler;
mod refused;

pub use errors::{OF_STANDBY, failed, reason};
pub use login::{MAINTENANCE, NO_TIMEOUTS};
pub use refused::is_of_database;

use crate::postgres::copy_output::CopyOutput;
pub use crate::postgres::quoting::{identifier, literal};
use login::{NO_SEARCH_PATH, log_in};

/// How long connecting is retried, and the pause between attempts.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// Connects to a database, with an empty search path. The connection ends when the client is dropped.
///
/// # Errors
/// `Config` for a connection pooler that does not pass the options of our sessions to the server; `Missing` for a database
/// that does not exist; `NotPermitted` or `Unavailable` for a login that the server refuses.
pub async fn connect(connection: &Connection, database: &str) -> Result<Client> {
    session_with(connection, database, NO_SEARCH_PATH, None).await
}

/// The same for a session whose COPY statements deliver their data elsewhere: to the client they are statements that return nothing.
pub async fn connect_for_copy(connection: &Connection, database: &str, output: &CopyOutput) -> Result<Client> {
    session_with(connection, database, NO_SEARCH_PATH, Some(output)).await
}

/// Connects to run a script, which may depend on the search path that is set for the database.
pub async fn connect_for_script(connection: &Connection, database: &str) -> Result<Client> {
    session_with(connection, database, "", None).await
}

async fn session_with(
    connection: &Connection,
    database: &str,
    path: &str,
    copy: Option<&CopyOutput>,
) -> Result<Client> {
    let user = match &connection.user {
        Some(user) => user.clone(),
        None => whoami::username().map_err(|error| {
            Error::new(Kind::Config, format!("the name of this user cannot be determined: {error}")).hint("set DB_USER")
        })?,
    };
    let mark = pooler::mark();
    match log_in(connection, &user, database, &format!("{path} {}", pooler::option(&mark)), copy).await? {
        Ok(client) => {
            pooler::refuse(connection, &client, &mark).await?;
            Ok(client)
        }
        Err(error) => Err(refused::explain(connection, &user, database, &error).await),
    }
}

/// Connects to a database that took hours to load: retries for a while if the server has no free connection or is
/// restarting.
pub async fn patiently<T>(connect: impl AsyncFn() -> Result<T>) -> Result<T> {
    let begun = Instant::now();
    loop {
        match connect().await {
            Err(error) if error.kind() == Kind::Unavailable && begun.elapsed() < PATIENCE => {
                log::info!("{}; trying again", error.message());
                tokio::time::sleep(PAUSE).await;
            }
            connected => return connected,
        }
    }
}

//! Explains why a server refuses a login, with a hint.

use tokio_postgres::error::SqlState;

use super::errors::{breaks_session, reason, tls_failure};
use super::login::{MAINTENANCE, NO_SEARCH_PATH, log_in};
use super::pooler;
use crate::config::{Connection, how_to_store};
use crate::error::{Error, Kind};
use crate::postgres::connection_limit;
use crate::postgres::quoting::identifier;
use crate::postgres::tls::CertificateProblem;

/// Whether and how often a database can be connected to. One whose DROP DATABASE was interrupted has the connection limit -2
/// (`DATCONNLIMIT_INVALID_DB` in `src/include/catalog/pg_database.h`).
const ACCESS: &str = "SELECT datconnlimit = -2, datallowconn, datconnlimit FROM pg_database WHERE datname = $1";

/// Hint for a login that pg_hba.conf or the role does not allow; both have the same code.
const NOT_LET_IN: &str = "does the role exist, may it log in, and does pg_hba.conf allow this host?";

/// Hints for a wrong and for a missing password.
const OTHER_PASSWORD: &str = "check DB_USER and DB_PASSWORD, or the credential db-password";
const NO_PASSWORD: &str = "set DB_PASSWORD, or the credential db-password, or ~/.pgpass";

/// Hint for a role without the privilege CONNECT.
const NO_CONNECT: &str = "the role may not connect to this database";

/// Beginning of the hints for a limit of one database.
const OF_DATABASE: &str = "ALTER DATABASE ";

/// Whether the error is about this database, so that another one of the server may accept the same login.
pub fn is_of_database(error: &Error) -> bool {
    let hint = error.hint_text().unwrap_or_default();
    matches!(error.kind(), Kind::Missing | Kind::Config)
        || [NOT_LET_IN, NO_CONNECT].contains(&hint)
        || hint.starts_with(OF_DATABASE)
}

/// The error of a login that failed.
pub async fn explain(connection: &Connection, user: &str, database: &str, error: &tokio_postgres::Error) -> Error {
    let code = error.code();
    if code == Some(&SqlState::INVALID_CATALOG_NAME) {
        return Error::new(Kind::Missing, format!("there is no database '{database}' at {connection}"))
            .hint("check DB_NAME against the names that psql -l lists");
    }
    let why = reason(error);
    let what = format!("cannot connect to {connection} as '{user}': {why}");
    if let Some(failure) = tls_failure(error) {
        let hint = CertificateProblem::of(failure).map_or(
            "TLS failed: check DB_SSLMODE, DB_SSLCERT and DB_SSLKEY, and see the server's log",
            CertificateProblem::hint,
        );
        return Error::new(Kind::Unavailable, what).hint(hint);
    }
    let (kind, hint) =
        match of_database(connection, user, database, code).await.or_else(|| of_limit(error, user, database)) {
            Some((kind, hint)) => (kind, hint),
            None => {
                let (kind, hint) = of_server(code, &why);
                (kind, with_command(hint))
            }
        };
    let refused = Error::new(kind, what).hint(hint);
    let timed_out = code.is_none() && std::error::Error::source(error).is_none();
    if timed_out || breaks_session(error) { refused.transient() } else { refused }
}

/// What prevents sessions in this one database, as a session in another database reads it.
async fn of_database(
    connection: &Connection,
    user: &str,
    database: &str,
    code: Option<&SqlState>,
) -> Option<(Kind, String)> {
    let codes = [SqlState::TOO_MANY_CONNECTIONS, SqlState::OBJECT_NOT_IN_PREREQUISITE_STATE];
    code.filter(|code| codes.contains(code))?;
    for maintenance in MAINTENANCE.iter().filter(|name| **name != database) {
        let Ok(Ok(client)) = log_in(connection, user, maintenance, NO_SEARCH_PATH, None).await else { continue };
        let row = client.query_opt(ACCESS, &[&database]).await.ok()??;
        let (half_dropped, allowed, limit) = (row.try_get(0).ok()?, row.try_get(1).ok()?, row.try_get(2).ok()?);
        return closed(database, half_dropped, allowed, limit);
    }
    None
}

fn closed(database: &str, half_dropped: bool, allowed: bool, limit: i32) -> Option<(Kind, String)> {
    let name = identifier(database);
    match (half_dropped, allowed, limit) {
        (true, ..) => Some((
            Kind::Config,
            format!("a DROP DATABASE was interrupted, and the database can only be dropped: DROP DATABASE {name}"),
        )),
        (_, false, _) => Some((
            Kind::Config,
            format!(
                "ALTER DATABASE {name} ALLOW_CONNECTIONS true allows sessions; or remove it from DB_NAME if it needs no \
                 backup"
            ),
        )),
        (_, _, 0..) => Some((Kind::Unavailable, limit_hint("database", database))),
        _ => None,
    }
}

/// The role or database whose own `CONNECTION LIMIT` is reached, if it is not the whole server's. All have the same code; the
/// error also names the function that refused (`src/backend/utils/init/miscinit.c` and `postinit.c`).
fn of_limit(error: &tokio_postgres::Error, user: &str, database: &str) -> Option<(Kind, String)> {
    let error = error.as_db_error().filter(|error| *error.code() == SqlState::TOO_MANY_CONNECTIONS)?;
    match error.routine()? {
        "InitializeSessionUserId" => Some((Kind::Unavailable, limit_hint("role", user))),
        "CheckMyDatabase" => Some((Kind::Unavailable, limit_hint("database", database))),
        _ => None,
    }
}

fn limit_hint(kind: &str, name: &str) -> String {
    let raise = connection_limit::how_to_raise(kind, name, connection_limit::OF_A_BACKUP);
    format!("{raise}; other sessions count too, and a backup needs {}", connection_limit::OF_A_BACKUP)
}

/// Adds the command that stores the password to the hint of a unit that has none.
fn with_command(hint: &str) -> String {
    match how_to_store("db-password").filter(|_| [OTHER_PASSWORD, NO_PASSWORD].contains(&hint)) {
        Some(command) => format!("{hint}: {command} stores it, from its standard input"),
        None => hint.to_owned(),
    }
}

/// Kind and hint of an error that is not about one database.
fn of_server(code: Option<&SqlState>, why: &str) -> (Kind, &'static str) {
    match code {
        Some(code) if *code == SqlState::INVALID_PASSWORD => (Kind::NotPermitted, OTHER_PASSWORD),
        Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => (Kind::NotPermitted, NOT_LET_IN),
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => (Kind::NotPermitted, NO_CONNECT),
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            (Kind::Unavailable, "raise max_connections, or run the backup at a quieter time")
        }
        // PostgreSQL refuses none of our sessions with these codes; a pooler that does not accept the options does.
        Some(code) if [SqlState::PROTOCOL_VIOLATION, SqlState::FEATURE_NOT_SUPPORTED].contains(code) => {
            (Kind::Config, pooler::HINT)
        }
        Some(_) => (Kind::Unavailable, "the server refuses connections at the moment: try again later"),
        None if why.contains("password missing") => (Kind::NotPermitted, NO_PASSWORD),
        None => (Kind::Unavailable, "is it running at this host and port, and does pg_hba.conf let this host in?"),
    }
}

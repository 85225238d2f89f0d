//! Errors of sessions and statements.

use tokio_postgres::error::SqlState;

use crate::error::{Error, Kind};
use crate::postgres::tls::CertificateProblem;

/// Hint for a backup that conflicts with the recovery of a standby.
pub const OF_STANDBY: &str = "a standby ends queries that its recovery conflicts with: set hot_standby_feedback = on there, \
     or raise its max_standby_streaming_delay above the length of a backup, or back up the primary";

/// The server's message, or the root cause of a failure without one.
pub fn reason(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return db.message().to_owned();
    }
    let cause = root_cause(error);
    if let Some(problem) = tls_failure(error).and_then(CertificateProblem::of) {
        return problem.to_string();
    }
    match cause.downcast_ref::<std::io::Error>() {
        Some(io) => crate::error::reason(io),
        None => cause.to_string(),
    }
}

/// Converts the error of a statement; `what` says what failed, such as `the locks cannot be listed`.
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
            None if error.is_closed() => failed.hint("the server closed the connection: see its log"),
            _ => failed,
        }
    }
}

/// Whether an error has ended the session or the statement for a transient reason, so that a new session may succeed
/// (PostgreSQL documentation, "PostgreSQL Error Codes"). In a read-only transaction serialization failures and deadlocks are
/// conflicts with the recovery of a standby (`src/backend/tcop/postgres.c`).
pub(super) fn breaks_session(error: &tokio_postgres::Error) -> bool {
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

/// The TLS error that prevented a connection, if it was one.
pub(super) fn tls_failure(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    root_cause(error).downcast_ref::<std::io::Error>()?.get_ref()?.downcast_ref()
}

fn root_cause(error: &tokio_postgres::Error) -> &(dyn std::error::Error + 'static) {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause
}

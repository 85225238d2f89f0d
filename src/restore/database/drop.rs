//! Drops a database with the sessions in it.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::postgres::client::identifier;

/// Ends the sessions that a role may end that is no superuser (`pg_signal_backend` in `src/backend/storage/ipc/signalfuncs.c`).
const END: &str = "SELECT pg_terminate_backend(a.pid) FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid \
     WHERE a.datname = $1 AND NOT r.rolsuper AND (pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))";

/// Drops a database, and ends the sessions in it.
///
/// `FORCE` ends no session if our role may not end all of them, and only a superuser may end a worker of autovacuum. Without `FORCE`
/// the server ends these workers itself, and waits five seconds for all other sessions (`TerminateOtherDBBackends` and
/// `CountOtherDBBackends` in `src/backend/storage/ipc/procarray.c`).
///
/// # Errors
/// Those of the server.
pub async fn drop_with_sessions(client: &Client, name: &str) -> Result<(), tokio_postgres::Error> {
    let drop = format!("DROP DATABASE {}", identifier(name));
    match client.batch_execute(&format!("{drop} WITH (FORCE)")).await {
        Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {}
        dropped => return dropped,
    }
    client.query(END, &[&name]).await?;
    client.batch_execute(&drop).await
}

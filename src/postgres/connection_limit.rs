//! The `CONNECTION LIMIT` of a database and of a role. A backup needs several sessions at once.

use tokio_postgres::Client;

use crate::error::{Error, Kind, Result};
use crate::postgres::client::errors::failed;
use crate::postgres::columns::{get, text};
use crate::postgres::quoting::identifier;

/// Sessions of a backup: the one that holds the snapshot, and pg_dump's.
pub const OF_A_BACKUP: usize = 2;

/// Checks that the limits of the session's database and role allow this many sessions, other sessions not counted.
/// Superusers have no limit (`InitializeSessionUserId` in `src/backend/utils/init/miscinit.c`, `CheckMyDatabase` in
/// `postinit.c`).
///
/// # Errors
/// `Unavailable`, with the statement that raises the limit.
pub async fn must_allow(client: &Client, sessions: usize) -> Result<()> {
    let query = "SELECT d.datname::text, d.datconnlimit, r.rolname::text, r.rolconnlimit FROM pg_database d, pg_roles r \
         WHERE d.datname = current_database() AND r.rolname = session_user AND NOT r.rolsuper";
    let row = client.query_opt(query, &[]).await.map_err(failed("the connection limits cannot be read"))?;
    let Some(row) = row else { return Ok(()) };
    let (database, role): (String, String) = (text(&row, 0)?, text(&row, 2)?);
    let limits = [("database", database, get::<i32>(&row, 1)?, "as its owner: "), ("role", role, get(&row, 3)?, "")];
    for (kind, name, limit, who) in limits {
        if usize::try_from(limit).is_ok_and(|limit| limit < sessions) {
            let message = format!(
                "the {kind} {} has CONNECTION LIMIT {limit}, and a backup needs {sessions} sessions at once: its own, and \
                 those of pg_dump",
                identifier(&name)
            );
            return Err(
                Error::new(Kind::Unavailable, message).hint(format!("{who}{}", how_to_raise(kind, &name, sessions)))
            );
        }
    }
    Ok(())
}

/// The statement that raises a limit. `kind` is `database` or `role`.
pub fn how_to_raise(kind: &str, name: &str, sessions: usize) -> String {
    format!("ALTER {} {} CONNECTION LIMIT {sessions}, or more; -1 is no limit", kind.to_uppercase(), identifier(name))
}

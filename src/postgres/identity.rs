//! The identity of a server, as far as our role may read it.

use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio::runtime::Handle;
use tokio_postgres::Client;

use crate::config::{Connection, Host};
use crate::error::Result;
use crate::identity::Identity;
use crate::postgres::databases::maintenance;

/// How long the identity may take where it is only a part of the task.
const PATIENCE: Duration = Duration::from_secs(5);

/// The functions that our role may call. A refused call would be an error in the server's log.
const RIGHTS: &str = "SELECT has_function_privilege('pg_control_system()', 'EXECUTE'), \
     has_function_privilege('pg_control_checkpoint()', 'EXECUTE'), has_function_privilege('pg_stat_file(text)', 'EXECUTE')";

/// PostgreSQL documentation, "Control Data Functions".
const IDENTIFIER: &str = "SELECT system_identifier::text FROM pg_control_system()";

/// The timeline that is written to; on a standby that of its last checkpoint, because a checkpoint may follow a promotion only
/// after minutes.
const TIMELINE: &str = "SELECT CASE WHEN pg_is_in_recovery() THEN (SELECT timeline_id::text FROM pg_control_checkpoint()) \
     ELSE ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int4::text END";

/// The time at which PG_VERSION got its inode. initdb writes the file, and nothing changes it; a copy of the data directory has
/// another time, unless the whole disk was copied. Standbys are copies and are left out.
const DATA_DIRECTORY: &str =
    "SELECT extract(epoch FROM change)::text FROM pg_stat_file('PG_VERSION') WHERE NOT pg_is_in_recovery()";

/// The identity by a session, without the parts that our role may not read. The session must not be in a transaction, which
/// an error would abort.
pub async fn of_session(client: &Client, connection: &Connection) -> Identity {
    let rights = client.query_opt(RIGHTS, &[]).await.ok().flatten();
    let may = |column: usize| rights.as_ref().is_some_and(|row| row.try_get(column).unwrap_or(false));
    let system_identifier = one(client, IDENTIFIER, may(0)).await;
    let digested = |what: &str, value: &str| {
        let whole = format!("{what}\n{}\n{value}", system_identifier.as_deref().unwrap_or_default());
        digest(&SHA256, whole.as_bytes()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    Identity {
        timeline: one(client, TIMELINE, may(1)).await.and_then(|timeline| timeline.parse().ok()),
        data_directory: one(client, DATA_DIRECTORY, may(2)).await.map(|changed| digested("data directory", &changed)),
        address: address(connection).map(|address| digested("address", &address)),
        backup_directory: None,
        system_identifier,
    }
}

/// The same for a thread of blocking work; none without a connection.
pub fn ask_blocking(connection: Option<Connection>) -> impl FnOnce() -> Option<Identity> {
    move || Handle::current().block_on(of_server(&connection?))
}

/// The identity of the server; none if it cannot be reached or takes too long.
pub async fn of_server(connection: &Connection) -> Option<Identity> {
    let identity = async {
        let (client, _) = maintenance(connection).await?;
        Result::Ok(of_session(&client, connection).await)
    };
    match tokio::time::timeout(PATIENCE, identity).await {
        Ok(Ok(identity)) => Some(identity),
        Ok(Err(error)) => {
            log::debug!("the identity of the server cannot be read: {error}");
            None
        }
        Err(_) => {
            log::debug!("the server {connection} did not return its identity within {} s", PATIENCE.as_secs());
            None
        }
    }
}

async fn one(client: &Client, query: &str, may: bool) -> Option<String> {
    if !may {
        return None;
    }
    match client.query_opt(query, &[]).await {
        Ok(row) => row.and_then(|row| row.try_get(0).ok()),
        Err(error) => {
            log::debug!("a part of the server's identity cannot be read ({query}): {error}");
            None
        }
    }
}

/// The address of the server if it is the same from every host: a fully qualified host name.
fn address(connection: &Connection) -> Option<String> {
    match &connection.host {
        Host::Name(name) if name.contains('.') && name.parse::<std::net::IpAddr>().is_err() => {
            Some(format!("{}:{}", name.trim_end_matches('.').to_ascii_lowercase(), connection.port))
        }
        _ => None,
    }
}

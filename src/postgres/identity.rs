//! Who a server is, as far as our role may ask.

use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio_postgres::Client;

use crate::config::{Connection, Host};
use crate::error::Result;
use crate::identity::Identity;
use crate::postgres::databases::maintenance;

/// How long a server may take to say who it is, where that is asked beside something else.
const PATIENCE: Duration = Duration::from_secs(5);

/// PostgreSQL documentation, "Control Data Functions". Anyone may call them, unless the right was taken away.
const IDENTIFIER: &str = "SELECT system_identifier::text FROM pg_control_system()";
const TIMELINE: &str = "SELECT timeline_id::text FROM pg_control_checkpoint()";

/// When PG_VERSION got its inode. initdb writes the file, and nothing changes it; a copy of the data directory gets another
/// one. For superusers, and roles that may call the function. A standby is one of many.
const DATA_DIRECTORY: &str =
    "SELECT extract(epoch FROM change)::text FROM pg_stat_file('PG_VERSION') WHERE NOT pg_is_in_recovery()";

/// Asks a session. What it may not ask is left out; the session must not be in a transaction, which an error would end.
pub async fn of_session(client: &Client, connection: &Connection) -> Identity {
    let system_identifier = one(client, IDENTIFIER).await;
    let digested = |what: &str, value: &str| {
        let whole = format!("{what}\n{}\n{value}", system_identifier.as_deref().unwrap_or_default());
        digest(&SHA256, whole.as_bytes()).as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    Identity {
        timeline: one(client, TIMELINE).await.and_then(|timeline| timeline.parse().ok()),
        data_directory: one(client, DATA_DIRECTORY).await.map(|changed| digested("data directory", &changed)),
        address: address(connection).map(|address| digested("address", &address)),
        backup_directory: None,
        system_identifier,
    }
}

/// Asks the server; none if it cannot be reached, or takes too long.
pub async fn ask(connection: &Connection) -> Option<Identity> {
    let asked = async {
        let (client, _) = maintenance(connection).await?;
        Result::Ok(of_session(&client, connection).await)
    };
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(Ok(identity)) => Some(identity),
        Ok(Err(error)) => {
            log::debug!("the server cannot be asked who it is: {error}");
            None
        }
        Err(_) => {
            log::debug!("the server {connection} did not say within {} s who it is", PATIENCE.as_secs());
            None
        }
    }
}

async fn one(client: &Client, query: &str) -> Option<String> {
    match client.query_opt(query, &[]).await {
        Ok(row) => row.and_then(|row| row.try_get(0).ok()),
        Err(error) => {
            log::debug!("the server does not say who it is ({query}): {error}");
            None
        }
    }
}

/// The server's address, where that is the same from every host: a full host name.
fn address(connection: &Connection) -> Option<String> {
    match &connection.host {
        Host::Name(name) if name.contains('.') && name.parse::<std::net::IpAddr>().is_err() => {
            Some(format!("{}:{}", name.trim_end_matches('.').to_ascii_lowercase(), connection.port))
        }
        _ => None,
    }
}

//! The databases of a server.

use tokio_postgres::Client;

use crate::config::Connection;
use crate::error::{Kind, Result};
use crate::postgres::client::{connect, failed};
use crate::postgres::names::shared_in_bytes;
use crate::postgres::snapshot::{get, text};

/// Databases that exist on every server, to ask for the others.
const MAINTENANCE: &[&str] = &["postgres", "template1"];

/// Databases that can be backed up: those that allow connections and are no templates, by name.
pub async fn all(connection: &Connection) -> Result<Vec<String>> {
    let (client, _) = maintenance(connection).await?;
    names(&client).await
}

/// The same, without a maintenance database into which nobody has put tables.
pub async fn in_use(connection: &Connection) -> Result<Vec<String>> {
    let (client, database) = maintenance(connection).await?;
    let mut names = names(&client).await?;
    if database == MAINTENANCE[0] && !has_tables(&client).await? {
        names.retain(|name| name != MAINTENANCE[0]);
    }
    Ok(names)
}

/// A connection to a maintenance database, and which it is.
async fn maintenance(connection: &Connection) -> Result<(Client, &'static str)> {
    match connect(connection, MAINTENANCE[0]).await {
        Err(error) if error.kind() == Kind::Missing => Ok((connect(connection, MAINTENANCE[1]).await?, MAINTENANCE[1])),
        other => Ok((other?, MAINTENANCE[0])),
    }
}

async fn names(client: &Client) -> Result<Vec<String>> {
    let name = shared_in_bytes("datname::text");
    let query = format!("SELECT {name} FROM pg_database WHERE datallowconn AND NOT datistemplate ORDER BY datname");
    let rows = client.query(&query, &[]).await.map_err(failed("the databases cannot be listed"))?;
    rows.iter().map(|row| text(row, 0)).collect()
}

/// Whether there are tables that neither the server nor an extension has made.
async fn has_tables(client: &Client) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
         AND NOT EXISTS (SELECT FROM pg_depend d \
           WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))";
    let row = client.query_one(query, &[]).await.map_err(failed("the tables of 'postgres' cannot be listed"))?;
    get(&row, 0)
}

//! The databases of a server.

use tokio_postgres::Client;

use crate::catalogue::product::{Product, What, by_name};
use crate::config::Connection;
use crate::error::{Kind, Result};
use crate::postgres::client::{MAINTENANCE, connect, failed};
use crate::postgres::columns::{get, shared_in_bytes, text};
use crate::postgres::restore_mark::{LOCK, SAYS, UNFINISHED_LIMIT, target_of};

/// The databases to back up, by name: all that allow connections, except the two templates of every server. Other databases
/// that are marked as templates may contain anything.
const LIST: &str = "datconnlimit = -2, datistemplate, datconnlimit = $2, \
     EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid AND a.usename IS NOT NULL) FROM pg_database d \
     WHERE datallowconn AND datname NOT IN ('template0', 'template1') ORDER BY datname";

/// The databases of a server that allow connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnServer {
    /// Those that can be backed up, by name.
    pub whole: Vec<String>,
    /// Those of `whole` that are marked as templates.
    pub templates: Vec<String>,
    /// Those whose DROP DATABASE was interrupted: they accept no connection and can only be dropped
    /// (PostgreSQL documentation, "DROP DATABASE"; `DATCONNLIMIT_INVALID_DB` in `src/include/catalog/pg_database.h`).
    pub half_dropped: Vec<String>,
    /// Those that restores have made. Those that are still being loaded or were left by a killed restore have a mark, and
    /// are in no other list.
    pub products: Vec<Product>,
}

/// All databases to back up.
pub async fn all(connection: &Connection) -> Result<OnServer> {
    let (client, _) = maintenance(connection).await?;
    list(&client).await
}

/// The same, without a maintenance database and templates that have no tables of their own.
pub async fn in_use(connection: &Connection) -> Result<OnServer> {
    let (client, database) = maintenance(connection).await?;
    let mut databases = list(&client).await?;
    let mut empty = Vec::new();
    if database == MAINTENANCE[0] && !has_tables(&client).await? {
        empty.push(MAINTENANCE[0].to_owned());
    }
    for template in &databases.templates {
        // One that cannot be connected to may have tables.
        if let Ok(client) = connect(connection, template).await
            && !has_tables(&client).await?
        {
            empty.push(template.clone());
        }
    }
    databases.whole.retain(|name| !empty.contains(name));
    Ok(databases)
}

/// A connection to a maintenance database, and its name.
pub async fn maintenance(connection: &Connection) -> Result<(Client, &'static str)> {
    match connect(connection, MAINTENANCE[0]).await {
        Err(error) if matches!(error.kind(), Kind::Missing | Kind::Config) => {
            Ok((connect(connection, MAINTENANCE[1]).await?, MAINTENANCE[1]))
        }
        other => Ok((other?, MAINTENANCE[0])),
    }
}

/// The databases to back up, listed by a session in any database.
pub async fn list(client: &Client) -> Result<OnServer> {
    let mut databases = OnServer::default();
    let comment = "coalesce(shobj_description(oid, 'pg_database'), '')";
    let marked = format!("CASE WHEN starts_with({comment}, $1) THEN {comment} ELSE '' END");
    let query = format!("SELECT {}, {}, {LIST}", shared_in_bytes("datname::text"), shared_in_bytes(&marked));
    for row in
        client.query(&query, &[&SAYS, &UNFINISHED_LIMIT]).await.map_err(failed("the databases cannot be listed"))?
    {
        let (name, half_dropped, template) = (text(&row, 0)?, get(&row, 2)?, get(&row, 3)?);
        if half_dropped {
            databases.half_dropped.push(name);
            continue;
        }
        let comment = text(&row, 1)?;
        if !comment.is_empty() || get(&row, 4)? {
            databases.products.push(unfinished(client, name, &comment, get(&row, 5)?).await?);
            continue;
        }
        if template {
            databases.templates.push(name.clone());
        }
        databases.whole.push(name);
    }
    databases.products.extend(databases.whole.iter().filter_map(|name| by_name(name, &databases.whole)));
    Ok(databases)
}

/// The state of a database that has a mark. A running restore holds the lock of its target.
async fn unfinished(client: &Client, name: String, comment: &str, busy: bool) -> Result<Product> {
    let named = by_name(&name, &[]).filter(|product| product.what == What::Unfinished);
    let since = named.as_ref().and_then(|product| product.since);
    let of = target_of(comment).or(named.map(|product| product.of)).unwrap_or_else(|| name.clone());
    let query = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' \
         AND classid = $1::int4::oid AND objid = hashtext($2::text)::oid AND objsubid = 2)";
    let row = client.query_one(query, &[&LOCK, &of]).await.map_err(failed("the locks cannot be listed"))?;
    let what = if busy || get(&row, 0)? { What::Loading } else { What::Unfinished };
    Ok(Product { name, what, of, since })
}

/// Whether the database has tables that were created neither by the server nor by an extension.
async fn has_tables(client: &Client) -> Result<bool> {
    let query = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind IN ('r', 'p', 'm') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' \
         AND NOT EXISTS (SELECT FROM pg_depend d \
           WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))";
    let row = client.query_one(query, &[]).await.map_err(failed("the tables of a database cannot be listed"))?;
    get(&row, 0)
}

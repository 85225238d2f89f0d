//! The connection to the server, step by step: name, port, login. Then the facts that it returns.

use std::net::SocketAddr;
use std::time::Duration;

use jiff::SignedDuration;
use tokio::net::{TcpStream, UnixStream};
use tokio_postgres::Client;

use crate::catalogue::product::Product;
use crate::cli::DoctorArgs;
use crate::config::{Connection, Databases, Host, secret_place};
use crate::error::{Error, Kind, Result, reason};
use crate::postgres::client::{MAINTENANCE, connect, failed, is_of_database};
use crate::postgres::columns::{get, shared_in_bytes, text};
use crate::postgres::{clock, databases};
use crate::task::doctor::check::Checks;

/// How long a name service or a port may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server with an open session.
pub struct DoctorServer {
    /// How it is reached.
    pub connection: Connection,
    /// The session.
    pub client: Client,
    /// The database of the session.
    pub database: String,
    /// Its version, such as `17.2`.
    pub version: String,
    /// Major version.
    pub major: u32,
    /// The session's role.
    pub role: String,
    /// Whether the role is a superuser.
    pub superuser: bool,
    /// How far its clock is ahead of this host's.
    pub ahead: SignedDuration,
    /// Its databases that can be backed up, with their size in bytes if the role may connect to them.
    pub databases: Vec<(String, Option<u64>)>,
    /// Those whose DROP DATABASE was interrupted.
    pub half_dropped: Vec<String>,
    /// Those that restores have created.
    pub products: Vec<Product>,
}

impl std::fmt::Debug for DoctorServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("version", &self.version).finish_non_exhaustive()
    }
}

impl DoctorServer {
    /// The databases that the settings select; named ones need not exist.
    pub fn databases(&self, databases: &Databases) -> Vec<String> {
        match databases {
            Databases::Named(names) => names.clone(),
            Databases::AllBut(excluded) => {
                let names = self.databases.iter().map(|(name, _)| name);
                names.filter(|name| !excluded.contains(name)).cloned().collect()
            }
        }
    }
}

/// Connects to the server, and adds a check for each step. None if that fails; then the failure has been added.
pub async fn reach(args: &DoctorArgs, checks: &mut Checks) -> Option<DoctorServer> {
    let connection = match Connection::new(&args.connection) {
        Ok(connection) => connection,
        Err(error) => {
            checks.failed("settings", &error);
            return None;
        }
    };
    let open = match &connection.host {
        Host::Socket(folder) => {
            let path = folder.join(format!(".s.PGSQL.{}", connection.port));
            checks.act("port", socket(&connection, &path).await)
        }
        Host::Name(name) => match addresses(name, connection.port).await {
            Ok(addresses) => {
                let list: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
                checks.ok("name", format!("{name} is {}", list.join(", ")));
                checks.act("port", port(&connection, &addresses).await)
            }
            Err(error) => checks.act("name", Err(error)),
        },
    };
    if !open {
        checks.skipped("login", "nothing answers there");
        return None;
    }
    let named = match Databases::new(&args.databases) {
        Ok(Databases::Named(names)) => names,
        _ => Vec::new(),
    };
    match log_in(connection, &named, args).await {
        Ok((server, found)) => {
            checks.ok("login", found);
            Some(server)
        }
        Err(error) => {
            checks.failed("login", &error);
            None
        }
    }
}

async fn socket(connection: &Connection, path: &std::path::Path) -> Result<String> {
    let failed = |why: String| {
        Error::new(Kind::Unavailable, format!("nothing answers at the socket {connection}: {why}")).hint(
            "is a server running on this host, and with this DB_PORT? DB_HOST names another host, or another folder",
        )
    };
    match tokio::time::timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Ok(_)) => Ok(format!("{connection} answers")),
        Ok(Err(error)) => Err(failed(reason(&error))),
        Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

async fn addresses(name: &str, port: u16) -> Result<Vec<SocketAddr>> {
    let failed = |why: &str| {
        Error::new(Kind::Unavailable, format!("the name '{name}' cannot be found: {why}"))
            .hint("is DB_HOST right? Between containers it is the name of the database's service, in the same network")
    };
    match tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, port))).await {
        Ok(Ok(found)) => Ok(found.collect()),
        Ok(Err(error)) => {
            let text = reason(&error);
            Err(failed(text.strip_prefix("failed to lookup address information: ").unwrap_or(&text)))
        }
        Err(_) => Err(failed("the name service does not answer")),
    }
}

async fn port(connection: &Connection, addresses: &[SocketAddr]) -> Result<String> {
    let mut why = "it has no address".to_owned();
    for address in addresses {
        why = match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(format!("{address} answers")),
            Ok(Err(error)) => reason(&error),
            Err(_) => format!("no answer within {} s", PATIENCE.as_secs()),
        };
    }
    Err(Error::new(Kind::Unavailable, format!("nothing answers at {connection}: {why}"))
        .hint("is the server running, is DB_PORT right, does its listen_addresses have this network, and does a firewall let it through?"))
}

/// Logs in to the first database that exists and accepts the role.
async fn log_in(connection: Connection, named: &[String], args: &DoctorArgs) -> Result<(DoctorServer, String)> {
    let names = named.iter().map(String::as_str);
    let mut refused = None;
    for database in names.chain(MAINTENANCE.iter().copied()) {
        match connect(&connection, database).await {
            Ok(client) => return facts(connection, client, database, args).await,
            // Another database may accept the role.
            Err(error) if is_of_database(&error) => {
                refused.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    Err(refused.unwrap_or_else(|| Error::new(Kind::Missing, format!("there is no database at {connection}"))))
}

async fn facts(
    connection: Connection,
    client: Client,
    database: &str,
    args: &DoctorArgs,
) -> Result<(DoctorServer, String)> {
    let wrong = failed("the server cannot be queried");
    let row = client
        .query_one(
            "SELECT current_setting('server_version'), current_setting('server_version_num')::int, current_user::text, \
             current_setting('is_superuser') = 'on', pg_is_in_recovery(), \
             (SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND ssl)",
            &[],
        )
        .await
        .map_err(&wrong)?;
    let number: i32 = get(&row, 1)?;
    let version = text(&row, 0)?.split(' ').next().unwrap_or_default().to_owned();
    let (role, tls): (String, Option<String>) = (text(&row, 2)?, get(&row, 5)?);
    let standby = if get(&row, 4)? { ", a standby" } else { "" };
    let password = secret_place("db-password", "DB_PASSWORD", args.connection.password_file.as_deref());
    let found = format!(
        "as '{role}' to '{database}'{}: PostgreSQL {version}{standby}, {}",
        password.map(|place| format!(" with the password of {place}")).unwrap_or_default(),
        tls.unwrap_or_else(|| "without TLS".to_owned()),
    );
    let found_there = databases::list(&client).await?;
    // Not by their names: names in other encodings cannot be sent to this database.
    let sizes = format!(
        "SELECT {}, CASE WHEN has_database_privilege(oid, 'CONNECT') THEN pg_database_size(oid) END FROM pg_database \
         WHERE datallowconn AND datconnlimit <> -2 AND datname NOT IN ('template0', 'template1') ORDER BY datname",
        shared_in_bytes("datname::text")
    );
    let rows = client.query(&sizes, &[]).await.map_err(&wrong)?;
    let size = |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok());
    let mut databases = rows.iter().map(|row| Ok((text(row, 0)?, size(get(row, 1)?)))).collect::<Result<Vec<_>>>()?;
    databases.retain(|(name, _)| found_there.whole.contains(name));
    let server = DoctorServer {
        version,
        major: u32::try_from(number).unwrap_or_default() / 10_000,
        role,
        superuser: get(&row, 3)?,
        ahead: clock::ahead(&client).await?,
        databases,
        half_dropped: found_there.half_dropped,
        products: found_there.products,
        connection,
        client,
        database: database.to_owned(),
    };
    Ok((server, found))
}

//! The server of a restore. It is checked for what the backup needs before anything starts.

use std::fmt;
use std::time::{Duration, Instant};

use indicatif::HumanBytes;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use crate::config::Connection;
use crate::error::{Error, Kind, Result};
use crate::postgres::client::{MAINTENANCE, connect, failed, identifier, patiently};
use crate::postgres::columns::{get, number, text};
use crate::postgres::restore_mark::LOCK;

/// Parameters of sessions: no timeout may end one that waits for hours, and none may be read-only or quote names differently.
/// Parameters that the version does not have are left out.
const SETTINGS: &str = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name IN ('statement_timeout', \
     'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout', 'transaction_timeout'); \
     SET default_transaction_read_only = off; SET quote_all_identifiers = off; \
     SELECT set_config('search_path', '', false)";

/// The hint if the server refuses our role something.
pub const REFUSED: &str = "name another role with --username; --no-owner and --no-privileges leave owners and privileges \
     out, and --keep-going skips what is refused";

/// The role whose only member is the owner of the database: the role that restores owns the new database while it is loaded (PostgreSQL documentation, "Predefined Roles").
const DATABASE_OWNER: &str = "pg_database_owner";

/// How long a session that has ended may keep its lock, and the time between two tries to get it.
const ENDING: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// First version of PostgreSQL with event triggers that fire when a session begins.
const HAS_LOGIN_TRIGGERS: u32 = 17;

/// A session in a database that is not the one to be made.
#[derive(Debug)]
pub struct TargetServer {
    client: Client,
    /// Database of the session.
    database: &'static str,
    connection: Connection,
    /// Major version.
    pub major: u32,
    /// Our role.
    pub role: String,
    superuser: bool,
    creates_databases: bool,
    name_bytes: usize,
}

/// What a backup needs.
#[derive(Debug, Default)]
pub struct Needs {
    /// Roles that own something, or that privileges, policies and settings name.
    pub roles: Vec<String>,
    /// The roles among them that own something.
    pub owners: Vec<String>,
    /// Extensions.
    pub extensions: Vec<String>,
    /// Tablespaces of tables and indexes.
    pub tablespaces: Vec<String>,
}

/// A session in a database, without timeouts.
pub async fn session(connection: &Connection, database: &str) -> Result<Client> {
    let client = connect(connection, database).await?;
    client.batch_execute(SETTINGS).await.map_err(failed("timeouts cannot be switched off"))?;
    Ok(client)
}

/// As [`session`], in a database that has been loaded.
pub async fn session_in_loaded(connection: &Connection, database: &str) -> Result<Client> {
    let client = patiently(|| connect(connection, database)).await?;
    client.batch_execute(SETTINGS).await.map_err(failed("timeouts cannot be switched off"))?;
    Ok(client)
}

/// The connection with login triggers off, if the role may set that: rows that such a trigger writes would be differences made by
/// the comparison itself.
pub async fn without_login_triggers(connection: &Connection) -> Connection {
    let mut connection = connection.clone();
    match TargetServer::open(&connection).await {
        Ok(server) if server.major >= HAS_LOGIN_TRIGGERS && server.is_superuser() => {
            connection.parameters.push(("event_triggers".to_owned(), "off".to_owned()));
        }
        Ok(_) => {}
        Err(error) => log::debug!("it is not known whether login triggers fire: {error}"),
    }
    connection
}

async fn maintenance(connection: &Connection) -> Result<(Client, &'static str)> {
    match session(connection, MAINTENANCE[0]).await {
        Err(error) if matches!(error.kind(), Kind::Missing | Kind::Config) => {
            Ok((session(connection, MAINTENANCE[1]).await?, MAINTENANCE[1]))
        }
        other => Ok((other?, MAINTENANCE[0])),
    }
}

impl TargetServer {
    /// Connects, and reads the version and the role.
    pub async fn open(connection: &Connection) -> Result<Self> {
        let (client, database) = maintenance(connection).await?;
        let query = "SELECT current_setting('server_version_num')::int4 / 10000, rolname::text, rolsuper, rolcreatedb, \
             current_setting('max_identifier_length')::int4 FROM pg_roles WHERE rolname = current_user";
        let row = client.query_one(query, &[]).await.map_err(failed("the server's version cannot be read"))?;
        let major = u32::try_from(number(&row, 0)?).unwrap_or_default();
        if major < 13 {
            return Err(Error::new(
                Kind::Unavailable,
                format!("the server has version {major}, and pgcellar needs 13 or newer"),
            ));
        }
        Ok(TargetServer {
            client,
            database,
            connection: connection.clone(),
            major,
            role: text(&row, 1)?,
            superuser: get(&row, 2)?,
            creates_databases: get(&row, 3)?,
            name_bytes: usize::try_from(number(&row, 4)?).unwrap_or(63),
        })
    }

    /// The session.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// How the server is reached.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Connects again if the session has ended.
    pub async fn revive(&mut self) -> Result<()> {
        if self.client.is_closed() {
            self.client = self.another().await?;
        }
        Ok(())
    }

    /// Connects to another database if the session is in this one, which could not be renamed then. This is done late, since a
    /// session in template1 keeps all clients from making databases.
    pub async fn leave(&mut self, database: &str) -> Result<()> {
        if database != self.database {
            return self.revive().await;
        }
        let other = MAINTENANCE.iter().find(|name| **name != database).copied().unwrap_or(MAINTENANCE[1]);
        self.client = session(&self.connection, other).await?;
        self.database = other;
        Ok(())
    }

    /// Another session in the same database.
    pub async fn another(&self) -> Result<Client> {
        session(&self.connection, self.database).await
    }

    /// Whether our role is a superuser.
    pub fn is_superuser(&self) -> bool {
        self.superuser
    }

    /// The OID of the database that has this name now.
    pub async fn oid(&self, database: &str) -> Result<Option<u32>> {
        let query = "SELECT oid FROM pg_database WHERE datname = $1";
        let row = self.client.query_opt(query, &[&database]).await.map_err(failed("the databases cannot be listed"))?;
        row.map(|row| get(&row, 0)).transpose()
    }

    /// The name that the database with this OID has now.
    pub async fn name_of(&self, oid: u32) -> Result<Option<String>> {
        let query = "SELECT datname::text FROM pg_database WHERE oid = $1";
        let row = self.client.query_opt(query, &[&oid]).await.map_err(failed("the databases cannot be listed"))?;
        row.map(|row| text(&row, 0)).transpose()
    }

    /// The longest name that a database can have, in bytes.
    pub fn name_bytes(&self) -> usize {
        self.name_bytes
    }

    /// Reserves this name against other restores until the session ends. Returns the OID of the database that has it.
    ///
    /// # Errors
    /// Another restore that has reserved the name.
    pub async fn reserve(&self, target: &str) -> Result<Option<u32>> {
        if target.is_empty() || target.len() > self.name_bytes || target.contains('\0') {
            let message = format!("'{}' cannot be a database's name", target.escape_debug());
            return Err(Error::new(Kind::Usage, message).hint(format!("it has 1 to {} bytes", self.name_bytes)));
        }
        if !self.creates_databases && !self.superuser {
            return Err(Error::new(Kind::NotPermitted, format!("the role '{}' may not create databases", self.role))
                .hint("ALTER ROLE … CREATEDB, or name another role with --username"));
        }
        let begun = Instant::now();
        while !self.locks(target).await? {
            // The server may notice late that the session that had it has ended.
            if begun.elapsed() > ENDING {
                let message = format!("another pgcellar restores into '{}' now", target.escape_debug());
                return Err(Error::new(Kind::TryAgain, message).hint("wait until it has ended"));
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.oid(target).await
    }

    async fn locks(&self, target: &str) -> Result<bool> {
        let query = "SELECT pg_try_advisory_lock($1, hashtext($2::text))";
        let row = self.client.query_one(query, &[&LOCK, &target]).await;
        get(&row.map_err(failed("the target's name cannot be locked"))?, 0)
    }

    /// Checks that the server has what the backup needs. Whether our role may create an extension is not checked: only trying it
    /// shows that.
    ///
    /// # Errors
    /// `Missing` or `NotPermitted`, with the names of what is missing.
    pub async fn check(&self, needs: &Needs) -> Result<()> {
        self.check_roles(&needs.roles).await?;
        if !self.superuser {
            self.check_memberships(&needs.owners).await?;
        }
        self.check_extensions(&needs.extensions).await
    }

    async fn check_roles(&self, roles: &[String]) -> Result<()> {
        let query =
            "SELECT r FROM unnest($1::text[]) r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) ORDER BY 1";
        let missing = self.names(query, &[&known(roles)], "the roles cannot be listed").await?;
        if missing.is_empty() {
            return Ok(());
        }
        let create: Vec<String> = missing.iter().map(|role| format!("CREATE ROLE {};", identifier(role))).collect();
        Err(Error::new(
            Kind::Missing,
            format!("the server lacks {} that the backup needs: {}", roles_of(&missing), quoted(&missing)),
        )
        .hint(format!(
            "create them first ({}), or let --globals make them as they were, or leave owners and privileges out with \
             --no-owner and --no-privileges",
            create.join(" ")
        )))
    }

    /// Without superuser rights our role can change the owner of an object only to roles that it may SET ROLE to.
    async fn check_memberships(&self, owners: &[String]) -> Result<()> {
        let privilege = if self.major >= 16 { "SET" } else { "MEMBER" };
        let query = format!("SELECT r FROM unnest($1::text[]) r WHERE NOT pg_has_role(r, '{privilege}') ORDER BY 1");
        let mut owners = known(owners);
        owners.retain(|owner| *owner != DATABASE_OWNER);
        let strange = self.names(&query, &[&owners], "memberships cannot be read").await?;
        if strange.is_empty() {
            return Ok(());
        }
        let option = if self.major >= 16 { " WITH SET TRUE" } else { "" };
        let (role, names) = (identifier(&self.role), quoted(&strange));
        Err(Error::new(
            Kind::NotPermitted,
            format!("the role '{}' may not give objects to their owners: {names}", self.role),
        )
        .hint(format!(
            "make it a member of them (GRANT {names} TO {role}{option}), or leave owners out with --no-owner, or name \
             another role with --username"
        )))
    }

    /// The extensions among these that are not installed on the server's host.
    pub async fn lacks_extensions(&self, extensions: &[String]) -> Result<Vec<String>> {
        let query = "SELECT e FROM unnest($1::text[]) e \
             WHERE NOT EXISTS (SELECT FROM pg_available_extensions WHERE name = e) ORDER BY 1";
        self.names(query, &[&known(extensions)], "the extensions cannot be listed").await
    }

    async fn check_extensions(&self, extensions: &[String]) -> Result<()> {
        let missing = self.lacks_extensions(extensions).await?;
        match missing.is_empty() {
            true => Ok(()),
            false => {
                let message = format!("the server lacks extensions that the backup needs: {}", quoted(&missing));
                Err(Error::new(Kind::Missing, message).hint("install their packages on the server's host"))
            }
        }
    }

    /// The tablespaces among these that the server lacks.
    pub async fn lacks_tablespaces(&self, tablespaces: &[String]) -> Result<Vec<String>> {
        let query = "SELECT t FROM unnest($1::text[]) t WHERE NOT EXISTS (SELECT FROM pg_tablespace WHERE spcname = t) ORDER BY 1";
        self.names(query, &[&tablespaces], "the tablespaces cannot be listed").await
    }

    async fn names(&self, query: &str, parameters: &[&(dyn ToSql + Sync)], what: &str) -> Result<Vec<String>> {
        let rows = self.client.query(query, parameters).await.map_err(failed(what))?;
        rows.iter().map(|row| text(row, 0)).collect()
    }
}

/// Names that can be checked, without those of a dump in another encoding that lost letters.
fn known(names: &[String]) -> Vec<&String> {
    names.iter().filter(|name| !name.contains(char::REPLACEMENT_CHARACTER)).collect()
}

fn roles_of(missing: &[String]) -> &'static str {
    match missing {
        [_] => "a role",
        _ => "roles",
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| identifier(name)).collect::<Vec<_>>().join(", ")
}

/// The error of a target that exists.
pub fn exists(target: &str) -> Error {
    Error::new(
        Kind::CannotWrite,
        format!("the database '{}' exists already, and is not replaced", target.escape_debug()),
    )
    .hint("name another one with --target-database, or have it replaced with --force (FORCE_RESTORE=true)")
}

/// A database that exists.
#[derive(Clone, Copy, Debug)]
pub struct Existing {
    /// `pg_database_size()` in bytes; none if our role may not read it.
    pub bytes: Option<i64>,
    /// Sessions of clients in it.
    pub sessions: i64,
}

impl fmt::Display for Existing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(bytes) = self.bytes {
            write!(f, "{}, ", HumanBytes(u64::try_from(bytes).unwrap_or_default()))?;
        }
        write!(f, "{} session{}", self.sessions, if self.sessions == 1 { "" } else { "s" })
    }
}

impl TargetServer {
    /// The database of this name, if there is one.
    pub async fn existing(&self, name: &str) -> Result<Option<Existing>> {
        let query = "SELECT CASE WHEN has_database_privilege(oid, 'CONNECT') OR pg_has_role('pg_read_all_stats', 'MEMBER') \
             THEN pg_database_size(oid) END, (SELECT count(*) FROM pg_stat_activity WHERE datid = d.oid \
             AND usename IS NOT NULL AND coalesce(backend_type, '') IN ('client backend', '')) FROM pg_database d WHERE datname = $1::text";
        let row = self.client().query_opt(query, &[&name]).await.map_err(failed("the databases cannot be listed"))?;
        row.map(|row| Ok(Existing { bytes: get(&row, 0)?, sessions: get(&row, 1)? })).transpose()
    }

    /// `server_version`.
    pub async fn version(&self) -> Result<String> {
        let row = self.client().query_one("SHOW server_version", &[]).await;
        text(&row.map_err(failed("the server's version cannot be read"))?, 0)
    }

    /// The roles among these that the server lacks.
    pub async fn lacks_roles(&self, roles: &[String]) -> Result<Vec<String>> {
        let query =
            "SELECT r FROM unnest($1::text[]) r WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r) ORDER BY 1";
        let rows = self.client().query(query, &[&roles]).await.map_err(failed("the roles cannot be listed"))?;
        rows.iter().map(|row| text(row, 0)).collect()
    }
}

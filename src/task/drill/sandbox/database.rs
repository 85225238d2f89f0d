//! The database of a drill: its roles, its properties, and its name at the end.

use crate::config::Connection;
use crate::config::restore::LeftOut;
use crate::error::{Error, Kind, Result};
use crate::host::surroundings::Surroundings;
use crate::postgres::client::{failed, identifier};
use crate::postgres::columns::text;
use crate::postgres::properties;
use crate::restore::database::{CreateOptions, NewDatabase};
use crate::restore::globals::{Globals, decoded};
use crate::restore::parameters::LoadSessions;
use crate::restore::server::{Needs, TargetServer};
use crate::restore::{public_schema, timescaledb};
use crate::task::drill::protocol::DrillOrder;
use crate::task::drill::sandbox::failure::{DrillFailure, of_backup};
use crate::task::drill::sandbox::ground::SandboxRun;
use crate::task::drill::sandbox::monetary::MonetaryLocale;
use crate::task::drill::sandbox::preload::install;

/// Most notes in a message.
pub const NOTES: usize = 100;

/// The database that the backup is restored into.
pub struct DrillDatabase {
    pub(super) server: TargetServer,
    pub(super) database: NewDatabase,
    pub(super) money: MonetaryLocale,
    pub(super) sessions: LoadSessions,
    pub(super) notes: Vec<String>,
}

impl DrillDatabase {
    /// The connection of sessions in it.
    pub fn connection(&self) -> &Connection {
        &self.sessions.connection
    }

    /// Its name until it is published.
    pub fn name(&self) -> &str {
        self.database.name()
    }

    /// Gives the database its name and its properties, as the end of a real restore does.
    pub async fn publish(mut self, order: &DrillOrder) -> std::result::Result<(), DrillFailure> {
        self.database.publish(&mut self.server, &order.properties).await.map_err(of_backup)?;
        if timescaledb::is_among(&order.extensions) {
            timescaledb::leave(self.server.connection(), &order.database).await.map_err(of_backup)?;
        }
        Ok(())
    }
}

impl SandboxRun<'_> {
    /// Makes the roles and the empty database, if the host has everything for it.
    pub async fn make_database(&self, globals: &[u8]) -> std::result::Result<DrillDatabase, DrillFailure> {
        let mut server = TargetServer::open(self.cluster.connection()).await?;
        let lacking = server.lacks_extensions(&self.order.extensions).await?;
        if !lacking.is_empty() && self.refusals.is_none() {
            let names: Vec<String> = lacking.iter().map(|name| identifier(name)).collect();
            let message = format!("PostgreSQL {} here lacks extensions: {}", self.order.server(), names.join(", "));
            let names: Vec<&str> = lacking.iter().map(String::as_str).collect();
            let hint = install(&names, self.order.server());
            return Err(DrillFailure::Here(Error::new(Kind::System, message).hint(hint)));
        }
        if self.refusals.is_none() {
            let version = self.order.timescaledb.as_deref();
            let checked = timescaledb::check_version(&server, &self.order.extensions, version).await;
            checked.map_err(DrillFailure::Here)?;
        }
        let mut notes: Vec<String> = self.absent.iter().map(|name| not_preloaded(name)).collect();
        match (self.refusals, make_globals(&server, globals).await) {
            (Some(refusals), made) => self.rehearse_roles(&server, globals, (refusals, made), &mut notes).await?,
            (None, made) => made.map_err(of_backup)?,
        }
        notes.extend(lacking.iter().map(|name| {
            let name = identifier(name);
            format!(
                "PostgreSQL {} here lacks the extension {name}: install its package for that version, if there is one",
                self.order.server()
            )
        }));
        let mut roles = properties::roles(&self.order.properties, LeftOut::default())?;
        roles.push(self.order.properties.owner.clone());
        make_missing_roles(&server, roles, &mut notes).await.map_err(of_backup)?;
        let properties = &self.order.properties;
        drop_own(&mut server, &self.order.database).await?;
        let timescaledb = timescaledb::is_among(&self.order.extensions);
        // Values of regdatabase name databases, and extensions such as pg_cron are made in one database alone: it has its name
        // from the beginning.
        let options = CreateOptions { in_place: true, timescaledb, ..CreateOptions::default() };
        let database = NewDatabase::create(&mut server, &self.order.database, properties, options).await;
        let database = database.map_err(|error| match error.kind() {
            // A locale that this host does not have.
            Kind::Missing if Surroundings::here().is_container() => {
                DrillFailure::Here(error.hint("build the sandbox's image with the locale in PG_LOCALES"))
            }
            Kind::Missing => DrillFailure::Here(error),
            _ => of_backup(error),
        })?;
        if let Some(refusals) = self.refusals {
            self.rehearse_parameters(&server, database.name(), refusals).await?;
        }
        let money = MonetaryLocale::find(&server, self.order.look_at.as_ref()).await?;
        let sessions = LoadSessions::find(&server, properties, money.locale(), timescaledb).await?;
        let place = (&sessions.connection, database.name());
        public_schema::narrow(&self.order.pg_dump, LeftOut::default(), server.major, place).await.map_err(of_backup)?;
        notes.extend(sessions.unlike.iter().map(|(name, value)| {
            format!(
                "the throwaway server does not accept {name} = '{value}', with which the backup's database computed"
            )
        }));
        Ok(DrillDatabase { server, database, money, sessions, notes })
    }
}

/// Drops the throwaway cluster's own database of this name, which initdb has made.
async fn drop_own(server: &mut TargetServer, database: &str) -> Result<()> {
    if server.oid(database).await?.is_none() {
        return Ok(());
    }
    server.leave(database).await?;
    let name = identifier(database);
    for sql in [format!("ALTER DATABASE {name} IS_TEMPLATE false"), format!("DROP DATABASE {name} WITH (FORCE)")] {
        server.client().batch_execute(&sql).await.map_err(failed("the cluster's own database cannot be dropped"))?;
    }
    Ok(())
}

/// The note of a library that is not preloaded, because this host lacks it.
fn not_preloaded(library: &str) -> String {
    format!("the throwaway server does not preload {library}, which is not on this host")
}

/// Makes the roles of the backup's globals.
async fn make_globals(server: &TargetServer, script: &[u8]) -> Result<()> {
    if script.is_empty() {
        return Ok(());
    }
    let bad = |why: &str| Error::new(Kind::Data, format!("the globals cannot be read: {why}"));
    let script = decoded(server.client(), script).await?;
    let globals = Globals::parse(&script).ok_or_else(|| bad("a statement does not end"))?;
    globals.make(server, &Needs::default()).await.map(drop)
}

/// Makes roles without privileges for owners that the globals lack.
pub async fn make_missing_roles(server: &TargetServer, roles: Vec<String>, notes: &mut Vec<String>) -> Result<()> {
    let query = "SELECT DISTINCT r FROM unnest($1::text[]) r WHERE r <> '' AND NOT EXISTS (SELECT FROM pg_roles WHERE rolname = r)";
    let roles: Vec<String> =
        roles.into_iter().filter(|role| role != "public" && !role.contains(char::REPLACEMENT_CHARACTER)).collect();
    let rows = server.client().query(query, &[&roles]).await.map_err(failed("the roles cannot be listed"))?;
    for row in rows {
        let role = text(&row, 0)?;
        let sql = format!("CREATE ROLE {}", identifier(&role));
        server.client().batch_execute(&sql).await.map_err(failed("a role cannot be made"))?;
        if notes.len() < NOTES {
            notes.push(format!("the role {} is not in the globals: one of that name was made", identifier(&role)));
        }
    }
    Ok(())
}

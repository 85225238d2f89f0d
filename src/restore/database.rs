//! The database that a restore makes. It has a name of its own until it is complete, so that it cannot be mistaken for the
//! one that was backed up. If anything fails before, it is dropped.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalogue::manifest::DatabaseProperties;
use crate::catalogue::product::{RESTORING, beside};
use crate::config::restore::LeftOut;
use crate::error::{Error, Kind, Result};
use crate::host::process::Process;
use crate::postgres::client::{failed, identifier, literal, reason};
use crate::postgres::columns::{get, text};
use crate::postgres::properties::{PropertyStatement, create_database, parameters, statements};
use crate::postgres::restore_mark::{RestoreMark, SAYS, UNFINISHED_LIMIT};
use crate::restore::database::drop::drop_with_sessions;
use crate::restore::database::sessions::rename_ending;
use crate::restore::pg_restore::skipped_errors::SkippedErrors;
use crate::restore::server::{self, TargetServer, exists, session};

mod drop;
pub mod empty;
pub mod leftover;
pub mod replaced;
mod sessions;
mod swap;
mod workers;

/// How long dropping may take: systemd kills a task ten seconds after it asks it to stop.
const DROP_LIMIT: Duration = Duration::from_secs(7);

/// How long to wait for a server that restarts after a crash before dropping is given up, and the time between two tries.
const RECOVERY: Duration = Duration::from_secs(4);
const ASKED_EVERY: Duration = Duration::from_millis(200);

/// How a database gets its properties.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// The properties to leave out.
    pub left_out: LeftOut,
    /// Errors skipped because of `--keep-going`: a property that cannot be set is one of them.
    pub faults: Option<SkippedErrors>,
    /// Whether it has the target's name from its beginning.
    pub in_place: bool,
    /// Whether it is loaded in TimescaleDB's restoring mode.
    pub timescaledb: bool,
}

/// A database that is not complete.
#[derive(Debug)]
pub struct NewDatabase {
    name: String,
    oid: u32,
    target: String,
    options: CreateOptions,
}

impl NewDatabase {
    /// Makes the empty database with the properties that cannot be changed later, and tries to set the others. A missing
    /// tablespace is replaced by the server's default, with a warning.
    ///
    /// # Errors
    /// What the server refuses; the database is dropped then.
    pub async fn create(
        server: &mut TargetServer,
        target: &str,
        properties: &DatabaseProperties,
        options: CreateOptions,
    ) -> Result<Self> {
        let tablespace = tablespace(server, properties).await?;
        let name = match options.in_place {
            true => target.to_owned(),
            false => free_name(server, target).await?,
        };
        let sql = create_database(&name, properties, server.major, tablespace)?;
        let sql = format!("{sql} CONNECTION LIMIT {UNFINISHED_LIMIT}");
        let row = match server.client().batch_execute(&sql).await {
            Ok(()) => server.client().query_one("SELECT oid FROM pg_database WHERE datname = $1", &[&name]).await,
            Err(error) => Err(error),
        };
        let row = row.map_err(|error| cannot_create(target, &error))?;
        let database = NewDatabase { oid: get(&row, 0)?, name, target: target.to_owned(), options };
        database.mark(server).await;
        database.close(server).await;
        match database.prepare(server, properties).await {
            Ok(()) => Ok(database),
            Err(error) => {
                drop(server.client().batch_execute("ROLLBACK").await);
                Err(database.discard(server, error).await)
            }
        }
    }

    /// Keeps clients out of a database that has the target's name before it is complete. The limit does not apply to
    /// superusers.
    async fn close(&self, server: &TargetServer) {
        if self.options.in_place && server.is_superuser() {
            let sql = format!("ALTER DATABASE {} CONNECTION LIMIT = 0", identifier(&self.name));
            if let Err(error) = server.client().batch_execute(&sql).await {
                log::warn!(
                    "clients can connect to '{}' while it is loaded: {}",
                    self.name.escape_debug(),
                    reason(&error)
                );
            }
        }
    }

    /// Marks the database with the process that makes it, so that a later restore can drop it if this one is killed.
    async fn mark(&self, server: &TargetServer) {
        let Ok(process) = Process::own() else { return };
        let Ok(comment) = (RestoreMark { target: self.target.clone(), process }).comment() else { return };
        let sql = format!("COMMENT ON DATABASE {} IS {}", identifier(&self.name), literal(&comment));
        if let Err(error) = server.client().batch_execute(&sql).await {
            log::debug!("{}", failed("the new database cannot be marked")(error));
        }
    }

    /// Whether the database has its mark. True if the server does not answer.
    async fn is_marked(&self, server: &TargetServer) -> bool {
        let query = "SELECT starts_with(coalesce(shobj_description($1::oid, 'pg_database'), ''), $2)";
        let row = server.client().query_one(query, &[&self.oid, &SAYS]).await;
        row.ok().and_then(|row| row.try_get(0).ok()).unwrap_or(true)
    }

    /// Its name until it is complete.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size on the server's disk, in bytes.
    pub async fn bytes(&self, server: &TargetServer) -> Result<u64> {
        let query = "SELECT pg_database_size($1::oid)";
        let row = server
            .client()
            .query_one(query, &[&self.oid])
            .await
            .map_err(failed("the database's size cannot be read"))?;
        Ok(u64::try_from(get::<i64>(&row, 0)?).unwrap_or_default())
    }

    /// The number of deadlocks that the server has detected in it.
    pub async fn deadlocks(&self, server: &TargetServer) -> Result<i64> {
        let query = "SELECT coalesce((SELECT deadlocks FROM pg_stat_database WHERE datid = $1::oid), 0)";
        let row =
            server.client().query_one(query, &[&self.oid]).await.map_err(failed("deadlocks cannot be counted"))?;
        get(&row, 0)
    }

    /// Sets the parameters, which affect what the load computes. Also sets the other properties and rolls them back, so that
    /// the server refuses them before hours of loading and not after.
    async fn prepare(&self, server: &TargetServer, properties: &DatabaseProperties) -> Result<()> {
        let client = server.client();
        begin(client).await?;
        self.apply(client, &parameters(&self.name, properties)).await?;
        for (name, value) in self.worker_guards() {
            let sql = format!("ALTER DATABASE {} SET {name} = {value}", identifier(&self.name));
            client.batch_execute(&sql).await.map_err(failed(&format!("{name} cannot be set for the new database")))?;
        }
        client.batch_execute("SAVEPOINT rehearsal").await.map_err(failed("a transaction cannot be continued"))?;
        // With --keep-going a refused property does not keep the load from starting.
        if self.options.faults.is_none() {
            self.apply(client, &statements(&self.name, properties, self.options.left_out)?).await?;
        }
        let end = client.batch_execute("ROLLBACK TO rehearsal; COMMIT").await;
        end.map_err(failed("the parameters of the database cannot be set"))?;
        self.end_workers(server).await;
        Ok(())
    }

    /// Gives the complete database its name and its properties, in one transaction.
    ///
    /// # Errors
    /// What the server refuses; the database is dropped then.
    pub async fn publish(self, server: &mut TargetServer, properties: &DatabaseProperties) -> Result<()> {
        match self.rename(server, properties).await {
            Ok(()) => Ok(()),
            Err(error) => match self.was_published(server).await {
                true => Ok(()),
                false => Err(self.discard(server, error).await),
            },
        }
    }

    /// Whether a transaction that failed was committed nevertheless, and only the server's answer was lost.
    async fn was_published(&self, server: &mut TargetServer) -> bool {
        drop(server.client().batch_execute("ROLLBACK").await);
        let has_name = matches!(self.name_now(server).await, Ok(Some(name)) if name == self.target);
        has_name && !(self.options.in_place && self.is_marked(server).await)
    }

    /// The statements that set the properties of the complete database, which is called `name` then. They also remove the
    /// restore's marks, the comment and the connection limit.
    fn properties(&self, name: &str, properties: &DatabaseProperties) -> Result<Vec<PropertyStatement>> {
        let sql = format!("COMMENT ON DATABASE {} IS NULL", identifier(name));
        let mut all = vec![PropertyStatement { what: "the comment".to_owned(), sql, parameter: false }];
        let sql = format!("ALTER DATABASE {} CONNECTION LIMIT = -1", identifier(name));
        all.push(PropertyStatement { what: "the connection limit".to_owned(), sql, parameter: false });
        for (parameter, _) in self.worker_guards() {
            let sql = format!("ALTER DATABASE {} RESET {parameter}", identifier(name));
            all.push(PropertyStatement { what: format!("the parameter {parameter}"), sql, parameter: false });
            all.extend(parameters(name, properties).into_iter().filter(|own| {
                own.what.strip_prefix("the parameter ").is_some_and(|own| own.eq_ignore_ascii_case(parameter))
            }));
        }
        all.extend(statements(name, properties, self.options.left_out)?);
        Ok(all)
    }

    async fn rename(&self, server: &mut TargetServer, properties: &DatabaseProperties) -> Result<()> {
        server.revive().await?;
        // All connections may be in use.
        let ender = server.another().await;
        self.end_sessions(server, "=").await;
        let client = server.client();
        begin(client).await?;
        if !self.options.in_place {
            let sql = format!("ALTER DATABASE {} RENAME TO {}", identifier(&self.name), identifier(&self.target));
            // No other session belongs in it. If one cannot be ended, RENAME fails with it.
            let renaming = client.batch_execute(&sql);
            let renamed = match &ender {
                Ok(ender) => rename_ending(renaming, ender, &[self.oid]).await.0,
                Err(_) => renaming.await,
            };
            renamed.map_err(|error| match error.code() {
                Some(code) if *code == SqlState::DUPLICATE_DATABASE => exists(&self.target),
                _ => failed("the new database cannot be given its name")(error),
            })?;
        }
        self.apply(client, &self.properties(&self.target, properties)?).await?;
        client.batch_execute("COMMIT").await.map_err(failed("the new database cannot be given its name"))?;
        self.end_workers(server).await;
        Ok(())
    }

    /// Runs the statements in the open transaction. A parameter that this server does not know is left out with a warning.
    /// With `--keep-going` any other refused statement is a skipped error.
    async fn apply(&self, client: &Client, all: &[PropertyStatement]) -> Result<()> {
        for statement in all {
            let what = format!("{} of the database cannot be set", statement.what);
            let faults = self.options.faults.as_ref();
            let sql = match statement.parameter || faults.is_some() {
                true => format!("SAVEPOINT property; {}; RELEASE property", statement.sql),
                false => statement.sql.clone(),
            };
            let Err(error) = client.batch_execute(&sql).await else { continue };
            let unknown = statement.parameter && error.code() == Some(&SqlState::UNDEFINED_OBJECT);
            if !unknown && (faults.is_none() || error.as_db_error().is_none()) {
                return Err(cannot_set(&what, error));
            }
            client.batch_execute("ROLLBACK TO property").await.map_err(failed(&what))?;
            match faults {
                Some(faults) if !unknown => faults.add(format!("{what}: {}", reason(&error))),
                _ => log::warn!("{} of the database is left out: {}", statement.what, reason(&error)),
            }
        }
        Ok(())
    }

    /// Drops the database because of `error`, and returns this error. If the database cannot be dropped, the error also says
    /// so.
    pub async fn discard(self, server: &mut TargetServer, error: Error) -> Error {
        let dropped = tokio::time::timeout(DROP_LIMIT, self.drop_patiently(server)).await;
        let why = match dropped {
            Ok(Ok(())) => return error,
            Ok(Err(failure)) => failure.message().to_owned(),
            Err(_) => "the server takes too long".to_owned(),
        };
        let message = format!(
            "{}; the unfinished database '{}' is left, because it could not be dropped: {why}",
            error.message(),
            self.name
        );
        Error::new(error.kind(), message)
            .hint(format!("drop it: DROP DATABASE {} WITH (FORCE)", identifier(&self.name)))
    }

    /// Drops it, waiting for a server that restarts.
    async fn drop_patiently(&self, server: &mut TargetServer) -> Result<()> {
        let begun = Instant::now();
        loop {
            match self.drop_it(server).await {
                Err(error) if error.kind() == Kind::Unavailable && begun.elapsed() < RECOVERY => {
                    tokio::time::sleep(ASKED_EVERY).await;
                }
                dropped => return dropped,
            }
        }
    }

    async fn drop_it(&self, server: &mut TargetServer) -> Result<()> {
        // A database of that name with another OID is not ours.
        if self.name_now(server).await?.as_ref() != Some(&self.name) {
            return Ok(());
        }
        let what = "the unfinished database cannot be dropped";
        match drop_with_sessions(server.client(), &self.name).await {
            // FORCE does not drop a database that has a subscription.
            Err(error) if error.code() == Some(&SqlState::OBJECT_IN_USE) => {
                if !self.drop_subscriptions(server).await? {
                    return Err(failed(what)(error));
                }
                drop_with_sessions(server.client(), &self.name).await.map_err(failed(what))
            }
            dropped => dropped.map_err(failed(what)),
        }
    }

    /// The name that the database has now; none if it does not exist any more.
    async fn name_now(&self, server: &mut TargetServer) -> Result<Option<String>> {
        server.revive().await?;
        server.name_of(self.oid).await
    }

    /// Drops the restored subscriptions, and returns whether there were any. They were never enabled, and their slots on other
    /// servers belong to the database that was backed up.
    async fn drop_subscriptions(&self, server: &TargetServer) -> Result<bool> {
        let what = "the subscriptions of the unfinished database cannot be dropped";
        let client = session(server.connection(), &self.name).await?;
        let query = "SELECT subname::text FROM pg_subscription WHERE subdbid = $1";
        let rows = client.query(query, &[&self.oid]).await.map_err(failed(what))?;
        for row in &rows {
            let name = identifier(&text(row, 0)?);
            let sql = [
                format!("ALTER SUBSCRIPTION {name} DISABLE"),
                format!("ALTER SUBSCRIPTION {name} SET (slot_name = NONE)"),
                format!("DROP SUBSCRIPTION {name}"),
            ];
            for statement in sql {
                client.batch_execute(&statement).await.map_err(failed(what))?;
            }
        }
        Ok(!rows.is_empty())
    }
}

async fn begin(client: &Client) -> Result<()> {
    client.batch_execute("BEGIN").await.map_err(failed("a transaction cannot be started"))
}

/// How messages about a security label begin. A label without its provider is refused as an invalid value.
const LABEL: &str = "a security label";

fn cannot_set(what: &str, error: tokio_postgres::Error) -> Error {
    let label = what.starts_with(LABEL) && error.code() == Some(&SqlState::INVALID_PARAMETER_VALUE);
    match failed(what)(error) {
        error if label => error.hint("load the provider on the server: shared_preload_libraries"),
        error if error.kind() == Kind::NotPermitted => error.hint(server::REFUSED),
        error => error,
    }
}

fn cannot_create(target: &str, error: &tokio_postgres::Error) -> Error {
    let why = reason(error);
    let message = format!("a database for '{}' cannot be made: {why}", target.escape_debug());
    match error.code() {
        Some(code) if *code == SqlState::DUPLICATE_DATABASE => {
            Error::new(Kind::TryAgain, message).hint("another restore was started in the same second")
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            Error::new(Kind::NotPermitted, message).hint("name another role with --username")
        }
        Some(code) if *code == SqlState::READ_ONLY_SQL_TRANSACTION => {
            Error::new(Kind::NotPermitted, message).hint("a standby is read-only: connect to its primary")
        }
        Some(code) if *code == SqlState::DISK_FULL => {
            Error::new(Kind::CannotWrite, message).hint("free space on the server")
        }
        // A locale or a collation that the server's host lacks (`createdb` in `src/backend/commands/dbcommands.c`).
        Some(code) if [SqlState::WRONG_OBJECT_TYPE, SqlState::INVALID_PARAMETER_VALUE].contains(code) => {
            Error::new(Kind::Missing, message).hint("install the locale on the server's host, and restart the server")
        }
        _ => Error::new(Kind::Unavailable, message),
    }
}

/// The tablespace of the new database; none for the server's default.
async fn tablespace<'a>(server: &TargetServer, properties: &'a DatabaseProperties) -> Result<Option<&'a str>> {
    let tablespace = properties.tablespace.as_str();
    if tablespace == "pg_default" {
        return Ok(None);
    }
    match server.lacks_tablespaces(&[tablespace.to_owned()]).await?.is_empty() {
        true => Ok(Some(tablespace)),
        false => {
            log::warn!("the server has no tablespace '{tablespace}': the database is made in the server's default one");
            Ok(None)
        }
    }
}

/// An unused name with the current time; waits for another second if a killed run has left a database of that name.
async fn free_name(server: &TargetServer, target: &str) -> Result<String> {
    loop {
        let name = beside(target, RESTORING, Timestamp::now(), server.name_bytes());
        let query = "SELECT FROM pg_database WHERE datname = $1";
        let taken = server.client().query_opt(query, &[&name]).await;
        if taken.map_err(failed("the databases cannot be listed"))?.is_none() {
            return Ok(name);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

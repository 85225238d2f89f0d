//! The swap: the restored database gets the name of another one, which is kept under another name.
//!
//! It is one transaction: if it fails, or a process is killed, the old database keeps its name. `ALTER
//! DATABASE … RENAME` locks the database before it looks for sessions in it, and waits up to five seconds for them to
//! end (`RenameDatabase` in `src/backend/commands/dbcommands.c`, `CountOtherDBBackends` in
//! `src/backend/storage/ipc/procarray.c`). A session that begins takes a lock on its database before it is counted
//! (`InitPostgres` in `src/backend/utils/init/postinit.c`), so while RENAME waits no client can connect, not even a
//! superuser, and a second session of the restore terminates those that are connected.

use std::time::Duration;

use jiff::Timestamp;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalogue::manifest::DatabaseProperties;
use crate::catalogue::product::{REPLACED, beside};
use crate::error::{Error, Kind, Result};
use crate::postgres::client::{failed, identifier, reason};
use crate::restore::database::replaced::Replaced;
use crate::restore::database::sessions::rename_ending;
use crate::restore::database::{NewDatabase, begin};
use crate::restore::server::TargetServer;
use crate::stop::Stop;

/// How many times the swap is tried. New clients wait for up to eight seconds each time, and a task that is asked to stop has
/// ten seconds.
const TRIES: u32 = 3;

/// The time between two tries, in which clients can connect. The name that the old database gets changes every second.
const PAUSE: Duration = Duration::from_secs(1);

/// How long the swap waits for another session's lock on the old database, which is copied or changed at the moment.
const LOCK_LIMIT: &str = "SET LOCAL lock_timeout = '3s'";

/// Why a try failed.
enum Failure {
    /// It may succeed the next time.
    Passing(Error),
    /// It would fail again.
    Final(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Final(error)
    }
}

impl NewDatabase {
    /// Replaces `old` by the complete database, with its properties, in one transaction. Returns the name that the old one has
    /// now; none if it was dropped meanwhile.
    ///
    /// # Errors
    /// What keeps it from being replaced. The old database is as before, except for its sessions; the new one is dropped.
    pub async fn replace(
        self,
        server: &mut TargetServer,
        properties: &DatabaseProperties,
        old: &Replaced,
        stop: &Stop,
    ) -> Result<Option<String>> {
        if let Err(error) = self.swap(server, properties, old, stop).await
            && !self.was_published(server).await
        {
            return Err(self.discard(server, error).await);
        }
        // The swap is committed: later failures do not undo it.
        Ok(old.name_now(server).await.unwrap_or_else(|error| {
            log::warn!("the name under which the replaced database is kept is unknown: {error}");
            None
        }))
    }

    async fn swap(
        &self,
        server: &mut TargetServer,
        properties: &DatabaseProperties,
        old: &Replaced,
        stop: &Stop,
    ) -> Result<()> {
        server.leave(&self.target).await?;
        match server.oid(&self.target).await? {
            Some(oid) if oid == old.oid => {}
            Some(_) => return Err(another(old)),
            None => return self.rename(server, properties).await,
        }
        old.must_be_free(server.client()).await?;
        let ender = server.another().await?;
        let mut tries = 1;
        loop {
            match self.try_swap(server, &ender, properties, old).await {
                Ok(()) => return Ok(()),
                Err(Failure::Passing(error)) if tries < TRIES && !stop.requested() => {
                    log::warn!("{}; trying again", error.message());
                    let rollback = server.client().batch_execute("ROLLBACK").await;
                    rollback.map_err(failed("the swap cannot be taken back"))?;
                    tokio::time::sleep(PAUSE).await;
                    tries += 1;
                }
                Err(Failure::Passing(error) | Failure::Final(error)) => return Err(error),
            }
        }
    }

    async fn try_swap(
        &self,
        server: &TargetServer,
        ender: &Client,
        properties: &DatabaseProperties,
        old: &Replaced,
    ) -> std::result::Result<(), Failure> {
        let client = server.client();
        begin(client).await?;
        client.batch_execute(LOCK_LIMIT).await.map_err(failed("a time limit cannot be set"))?;
        let kept = beside(&self.target, REPLACED, Timestamp::now(), server.name_bytes());
        let (new, target) = (identifier(&self.name), identifier(&self.target));
        let sql =
            format!("ALTER DATABASE {target} RENAME TO {}; ALTER DATABASE {new} RENAME TO {target}", identifier(&kept));
        self.rename_both(client, ender, &sql, old).await?;
        // It has no sessions, and none can begin: what is read here cannot change.
        if server.name_of(old.oid).await? != Some(kept) {
            return Err(Failure::Final(another(old)));
        }
        old.must_be_free(client).await?;
        // After RENAME: a role that has given the database to its owner may not be allowed to rename it.
        self.apply(client, &self.properties(&self.target, properties)?).await?;
        Ok(client.batch_execute("COMMIT").await.map_err(failed("the databases cannot be swapped"))?)
    }

    /// Renames both databases, and terminates their sessions until that is done.
    async fn rename_both(
        &self,
        client: &Client,
        ender: &Client,
        sql: &str,
        old: &Replaced,
    ) -> std::result::Result<(), Failure> {
        let (renamed, refused) = rename_ending(client.batch_execute(sql), ender, &[old.oid, self.oid]).await;
        let Err(error) = renamed else { return Ok(()) };
        if let Some(refused) = refused {
            return Err(Failure::Final(refused));
        }
        let code = error.code().cloned();
        let failure = Error::new(
            Kind::Unavailable,
            format!("{} cannot be swapped for the new database: {}", old.shown(), reason(&error)),
        );
        match code {
            Some(code) if code == SqlState::OBJECT_IN_USE => {
                let message = format!("{}{}", failure.message(), remaining_sessions(ender, old).await);
                Err(Failure::Passing(Error::new(Kind::TryAgain, message).hint("end these sessions, and restore again")))
            }
            Some(code) if code == SqlState::LOCK_NOT_AVAILABLE => Err(Failure::Passing(
                Error::new(Kind::TryAgain, failure.message())
                    .hint("another session has a lock on the database itself: a copy by CREATE DATABASE … TEMPLATE?"),
            )),
            // Another swap had the same name for its old database, in the same second.
            Some(code) if code == SqlState::DUPLICATE_DATABASE => Err(Failure::Passing(failure)),
            Some(code) if code == SqlState::INSUFFICIENT_PRIVILEGE => Err(Failure::Final(
                Error::new(Kind::NotPermitted, failure.message())
                    .hint("name the owner of both databases or a superuser with --username"),
            )),
            _ => Err(Failure::Final(failure)),
        }
    }
}

fn another(old: &Replaced) -> Error {
    let message = format!("another database got the name {} while the backup was restored, and is left", old.shown());
    Error::new(Kind::CannotWrite, message).hint("check it, and restore again")
}

/// The sessions that have not ended, for a message.
async fn remaining_sessions(ender: &Client, old: &Replaced) -> String {
    let query = "SELECT string_agg(format('process %s (%s)', pid, usename), ', ') FROM \
         (SELECT * FROM pg_stat_activity WHERE datid = $1 LIMIT 10) a";
    match ender.query_one(query, &[&old.oid]).await.map(|row| row.try_get::<_, String>(0)) {
        Ok(Ok(processes)) => format!("; still in it: {processes}"),
        _ => String::new(),
    }
}

//! The database that a restore replaces. What keeps it from being replaced is an error before anything starts, and again
//! before the swap.

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::catalogue::manifest::DatabaseProperties;
use crate::error::{Error, Kind, Result};
use crate::postgres::client::{failed, identifier, literal};
use crate::postgres::columns::{get, text};
use crate::postgres::facts::properties_of;
use crate::restore::database::drop::drop_with_sessions;
use crate::restore::database::empty::has_nothing;
use crate::restore::server::{TargetServer, exists, session};

/// How many obstacles an error names.
const NAMED: i64 = 20;

/// What would stay behind in a renamed database, and be deleted with it. Temporary slots end with their sessions.
const OBSTACLES: &str = "SELECT 0, slot_name::text, active FROM pg_replication_slots s \
     JOIN pg_database d ON d.datname = s.database WHERE d.oid = $1::oid AND NOT temporary \
     UNION ALL SELECT 1, subname::text, subenabled FROM pg_subscription WHERE subdbid = $1::oid \
     UNION ALL SELECT 2, gid, false FROM pg_prepared_xacts p \
     JOIN pg_database d ON d.datname = p.database WHERE d.oid = $1::oid ORDER BY 1, 2 LIMIT $2";

/// Roles in the database whose sessions a role that is no superuser may not end (`pg_signal_backend` in
/// `src/backend/storage/ipc/signalfuncs.c`).
const STRANGERS: &str = "SELECT DISTINCT r.rolname::text FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid \
     WHERE a.datid = $1::oid AND (r.rolsuper OR NOT (pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'))) \
     ORDER BY 1";

/// A database that the restored one replaces. It is identified by its OID: another database that gets its name meanwhile is
/// not replaced.
#[derive(Debug)]
pub struct Replaced {
    pub(super) oid: u32,
    name: String,
}

impl Replaced {
    /// Reserves the target's name against other restores. Returns the database that has this name.
    ///
    /// # Errors
    /// A database of this name without `force`, or one that cannot be replaced; another restore that has the name.
    pub async fn reserve(server: &TargetServer, target: &str, force: bool) -> Result<Option<Self>> {
        let Some(oid) = server.reserve(target).await? else { return Ok(None) };
        if !force {
            return Err(exists(target));
        }
        let replaced = Replaced { oid, name: target.to_owned() };
        replaced.check_rights(server).await?;
        replaced.must_be_free(server.client()).await?;
        Ok(Some(replaced))
    }

    async fn check_rights(&self, server: &TargetServer) -> Result<()> {
        if matches!(self.name.as_str(), "template0" | "template1") {
            let message = format!("'{}' is the server's own template, and is not replaced", self.name);
            return Err(Error::new(Kind::Usage, message).hint("restore into another database with --target-database"));
        }
        if server.is_superuser() {
            return Ok(());
        }
        let query = "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE oid = $1";
        let row = server.client().query_one(query, &[&self.oid]).await.map_err(failed("the owner cannot be read"))?;
        let hint = "name its owner or a superuser with --username";
        if !get::<bool>(&row, 0)? {
            let message = format!("the role '{}' does not own the database {}", server.role, self.shown());
            return Err(Error::new(Kind::NotPermitted, message).hint(hint));
        }
        let rows = server.client().query(STRANGERS, &[&self.oid]).await.map_err(failed("sessions cannot be listed"))?;
        let strangers = rows.iter().map(|row| Ok(identifier(&text(row, 0)?))).collect::<Result<Vec<_>>>()?;
        match strangers.is_empty() {
            true => Ok(()),
            false => Err(Error::new(
                Kind::NotPermitted,
                format!(
                    "the role '{}' may not end the sessions in {} of {}",
                    server.role,
                    self.shown(),
                    strangers.join(", ")
                ),
            )
            .hint("make it a member of pg_signal_backend, or name a superuser with --username")),
        }
    }

    /// Refuses a database with something that would stay behind in it.
    pub async fn must_be_free(&self, client: &Client) -> Result<()> {
        let rows = client
            .query(OBSTACLES, &[&self.oid, &NAMED])
            .await
            .map_err(failed("slots, subscriptions and prepared transactions cannot be listed"))?;
        if rows.is_empty() {
            return Ok(());
        }
        let (mut found, mut todo) = (Vec::new(), Vec::new());
        for row in &rows {
            let obstacle = Obstacle { kind: get(row, 0)?, name: text(row, 1)?, active: get(row, 2)? };
            found.push(obstacle.shown());
            todo.push(obstacle.remedy());
        }
        let message = format!("the database {} is not replaced: it has {}", self.shown(), found.join(", "));
        Err(Error::new(Kind::CannotWrite, message).hint(format!("in that database: {}", todo.join(" "))))
    }

    /// The name that it has now; none if it does not exist any more.
    pub async fn name_now(&self, server: &mut TargetServer) -> Result<Option<String>> {
        server.revive().await?;
        server.name_of(self.oid).await
    }

    /// Whether it is empty, under the name that it got in the swap. A database that cannot be read counts as not empty.
    pub async fn is_empty(&self, server: &TargetServer, kept: &str) -> bool {
        let is_empty = async { has_nothing(&session(server.connection(), kept).await?).await };
        is_empty.await.unwrap_or(false)
    }

    /// Drops it, under the name that it got in the swap.
    pub async fn drop_kept(&self, server: &mut TargetServer, kept: &str) -> Result<()> {
        let error = match self.try_drop(server, kept).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let message = format!(
            "{} was replaced, but the old database could not be dropped, and is kept as '{}': {}",
            self.shown(),
            kept.escape_debug(),
            error.message()
        );
        Err(Error::new(error.kind(), message).hint(drop_statement(kept)))
    }

    async fn try_drop(&self, server: &mut TargetServer, kept: &str) -> Result<()> {
        // Not a newer database that was given this name.
        match self.name_now(server).await? {
            Some(name) if name == kept => {}
            Some(name) => {
                let message = format!("it was renamed to '{}'", name.escape_debug());
                return Err(Error::new(Kind::CannotWrite, message));
            }
            None => return Ok(()),
        }
        self.must_be_free(server.client()).await?;
        let client = server.client();
        // A template cannot be dropped. If our role may not change that, the server says so.
        match drop_with_sessions(client, kept).await {
            Err(error) if error.code() == Some(&SqlState::WRONG_OBJECT_TYPE) => {
                let sql = format!("ALTER DATABASE {} IS_TEMPLATE false", identifier(kept));
                client.batch_execute(&sql).await.map_err(failed("the template cannot be changed"))?;
                drop_with_sessions(client, kept).await.map_err(failed("it cannot be dropped"))
            }
            dropped => dropped.map_err(failed("it cannot be dropped")),
        }
    }

    /// Its properties, for a dump without any.
    pub async fn properties(&self, server: &TargetServer) -> Result<DatabaseProperties> {
        properties_of(server.client(), server.major, &self.name).await
    }

    /// Its name in quotes.
    pub fn shown(&self) -> String {
        format!("'{}'", self.name.escape_debug())
    }
}

/// The statement that drops a database that was kept.
pub fn drop_statement(kept: &str) -> String {
    format!("drop it: DROP DATABASE {} WITH (FORCE)", identifier(kept))
}

/// Something that would stay behind in a renamed database.
#[derive(Debug)]
struct Obstacle {
    kind: i32,
    name: String,
    active: bool,
}

impl Obstacle {
    fn shown(&self) -> String {
        let kind = match self.kind {
            0 if self.active => "the logical replication slot (in use)",
            0 => "the logical replication slot",
            1 => "the subscription",
            _ => "the prepared transaction",
        };
        format!("{kind} '{}'", self.name.escape_debug())
    }

    fn remedy(&self) -> String {
        let (name, text) = (identifier(&self.name), literal(&self.name));
        match self.kind {
            0 => format!("end the slot's reader, and SELECT pg_drop_replication_slot({text});"),
            1 => format!(
                "ALTER SUBSCRIPTION {name} DISABLE; ALTER SUBSCRIPTION {name} SET (slot_name = NONE); \
                 DROP SUBSCRIPTION {name};"
            ),
            _ => format!("COMMIT PREPARED {text}; or ROLLBACK PREPARED {text};"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_obstacle_has_a_remedy() {
        let remedy = |kind| Obstacle { kind, name: "it's \"x\"".into(), active: false }.remedy();
        assert!(remedy(0).ends_with("SELECT pg_drop_replication_slot('it''s \"x\"');"));
        assert!(remedy(1).ends_with("DROP SUBSCRIPTION \"it's \"\"x\"\"\";"));
        assert!(remedy(2).contains("ROLLBACK PREPARED 'it''s \"x\"';"));
        let shown = Obstacle { kind: 0, name: "s".into(), active: true }.shown();
        assert_eq!(shown, "the logical replication slot (in use) 's'");
    }
}

//! What a rehearsal of an upgrade does beside the restore: it asks the newer server for every role's and database's parameter, and
//! gathers what it refuses.

use std::sync::Arc;

use crate::error::Result;
use crate::postgres::archive::TocEntry;
use crate::postgres::client::{failed, identifier};
use crate::postgres::columns::get;
use crate::postgres::properties;
use crate::restore::archive::Archive;
use crate::restore::completeness::missing_objects;
use crate::restore::globals::{Globals, decoded};
use crate::restore::server::{TargetServer, session_in_loaded};
use crate::task::drill::protocol::Message;
use crate::task::drill::sandbox::database::DrillDatabase;
use crate::task::drill::sandbox::failure::{DrillFailure, of_backup};
use crate::task::drill::sandbox::ground::SandboxRun;
use crate::task::drill::sandbox::refusals::Refusals;

/// First version that deprecates MD5 passwords (release notes of PostgreSQL 18).
const DEPRECATES_MD5: u32 = 18;

/// Most missing objects that are named.
const MISSING: usize = 1000;

/// Most refused objects in the message.
const SENT: usize = 1000;

impl SandboxRun<'_> {
    /// Notes what the server refuses of the roles, and which of their passwords it deprecates.
    pub async fn rehearse_roles(
        &self,
        server: &TargetServer,
        script: &[u8],
        (refusals, made): (&Refusals, Result<()>),
        notes: &mut Vec<String>,
    ) -> std::result::Result<(), DrillFailure> {
        if let Err(error) = made {
            refusals.add_words("the roles of the globals", error.message());
            return Ok(());
        }
        let script = decoded(server.client(), script).await?;
        for (role, parameter, values) in Globals::parse(&script).iter().flat_map(Globals::parameters) {
            let sql = format!("ALTER ROLE {} SET {} TO {values}", identifier(role), identifier(parameter));
            if let Some(error) = refusal(server, &sql).await? {
                refusals.add(format!("parameter {parameter} of the role {}", identifier(role)), &error);
            }
        }
        let query = "SELECT count(*) FROM pg_authid WHERE rolpassword LIKE 'md5%'";
        let row = server.client().query_one(query, &[]).await.map_err(failed("the passwords cannot be counted"))?;
        let roles: i64 = get(&row, 0)?;
        if roles > 0 && self.order.server() >= DEPRECATES_MD5 {
            let who =
                if roles == 1 { "1 role has an MD5 password" } else { &format!("{roles} roles have MD5 passwords") };
            notes.push(format!(
                "{who}, which PostgreSQL deprecates since version {DEPRECATES_MD5}: set it again with password_encryption = \
                 'scram-sha-256'"
            ));
        }
        Ok(())
    }

    /// Notes which parameters of the database the server refuses. They are not set here: sessions of the restore would have them.
    pub async fn rehearse_parameters(
        &self,
        server: &TargetServer,
        database: &str,
        refusals: &Refusals,
    ) -> std::result::Result<(), DrillFailure> {
        for statement in properties::parameters(database, &self.order.properties) {
            if let Some(error) = refusal(server, &statement.sql).await? {
                refusals.add(format!("{} of the database", statement.what), &error);
            }
        }
        Ok(())
    }

    /// Sends what the server has refused, and what is missing after the restore.
    pub async fn gather_refusals(
        &self,
        archive: &Arc<Archive>,
        target: &DrillDatabase,
        refusals: &Refusals,
    ) -> std::result::Result<(), DrillFailure> {
        let client = session_in_loaded(target.connection(), target.name()).await.map_err(of_backup)?;
        let missing = missing_objects(archive, |_: &TocEntry<'_>| true, MISSING, &client).await?;
        let missing = missing.into_iter().map(|object| (object.dump_id, object.name)).collect();
        let (mut found, mut more) = refusals.all(archive, &self.ground.plan(self.order, &[]).log(), missing).await?;
        more += found.len().saturating_sub(SENT) as u64;
        found.truncate(SENT);
        Ok(self.outbox.send(Message::Refused { found, more }).await?)
    }
}

/// The server's error for a statement, whose effect is undone.
async fn refusal(server: &TargetServer, sql: &str) -> Result<Option<tokio_postgres::Error>> {
    let cannot = failed("the parameters cannot be tried");
    let client = server.client();
    client.batch_execute("BEGIN").await.map_err(&cannot)?;
    let refused = client.batch_execute(sql).await.err();
    client.batch_execute("ROLLBACK").await.map_err(&cannot)?;
    Ok(refused)
}

//! Extensions that work only in the database that the server's configuration names. They refuse any other name, also that of a
//! database that is being restored.

use std::collections::BTreeMap;

use crate::error::{Error, Kind, Result};
use crate::postgres::client::{failed, identifier};
use crate::postgres::columns::get;
use crate::restore::database::replaced::Replaced;
use crate::restore::server::TargetServer;

/// Extensions, and the parameter that names their database. pg_cron refuses all others (`pg_cron_cmptime` in its
/// `src/job_metadata.c`, README "Setting up pg_cron").
const BOUND: &[(&str, &str)] = &[("pg_cron", "cron.database_name")];

/// The parameters that bind these extensions to a database.
pub fn parameters(extensions: &[String], database: &str) -> BTreeMap<String, String> {
    let of = BOUND.iter().filter(|(name, _)| extensions.iter().any(|known| known == name));
    of.map(|(_, parameter)| ((*parameter).to_owned(), database.to_owned())).collect()
}

/// Whether the new database must have the target's name from its beginning, because one of these extensions requires it.
///
/// # Errors
/// `Config` if the server binds the extension to another database; `Usage` if the database that is `replaced` has the name.
pub async fn needs_name(
    server: &TargetServer,
    extensions: &[String],
    target: &str,
    replaced: Option<&Replaced>,
) -> Result<bool> {
    let mut needed = false;
    for (extension, parameter) in BOUND.iter().filter(|(name, _)| extensions.iter().any(|known| known == name)) {
        let row = server.client().query_one("SELECT current_setting($1, true)", &[parameter]).await;
        let row = row.map_err(failed("the server's configuration cannot be read"))?;
        // Without the parameter the extension's library is not loaded, and the extension reports that itself.
        let Some(database) = get::<Option<String>>(&row, 0)? else { continue };
        if database != target {
            let message = format!(
                "the backup has the extension {extension}, which this server makes in the database '{}' alone ({parameter})",
                database.escape_debug()
            );
            return Err(Error::new(Kind::Config, message).hint(format!(
                "set {parameter} = '{target}' in postgresql.conf and restart the server, or restore with --target-database \
                 {database}"
            )));
        }
        if replaced.is_some() {
            let (name, kept) = (identifier(target), identifier(&format!("{target}_before")));
            let message = format!(
                "the extension {extension} is made under the name '{target}' alone ({parameter}), which the database that is \
                 to be replaced has"
            );
            return Err(Error::new(Kind::Usage, message).hint(format!(
                "stop its clients, ALTER DATABASE {name} RENAME TO {kept}, and restore without --force (FORCE_RESTORE); the old \
                 one is kept under that name"
            )));
        }
        needed = true;
    }
    Ok(needed)
}

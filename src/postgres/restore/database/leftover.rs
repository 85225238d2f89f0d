//! Databases that killed restores have left.
//!
//! A restore marks the database that it makes, by a comment, with the process that it is. The next restore into the same
//! target drops what bears such a mark if that process has certainly ended and nobody is in the database; everything
//! else it only names. A name proves nothing: people may have made a database of that form too.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{MARK, Manner, NewDatabase, beside};
use crate::error::Result;
use crate::host::process::Process;
use crate::postgres::client::{failed, identifier, literal};
use crate::postgres::restore::server::Server;
use crate::postgres::snapshot::{get, text};

/// What the comment begins with.
const SAYS: &str = "pgcellar restores into this database: ";

/// The rest of the comment, as JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Marked {
    /// The name that the database would have got.
    target: String,
    /// Who makes it.
    process: Process,
}

/// Marks a new database as ours. Without the mark it could not be dropped later by itself, and that is all.
pub async fn mark(server: &Server, database: &NewDatabase) {
    let Ok(process) = Process::own() else { return };
    let Ok(json) = serde_json::to_string(&Marked { target: database.target.clone(), process }) else { return };
    let comment = literal(&format!("{SAYS}{json}"));
    let sql = format!("COMMENT ON DATABASE {} IS {comment}", identifier(&database.name));
    if let Err(error) = server.client().batch_execute(&sql).await {
        log::debug!("{}", failed("the new database cannot be marked")(error));
    }
}

/// Whether the database still has the mark; it counts as one that has where that cannot be asked.
pub async fn is_marked(server: &Server, database: &NewDatabase) -> bool {
    let query = "SELECT starts_with(coalesce(shobj_description($1::oid, 'pg_database'), ''), $2)";
    let row = server.client().query_one(query, &[&database.oid, &SAYS]).await;
    row.ok().and_then(|row| row.try_get(0).ok()).unwrap_or(true)
}

/// Drops what killed restores into `target` have left, as far as that is certain, and names the rest. The target's name
/// is reserved for us, so none of them has a session any more that it was begun with.
pub async fn clear(server: &mut Server, target: &str) -> Result<()> {
    let name = beside(target, MARK, Timestamp::now(), server.name_bytes());
    let stem = name.rfind(MARK).map_or(name.as_str(), |at| &name[..at + MARK.len()]);
    let query = "SELECT oid, datname::text, coalesce(shobj_description(oid, 'pg_database'), ''), \
         pg_has_role(datdba, 'USAGE'), \
         EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid AND a.usename IS NOT NULL) \
         FROM pg_database d WHERE starts_with(datname, $1) ORDER BY 2";
    let rows = server.client().query(query, &[&stem]).await.map_err(failed("the databases cannot be listed"))?;
    for row in rows {
        let (database, comment) = (text(&row, 1)?, text(&row, 2)?);
        let manner = Manner::default();
        let left = NewDatabase { oid: get(&row, 0)?, name: database, target: target.to_owned(), manner };
        match judge(&comment, target, get(&row, 3)?, get(&row, 4)?) {
            Ok(process) => left.clear_away(server, &process).await,
            Err(why) => left.name_it(why),
        }
    }
    Ok(())
}

/// The process that left the database, or why it must stay.
fn judge(comment: &str, target: &str, ours: bool, busy: bool) -> std::result::Result<Process, &'static str> {
    let marked = comment.strip_prefix(SAYS).and_then(|json| serde_json::from_str::<Marked>(json).ok());
    let Some(marked) = marked else { return Err("it has no mark of a restore") };
    if marked.target != target {
        return Err("it was made for another target");
    }
    if !ours {
        return Err("it belongs to another role");
    }
    if busy {
        return Err("somebody is connected to it");
    }
    match marked.process.has_ended() {
        true => Ok(marked.process),
        false => Err("the process that made it may still live, on another host or in another container"),
    }
}

impl NewDatabase {
    async fn clear_away(&self, server: &mut Server, process: &Process) {
        match self.drop_it(server).await {
            Ok(()) => log::info!(
                "dropped the database '{}', which process {} had left when it was killed",
                self.name.escape_debug(),
                process.pid
            ),
            Err(error) => self.name_it(error.message()),
        }
    }

    fn name_it(&self, why: &str) {
        log::warn!(
            "the database '{}' seems to be left from a restore that was killed, and stays: {why}; look at it, and drop \
             it: DROP DATABASE {} WITH (FORCE)",
            self.name.escape_debug(),
            identifier(&self.name)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_certain_is_dropped() {
        let living = Process::own().unwrap();
        let mut json = serde_json::to_value(&living).unwrap();
        json["started"] = serde_json::json!(1);
        let ended: Process = serde_json::from_value(json).unwrap();
        let comment = |process: &Process| {
            let marked = Marked { target: "a 'b'".to_owned(), process: process.clone() };
            format!("{SAYS}{}", serde_json::to_string(&marked).unwrap())
        };
        assert_eq!(judge(&comment(&ended), "a 'b'", true, false), Ok(ended.clone()));
        for (comment, target, ours, busy) in [
            (comment(&ended), "a", true, false),
            (comment(&ended), "a 'b'", false, false),
            (comment(&ended), "a 'b'", true, true),
            (comment(&living), "a 'b'", true, false),
            (String::new(), "a 'b'", true, false),
            (SAYS.to_owned(), "a 'b'", true, false),
            (format!("{SAYS}{{}}"), "a 'b'", true, false),
        ] {
            assert!(judge(&comment, target, ours, busy).is_err(), "{comment}");
        }
    }
}

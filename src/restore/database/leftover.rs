//! Databases that killed restores have left.
//!
//! A restore marks the database that it makes twice: `CREATE DATABASE` itself sets a limit of connections that nothing else
//! sets, and a comment then names the process. The next restore into the same target drops what bears the comment if that
//! process has certainly ended, and what has the limit and no comment if nothing was made in it: the session that made
//! it held the target's lock, which is ours now. In both cases no session may be in the database. Everything else it only
//! names. A name proves nothing: people may have made a database of that form too.

use tokio_postgres::Row;

use crate::catalogue::product::{CREATION_LIMIT, MARK, Mark, RESTORING, What, by_name};
use crate::error::Result;
use crate::host::process::Process;
use crate::postgres::client::{failed, identifier, literal};
use crate::postgres::snapshot::{get, text};
use crate::restore::database::empty::has_nothing;
use crate::restore::database::{CreateOptions, NewDatabase};
use crate::restore::server::{TargetServer, session};

/// Marks a new database as ours, with the process that may drop it.
pub async fn mark(server: &TargetServer, database: &NewDatabase) {
    let Ok(process) = Process::own() else { return };
    let Ok(json) = serde_json::to_string(&Mark { target: database.target.clone(), process }) else { return };
    let comment = literal(&format!("{MARK}{json}"));
    let sql = format!("COMMENT ON DATABASE {} IS {comment}", identifier(&database.name));
    if let Err(error) = server.client().batch_execute(&sql).await {
        log::debug!("{}", failed("the new database cannot be marked")(error));
    }
}

/// Whether the database still has the mark; it counts as one that has where that cannot be asked.
pub async fn is_marked(server: &TargetServer, database: &NewDatabase) -> bool {
    let query = "SELECT starts_with(coalesce(shobj_description($1::oid, 'pg_database'), ''), $2)";
    let row = server.client().query_one(query, &[&database.oid, &MARK]).await;
    row.ok().and_then(|row| row.try_get(0).ok()).unwrap_or(true)
}

/// A database that may have been left.
struct Left {
    name: String,
    comment: String,
    limit: i32,
    /// Whether it belongs to our role.
    ours: bool,
    /// Whether somebody is connected to it.
    busy: bool,
}

/// What is known of a database that may go.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// The process that has left it.
    Process(Process),
    /// Its restore was killed before it had marked it; it may go if nothing is in it.
    Unmarked,
}

/// Drops what killed restores into `target` have left, as far as that is certain, and names the rest. The target's name
/// is reserved for us, so none of them has a session any more that it was begun with.
pub async fn clear(server: &mut TargetServer, target: &str) -> Result<()> {
    let longest = server.name_bytes().saturating_sub(RESTORING.len() + "YYYYMMDD_HHMMSS".len());
    let stem = format!("{}{RESTORING}", &target[..target.floor_char_boundary(longest)]);
    let query = "SELECT oid, datname::text, coalesce(shobj_description(oid, 'pg_database'), ''), datconnlimit, \
         pg_has_role(datdba, 'USAGE'), \
         EXISTS (SELECT FROM pg_stat_activity a WHERE a.datid = d.oid AND a.usename IS NOT NULL) \
         FROM pg_database d WHERE starts_with(datname, $1) ORDER BY 2";
    let rows = server.client().query(query, &[&stem]).await.map_err(failed("the databases cannot be listed"))?;
    for row in rows {
        let left = Left::read(&row)?;
        let (oid, name, manner) = (get(&row, 0)?, left.name.clone(), CreateOptions::default());
        let database = NewDatabase { oid, name, target: target.to_owned(), manner };
        match judge(&left, target) {
            Ok(Origin::Process(process)) => {
                database.clear_away(server, &format!("process {} had left when it was killed", process.pid)).await;
            }
            Ok(Origin::Unmarked) => match database.has_nothing(server).await {
                Ok(true) => database.clear_away(server, "a restore had left that was killed while it was made").await,
                Ok(false) => database.name_it("something was made in it"),
                Err(error) => database.name_it(error.message()),
            },
            Err(why) => database.name_it(why),
        }
    }
    Ok(())
}

impl Left {
    fn read(row: &Row) -> Result<Self> {
        Ok(Left {
            name: text(row, 1)?,
            comment: text(row, 2)?,
            limit: get(row, 3)?,
            ours: get(row, 4)?,
            busy: get(row, 5)?,
        })
    }
}

/// How the database came to be left, or why it must stay.
fn judge(left: &Left, target: &str) -> std::result::Result<Origin, &'static str> {
    let origin = match left.comment.strip_prefix(MARK).map(serde_json::from_str::<Mark>) {
        Some(Ok(marked)) if marked.target != target => return Err("it was made for another target"),
        Some(Ok(marked)) => Origin::Process(marked.process),
        // Of a long name that was shortened nothing tells the target.
        None if left.comment.is_empty() && left.limit == CREATION_LIMIT && is_beside(&left.name, target) => {
            Origin::Unmarked
        }
        Some(Err(_)) | None => return Err("it has no mark of a restore"),
    };
    if !left.ours {
        return Err("it belongs to another role");
    }
    if left.busy {
        return Err("somebody is connected to it");
    }
    match &origin {
        Origin::Process(process) if !process.has_ended() => {
            Err("the process that made it may still live, on another host or in another container")
        }
        _ => Ok(origin),
    }
}

fn is_beside(name: &str, target: &str) -> bool {
    by_name(name, &[]).is_some_and(|product| product.what == What::Unfinished && product.of == target)
}

impl NewDatabase {
    async fn has_nothing(&self, server: &TargetServer) -> Result<bool> {
        has_nothing(&session(server.connection(), &self.name).await?).await
    }

    async fn clear_away(&self, server: &mut TargetServer, left: &str) {
        match self.drop_it(server).await {
            Ok(()) => log::info!("dropped the database '{}', which {left}", self.name.escape_debug()),
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
    use crate::catalogue::product::marked_target;

    fn left(comment: &str, limit: i32) -> Left {
        let name = "a 'b'_restoring_20231231_020000".to_owned();
        Left { name, comment: comment.to_owned(), limit, ours: true, busy: false }
    }

    #[test]
    fn only_what_is_certain_is_dropped() {
        let living = Process::own().unwrap();
        let mut json = serde_json::to_value(&living).unwrap();
        json["started"] = serde_json::json!(1);
        let ended: Process = serde_json::from_value(json).unwrap();
        let comment = |process: &Process| {
            let marked = Mark { target: "a 'b'".to_owned(), process: process.clone() };
            format!("{MARK}{}", serde_json::to_string(&marked).unwrap())
        };
        let by_process = left(&comment(&ended), -1);
        assert_eq!(judge(&by_process, "a 'b'"), Ok(Origin::Process(ended.clone())));
        assert_eq!(marked_target(&by_process.comment).as_deref(), Some("a 'b'"));
        assert_eq!(judge(&left("", CREATION_LIMIT), "a 'b'"), Ok(Origin::Unmarked));
        let busy = |left: Left| Left { busy: true, ..left };
        let strange = |left: Left| Left { ours: false, ..left };
        for (case, left, target) in [
            ("another target", left(&comment(&ended), CREATION_LIMIT), "a"),
            ("another role's", strange(left(&comment(&ended), CREATION_LIMIT)), "a 'b'"),
            ("busy", busy(left(&comment(&ended), CREATION_LIMIT)), "a 'b'"),
            ("living", left(&comment(&living), CREATION_LIMIT), "a 'b'"),
            ("no mark", left("", -1), "a 'b'"),
            ("a limit of its own", left("", CREATION_LIMIT - 1), "a 'b'"),
            ("a comment of its own", left("mine", CREATION_LIMIT), "a 'b'"),
            ("half a comment", left(MARK, CREATION_LIMIT), "a 'b'"),
            ("an empty comment", left(&format!("{MARK}{{}}"), CREATION_LIMIT), "a 'b'"),
            ("unmarked, another role's", strange(left("", CREATION_LIMIT)), "a 'b'"),
            ("unmarked and busy", busy(left("", CREATION_LIMIT)), "a 'b'"),
            ("unmarked, a shortened name", left("", CREATION_LIMIT), "a 'b' and more"),
            (
                "unmarked, another name",
                Left { name: "a 'b'_restoring_now".to_owned(), ..left("", CREATION_LIMIT) },
                "a 'b'",
            ),
        ] {
            assert!(judge(&left, target).is_err(), "{case}");
        }
    }
}

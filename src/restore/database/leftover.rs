//! Databases that killed restores have left.
//!
//! A restore marks the database that it makes twice: `CREATE DATABASE` sets a connection limit that nothing else sets, and
//! then a comment names the process. The next restore into the same target drops a database with the comment if that
//! process has certainly ended. It drops a database with the limit, without a comment and without any object: the session
//! that made it had the lock of the target, which this restore has now. A database with sessions is never dropped. All other
//! databases whose names look like it are only logged: users may have made a database of that name, too.

use tokio_postgres::Row;

use crate::catalogue::product::{RESTORING, What, by_name};
use crate::error::Result;
use crate::host::process::Process;
use crate::postgres::client::{failed, identifier};
use crate::postgres::columns::{get, text};
use crate::postgres::restore_mark::{RestoreMark, UNFINISHED_LIMIT};
use crate::restore::database::empty::has_nothing;
use crate::restore::database::{CreateOptions, NewDatabase};
use crate::restore::server::{TargetServer, session};

/// A database that may have been left.
struct Left {
    name: String,
    comment: String,
    limit: i32,
    /// Whether our role may drop it.
    owned: bool,
    /// Whether it has sessions.
    busy: bool,
}

/// Why a database may be dropped.
#[derive(Debug, PartialEq, Eq)]
enum Origin {
    /// This process has left it.
    Process(Process),
    /// Its restore was killed before it set the comment. It may be dropped if it is empty.
    Unmarked,
}

/// Drops the databases that killed restores into `target` have certainly left, and logs the others. The caller has reserved
/// the target's name, so the sessions that made them have ended.
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
        let (oid, name, options) = (get(&row, 0)?, left.name.clone(), CreateOptions::default());
        let database = NewDatabase { oid, name, target: target.to_owned(), options };
        match judge(&left, target) {
            Ok(Origin::Process(process)) => {
                database.clear_away(server, &format!("process {} left when it was killed", process.pid)).await;
            }
            Ok(Origin::Unmarked) => match database.has_nothing(server).await {
                Ok(true) => database.clear_away(server, "a restore left when it was killed while creating it").await,
                Ok(false) => database.name_it("it has contents"),
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
            owned: get(row, 4)?,
            busy: get(row, 5)?,
        })
    }
}

/// Why the database may be dropped, or why it must stay.
fn judge(left: &Left, target: &str) -> std::result::Result<Origin, &'static str> {
    let origin = match RestoreMark::read(&left.comment) {
        Some(Ok(mark)) if mark.target != target => return Err("it was made for another target"),
        Some(Ok(mark)) => Origin::Process(mark.process),
        // A long name was shortened, and does not contain the whole target.
        None if left.comment.is_empty() && left.limit == UNFINISHED_LIMIT && is_beside(&left.name, target) => {
            Origin::Unmarked
        }
        Some(Err(_)) | None => return Err("it has no mark of a restore"),
    };
    if !left.owned {
        return Err("it belongs to another role");
    }
    if left.busy {
        return Err("it has sessions");
    }
    match &origin {
        Origin::Process(process) if !process.has_ended() => {
            Err("the process that made it may still run, on another host or in another container")
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
            "the database '{}' seems to be left over from a killed restore, and is not dropped: {why}; check it, and \
             drop \
             it: DROP DATABASE {} WITH (FORCE)",
            self.name.escape_debug(),
            identifier(&self.name)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::restore_mark::{SAYS, target_of};

    fn left(comment: &str, limit: i32) -> Left {
        let name = "a 'b'_restoring_20231231_020000".to_owned();
        Left { name, comment: comment.to_owned(), limit, owned: true, busy: false }
    }

    #[test]
    fn only_what_is_certain_is_dropped() {
        let own = Process::own().unwrap();
        let mut json = serde_json::to_value(&own).unwrap();
        json["started"] = serde_json::json!(1);
        let ended: Process = serde_json::from_value(json).unwrap();
        let comment =
            |process: &Process| RestoreMark { target: "a 'b'".to_owned(), process: process.clone() }.comment().unwrap();
        let by_process = left(&comment(&ended), -1);
        assert_eq!(judge(&by_process, "a 'b'"), Ok(Origin::Process(ended.clone())));
        assert_eq!(target_of(&by_process.comment).as_deref(), Some("a 'b'"));
        assert_eq!(judge(&left("", UNFINISHED_LIMIT), "a 'b'"), Ok(Origin::Unmarked));
        let busy = |left: Left| Left { busy: true, ..left };
        let strange = |left: Left| Left { owned: false, ..left };
        for (case, left, target) in [
            ("another target", left(&comment(&ended), UNFINISHED_LIMIT), "a"),
            ("another role's", strange(left(&comment(&ended), UNFINISHED_LIMIT)), "a 'b'"),
            ("busy", busy(left(&comment(&ended), UNFINISHED_LIMIT)), "a 'b'"),
            ("its process runs", left(&comment(&own), UNFINISHED_LIMIT), "a 'b'"),
            ("no mark", left("", -1), "a 'b'"),
            ("a limit of its own", left("", UNFINISHED_LIMIT - 1), "a 'b'"),
            ("a comment of its own", left("mine", UNFINISHED_LIMIT), "a 'b'"),
            ("half a comment", left(SAYS, UNFINISHED_LIMIT), "a 'b'"),
            ("an empty comment", left(&format!("{SAYS}{{}}"), UNFINISHED_LIMIT), "a 'b'"),
            ("unmarked, another role's", strange(left("", UNFINISHED_LIMIT)), "a 'b'"),
            ("unmarked and busy", busy(left("", UNFINISHED_LIMIT)), "a 'b'"),
            ("unmarked, a shortened name", left("", UNFINISHED_LIMIT), "a 'b' and more"),
            (
                "unmarked, another name",
                Left { name: "a 'b'_restoring_now".to_owned(), ..left("", UNFINISHED_LIMIT) },
                "a 'b'",
            ),
        ] {
            assert!(judge(&left, target).is_err(), "{case}");
        }
    }
}

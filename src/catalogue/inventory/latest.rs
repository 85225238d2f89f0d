//! What `latest` means, and what is said of what it passed over.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::catalogue::Status;
use crate::catalogue::inventory::{BackupCopies, BackupQuery, Choice, Inventory};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::newest::is_from_future;
use crate::catalogue::ownership::Whose;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;

impl Inventory {
    /// The same as of this time: without the backups that began later.
    #[must_use]
    pub fn until(mut self, at: Timestamp) -> Self {
        self.groups.retain(|group| group.manifest().started <= at);
        self
    }

    /// What is to be said of rows that are missing in the backup that was found.
    pub(super) fn of_rewritten(&self, found: &BackupCopies) -> Option<String> {
        let lacking = found.manifest().lacking().filter(|_| found.lacks_rewritten())?;
        Some(format!("{} is partial: {lacking}", printable(&found.manifest().id)))
    }

    /// Which newer one `latest` passed over, and whose the one is that it took.
    pub(super) fn of_latest(&self, found: &BackupCopies) -> Vec<String> {
        let id = printable(&found.manifest().id);
        let mut remarks = Vec::new();
        let newer = |group: &&BackupCopies| group.manifest().started > found.manifest().started;
        if let Some(newer) = self.own(Some(&found.manifest().database)).rfind(newer) {
            let (newer_id, best) = (printable(&newer.manifest().id), newer.best());
            let why = match (best.status, newer.manifest().lacking()) {
                (Status::Damaged, _) => format!("is damaged ({})", best.faults().join("; ")),
                (Status::Partial, Some(lacking)) => format!("is partial ({lacking}): name it to take it"),
                _ => "began in the future: a clock was wrong; name it to take it".to_owned(),
            };
            remarks.push(format!("{id} is taken; a newer backup, {newer_id}, {why}"));
        }
        if found.whose == Whose::Likely {
            remarks.push(format!("{id} is of {}, the only one that has backups here", found.maker()));
        } else if is_from_future(found.manifest().started, self.now) {
            remarks.push(format!("{id} began in the future: a clock was wrong; there is no other good one"));
        }
        remarks
    }

    pub(super) fn latest(&self, asked: BackupQuery<'_>) -> Result<&BackupCopies> {
        let whole: HashSet<&str> = self
            .own(asked.database)
            .filter(|group| group.is_good())
            .map(|group| group.manifest().database.as_str())
            .collect();
        let has_whole = |group: &BackupCopies| whole.contains(group.manifest().database.as_str());
        let good: Vec<&BackupCopies> = self
            .own(asked.database)
            .filter(|group| group.is_good() || (group.lacks_rewritten() && !has_whole(group)))
            .collect();
        let mut databases: Vec<&str> = good.iter().map(|group| group.manifest().database.as_str()).collect();
        databases.sort_unstable();
        databases.dedup();
        let timely = good.iter().rfind(|group| !is_from_future(group.manifest().started, self.now));
        match (timely.or(good.last()), databases.as_slice()) {
            (Some(newest), [_]) if newest.whose == Whose::Unclear => Err(self.unclear(newest)),
            (Some(newest), [_]) => Ok(newest),
            (Some(_), several) => Err(Error::new(
                Kind::Usage,
                format!("'latest' could be a backup of {} databases: {}", several.len(), several.join(", ")),
            )
            .hint("name one with --database")),
            (None, _) => Err(self.no_latest(asked)),
        }
    }

    /// Backups of several servers must not pass for those of one.
    fn unclear(&self, group: &BackupCopies) -> Error {
        let doubt = self.doubts.iter().find(|doubt| doubt.is_unclear()).or(self.doubts.first());
        let why = doubt.map(|doubt| format!(": {doubt}")).unwrap_or_default();
        let database = printable(&group.manifest().database);
        let message = format!("which backup of '{database}' is the latest of this server cannot be told{why}");
        Error::new(Kind::Usage, message).hint(format!(
            "name one by its id (pgcellar list){}",
            doubt.map(|doubt| format!("; {}", doubt.hint())).unwrap_or_default()
        ))
    }

    /// After a disaster the host is a new one: the backups that it needs are those of another.
    fn no_latest(&self, asked: BackupQuery<'_>) -> Error {
        let of = asked.database.map(|name| format!(" of '{}'", printable(name))).unwrap_or_default();
        match self.others(asked.database).filter(|group| group.is_good()).last() {
            Some(newest) => {
                let id = printable(&newest.manifest().id);
                let message = format!("there is no good whole backup{of} that this instance made on this host");
                let Manifest { instance, host, .. } = newest.manifest();
                Error::new(Kind::Missing, message).hint(format!(
                    "the newest of others is of {}: pgcellar {} {id}; pgcellar takeover {}/{} makes all of that one ours; \
                     pgcellar list --all-instances shows all",
                    newest.maker(),
                    asked.verb,
                    printable(host),
                    printable(instance)
                ))
            }
            None => Error::new(Kind::Missing, format!("there is no good whole backup{of}"))
                .hint("pgcellar list shows what there is"),
        }
    }
}

impl Choice<'_> {
    /// Refuses to replace a database with what is only likely this server's own.
    ///
    /// # Errors
    /// `Usage`, with what to type.
    pub fn may_replace(&self) -> Result<()> {
        if self.group.whose == Whose::Own || (self.group.whose == Whose::Before && self.is_near) {
            return Ok(());
        }
        let Manifest { id, instance, host, .. } = self.group.manifest();
        let message = format!(
            "the latest backup, {}, is of {}, and would replace a database here",
            printable(id),
            self.group.maker()
        );
        Err(Error::new(Kind::Usage, message).hint(format!(
            "name it by its id, or make the backups this instance's own: pgcellar takeover {}/{}",
            printable(host),
            printable(instance)
        )))
    }
}

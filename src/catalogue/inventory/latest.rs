//! The selection of `latest` and `latest~N`, and remarks about newer backups that it skips.

use std::collections::HashSet;

use jiff::Timestamp;

use crate::catalogue::inventory::{BackupCopies, BackupQuery, Choice, Inventory};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::ownership::Whose;
use crate::catalogue::{Status, is_from_future};
use crate::error::{Error, Kind, Result};
use crate::format::count;
use crate::printable::printable;

/// The name of the newest good backup.
const LATEST: &str = "latest";

impl BackupQuery<'_> {
    /// How many good backups before the latest one are skipped: 0 for `latest`, N for `latest~N`, as git counts commits
    /// (`gitrevisions(7)`); none for an id.
    pub(super) fn steps_back(self) -> Option<usize> {
        match self.id.strip_prefix(LATEST)? {
            "" => Some(0),
            "~" => Some(1),
            steps => steps.strip_prefix('~')?.parse().ok(),
        }
    }

    /// Whether it is `latest` or `latest~N`.
    pub fn is_latest(self) -> bool {
        self.steps_back().is_some()
    }
}

impl Inventory {
    /// The inventory as of this time, without backups that began later.
    #[must_use]
    pub fn until(mut self, at: Timestamp) -> Self {
        self.groups.retain(|group| group.manifest().started <= at);
        self
    }

    /// A remark about rows that are missing in the selected backup.
    pub(super) fn of_rewritten(&self, found: &BackupCopies) -> Option<String> {
        let lacking = found.manifest().lacking().filter(|_| found.lacks_rewritten())?;
        Some(format!("{} is partial: {lacking}", printable(&found.manifest().id)))
    }

    /// Remarks about a newer backup that `latest` skips, and about the owner of the selected one. `latest~N` skips newer ones by
    /// its meaning.
    pub(super) fn of_latest(&self, found: &BackupCopies, back: usize) -> Vec<String> {
        let id = printable(&found.manifest().id);
        let mut remarks = Vec::new();
        let newer = |group: &&BackupCopies| group.manifest().started > found.manifest().started;
        if let Some(newer) = self.own(Some(&found.manifest().database)).rfind(newer).filter(|_| back == 0) {
            let (newer_id, best) = (printable(&newer.manifest().id), newer.best());
            let why = match (best.status, newer.manifest().lacking()) {
                (Status::Damaged, _) => format!("is damaged ({})", best.faults().join("; ")),
                (Status::Partial, Some(lacking)) => format!("is partial ({lacking}): name it by its id to use it"),
                _ => "began in the future: a clock was wrong; name it by its id to use it".to_owned(),
            };
            remarks.push(format!("using {id}; a newer backup, {newer_id}, {why}"));
        }
        if found.whose == Whose::Likely {
            remarks.push(format!("{id} is of {}, the only one that has backups here", found.maker()));
        } else if is_from_future(found.manifest().started, self.now) {
            remarks.push(format!("{id} began in the future: a clock was wrong; there is no other good one"));
        }
        remarks
    }

    /// The latest backup, or the one `back` before it; see [`Inventory::resolve`].
    pub(super) fn latest(&self, query: BackupQuery<'_>, back: usize) -> Result<&BackupCopies> {
        let whole: HashSet<&str> = self
            .own(query.database)
            .filter(|group| group.is_good())
            .map(|group| group.manifest().database.as_str())
            .collect();
        let has_whole = |group: &BackupCopies| whole.contains(group.manifest().database.as_str());
        let good: Vec<&BackupCopies> = self
            .own(query.database)
            .filter(|group| group.is_good() || (group.lacks_rewritten() && !has_whole(group)))
            .collect();
        let mut databases: Vec<&str> = good.iter().map(|group| group.manifest().database.as_str()).collect();
        databases.sort_unstable();
        databases.dedup();
        let mut timely: Vec<&BackupCopies> =
            good.iter().filter(|group| !is_from_future(group.manifest().started, self.now)).copied().collect();
        if timely.is_empty() {
            timely.extend(good.last());
        }
        match (timely.iter().rev().nth(back), databases.as_slice()) {
            (Some(newest), [_]) if newest.whose == Whose::Unclear => Err(self.unclear(newest)),
            (Some(newest), [_]) => Ok(newest),
            (None, [database]) => Err(Error::new(
                Kind::Missing,
                format!(
                    "there is no backup '{}': '{}' has {}",
                    printable(query.id),
                    printable(database),
                    count(timely.len(), "good backup")
                ),
            )
            .hint("pgcellar list shows the backups")),
            (_, []) => Err(self.no_latest(query)),
            (_, several) => Err(Error::new(
                Kind::Usage,
                format!(
                    "'{}' could be a backup of {} databases: {}",
                    printable(query.id),
                    several.len(),
                    several.join(", ")
                ),
            )
            .hint("name one with --database")),
        }
    }

    /// The error if the backups may be of several servers.
    fn unclear(&self, group: &BackupCopies) -> Error {
        let doubt = self.doubts.iter().find(|doubt| doubt.is_unclear()).or(self.doubts.first());
        let why = doubt.map(|doubt| format!(": {doubt}")).unwrap_or_default();
        let database = printable(&group.manifest().database);
        let message = format!("the latest backup of '{database}' of this server cannot be determined{why}");
        Error::new(Kind::Usage, message).hint(format!(
            "name one by its id (pgcellar list){}",
            doubt.map(|doubt| format!("; {}", doubt.hint())).unwrap_or_default()
        ))
    }

    /// The error if this instance has no good backup. After a disaster the host is new, and needs the backups of another one.
    fn no_latest(&self, query: BackupQuery<'_>) -> Error {
        let of = query.database.map(|name| format!(" of '{}'", printable(name))).unwrap_or_default();
        match self.others(query.database).filter(|group| group.is_good()).last() {
            Some(newest) => {
                let id = printable(&newest.manifest().id);
                let message = format!("there is no good whole backup{of} that this instance made on this host");
                let Manifest { instance, host, .. } = newest.manifest();
                Error::new(Kind::Missing, message).hint(format!(
                    "the newest of another instance is of {}: pgcellar {} {id}; pgcellar takeover {}/{} takes all its backups over; \
                     pgcellar list --all-instances lists all",
                    newest.maker(),
                    query.verb,
                    printable(host),
                    printable(instance)
                ))
            }
            None => Error::new(Kind::Missing, format!("there is no good whole backup{of}"))
                .hint("pgcellar list shows the backups"),
        }
    }
}

impl Choice<'_> {
    /// Refuses to replace a database with a backup that may be of another server.
    ///
    /// # Errors
    /// `Usage`, with the command to use.
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

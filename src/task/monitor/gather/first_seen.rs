//! Since when databases are to be backed up, so that a new one is given the time to its first run. It is kept in a unit's state
//! folder, or beside the memory of a scheduler. Where neither ran, nothing is kept: a look of a person leaves no trace, and a
//! container that is there for one look alone has nowhere to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::Place;
use crate::host::{replace_file, state};
use crate::task::schedule::state as scheduler;

/// Name of the state beside a scheduler's.
const NAME: &str = "first-seen";

/// When each database was seen first.
#[derive(Debug, Default)]
pub struct FirstSeen {
    first: BTreeMap<String, Timestamp>,
    /// For want of such a note: when the backup directory was made.
    directory: Option<Timestamp>,
}

impl FirstSeen {
    /// Since when this database is to be backed up, if something tells.
    pub fn since(&self, database: &str) -> Option<Timestamp> {
        self.first.get(database).copied().or(self.directory)
    }
}

/// Notes the databases that were not seen before, and forgets those that are not to be backed up any more. One that has
/// had a backup is never new again, wherever its backups go.
pub fn note(place: &Place, databases: &BTreeSet<String>, backed_up: &BTreeSet<&str>, now: Timestamp) -> FirstSeen {
    let directory = place.directory.as_deref().and_then(made);
    let Some(path) = path(place) else { return FirstSeen { directory, ..FirstSeen::default() } };
    let before =
        std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<BTreeMap<String, Timestamp>>(&text).ok());
    let before = before.unwrap_or_default();
    // A moment that has not come yet was noted by a clock that was ahead.
    let since = |name: &String| match backed_up.contains(name.as_str()) {
        true => Timestamp::UNIX_EPOCH,
        false => before.get(name).copied().filter(|since| *since <= now).unwrap_or(now),
    };
    let first: BTreeMap<String, Timestamp> = databases.iter().map(|name| (name.clone(), since(name))).collect();
    if first != before
        && let Err(error) = write(&path, &first)
    {
        log::warn!("{}: {}", path.display(), crate::error::reason(&error));
    }
    FirstSeen { first, directory: None }
}

fn path(place: &Place) -> Option<PathBuf> {
    match state::of_unit() {
        Some(folder) => Some(folder.join(format!("first-seen-{}.json", place.instance))),
        None if scheduler::is_kept(place) => state::path(place, NAME).ok(),
        None => None,
    }
}

fn write(path: &Path, first: &BTreeMap<String, Timestamp>) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(first)?;
    bytes.push(b'\n');
    replace_file::replace(path, &bytes, 0o600)
}

fn made(directory: &Path) -> Option<Timestamp> {
    Timestamp::try_from(directory.metadata().ok()?.created().ok()?).ok()
}

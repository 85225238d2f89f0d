//! Since when databases have been selected for backups, so that a new one has time until its first run. It is saved in
//! a unit's state folder, or beside a scheduler's state. Otherwise nothing is saved: a call by hand leaves no trace,
//! and a container for a single command has no folder for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::Place;
use crate::host::scheduler_state as scheduler;
use crate::host::{replace_file, state};

/// Name of the state beside the scheduler's.
const NAME: &str = "first-seen";

/// When each database was seen first.
#[derive(Debug, Default)]
pub struct FirstSeen {
    first: BTreeMap<String, Timestamp>,
    /// Without such a record: when the backup directory was created.
    directory: Option<Timestamp>,
}

impl FirstSeen {
    /// Since when this database has been selected for backups, if known.
    pub fn since(&self, database: &str) -> Option<Timestamp> {
        self.first.get(database).copied().or(self.directory)
    }
}

/// Records databases that are seen for the first time, and forgets those that are not selected any more. A database
/// that has had a backup is never new again, wherever its backups go.
pub fn note(place: &Place, databases: &BTreeSet<String>, backed_up: &BTreeSet<&str>, now: Timestamp) -> FirstSeen {
    let directory = place.directory.as_deref().and_then(made);
    let Some(path) = path(place) else { return FirstSeen { directory, ..FirstSeen::default() } };
    let before =
        std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<BTreeMap<String, Timestamp>>(&text).ok());
    let before = before.unwrap_or_default();
    // A moment in the future was recorded by a clock that was ahead.
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

//! Since when databases are to be backed up, kept in the state folder: so a new one is given the time to its first run.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::Place;
use crate::host::replace_file;

/// When each database was seen first.
#[derive(Debug, Default)]
pub struct Seen {
    first: BTreeMap<String, Timestamp>,
    /// For want of a state folder: when the backup directory was made.
    directory: Option<Timestamp>,
}

impl Seen {
    /// Since when this database is to be backed up, if something tells.
    pub fn since(&self, database: &str) -> Option<Timestamp> {
        self.first.get(database).copied().or(self.directory)
    }
}

/// Notes the databases that were not seen before, and forgets those that are not to be backed up any more. One that has
/// had a backup is never new again, wherever its backups go.
pub fn note(place: &Place, databases: &BTreeSet<String>, backed_up: &BTreeSet<&str>, now: Timestamp) -> Seen {
    let directory = place.directory.as_deref().and_then(made);
    let Some(path) = path(&place.instance) else { return Seen { directory, ..Seen::default() } };
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
    Seen { first, directory: None }
}

/// `$STATE_DIRECTORY` may have several folders (`systemd.exec(5)`); a person's shell has none.
fn path(instance: &str) -> Option<PathBuf> {
    let folders = std::env::var("STATE_DIRECTORY").ok()?;
    let first = folders.split(':').next().filter(|folder| folder.starts_with('/'))?;
    Some(Path::new(first).join(format!("first-seen-{instance}.json")))
}

fn write(path: &Path, first: &BTreeMap<String, Timestamp>) -> io::Result<()> {
    let mut bytes = serde_json::to_vec_pretty(first)?;
    bytes.push(b'\n');
    replace_file::replace(path, &bytes, 0o600)
}

fn made(directory: &Path) -> Option<Timestamp> {
    Timestamp::try_from(directory.metadata().ok()?.created().ok()?).ok()
}

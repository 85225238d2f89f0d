//! Records beside a manifest, and the concurrent removal of the backup.
//!
//! A verify, a drill and a pin take no lock, and a removal cannot wait for them. They synchronize through the manifest:
//!
//! - A removal first checks for a pin; then it withdraws the manifest, whose bytes stay under its temporary name; then it
//!   checks for a pin again, and if there is one, it gives the manifest its name back. Only after that does it delete files,
//!   the manifest's bytes last.
//! - A pin is written first; then it is checked whether the manifest exists. If so, the pin holds: a later withdrawal is
//!   followed by the removal's second check, which sees the pin. If not, the removal may have checked twice before the pin was
//!   written, or be about to give the name back: while the manifest is under its temporary name, the pin waits. A pin without a
//!   backup is deleted again.
//! - Other records are written, and deleted again if the manifest does not exist after that. A removal deletes those that existed
//!   before.
//!
//! A killed removal leaves the manifest under its temporary name. The next sweep finishes it; but if there is a pin and all
//! files still exist, it gives the manifest its name back, because the pin may have held. A pin, verify or drill that is killed
//! between its two steps leaves a record without a backup, which a sweep removes after a day.
//!
//! In a folder, the manifest is renamed in both directions. A bucket has no renaming: the bytes are written under the temporary
//! name before the manifest is deleted, so that at each moment one of the two exists. One race remains there: a request to
//! delete that was sent again because its answer was lost, and whose first copy the server carries out minutes later, after the
//! manifest has been written back.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::{PIN, VERIFY};
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::store::{ObjectKind, Store};

pub mod drill;
pub mod rehearsal;

/// How long a pin waits for a removal.
const REMOVAL: Duration = Duration::from_secs(30);

/// How often it checks.
const INTERVAL: Duration = Duration::from_millis(200);

/// How often a pin is written again if the backup reappears while the pin is being deleted.
const ATTEMPTS: u32 = 3;

/// Writes a record beside the manifest of the backup `id`. Returns false, and leaves no record, if the backup has been removed.
pub fn write(store: &dyn Store, id: &str, key: &str, bytes: &[u8]) -> Result<bool> {
    let manifest = Manifest::key(id);
    if store.size(&manifest)?.is_none() {
        return Ok(false);
    }
    store.replace(key, bytes, ObjectKind::Record)?;
    if store.size(&manifest)?.is_some() {
        return Ok(true);
    }
    store.delete(key)?;
    Ok(false)
}

/// Pins a backup. After that no removal of it begins, and one that has begun restores the manifest.
///
/// # Errors
/// `Missing` if it was removed meanwhile; `TryAgain` if a removal has begun and does not end.
pub fn pin(store: &dyn Store, pin: &Pin) -> Result<()> {
    let (id, key, bytes) = (&pin.id, Pin::key(&pin.id), pin.to_json()?);
    let manifest = Manifest::key(id);
    for _ in 0..ATTEMPTS {
        store.replace(&key, &bytes, ObjectKind::Record)?;
        if is_listed_again(store, &manifest)? {
            return Ok(());
        }
        store.delete(&key)?;
        // If a removal restores the manifest at this moment, it is because of this pin, or of another one that was just deleted.
        if store.size(&manifest)?.is_none() {
            break;
        }
    }
    let (id, place) = (printable(id), store.location());
    match is_withdrawn(store, &manifest)? {
        true => Err(Error::new(Kind::TryAgain, format!("{id} is being removed from {place}, and is not pinned"))
            .hint("retention may have been killed there: run it again, then check with pgcellar list")),
        false => Err(Error::new(Kind::Missing, format!("{id} was removed from {place} meanwhile"))),
    }
}

/// Whether the manifest exists, after waiting while it is under its temporary name.
fn is_listed_again(store: &dyn Store, manifest: &str) -> Result<bool> {
    let begun = Instant::now();
    loop {
        let withdrawn = is_withdrawn(store, manifest)?;
        if store.size(manifest)?.is_some() {
            return Ok(true);
        }
        if !withdrawn || begun.elapsed() > REMOVAL {
            return Ok(false);
        }
        std::thread::sleep(INTERVAL);
    }
}

fn is_withdrawn(store: &dyn Store, manifest: &str) -> Result<bool> {
    match store.read_partial(manifest) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == Kind::Missing => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether the backup is pinned: whatever has the name of its pin pins it.
pub fn is_pinned(store: &dyn Store, id: &str) -> Result<bool> {
    let key = Pin::key(id);
    Ok(store.size(&key)?.is_some() || store.not_a_file(&key)?.is_some())
}

/// Withdraws the manifest of a backup, so that the backup is no longer listed and its files can be deleted.
///
/// # Errors
/// `TryAgain` if it is pinned: then it stays listed.
pub fn withdraw(store: &dyn Store, id: &str) -> Result<()> {
    let pinned = || Error::new(Kind::TryAgain, format!("{id} was pinned meanwhile"));
    if is_pinned(store, id)? {
        return Err(pinned());
    }
    let manifest = Manifest::key(id);
    store.withdraw(&manifest)?;
    let failure = match is_pinned(store, id) {
        Ok(false) => return Ok(()),
        Ok(true) => pinned(),
        Err(error) => error,
    };
    store.reinstate(&manifest).map_err(|error| {
        error.context(format!("{failure}, and its manifest is withdrawn")).hint("the next run of retention restores it")
    })?;
    Err(failure)
}

/// Whether a backup with a withdrawn manifest is pinned and has all its files: then no file has been deleted.
pub fn is_to_be_reinstated(store: &dyn Store, manifest: &Manifest) -> Result<bool> {
    if !is_pinned(store, &manifest.id)? {
        return Ok(false);
    }
    for file in &manifest.files {
        if store.size(&file.key)? != Some(file.stored_bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A pin, which keeps a backup until it is removed, in `ID.pin.json` beside the manifest. `doc/manifest.md` describes each field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Id of the backup.
    pub id: String,
    /// When it was pinned, UTC.
    pub at: Timestamp,
    /// Why, as the user gave it.
    pub reason: Option<String>,
}

impl Pin {
    /// Key of what pins the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{PIN}")
    }

    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        document::to_json(self)
    }
}

/// The result of the last verify of a backup, in `ID.verify.json` beside the manifest. `doc/manifest.md` describes each field.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Id of the backup.
    pub id: String,
    /// When it ended, UTC.
    pub at: Timestamp,
    /// Whether every check that could be made passed.
    pub passed: bool,
    /// `full`, or `stored` where only the stored bytes could be read.
    pub depth: Depth,
    /// What is damaged; empty if it passed.
    pub damage: Vec<String>,
}

/// How far a verify went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Stored bytes, plain bytes and the archive's structure.
    Full,
    /// Stored bytes only, for want of the private key.
    Stored,
}

impl Verification {
    /// Key of the result for the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{VERIFY}")
    }

    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        document::to_json(self)
    }
}

#[cfg(test)]
mod tests;

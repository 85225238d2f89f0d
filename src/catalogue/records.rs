//! Records beside a manifest, and the removal of a backup: who wins where both happen at once.
//!
//! A verify, a drill and a pin take no lock, and a removal cannot wait for them. What they agree upon is the manifest:
//!
//! - A removal first looks for a pin; then it withdraws the manifest, whose bytes stay under its temporary name; then it looks
//!   for a pin once more, and if there is one, it gives the manifest its name back. Only then are files deleted, the
//!   manifest's bytes last.
//! - A pin is written first; then the manifest is looked for. If it is there, the pin holds: a withdrawal that comes later
//!   is followed by the removal's second look, which sees the pin. If it is not there, the removal may have looked twice
//!   before the pin came, or be about to give the name back: while the manifest stands under its temporary name, that is
//!   waited for. A pin that comes to nothing is taken away again.
//! - Other records are written, and taken away again if the manifest is gone by then. A removal deletes those that were there
//!   before.
//!
//! A removal that is killed leaves the manifest under its temporary name. The next sweep finishes it; but where there is a
//! pin, and all files are still there, it gives the manifest its name back: the pin may have held. A pin, verify or drill that
//! is killed between its two steps leaves a record of nothing, which a sweep removes after a day.
//!
//! In a folder both ways of the manifest are one renaming. A bucket knows none: the bytes are written under the temporary name
//! before the manifest is deleted, so that at each moment one of the two is there. What cannot be ruled out there is a
//! request to delete that was sent again because its answer was lost, and whose first copy the server carries out minutes
//! later, after the manifest has been written back.

use std::time::{Duration, Instant};

use crate::catalogue::manifest::{Manifest, Pin};
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::store::Store;

/// How long a pin waits for a removal that has begun.
const REMOVAL: Duration = Duration::from_secs(30);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);

/// How often a pin is begun anew whose backup came back while it was being taken away.
const TRIES: u32 = 3;

/// Writes a record beside the manifest of the backup `id`. Gives false, and leaves no record, if the backup is gone.
pub fn write(store: &dyn Store, id: &str, key: &str, bytes: &[u8]) -> Result<bool> {
    let manifest = Manifest::key(id);
    if store.size(&manifest)?.is_none() {
        return Ok(false);
    }
    store.replace(key, bytes)?;
    if store.size(&manifest)?.is_some() {
        return Ok(true);
    }
    store.delete(key)?;
    Ok(false)
}

/// Pins a backup, so that from then on no removal begins and one that has begun ends without it.
///
/// # Errors
/// `Missing` if it was removed meanwhile; `TryAgain` if a removal has begun and does not end.
pub fn pin(store: &dyn Store, pin: &Pin) -> Result<()> {
    let (id, key, bytes) = (&pin.id, Pin::key(&pin.id), pin.to_json()?);
    let manifest = Manifest::key(id);
    for _ in 0..TRIES {
        store.replace(&key, &bytes)?;
        if comes_back(store, &manifest)? {
            return Ok(());
        }
        store.delete(&key)?;
        // Whoever gave the manifest its name back in this moment did so because of our pin, or of another's that we
        // have just deleted.
        if store.size(&manifest)?.is_none() {
            break;
        }
    }
    let (id, place) = (printable(id), store.location());
    match is_withdrawn(store, &manifest)? {
        true => Err(Error::new(Kind::TryAgain, format!("{id} is being removed from {place}, and is not pinned"))
            .hint("retention may have been killed there: run it once more, then look with pgcellar list")),
        false => Err(Error::new(Kind::Missing, format!("{id} was removed from {place} meanwhile"))),
    }
}

/// Whether the manifest is there, or comes back while it stands under its temporary name.
fn comes_back(store: &dyn Store, manifest: &str) -> Result<bool> {
    let begun = Instant::now();
    loop {
        let withdrawn = is_withdrawn(store, manifest)?;
        if store.size(manifest)?.is_some() {
            return Ok(true);
        }
        if !withdrawn || begun.elapsed() > REMOVAL {
            return Ok(false);
        }
        std::thread::sleep(LOOK);
    }
}

fn is_withdrawn(store: &dyn Store, manifest: &str) -> Result<bool> {
    match store.read_partial(manifest) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == Kind::Missing => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether anything pins the backup: whatever stands under that name does.
pub fn is_pinned(store: &dyn Store, id: &str) -> Result<bool> {
    let key = Pin::key(id);
    Ok(store.size(&key)?.is_some() || store.not_a_file(&key)?.is_some())
}

/// Takes the manifest of a backup out of sight, so that the backup is not listed any more and its files can be deleted.
///
/// # Errors
/// `TryAgain` if it is pinned: then it is as it was.
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
        error
            .context(format!("{failure}, and its manifest is withdrawn"))
            .hint("the next run of retention puts it back")
    })?;
    Err(failure)
}

/// Whether a backup whose manifest was withdrawn is pinned and has all its files: then its removal never began.
pub fn is_to_come_back(store: &dyn Store, manifest: &Manifest) -> Result<bool> {
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

pub mod drill;
#[cfg(test)]
mod tests;

//! Removes what killed runs have left in a bucket.
//!
//! Hosts may share a bucket, and no lock covers it. So only what is certainly of this instance is removed: an announcement by
//! its content, an object by its metadata, an upload by the announcement of its backup. And it must be old, by the bucket's
//! clock; other runs of this instance, which could take longer, are excluded by the lock.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;

use crate::catalogue::announcement::Announcement;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::{MANIFEST, leading_id};
use crate::catalogue::records::{self, Pin};
use crate::catalogue::sweep::is_older;
use crate::config::Place;
use crate::error::Result;
use crate::parallel;
use crate::printable::printable;
use crate::store::{Store, StoreEntry};

/// Removes what is at least of this age: the announcements of this instance and host, the unfinished uploads of their backups, and
/// objects with the name of a backup and the metadata of this instance that have no manifest, whether a backup or a deletion
/// was killed.
pub fn sweep(store: &dyn Store, place: &Place, age: Duration) -> Result<()> {
    let now = Timestamp::now();
    let partials = store.partials()?;
    let announced = announced(store, place, &partials)?;
    let mut entries = store.list()?;
    if reinstate(store, &entries, &announced)? {
        entries = store.list()?;
    }
    let whole: HashSet<&str> = entries.iter().filter_map(|entry| entry.key.strip_suffix(MANIFEST)).collect();
    let is_old = |entry: &&StoreEntry| is_older(entry.modified, age, now);

    let begun = partials.iter().filter(|entry| !entry.key.ends_with(MANIFEST)).filter(is_old);
    for entry in begun.filter(|entry| id_of(&entry.key).is_some_and(|id| announced.contains(id))) {
        store.discard(&entry.key)?;
        log::info!("removed the upload of {}, left by a killed run", printable(&entry.key));
    }
    let nameless: Vec<&StoreEntry> = entries
        .iter()
        .filter(is_old)
        .filter(|entry| !entry.key.ends_with(MANIFEST) && id_of(&entry.key).is_some_and(|id| !whole.contains(id)))
        .collect();
    let swept = parallel::map(&nameless, |entry| match store.is_labelled(&entry.key)? {
        true => store.delete(&entry.key).map(|()| Some(&entry.key)),
        false => Ok(None),
    });
    for key in swept {
        if let Some(key) = key? {
            log::info!("removed {}, left by a killed run", printable(key));
        }
    }
    // The announcement is removed last: until then it shows whose the uploads are.
    let manifests = partials.iter().filter(|entry| entry.key.ends_with(MANIFEST)).filter(is_old);
    for entry in manifests.filter(|entry| id_of(&entry.key).is_some_and(|id| announced.contains(id))) {
        store.discard(&entry.key)?;
        log::info!("removed the announcement of {}, left by a killed run", printable(&entry.key));
    }
    Ok(())
}

/// Reinstates manifests that a killed run has withdrawn, if the backup is pinned and complete. Returns whether there were any.
fn reinstate(store: &dyn Store, entries: &[StoreEntry], announced: &HashSet<String>) -> Result<bool> {
    let listed: HashSet<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    let mut any = false;
    for id in announced {
        let key = Manifest::key(id);
        if listed.contains(key.as_str()) || !listed.contains(Pin::key(id).as_str()) {
            continue;
        }
        let Ok(manifest) = store.read_partial(&key).and_then(|bytes| Manifest::parse(&key, &bytes)) else { continue };
        if records::is_to_be_reinstated(store, &manifest)? {
            store.reinstate(&key)?;
            log::warn!("{} is listed again: it was pinned when a killed run was about to remove it", printable(id));
            any = true;
        }
    }
    Ok(any)
}

/// Ids of the backups that this instance has announced.
fn announced(store: &dyn Store, place: &Place, partials: &[StoreEntry]) -> Result<HashSet<String>> {
    let mut ids = HashSet::new();
    for entry in partials {
        let Some(id) = entry.key.strip_suffix(MANIFEST).filter(|id| leading_id(id) == Some(id)) else { continue };
        // If there is none, the manifest was just committed, or this is an upload under its key.
        let announcement = Announcement::read(store, id)?.and_then(|(_, announcement)| announcement);
        if announcement.is_some_and(|announcement| announcement.is_of(&place.maker(), &place.known_server())) {
            ids.insert(id.to_owned());
        }
    }
    Ok(ids)
}

/// The id of the backup that an object belongs to by its name, `ID.…` or `ID/…`.
fn id_of(key: &str) -> Option<&str> {
    match key.split_once('/') {
        Some((folder, _)) => leading_id(folder).filter(|id| *id == folder),
        None => leading_id(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_contain_the_id() {
        let id = Some("a_20231231_020000");
        for key in ["a_20231231_020000.dump.gz", "a_20231231_020000/toc.dat", "a_20231231_020000.verify.json"] {
            assert_eq!(id_of(key), id, "{key}");
        }
        for key in ["a_20231231_020000.old/toc.dat", "notes.txt", "x/a_20231231_020000.dump.gz"] {
            assert_eq!(id_of(key), None, "{key}");
        }
    }
}

//! The catalogues of all stores as one: a backup stands in it once, with every copy of it.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::ownership::{Doubt, Owner, Ownership, Whose};
use crate::catalogue::{Backup, Catalogue, Status, Unusable, name};
use crate::config::{Maker, Place};
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::printable::printable;
use crate::stop::Stop;
use crate::store::Store;

mod latest;

/// How many backups an error names.
const NAMED: usize = 5;

/// What reading one store came to.
#[derive(Debug)]
pub struct StoreListing {
    /// Name of the store.
    pub store: &'static str,
    /// Where it is.
    pub location: String,
    /// Its catalogue, or why it cannot be read.
    pub found: Result<Catalogue>,
    /// Keys of the manifests that cannot be used and that others may have written.
    pub others: Vec<String>,
}

impl StoreListing {
    /// Reads a store. Files of a backup that is just being made are not unmanaged.
    pub fn read(store: &dyn Store) -> Self {
        let mut shelf = StoreListing {
            store: store.name(),
            location: store.location(),
            found: Catalogue::read(store),
            others: Vec::new(),
        };
        let Ok(catalogue) = &mut shelf.found else { return shelf };
        if shelf.store != "local" {
            let ours = |key: &str| matches!(store.is_labelled(key), Ok(true));
            shelf.others.extend(catalogue.unusable.iter().map(|bad| bad.key.clone()).filter(|key| !ours(key)));
        }
        // Who may not see what is begun is told too much rather than nothing.
        let partials = if catalogue.unmanaged.is_empty() { Vec::new() } else { store.partials().unwrap_or_default() };
        let begun = |id: &str| partials.iter().any(|entry| name::leading_id(&entry.key) == Some(id));
        catalogue.unmanaged.retain(|name| !name::leading_id(name).is_some_and(begun));
        shelf
    }
}

/// A backup with all its copies.
#[derive(Debug)]
pub struct BackupCopies {
    first: Backup,
    others: Vec<Backup>,
    /// Whose it is.
    pub whose: Whose,
}

impl BackupCopies {
    /// What the backup is.
    pub fn manifest(&self) -> &Manifest {
        &self.first.manifest
    }

    /// Its copies, the local one first.
    pub fn copies(&self) -> impl Iterator<Item = &Backup> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The first copy that is not damaged, or else the first.
    pub fn best(&self) -> &Backup {
        self.copies().find(|copy| copy.status != Status::Damaged).unwrap_or(&self.first)
    }

    fn is_good(&self) -> bool {
        matches!(self.best().status, Status::Good | Status::Verified)
    }

    /// Whether it is partial because tables were rewritten when its dump began.
    fn lacks_rewritten(&self) -> bool {
        self.best().status == Status::Partial && self.manifest().rewritten_tables() > 0
    }

    fn is_of(&self, database: Option<&str>) -> bool {
        database.is_none_or(|name| self.manifest().database == name)
    }

    /// Whether it may be of this instance's server.
    fn is_own(&self) -> bool {
        self.whose != Whose::Another
    }

    fn maker(&self) -> String {
        let Manifest { instance, host, .. } = self.manifest();
        format!("instance '{}' on host '{}'", printable(instance), printable(host))
    }
}

/// A manifest that cannot be used, and where it is.
#[derive(Debug)]
pub struct UnusableManifest {
    /// Name of the store.
    pub store: &'static str,
    /// The manifest.
    pub unusable: Unusable,
    /// Whether others may have written it.
    pub others: bool,
}

/// What is named like a backup and has no manifest, and where it is.
#[derive(Debug)]
pub struct Unmanaged {
    /// Name of the store.
    pub store: &'static str,
    /// Where that is.
    pub location: String,
    /// Name of the file or folder.
    pub name: String,
}

/// A store that cannot be read.
#[derive(Debug)]
pub struct UnreadableStore {
    /// Name of the store.
    pub store: &'static str,
    /// Why.
    pub error: Error,
}

/// What is asked for by a name.
#[derive(Clone, Copy, Debug)]
pub struct BackupQuery<'a> {
    /// An id, the unique beginning of one, or `latest`.
    pub id: &'a str,
    /// Only backups of this database.
    pub database: Option<&'a str>,
    /// The verb that asks, for a hint that can be typed.
    pub verb: &'static str,
}

/// A backup that was asked for.
#[derive(Debug)]
pub struct Choice<'a> {
    /// The backup with all its copies.
    pub group: &'a BackupCopies,
    /// The copy to take.
    pub copy: &'a Backup,
    /// Why it is not the first one.
    pub remarks: Vec<String>,
    /// Whether it was made here: in the directory, or on a host of this name.
    pub is_near: bool,
}

/// The backups of all stores.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Backups, the oldest first.
    pub groups: Vec<BackupCopies>,
    /// Manifests that cannot be used.
    pub strange: Vec<UnusableManifest>,
    /// What has no manifest.
    pub unmanaged: Vec<Unmanaged>,
    /// Stores that cannot be read.
    pub unread: Vec<UnreadableStore>,
    /// Where the stores are that can be read.
    pub locations: Vec<String>,
    /// What is to be said of other servers under the instance's name.
    pub doubts: Vec<Doubt>,
    /// The instance on its host.
    maker: Maker,
    /// When the stores were read.
    now: Timestamp,
}

impl Inventory {
    /// Reads the stores, off the async threads. `ask` queries the server's identity; it is called only if the identity decides
    /// whose the backups are.
    ///
    /// # Errors
    /// The process is stopped.
    pub async fn read(
        stores: Vec<Arc<dyn Store>>,
        place: &Place,
        ask: impl FnOnce() -> Option<Identity> + Send + 'static,
        stop: &Stop,
    ) -> Result<Self> {
        let owner = Owner::of(place);
        blocking::run(stop, move || Ok(Inventory::read_blocking(&stores, &owner, ask))).await
    }

    /// The same on this thread.
    pub fn read_blocking(stores: &[Arc<dyn Store>], owner: &Owner, ask: impl FnOnce() -> Option<Identity>) -> Self {
        Inventory::of(stores.iter().map(|store| StoreListing::read(store.as_ref())).collect(), owner, ask)
    }

    /// Puts together what was read. Copies are of one backup if they have its id, its maker and its server: two hosts may
    /// back up databases of one name in the same second.
    pub fn of(shelves: Vec<StoreListing>, owner: &Owner, ask: impl FnOnce() -> Option<Identity>) -> Self {
        let ownership = Ownership::find(owner, shelves.iter().filter_map(|shelf| shelf.found.as_ref().ok()), ask);
        let mut merged = Inventory { maker: owner.maker.clone(), now: Timestamp::now(), ..Inventory::default() };
        let mut places: HashMap<[Option<String>; 4], usize> = HashMap::new();
        let mut absent = None;
        for StoreListing { store, location, found, others } in shelves {
            let Catalogue { backups, unusable, unmanaged, .. } = match found {
                Ok(catalogue) => catalogue,
                Err(error) if store == "local" && error.kind() == Kind::Missing => {
                    absent = Some((location, UnreadableStore { store, error }));
                    continue;
                }
                Err(error) => {
                    merged.unread.push(UnreadableStore { store, error });
                    continue;
                }
            };
            for backup in backups {
                let Manifest { id, instance, host, server, .. } = &backup.manifest;
                let (next, whose) = (merged.groups.len(), ownership.whose_to_read(&backup));
                let server = server.identity.system_identifier.clone();
                let same = [Some(id.clone()), Some(instance.clone()), Some(host.clone()), server];
                match merged.groups.get_mut(*places.entry(same).or_insert(next)) {
                    Some(group) => {
                        group.whose = group.whose.min(whose);
                        group.others.push(backup);
                    }
                    None => merged.groups.push(BackupCopies { first: backup, others: Vec::new(), whose }),
                }
            }
            merged.strange.extend(unusable.into_iter().map(|unusable| {
                let others = others.contains(&unusable.key);
                UnusableManifest { store, unusable, others }
            }));
            let unmanaged = unmanaged.into_iter();
            merged.unmanaged.extend(unmanaged.map(|name| Unmanaged { store, location: location.clone(), name }));
            merged.locations.push(location);
        }
        if let Some((location, unread)) = absent {
            merged.without_directory(&location, unread);
        }
        merged.groups.sort_by(|a, b| order(a).cmp(&order(b)));
        merged.doubts = ownership.doubts;
        merged
    }

    /// A directory that is not there has nothing, as long as another store tells what there is.
    fn without_directory(&mut self, location: &str, unread: UnreadableStore) {
        match self.locations.is_empty() {
            true => self.unread.insert(0, unread),
            false => log::info!("there is no {location}: the backups are those in {}", self.locations.join(" and ")),
        }
    }

    /// The backups of this database, or of all, that the instance made or may have made; the oldest first.
    pub fn own<'a>(&'a self, database: Option<&str>) -> impl DoubleEndedIterator<Item = &'a BackupCopies> {
        self.groups.iter().filter(move |group| group.is_own() && group.is_of(database))
    }

    /// The backups of other instances, hosts and servers.
    pub fn others<'a>(&'a self, database: Option<&str>) -> impl Iterator<Item = &'a BackupCopies> {
        self.groups.iter().filter(move |group| !group.is_own() && group.is_of(database))
    }

    /// Warns of other servers under the instance's name.
    pub fn tell_doubts(&self) {
        self.doubts.iter().for_each(Doubt::tell);
    }

    /// Finds a backup by its id, by the unique beginning of an id, or as `latest`: the newest good whole one, or of a
    /// database that has none the newest that lacks no more than the rows of rewritten tables. One from the future is the
    /// latest only if there is no other. Only a whole id finds a backup of another instance, host or server.
    ///
    /// `latest` needs a database where there are backups of several. A beginning must have the whole name of the database,
    /// so that `foo` is never taken for a backup of `foobar`.
    pub fn resolve(&self, asked: BackupQuery<'_>) -> Result<Choice<'_>> {
        let group = match asked.id {
            "latest" => self.latest(asked)?,
            _ => self.named(asked)?,
        };
        let copy = group.best();
        let id = printable(&group.manifest().id);
        let taken = format!("the copy in {} is taken", copy.store);
        let better = |other: &&Backup| other.store == "local" && copy.store != "local";
        let mut remarks: Vec<String> = group
            .copies()
            .filter(better)
            .map(|other| format!("{id} is damaged in {}: {}; {taken}", other.store, other.faults().join("; ")))
            .collect();
        let key = Manifest::key(&group.manifest().id);
        let unusable = self.strange.iter().filter(|strange| strange.store == "local" && strange.unusable.key == key);
        remarks.extend(unusable.map(|strange| format!("{}; {taken}", strange.unusable.error)));
        remarks.extend(self.of_rewritten(group));
        if asked.id == "latest" {
            remarks.extend(self.of_latest(group));
        }
        let is_near = group.manifest().host == self.maker.host || group.copies().any(|copy| copy.store == "local");
        Ok(Choice { group, copy, remarks, is_near })
    }

    fn named(&self, asked: BackupQuery<'_>) -> Result<&BackupCopies> {
        let exact = |group: &&BackupCopies| group.manifest().id == asked.id;
        let mut matching: Vec<&BackupCopies> = self.own(asked.database).filter(exact).collect();
        if matching.is_empty() {
            matching = self.others(asked.database).filter(exact).collect();
        }
        if matching.is_empty() {
            matching = self.own(asked.database).filter(|group| begins(&group.manifest().id, asked.id)).collect();
        }
        match matching.as_slice() {
            [one] => Ok(one),
            [] => Err(self.nothing(asked)),
            [first, ..] if first.manifest().id == asked.id => {
                let whose: Vec<String> = matching.iter().map(|group| group.maker()).take(NAMED).collect();
                let message = format!("'{}' is the id of several backups: of {}", asked.id, whose.join(", of "));
                Err(Error::new(Kind::Usage, message).hint("name a file of it by its path, or by its address s3://…"))
            }
            several => {
                let ids: Vec<&str> = several.iter().map(|group| group.manifest().id.as_str()).take(NAMED).collect();
                let message =
                    format!("'{}' is the beginning of {} backups: {}", asked.id, several.len(), ids.join(", "));
                Err(Error::new(Kind::Usage, message).hint("write more of the id"))
            }
        }
    }

    fn nothing(&self, asked: BackupQuery<'_>) -> Error {
        let manifest = Manifest::key(asked.id);
        if let Some(UnusableManifest { unusable, .. }) =
            self.strange.iter().find(|strange| strange.unusable.key == manifest)
        {
            return Error::new(unusable.error.kind(), unusable.error.to_string());
        }
        let dump = self.unmanaged.iter().map(|file| &file.name).find(|name| name::leading_id(name) == Some(asked.id));
        let hint = match self.others(asked.database).any(|group| begins(&group.manifest().id, asked.id)) {
            true => {
                "others have some that begin so, and these need the whole id: pgcellar list --all-instances".to_owned()
            }
            false => match dump.map(|name| printable(name)) {
                Some(name) => format!("there is {name} without a manifest: pgcellar adopt {name} makes it a backup"),
                None => "pgcellar list shows what there is".to_owned(),
            },
        };
        Error::new(Kind::Missing, format!("there is no backup '{}'", printable(asked.id))).hint(hint)
    }

    /// The error of a search that found nothing: what was sought may be in a store that cannot be read. A directory that
    /// is not there yet has nothing.
    pub fn or_unread(mut self, error: Error) -> Error {
        let nothing_read = self.locations.is_empty();
        let matters =
            |unread: &UnreadableStore| nothing_read || unread.store != "local" || unread.error.kind() != Kind::Missing;
        match self.unread.iter().rposition(matters) {
            Some(at) if error.kind() == Kind::Missing => self.unread.swap_remove(at).error,
            _ => error,
        }
    }
}

fn order(group: &BackupCopies) -> impl Ord {
    let Manifest { started, id, instance, host, .. } = group.manifest();
    (*started, id.as_str(), instance.as_str(), host.as_str())
}

/// Whether `wanted` is the beginning of this id, and not only of its database's name.
fn begins(id: &str, wanted: &str) -> bool {
    let rest = wanted.strip_prefix(name::escaped_database(id));
    id.starts_with(wanted) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

#[cfg(test)]
mod tests;

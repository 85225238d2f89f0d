//! The catalogues of all stores combined: each backup once, with all its copies.

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
use crate::store::{Store, StoreKind};

mod latest;

/// How many backups an error names.
const NAMED: usize = 5;

/// One store as it was read.
#[derive(Debug)]
pub struct StoreListing {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Its catalogue, or why it cannot be read.
    pub catalogue: Result<Catalogue>,
    /// Keys of the unusable manifests that other instances may have written.
    pub others: Vec<String>,
}

impl StoreListing {
    /// Reads a store. Files of a backup that is being made do not count as unmanaged.
    pub fn read(store: &Arc<dyn Store>) -> Self {
        let mut listing =
            StoreListing { store: Arc::clone(store), catalogue: Catalogue::read(store), others: Vec::new() };
        let Ok(catalogue) = &mut listing.catalogue else { return listing };
        if store.kind() != StoreKind::Local {
            let is_own = |key: &str| matches!(store.is_labelled(key), Ok(true));
            listing.others.extend(catalogue.unusable.iter().map(|bad| bad.key.clone()).filter(|key| !is_own(key)));
        }
        // Without the permission to list uploads, too many files are reported rather than too few.
        let partials = if catalogue.unmanaged.is_empty() { Vec::new() } else { store.partials().unwrap_or_default() };
        let begun = |id: &str| partials.iter().any(|entry| name::leading_id(&entry.key) == Some(id));
        catalogue.unmanaged.retain(|name| !name::leading_id(name).is_some_and(begun));
        listing
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
    /// Its manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.first.manifest
    }

    /// Its copies, the local one first.
    pub fn copies(&self) -> impl Iterator<Item = &Backup> {
        std::iter::once(&self.first).chain(&self.others)
    }

    /// The first copy that is not damaged, or else the first copy.
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

    /// Whether it may be a backup of this instance's server.
    fn is_own(&self) -> bool {
        self.whose != Whose::Another
    }

    fn maker(&self) -> String {
        let Manifest { instance, host, .. } = self.manifest();
        format!("instance '{}' on host '{}'", printable(instance), printable(host))
    }
}

/// A manifest that cannot be used.
#[derive(Debug)]
pub struct UnusableManifest {
    /// The store.
    pub store: StoreKind,
    /// The manifest.
    pub unusable: Unusable,
    /// Whether another instance may have written it.
    pub others: bool,
}

/// A file or folder that has the name of a backup and is in no manifest.
#[derive(Debug)]
pub struct Unmanaged {
    /// The store.
    pub store: StoreKind,
    /// Location of the store.
    pub location: String,
    /// Name of the file or folder.
    pub name: String,
}

/// A store that cannot be read.
#[derive(Debug)]
pub struct UnreadableStore {
    /// The store.
    pub store: StoreKind,
    /// Why.
    pub error: Error,
}

/// A backup as it is named on the command line.
#[derive(Clone, Copy, Debug)]
pub struct BackupQuery<'a> {
    /// An id, the unique beginning of one, `latest`, or `latest~N` for the Nth good one before that.
    pub id: &'a str,
    /// Only backups of this database.
    pub database: Option<&'a str>,
    /// The verb, for hints with a command.
    pub verb: &'static str,
}

/// The backup that a query selects.
#[derive(Debug)]
pub struct Choice<'a> {
    /// The backup with all its copies.
    pub group: &'a BackupCopies,
    /// The copy to use.
    pub copy: &'a Backup,
    /// Remarks about the choice, such as why a newer backup or another copy is not used.
    pub remarks: Vec<String>,
    /// Whether it is in the directory or was made on a host of this name.
    pub is_near: bool,
}

/// The backups of all stores.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Backups, the oldest first.
    pub groups: Vec<BackupCopies>,
    /// Manifests that cannot be used.
    pub unusable: Vec<UnusableManifest>,
    /// Files and folders without a manifest.
    pub unmanaged: Vec<Unmanaged>,
    /// Stores that cannot be read.
    pub unread: Vec<UnreadableStore>,
    /// Locations of the stores that were read.
    pub locations: Vec<String>,
    /// Doubts about other servers with the same instance name.
    pub doubts: Vec<Doubt>,
    /// The instance on its host.
    maker: Maker,
    /// When the stores were read.
    now: Timestamp,
}

impl Inventory {
    /// Reads the stores, off the async threads. `ask` queries the server's identity; it is called only if the identity decides
    /// whose the backups are.
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
        Inventory::of(stores.iter().map(StoreListing::read).collect(), owner, ask)
    }

    /// Combines the listings. Copies are of one backup if id, maker and server are equal: two hosts may back up databases of
    /// one name in the same second.
    pub fn of(listings: Vec<StoreListing>, owner: &Owner, ask: impl FnOnce() -> Option<Identity>) -> Self {
        let ownership =
            Ownership::find(owner, listings.iter().filter_map(|listing| listing.catalogue.as_ref().ok()), ask);
        let mut inventory = Inventory { maker: owner.maker.clone(), now: Timestamp::now(), ..Inventory::default() };
        let mut places: HashMap<[Option<String>; 4], usize> = HashMap::new();
        let mut absent = None;
        for StoreListing { store, catalogue, others } in listings {
            let (store, location) = (store.kind(), store.location());
            let Catalogue { backups, unusable, unmanaged, .. } = match catalogue {
                Ok(catalogue) => catalogue,
                Err(error) if store == StoreKind::Local && error.kind() == Kind::Missing => {
                    absent = Some((location, UnreadableStore { store, error }));
                    continue;
                }
                Err(error) => {
                    inventory.unread.push(UnreadableStore { store, error });
                    continue;
                }
            };
            for backup in backups {
                let Manifest { id, instance, host, server, .. } = &backup.manifest;
                let (next, whose) = (inventory.groups.len(), ownership.whose_to_read(&backup));
                let server = server.identity.system_identifier.clone();
                let same = [Some(id.clone()), Some(instance.clone()), Some(host.clone()), server];
                match inventory.groups.get_mut(*places.entry(same).or_insert(next)) {
                    Some(group) => {
                        group.whose = group.whose.min(whose);
                        group.others.push(backup);
                    }
                    None => inventory.groups.push(BackupCopies { first: backup, others: Vec::new(), whose }),
                }
            }
            inventory.unusable.extend(unusable.into_iter().map(|unusable| {
                let others = others.contains(&unusable.key);
                UnusableManifest { store, unusable, others }
            }));
            let unmanaged = unmanaged.into_iter();
            inventory.unmanaged.extend(unmanaged.map(|name| Unmanaged { store, location: location.clone(), name }));
            inventory.locations.push(location);
        }
        if let Some((location, unread)) = absent {
            inventory.without_directory(&location, unread);
        }
        inventory.groups.sort_by(|a, b| order(a).cmp(&order(b)));
        inventory.doubts = ownership.doubts;
        inventory
    }

    /// A directory that does not exist counts as empty if another store was read.
    fn without_directory(&mut self, location: &str, unread: UnreadableStore) {
        match self.locations.is_empty() {
            true => self.unread.insert(0, unread),
            false => log::info!("{location} does not exist: the backups are those in {}", self.locations.join(" and ")),
        }
    }

    /// The backups of a database, or of all, that this instance made or may have made, the oldest first.
    pub fn own<'a>(&'a self, database: Option<&str>) -> impl DoubleEndedIterator<Item = &'a BackupCopies> {
        self.groups.iter().filter(move |group| group.is_own() && group.is_of(database))
    }

    /// The backups of other instances, hosts and servers.
    pub fn others<'a>(&'a self, database: Option<&str>) -> impl Iterator<Item = &'a BackupCopies> {
        self.groups.iter().filter(move |group| !group.is_own() && group.is_of(database))
    }

    /// Logs the doubts about other servers with the same instance name.
    pub fn log_doubts(&self) {
        self.doubts.iter().for_each(Doubt::log);
    }

    /// Finds a backup by its id, by the unique beginning of an id, or as `latest`: the newest good complete one, or if the
    /// database has none, the newest that lacks only the rows of rewritten tables. A backup from the future is the latest only
    /// if there is no other. `latest~1` is the one before `latest` by the same rules, and so on. Backups of another instance,
    /// host or server are found by their complete ids only.
    ///
    /// `latest` needs a database name if there are backups of several databases. The beginning of an id must contain the
    /// complete name of the database, so that `foo` does not select a backup of `foobar`.
    ///
    /// # Errors
    /// `Missing` if there is no such backup, `Usage` if there are several.
    pub fn resolve(&self, query: BackupQuery<'_>) -> Result<Choice<'_>> {
        let back = query.steps_back();
        let group = match back {
            Some(back) => self.latest(query, back)?,
            None => self.named(query)?,
        };
        let copy = group.best();
        let id = printable(&group.manifest().id);
        let taken = format!("using the copy in {}", copy.store.kind());
        let better = |other: &&Backup| other.is_local() && !copy.is_local();
        let mut remarks: Vec<String> = group
            .copies()
            .filter(better)
            .map(|other| format!("{id} is damaged in {}: {}; {taken}", other.store.kind(), other.faults().join("; ")))
            .collect();
        let key = Manifest::key(&group.manifest().id);
        let unusable = self.unusable.iter().filter(|bad| bad.store == StoreKind::Local && bad.unusable.key == key);
        remarks.extend(unusable.map(|bad| format!("{}; {taken}", bad.unusable.error)));
        remarks.extend(self.of_rewritten(group));
        if let Some(back) = back {
            remarks.extend(self.of_latest(group, back));
        }
        let is_near = group.manifest().host == self.maker.host || group.copies().any(Backup::is_local);
        Ok(Choice { group, copy, remarks, is_near })
    }

    fn named(&self, query: BackupQuery<'_>) -> Result<&BackupCopies> {
        let exact = |group: &&BackupCopies| group.manifest().id == query.id;
        let mut matching: Vec<&BackupCopies> = self.own(query.database).filter(exact).collect();
        if matching.is_empty() {
            matching = self.others(query.database).filter(exact).collect();
        }
        if matching.is_empty() {
            matching = self.own(query.database).filter(|group| begins(&group.manifest().id, query.id)).collect();
        }
        match matching.as_slice() {
            [one] => Ok(one),
            [] => Err(self.nothing(query)),
            [first, ..] if first.manifest().id == query.id => {
                let whose: Vec<String> = matching.iter().map(|group| group.maker()).take(NAMED).collect();
                let message = format!("'{}' is the id of several backups: of {}", query.id, whose.join(", of "));
                Err(Error::new(Kind::Usage, message)
                    .hint("name one of its files by its path, or by its address s3://…"))
            }
            several => {
                let ids: Vec<&str> = several.iter().map(|group| group.manifest().id.as_str()).take(NAMED).collect();
                let message =
                    format!("'{}' is the beginning of {} backups: {}", query.id, several.len(), ids.join(", "));
                Err(Error::new(Kind::Usage, message).hint("write more of the id"))
            }
        }
    }

    fn nothing(&self, query: BackupQuery<'_>) -> Error {
        let manifest = Manifest::key(query.id);
        if let Some(UnusableManifest { unusable, .. }) = self.unusable.iter().find(|bad| bad.unusable.key == manifest) {
            return Error::new(unusable.error.kind(), unusable.error.to_string());
        }
        let dump = self.unmanaged.iter().map(|file| &file.name).find(|name| name::leading_id(name) == Some(query.id));
        let hint = match self.others(query.database).any(|group| begins(&group.manifest().id, query.id)) {
            true => "other instances have backups whose ids begin like this and must be given in full: pgcellar list \
                 --all-instances"
                .to_owned(),
            false => match dump.map(|name| printable(name)) {
                Some(name) => format!("{name} has no manifest: pgcellar adopt {name} makes it a backup"),
                None => "pgcellar list shows the backups".to_owned(),
            },
        };
        Error::new(Kind::Missing, format!("there is no backup '{}'", printable(query.id))).hint(hint)
    }

    /// The error of a search without a result: that of a store that cannot be read, because the backup may be there, or else
    /// `error`. A directory that does not exist yet counts as empty.
    pub fn or_unread(mut self, error: Error) -> Error {
        let nothing_read = self.locations.is_empty();
        let matters = |unread: &UnreadableStore| {
            nothing_read || unread.store != StoreKind::Local || unread.error.kind() != Kind::Missing
        };
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

/// Whether `beginning` is the beginning of this id and contains the complete name of its database.
fn begins(id: &str, beginning: &str) -> bool {
    let rest = beginning.strip_prefix(name::escaped_database(id));
    id.starts_with(beginning) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

#[cfg(test)]
mod tests;

//! The catalogue: the manifests of a store, read, checked against its files, and selected from.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::io::Read;

use serde::Serialize;

use crate::catalogue::manifest::{Depth, MANIFEST, Manifest, VERIFY, Verification};
use crate::error::{Error, Kind, Result};
use crate::store::Store;

pub mod manifest;
pub mod name;

/// Largest manifest that is read, in bytes: far above what 100,000 omitted tables take.
const LARGEST_DOCUMENT: u64 = 256 << 20;

/// A backup in a store.
#[derive(Clone, Debug, Serialize)]
pub struct Backup {
    /// Its manifest.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// Store that has it.
    pub store: &'static str,
    /// What can be said of it.
    pub status: Status,
    /// Result of the last verify.
    pub verification: Option<Verification>,
    /// Files that are missing or have another size than the manifest says.
    pub damage: Vec<String>,
}

/// What can be said of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its manifest and files are there, with the right sizes.
    Good,
    /// The same, and a verify has read every byte.
    Verified,
    /// Options left data out.
    Partial,
    /// A file is missing or has another size, or the last verify failed.
    Damaged,
}

impl Status {
    /// The word in lists.
    pub fn name(self) -> &'static str {
        match self {
            Status::Good => "good",
            Status::Verified => "verified",
            Status::Partial => "partial",
            Status::Damaged => "damaged",
        }
    }
}

/// A manifest that cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// Its key.
    pub key: String,
    /// Why.
    pub error: Error,
}

/// All backups of a store, the oldest first.
#[derive(Debug, Default)]
pub struct Catalogue {
    /// Backups whose manifest can be read.
    pub backups: Vec<Backup>,
    /// Manifests that cannot be used.
    pub unusable: Vec<Unusable>,
    /// Files and folders that are named like a backup's and that no manifest names.
    pub unmanaged: Vec<String>,
}

impl Catalogue {
    /// Reads the manifests of a store and compares them with its files.
    pub fn read(store: &dyn Store) -> Result<Self> {
        let sizes: HashMap<String, u64> = store.list()?.into_iter().map(|entry| (entry.key, entry.bytes)).collect();
        let mut catalogue = Catalogue::default();
        for key in sizes.keys().filter(|key| key.ends_with(MANIFEST) && !key.contains('/')) {
            let read = document(store, key).and_then(|bytes| Manifest::parse(key, &bytes));
            match read {
                Ok(manifest) => catalogue.backups.push(Backup::new(manifest, store, &sizes)),
                // Deleted between the listing and the reading.
                Err(error) if error.kind() == Kind::Missing => {}
                Err(error) => catalogue.unusable.push(Unusable { key: key.clone(), error }),
            }
        }
        catalogue
            .backups
            .sort_by(|a, b| (a.manifest.started, &a.manifest.id).cmp(&(b.manifest.started, &b.manifest.id)));
        catalogue.unusable.sort_by(|a, b| a.key.cmp(&b.key));
        catalogue.find_unmanaged(&sizes);
        Ok(catalogue)
    }

    fn find_unmanaged(&mut self, sizes: &HashMap<String, u64>) {
        let files = self.backups.iter().flat_map(|backup| &backup.manifest.files);
        let mut managed: HashSet<Cow<'_, str>> = files.map(|file| Cow::from(&file.key)).collect();
        managed.extend(self.backups.iter().map(|backup| Cow::from(Manifest::key(&backup.manifest.id))));
        let unusable: HashSet<&str> = self.unusable.iter().filter_map(|bad| name::leading_id(&bad.key)).collect();
        self.unmanaged = sizes
            .keys()
            .filter(|key| !managed.contains(key.as_str()) && !key.ends_with(VERIFY))
            .map(|key| key.split_once('/').map_or(key.as_str(), |(folder, _)| folder))
            .filter(|name| name::leading_id(name).is_some_and(|id| !unusable.contains(id)))
            .map(str::to_owned)
            .collect();
        self.unmanaged.sort();
        self.unmanaged.dedup();
    }

    /// Finds a backup by its id, by the unique beginning of an id, or as `latest`: the newest good whole one.
    ///
    /// `latest` needs `database` where the store has backups of several. A beginning must have the whole name of the
    /// database, so that `foo` is never taken for a backup of `foobar`.
    pub fn resolve(&self, wanted: &str, database: Option<&str>) -> Result<&Backup> {
        let of_database = |backup: &&Backup| database.is_none_or(|name| backup.manifest.database == name);
        let candidates: Vec<&Backup> = self.backups.iter().filter(of_database).collect();
        if wanted == "latest" {
            return latest(&candidates, database);
        }
        let matching: Vec<&Backup> = match candidates.iter().find(|backup| backup.manifest.id == wanted) {
            Some(exact) => vec![exact],
            None => candidates.into_iter().filter(|backup| begins(&backup.manifest.id, wanted)).collect(),
        };
        match matching.as_slice() {
            [one] => Ok(one),
            [] => Err(self.nothing(wanted)),
            several => {
                let ids: Vec<&str> = several.iter().map(|backup| backup.manifest.id.as_str()).take(5).collect();
                let message = format!("'{wanted}' is the beginning of {} backups: {}", several.len(), ids.join(", "));
                Err(Error::new(Kind::Usage, message).hint("write more of the id"))
            }
        }
    }

    fn nothing(&self, wanted: &str) -> Error {
        let manifest = Manifest::key(wanted);
        match self.unusable.iter().find(|unusable| unusable.key == manifest) {
            Some(unusable) => Error::new(unusable.error.kind(), unusable.error.to_string()),
            None => Error::new(Kind::Missing, format!("there is no backup '{}'", crate::printable::printable(wanted)))
                .hint("pgcellar list shows what there is"),
        }
    }
}

/// Whether `wanted` is the beginning of this id, and not only of its database's name.
fn begins(id: &str, wanted: &str) -> bool {
    let rest = wanted.strip_prefix(name::escaped_database(id));
    id.starts_with(wanted) && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
}

fn latest<'a>(candidates: &[&'a Backup], database: Option<&str>) -> Result<&'a Backup> {
    let good: Vec<&&Backup> =
        candidates.iter().filter(|backup| matches!(backup.status, Status::Good | Status::Verified)).collect();
    let mut databases: Vec<&str> = good.iter().map(|backup| backup.manifest.database.as_str()).collect();
    databases.sort_unstable();
    databases.dedup();
    match (good.last(), databases.as_slice()) {
        (Some(newest), [_]) => Ok(newest),
        (Some(_), several) => Err(Error::new(
            Kind::Usage,
            format!("'latest' could be a backup of {} databases: {}", several.len(), several.join(", ")),
        )
        .hint("name one with --database")),
        (None, _) => {
            let of = database.map(|name| format!(" of '{name}'")).unwrap_or_default();
            Err(Error::new(Kind::Missing, format!("there is no good whole backup{of}"))
                .hint("pgcellar list shows what there is"))
        }
    }
}

impl Backup {
    fn new(manifest: Manifest, store: &dyn Store, sizes: &HashMap<String, u64>) -> Self {
        let verification = verification(store, &manifest.id);
        let damage: Vec<String> = manifest
            .files
            .iter()
            .filter_map(|file| match sizes.get(&file.key) {
                Some(bytes) if *bytes == file.stored_bytes => None,
                Some(bytes) => Some(format!("{} has {bytes} bytes instead of {}", file.key, file.stored_bytes)),
                None => Some(format!("{} is missing", file.key)),
            })
            .collect();
        let status = match &verification {
            _ if !damage.is_empty() => Status::Damaged,
            Some(record) if !record.passed => Status::Damaged,
            _ if manifest.partial => Status::Partial,
            Some(record) if record.depth == Depth::Full => Status::Verified,
            _ => Status::Good,
        };
        Backup { manifest, store: store.name(), status, verification, damage }
    }
}

/// Result of the last verify of a backup, if there is one that can be read.
pub fn verification(store: &dyn Store, id: &str) -> Option<Verification> {
    let bytes = document(store, &Verification::key(id)).ok()?;
    serde_json::from_slice::<Verification>(&bytes).ok().filter(|record| record.id == id)
}

/// Reads a small object whole.
fn document(store: &dyn Store, key: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    store
        .read(key, 0)?
        .take(LARGEST_DOCUMENT)
        .read_to_end(&mut bytes)
        .map_err(|error| Error::read(format!("{key} in {}", store.location()), &error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests;

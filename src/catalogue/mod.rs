//! The catalogue of a store: its manifests and records, compared with its files.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde::{Serialize, Serializer};

use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::MANIFEST;
use crate::catalogue::records::drill::DrillRecord;
use crate::catalogue::records::rehearsal::RehearsalRecord;
use crate::catalogue::records::{Depth, Pin, Verification};
use crate::catalogue::takeover::Takeover;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::parallel;
use crate::store::{LARGEST_DOCUMENT, Store, StoreKind};

pub mod acknowledged;
pub mod announcement;
pub mod backup_table;
pub mod copy_record;
pub mod details;
pub mod directory_id;
pub mod emptied;
pub mod inventory;
pub mod manifest;
pub mod name;
pub mod ownership;
pub mod product;
pub mod publish;
pub mod records;
pub mod retention;
pub mod retention_plan;
pub mod select;
pub mod shrunk;
pub mod sweep;
pub mod takeover;

/// How many faults of a backup are reported.
const FAULTS: usize = 5;

/// A backup in a store.
#[derive(Clone, Debug, Serialize)]
pub struct Backup {
    /// Its manifest.
    #[serde(flatten)]
    pub manifest: Manifest,
    /// Store that has it.
    #[serde(serialize_with = "by_kind")]
    pub store: Arc<dyn Store>,
    /// Its state.
    pub status: Status,
    /// Result of the last verify.
    pub verification: Option<Verification>,
    /// Why the record of the last verify cannot be read. It may have recorded damage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_error: Option<String>,
    /// The pin that keeps it from retention.
    pub pin: Option<Pin>,
    /// Result of the last drill of this archive.
    pub drill: Option<DrillRecord>,
    /// Result of the last rehearsal of an upgrade with this archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rehearsal: Option<RehearsalRecord>,
    /// Files that are missing or have another size than the manifest says.
    pub damage: Vec<String>,
}

fn by_kind<S: Serializer>(store: &Arc<dyn Store>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    store.kind().serialize(serializer)
}

/// The state of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Its manifest and files exist and have the right sizes.
    Good,
    /// The same, and a verify has read every byte.
    Verified,
    /// Data are missing: options left them out, or tables were rewritten when the dump began.
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
    /// Files and folders that have the name of a backup and are in no manifest.
    pub unmanaged: Vec<String>,
    /// The takeovers.
    pub takeovers: Vec<Takeover>,
}

impl Catalogue {
    /// Reads the manifests of a store and compares them with its files.
    ///
    /// # Errors
    /// Those of the store. A manifest that cannot be used is no error.
    pub fn read(store: &Arc<dyn Store>) -> Result<Self> {
        let mut sizes: HashMap<String, u64> = store.list()?.into_iter().map(|entry| (entry.key, entry.bytes)).collect();
        let mut catalogue = Catalogue::default();
        for (key, what) in store.not_files()? {
            if key.ends_with(MANIFEST) {
                let error =
                    Error::new(Kind::Data, format!("the manifest {key} cannot be used: it is {what}, not a file"));
                catalogue.unusable.push(Unusable { key, error });
            } else if name::is_record(&key) {
                // It exists, and cannot be read.
                sizes.insert(key, 0);
            }
        }
        let sizes = sizes;
        let keys: Vec<&String> = sizes.keys().filter(|key| key.ends_with(MANIFEST) && !key.contains('/')).collect();
        let read = |key: &&String| {
            let manifest = read_document(store.as_ref(), key).and_then(|bytes| Manifest::parse(key, &bytes))?;
            Backup::new(manifest, store, &sizes)
        };
        for (key, read) in keys.iter().zip(parallel::map(&keys, read)) {
            match read {
                Ok(backup) => catalogue.backups.push(backup),
                // Deleted since the listing.
                Err(error) if error.kind() == Kind::Missing => {}
                // The store has stopped answering, which says nothing about the manifest.
                Err(error) if store.is_silent() => return Err(error),
                Err(error) => catalogue.unusable.push(Unusable { key: (*key).clone(), error }),
            }
        }
        for key in sizes.keys().filter(|key| Takeover::is_key(key)) {
            match read_document(store.as_ref(), key).and_then(|bytes| Takeover::parse(key, &bytes)) {
                Ok(takeover) => catalogue.takeovers.push(takeover),
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
            .filter(|key| !managed.contains(key.as_str()) && !name::is_record(key))
            .map(|key| key.split_once('/').map_or(key.as_str(), |(folder, _)| folder))
            .filter(|name| name::leading_id(name).is_some_and(|id| !unusable.contains(id)))
            .map(str::to_owned)
            .collect();
        self.unmanaged.sort();
        self.unmanaged.dedup();
    }
}

impl Backup {
    /// A record of a verify or a drill that the store does not return is an error: it may say that the backup is damaged.
    ///
    /// If the record of a verify is malformed, the status is that of the files. Because the record may have said that the
    /// backup is damaged, the backup counts neither as verified nor as proven until it is verified again, and retention neither
    /// relies on it nor removes it.
    fn new(manifest: Manifest, shared: &Arc<dyn Store>, sizes: &HashMap<String, u64>) -> Result<Self> {
        let store = shared.as_ref();
        let has = |key: &String| sizes.contains_key(key);
        let record = Some(Verification::key(&manifest.id)).filter(has).map(|key| read_document(store, &key));
        let (verification, verification_error) = match record {
            Some(Ok(bytes)) => match document::parse::<Verification>(&bytes) {
                Ok(record) => (Some(record).filter(|record| record.id == manifest.id), None),
                Err(error) => (None, Some(error.to_string())),
            },
            Some(Err(error)) if error.kind() == Kind::Data => (None, Some(error.to_string())),
            Some(Err(error)) if error.kind() != Kind::Missing => return Err(error),
            _ => (None, None),
        };
        let pin = Some(Pin::key(&manifest.id)).filter(has).map(|key| pin(store, &key, &manifest));
        let drill = match Some(DrillRecord::key(&manifest.id)).filter(has).map(|key| read_document(store, &key)) {
            Some(Ok(bytes)) => DrillRecord::of(&manifest, &bytes),
            Some(Err(error)) if !matches!(error.kind(), Kind::Missing | Kind::Data) => return Err(error),
            _ => None,
        };
        let rehearsal = Some(RehearsalRecord::key(&manifest.id)).filter(has);
        let rehearsal = rehearsal.and_then(|key| RehearsalRecord::of(&manifest, &read_document(store, &key).ok()?));
        let damage: Vec<String> = manifest
            .files
            .iter()
            .filter_map(|file| match sizes.get(&file.key) {
                Some(bytes) if *bytes == file.stored_bytes => None,
                Some(bytes) => Some(format!("{} has {bytes} bytes instead of {}", file.key, file.stored_bytes)),
                None => Some(format!("{} is {}", file.key, missing(store, &file.key))),
            })
            .collect();
        let status = match &verification {
            _ if !damage.is_empty() => Status::Damaged,
            Some(record) if !record.passed => Status::Damaged,
            _ if manifest.partial => Status::Partial,
            Some(record) if record.depth == Depth::Full => Status::Verified,
            _ => Status::Good,
        };
        let store = Arc::clone(shared);
        Ok(Backup { manifest, store, status, verification, verification_error, pin, drill, rehearsal, damage })
    }

    /// Reads the backup with this id, if its manifest exists. No other backup is read.
    pub fn read(store: &Arc<dyn Store>, id: &str) -> Result<Option<Self>> {
        let Some(manifest) = manifest(store.as_ref(), id)? else { return Ok(None) };
        let mut sizes: HashMap<String, u64> = HashMap::new();
        if manifest.files.iter().any(|file| file.key.contains('/')) {
            sizes.extend(store.folder(id)?.into_iter().map(|entry| (entry.key, entry.bytes)));
        }
        for file in manifest.files.iter().filter(|file| !file.key.contains('/')) {
            sizes.extend(store.size(&file.key)?.map(|bytes| (file.key.clone(), bytes)));
        }
        for record in [Verification::key(id), Pin::key(id), DrillRecord::key(id), RehearsalRecord::key(id)] {
            let is_there = store.size(&record)?.is_some() || store.not_a_file(&record)?.is_some();
            sizes.extend(is_there.then_some((record, 0)));
        }
        Backup::new(manifest, store, &sizes).map(Some)
    }

    /// Whether it is in the backup directory.
    pub fn is_local(&self) -> bool {
        self.store.kind() == StoreKind::Local
    }

    /// Whether a drill has restored it completely, and it is not known to be damaged since.
    pub fn is_proven(&self) -> bool {
        self.status != Status::Damaged
            && self.verification_error.is_none()
            && self.drill.as_ref().is_some_and(DrillRecord::is_proof)
    }

    /// The damage that its files show and that the last verify found.
    pub fn faults(&self) -> Vec<&str> {
        let failed = self.verification.iter().filter(|verification| !verification.passed);
        let found = failed.flat_map(|verification| &verification.damage);
        self.damage.iter().chain(found).map(String::as_str).take(FAULTS).collect()
    }
}

/// The manifest of a backup, if there is one.
///
/// # Errors
/// `Data` for one that cannot be used.
pub fn manifest(store: &dyn Store, id: &str) -> Result<Option<Manifest>> {
    let key = Manifest::key(id);
    match read_document(store, &key) {
        Err(error) if error.kind() == Kind::Missing => Ok(None),
        bytes => Manifest::parse(&key, &bytes?).map(Some),
    }
}

/// The pin of a backup. Whatever has the name of a pin is one, even if it cannot be read.
fn pin(store: &dyn Store, key: &str, manifest: &Manifest) -> Pin {
    let read = read_document(store, key).ok().and_then(|bytes| document::parse::<Pin>(&bytes).ok());
    read.filter(|pin| pin.id == manifest.id).unwrap_or_else(|| Pin {
        id: manifest.id.clone(),
        at: manifest.ended,
        reason: None,
    })
}

/// The readable result of the last verify of a backup.
pub fn verification(store: &dyn Store, id: &str) -> Option<Verification> {
    let document = read_document(store, &Verification::key(id)).ok()?;
    document::parse(&document).ok().filter(|record: &Verification| record.id == id)
}

/// Describes a file that is missing: `missing`, or what has its name.
pub fn missing(store: &dyn Store, key: &str) -> String {
    match store.not_a_file(key) {
        Ok(Some(what)) => format!("{what}, not a file"),
        _ => "missing".to_owned(),
    }
}

/// Reads a small object.
pub fn read_document(store: &dyn Store, key: &str) -> Result<Vec<u8>> {
    store.read_whole(key, LARGEST_DOCUMENT)
}

/// How far a clock may be ahead before a backup counts as from the future.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Whether a backup began in the future: then one of the clocks was wrong, and the age of the backup is unknown. It is never
/// the newest one of a database that has others.
pub fn is_from_future(started: Timestamp, now: Timestamp) -> bool {
    started.duration_since(now) > AHEAD
}

#[cfg(test)]
impl Backup {
    /// A good backup without records.
    pub(crate) fn good(manifest: Manifest, store: Arc<dyn Store>) -> Self {
        Backup {
            manifest,
            store,
            status: Status::Good,
            verification: None,
            verification_error: None,
            pin: None,
            drill: None,
            rehearsal: None,
            damage: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;

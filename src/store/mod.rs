//! Where backups live: keys and bytes, and no idea of what they mean.

use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::config::Place;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::store::local::LocalStore;
use crate::store::s3::S3Store;

pub mod local;
pub mod s3;

/// Largest document that is read whole, in bytes: far above what the manifest of 100,000 omitted tables takes.
pub const LARGEST_DOCUMENT: u64 = 256 << 20;

/// A file of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEntry {
    /// Name in the store; `/` divides folders.
    pub key: String,
    /// Stored size in bytes.
    pub bytes: u64,
    /// When it was written last, by the store's clock.
    pub modified: Timestamp,
}

/// A new object on its way into the store. Nothing can be seen under its key before `commit`; dropping it leaves
/// nothing behind.
pub trait Upload: Write + Send {
    /// Makes the bytes durable, still under a temporary name.
    fn seal(&mut self) -> Result<()>;

    /// Gives the sealed object its key, durably. An object that is there already is an error and is left alone.
    fn commit(self: Box<Self>) -> Result<()>;
}

/// A place for objects. The methods block: they are called off the async threads.
pub trait Store: Send + Sync {
    /// What messages call it, and `list --store` selects: `local` or `s3`.
    fn name(&self) -> &'static str;

    /// Where it is, for messages.
    fn location(&self) -> String;

    /// Begins a new object; `bytes` is its size where that is known.
    fn create(&self, key: &str, bytes: Option<u64>) -> Result<Box<dyn Upload>>;

    /// Begins the bulk of a backup, which a store may keep in a cheaper class that takes long to read.
    fn create_bulk(&self, key: &str, bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        self.create(key, bytes)
    }

    /// Reads an object from `offset` on. An object that is not there is `Kind::Missing`.
    fn read(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>>;

    /// Reads a small object, such as a manifest, but no more than so many bytes of it. A store that says nothing for some
    /// seconds is `Kind::Unavailable`.
    fn read_whole(&self, key: &str, most: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.read(key, 0)?.take(most).read_to_end(&mut bytes);
        read.map_err(|error| Error::read(format!("{key} in {}", self.location()), &error))?;
        Ok(bytes)
    }

    /// Size of an object in bytes, or none if there is no such object.
    fn size(&self, key: &str) -> Result<Option<u64>>;

    /// All objects, in the order of their keys; temporary ones are not among them.
    fn list(&self) -> Result<Vec<StoreEntry>>;

    /// The objects directly in a folder, in the order of their keys; none if there is no such folder.
    fn folder(&self, key: &str) -> Result<Vec<StoreEntry>> {
        let inside = |entry: &StoreEntry| {
            let name = entry.key.strip_prefix(key).and_then(|rest| rest.strip_prefix('/'));
            name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
        };
        Ok(self.list()?.into_iter().filter(inside).collect())
    }

    /// Where a program can read the object or the folder itself, if this store keeps it as one.
    fn path_of(&self, _key: &str) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    /// Deletes an object; one that is not there is no error.
    fn delete(&self, key: &str) -> Result<()>;

    /// Replaces a small object as a whole: readers see the old bytes or the new ones.
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()>;

    /// Takes a small object out of sight, durably: it is not listed any more. Its bytes stay under its temporary name, until
    /// [`Store::discard`] removes them or [`Store::reinstate`] takes it back. One that is not there is no error.
    fn withdraw(&self, key: &str) -> Result<()>;

    /// Gives an object its key again that was withdrawn and not discarded, durably. An object that is there already is an
    /// error and is left alone.
    fn reinstate(&self, key: &str) -> Result<()>;

    /// What stands under the name of an object and is none, in words: `a named pipe`, `a folder` …
    fn not_a_file(&self, _key: &str) -> Result<Option<&'static str>> {
        Ok(None)
    }

    /// Names of all that [`Store::not_a_file`] speaks of, at the store's top.
    fn not_files(&self) -> Result<Vec<(String, &'static str)>> {
        Ok(Vec::new())
    }

    /// Puts a small object under the temporary name of `key`, durably. One that is there already is an error and is left
    /// alone.
    fn announce(&self, key: &str, bytes: &[u8]) -> Result<()>;

    /// Puts another small object in the place of one that this instance has announced. Where others may announce the same
    /// key, it is never free in between.
    fn announce_anew(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.discard(key)?;
        self.announce(key, bytes)
    }

    /// What is not whole: the keys of temporary objects, of folders that are being filled, and of uploads that were begun
    /// and neither committed nor dropped. `bytes` is what is known of their size.
    fn partials(&self) -> Result<Vec<StoreEntry>>;

    /// Reads the temporary object of a key; one that is not there is `Kind::Missing`.
    fn read_partial(&self, key: &str) -> Result<Vec<u8>>;

    /// Removes what is there of a key that is not whole: its temporary object or folder, and its begun uploads.
    fn discard(&self, key: &str) -> Result<()>;

    /// Whether the object itself tells that this instance wrote it. Never so in a store whose objects have no metadata.
    fn is_labelled(&self, key: &str) -> Result<bool>;

    /// Until when the store refuses to delete the object, if it does.
    fn locked_until(&self, key: &str) -> Result<Option<Timestamp>>;

    /// Whether [`Store::locked_until`] may say anything of an object: true where that is not known.
    fn has_locks(&self) -> bool {
        true
    }

    /// Whether the store has just said nothing for too long. Then it is not asked again for some seconds, and what was
    /// asked of it failed for that alone.
    fn is_silent(&self) -> bool {
        false
    }

    /// Whether the object stands under its key in the store's list, by which backups are found. A server may keep it under
    /// another key, and answer to both.
    fn lists(&self, key: &str) -> Result<bool> {
        self.size(key).map(|size| size.is_some())
    }
}

/// Whether a key stays within its store. Every part must be a name: an empty one or a dot would make a second spelling of
/// another key.
fn is_inside(key: &str) -> bool {
    !key.contains('\0') && key.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// The stores of an instance.
#[derive(Clone)]
pub struct Stores {
    /// The directory, unless backups go straight to the bucket.
    pub local: Option<LocalStore>,
    /// The bucket, if one is configured.
    pub s3: Option<Arc<S3Store>>,
}

impl Stores {
    /// The stores that the settings name. Nothing is asked of them yet.
    pub async fn open(place: &Place) -> Result<Self> {
        let s3 = match &place.s3 {
            Some(settings) => Some(S3Store::open_for(settings, place).await?),
            None => None,
        };
        Ok(Stores::of(place, s3))
    }

    /// The same for backups, which wait longer for a bucket that says nothing.
    pub async fn open_to_write(place: &Place) -> Result<Self> {
        let s3 = match &place.s3 {
            Some(settings) => Some(S3Store::open_to_write(settings, place).await?),
            None => None,
        };
        Ok(Stores::of(place, s3))
    }

    fn of(place: &Place, s3: Option<S3Store>) -> Self {
        let local = place.directory.as_ref().map(|folder| LocalStore::of_backups(folder, s3.is_none()));
        Stores { local, s3: s3.map(Arc::new) }
    }

    /// All of them, the local one first.
    pub fn all(&self) -> Vec<Arc<dyn Store>> {
        let local = self.local.iter().map(|store| Arc::new(store.clone()) as Arc<dyn Store>);
        local.chain(self.s3.iter().map(|store| Arc::clone(store) as Arc<dyn Store>)).collect()
    }

    /// The one of this name, or all of them.
    pub fn selected(&self, name: Option<&str>) -> Result<Vec<Arc<dyn Store>>> {
        let mut stores = self.all();
        let Some(name) = name else { return Ok(stores) };
        let known: Vec<&str> = stores.iter().map(|store| store.name()).collect();
        let hint = format!("--store can be {}", known.join(" or "));
        stores.retain(|store| store.name() == name);
        match stores.is_empty() {
            true => Err(Error::new(Kind::Usage, format!("there is no store '{}'", printable(name))).hint(hint)),
            false => Ok(stores),
        }
    }
}

//! The interface of a store: keys and bytes, and no idea of what they mean.

use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;

use jiff::Timestamp;
use serde::Serialize;

use crate::error::{Error, Result};

/// What a name ends in until its bytes are complete.
pub const PARTIAL: &str = ".partial";

/// Size limit of a document that is read into memory, in bytes: far more than the manifest of 100,000 omitted tables needs.
pub const LARGEST_DOCUMENT: u64 = 256 << 20;

/// The two stores that an instance can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// The backup directory.
    Local,
    /// The bucket.
    S3,
}

impl StoreKind {
    /// The name in messages, in JSON, and for `--store`.
    pub fn name(self) -> &'static str {
        match self {
            StoreKind::Local => "local",
            StoreKind::S3 => "s3",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a new object is for. A bucket stores each kind differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectKind {
    /// The bulk of a backup. It may be stored in a cheaper class, from which reading is slow.
    Archive,
    /// A smaller object that is read regularly and does not change: a manifest, globals, fingerprints.
    Document,
    /// A small object that pgcellar replaces or deletes regularly, such as an announcement or the result of a verify. It is never
    /// locked.
    Record,
}

/// An object of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreEntry {
    /// Name in the store; `/` separates folders.
    pub key: String,
    /// Stored size in bytes.
    pub bytes: u64,
    /// When it was written last, by the store's clock.
    pub modified: Timestamp,
}

/// A new object that is being written. It is not visible under its key before `commit`; dropping it leaves nothing behind.
pub trait Upload: Write + Send {
    /// Makes the bytes durable, still under a temporary name.
    fn seal(&mut self) -> Result<()>;

    /// Gives the sealed object its key, durably. An object that already has the key is an error and is left alone.
    fn commit(self: Box<Self>) -> Result<()>;
}

/// A place for objects. The methods block: call them off the async threads.
pub trait Store: Send + Sync {
    /// Which of the two it is.
    fn kind(&self) -> StoreKind;

    /// Where it is, for messages.
    fn location(&self) -> String;

    /// Begins a new object; `bytes` is its size if that is known.
    fn create(&self, key: &str, bytes: Option<u64>, kind: ObjectKind) -> Result<Box<dyn Upload>>;

    /// Reads an object from `offset` on. If there is none, the error is `Kind::Missing`.
    fn read(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>>;

    /// Reads a small object, such as a manifest, but at most `limit` bytes of it. A store that sends nothing for some seconds is
    /// `Kind::Unavailable`.
    fn read_whole(&self, key: &str, limit: u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.read(key, 0)?.take(limit).read_to_end(&mut bytes);
        read.map_err(|error| Error::read(format!("{key} in {}", self.location()), &error))?;
        Ok(bytes)
    }

    /// Size of an object in bytes, or none if there is no such object.
    fn size(&self, key: &str) -> Result<Option<u64>>;

    /// All objects except temporary ones, in the order of their keys.
    fn list(&self) -> Result<Vec<StoreEntry>>;

    /// The objects directly in a folder, in the order of their keys; none if there is no such folder.
    fn folder(&self, key: &str) -> Result<Vec<StoreEntry>> {
        let inside = |entry: &StoreEntry| {
            let name = entry.key.strip_prefix(key).and_then(|rest| rest.strip_prefix('/'));
            name.is_some_and(|name| !name.is_empty() && !name.contains('/'))
        };
        Ok(self.list()?.into_iter().filter(inside).collect())
    }

    /// The path of the object or the folder, if the store keeps it as a file or a folder.
    fn path_of(&self, _key: &str) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    /// Deletes an object; it is no error if there is none.
    fn delete(&self, key: &str) -> Result<()>;

    /// Replaces a small object atomically: readers see the old bytes or the new ones.
    fn replace(&self, key: &str, bytes: &[u8], kind: ObjectKind) -> Result<()>;

    /// Hides a small object, durably: it is no longer listed. Its bytes stay under its temporary name until [`Store::discard`]
    /// removes them or [`Store::reinstate`] gives the object its key back. It is no error if there is no such object.
    fn withdraw(&self, key: &str) -> Result<()>;

    /// Gives a withdrawn object its key back, durably. An object that already has the key is an error and is left alone.
    fn reinstate(&self, key: &str) -> Result<()>;

    /// What has the name of an object and is not a file: `a named pipe`, `a folder` …
    fn not_a_file(&self, _key: &str) -> Result<Option<&'static str>> {
        Ok(None)
    }

    /// All names at the store's top for which [`Store::not_a_file`] returns something.
    fn not_files(&self) -> Result<Vec<(String, &'static str)>> {
        Ok(Vec::new())
    }

    /// Writes a small object under the temporary name of `key`, durably. An existing one is an error and is left alone.
    fn announce(&self, key: &str, bytes: &[u8]) -> Result<()>;

    /// Replaces an object that this instance has announced. In a store that others may announce the same key in, the temporary
    /// name is never free in between.
    fn announce_anew(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.discard(key)?;
        self.announce(key, bytes)
    }

    /// What is incomplete: the keys of temporary objects, of folders that are being filled, and of uploads that were begun and
    /// neither committed nor aborted. `bytes` is their size as far as it is known.
    fn partials(&self) -> Result<Vec<StoreEntry>>;

    /// Reads the temporary object of a key. If there is none, the error is `Kind::Missing`.
    fn read_partial(&self, key: &str) -> Result<Vec<u8>>;

    /// Removes what is incomplete of a key: its temporary object or folder, and its unfinished uploads.
    fn discard(&self, key: &str) -> Result<()>;

    /// Whether the metadata of the object say that this instance wrote it. Always false in a store without metadata.
    fn is_labelled(&self, key: &str) -> Result<bool>;

    /// Until when the store refuses to delete the object; none if it does not refuse.
    fn locked_until(&self, key: &str) -> Result<Option<Timestamp>>;

    /// Whether [`Store::locked_until`] may return a time for any object; true if that is unknown.
    fn has_locks(&self) -> bool {
        true
    }

    /// Whether the store has stopped answering. It is then not asked again for some seconds, and requests fail for that reason
    /// alone.
    fn is_silent(&self) -> bool {
        false
    }

    /// Whether the list of the store, by which backups are found, contains the object under its key. A server may store it under
    /// another key, and answer to both.
    fn lists(&self, key: &str) -> Result<bool> {
        self.size(key).map(|size| size.is_some())
    }
}

impl fmt::Debug for dyn Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.kind(), self.location())
    }
}

/// Whether a key stays within its store. Every part must be a name: an empty one or a dot would make a second spelling of
/// another key.
pub fn is_inside(key: &str) -> bool {
    !key.contains('\0') && key.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

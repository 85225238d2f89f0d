//! Where backups live: keys and bytes, and no idea of what they mean.

use std::io::{Read, Write};

use crate::error::Result;

pub mod local;

/// A file of a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name in the store; `/` divides folders.
    pub key: String,
    /// Stored size in bytes.
    pub bytes: u64,
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

    /// Begins a new object.
    fn create(&self, key: &str) -> Result<Box<dyn Upload>>;

    /// Reads an object from `offset` on. An object that is not there is `Kind::Missing`.
    fn read(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>>;

    /// Size of an object in bytes, or none if there is no such object.
    fn size(&self, key: &str) -> Result<Option<u64>>;

    /// All objects, in the order of their keys; temporary ones are not among them.
    fn list(&self) -> Result<Vec<Entry>>;

    /// Deletes an object; one that is not there is no error.
    fn delete(&self, key: &str) -> Result<()>;

    /// Replaces a small object as a whole: readers see the old bytes or the new ones.
    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()>;
}

//! Where backups live: a directory, a bucket, or both.

use std::sync::Arc;

use crate::config::Place;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::store::local::LocalStore;
use crate::store::s3::S3Store;

mod interface;
pub mod local;
pub mod s3;
#[cfg(test)]
pub mod sample;

pub use interface::{LARGEST_DOCUMENT, ObjectKind, Store, StoreEntry, StoreKind, Upload};

/// The stores of an instance.
#[derive(Clone)]
pub struct Stores {
    /// The directory, unless backups go straight to the bucket.
    pub local: Option<LocalStore>,
    /// The bucket, if one is configured.
    pub s3: Option<Arc<S3Store>>,
}

impl Stores {
    /// Opens the stores that the settings name. No request is sent yet.
    pub async fn open(place: &Place) -> Result<Self> {
        let s3 = match &place.s3 {
            Some(settings) => Some(S3Store::open_for(settings, place).await?),
            None => None,
        };
        Ok(Stores::of(place, s3))
    }

    /// The same for backups, which wait longer for a bucket that does not answer.
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

    /// The store with this name, or all of them.
    ///
    /// # Errors
    /// `Usage` if there is no such store.
    pub fn selected(&self, name: Option<&str>) -> Result<Vec<Arc<dyn Store>>> {
        let mut stores = self.all();
        let Some(name) = name else { return Ok(stores) };
        let names: Vec<&str> = stores.iter().map(|store| store.kind().name()).collect();
        let hint = format!("--store can be {}", names.join(" or "));
        stores.retain(|store| store.kind().name() == name);
        match stores.is_empty() {
            true => Err(Error::new(Kind::Usage, format!("there is no store '{}'", printable(name))).hint(hint)),
            false => Ok(stores),
        }
    }
}

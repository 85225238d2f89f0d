//! An empty store of either kind, for tests that only need to know which store something is in.

use std::io::Read;
use std::sync::Arc;

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};
use crate::store::{ObjectKind, Store, StoreEntry, StoreKind, Upload};

/// A store of this kind. Nothing is in it, and nothing can be written to it.
pub fn empty(kind: StoreKind) -> Arc<dyn Store> {
    Arc::new(EmptyStore(kind))
}

struct EmptyStore(StoreKind);

impl EmptyStore {
    fn refused<T>(&self) -> Result<T> {
        Err(Error::new(Kind::Missing, format!("{} is empty", self.location())))
    }
}

impl Store for EmptyStore {
    fn kind(&self) -> StoreKind {
        self.0
    }

    fn location(&self) -> String {
        format!("the {} store", self.0)
    }

    fn create(&self, _: &str, _: Option<u64>, _: ObjectKind) -> Result<Box<dyn Upload>> {
        self.refused()
    }

    fn read(&self, _: &str, _: u64) -> Result<Box<dyn Read + Send>> {
        self.refused()
    }

    fn size(&self, _: &str) -> Result<Option<u64>> {
        Ok(None)
    }

    fn list(&self) -> Result<Vec<StoreEntry>> {
        Ok(Vec::new())
    }

    fn delete(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn replace(&self, _: &str, _: &[u8], _: ObjectKind) -> Result<()> {
        self.refused()
    }

    fn withdraw(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn reinstate(&self, _: &str) -> Result<()> {
        self.refused()
    }

    fn announce(&self, _: &str, _: &[u8]) -> Result<()> {
        self.refused()
    }

    fn partials(&self) -> Result<Vec<StoreEntry>> {
        Ok(Vec::new())
    }

    fn read_partial(&self, _: &str) -> Result<Vec<u8>> {
        self.refused()
    }

    fn discard(&self, _: &str) -> Result<()> {
        Ok(())
    }

    fn is_labelled(&self, _: &str) -> Result<bool> {
        Ok(false)
    }

    fn locked_until(&self, _: &str) -> Result<Option<Timestamp>> {
        Ok(None)
    }
}

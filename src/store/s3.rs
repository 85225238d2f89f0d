//! A bucket as a store: multipart uploads that are completed at commit, and conditional writes.
//!
//! All keys are under the prefix of the settings. What is incomplete is either a unfinished upload or, under the temporary name of its
//! key, an announcement.

use std::io::Read;
use std::sync::{Arc, OnceLock};

use aws_sdk_s3::types::{ObjectLockEnabled, ObjectLockLegalHoldStatus};
use bytes::Bytes;
use jiff::Timestamp;

use crate::config::{Place, S3Settings};
use crate::error::{Kind, Result};
use crate::identity::Identity;
use crate::store::interface::{LARGEST_DOCUMENT, ObjectKind, PARTIAL, Store, StoreEntry, StoreKind, Upload};

pub mod browse;
mod bucket;
mod client;
mod download;
mod errors;
mod list;
mod liveness;
mod object;
pub mod probe;
mod rate;
mod upload;

use bucket::Bucket;
use download::{S3Reader, read_small};
use liveness::Liveness;
use upload::S3Upload;

/// A bucket, or what is under a prefix of it.
#[derive(Debug)]
pub struct S3Store {
    bucket: Arc<Bucket>,
}

impl S3Store {
    /// Makes the client; no request is sent yet. Objects that are written get the instance and the host as metadata. Requests run
    /// on the caller's runtime, which must have several threads.
    ///
    /// A server that is silent for 10 seconds during a read is `Kind::Unavailable`.
    pub async fn open(settings: &S3Settings, instance: &str, host: &str) -> Result<Self> {
        S3Store::connect(
            settings,
            Liveness::new(liveness::READING, liveness::WRITING),
            (instance, host),
            Arc::default(),
        )
        .await
    }

    /// The same for an instance: once its server is known, objects also get the server's marks.
    pub async fn open_for(settings: &S3Settings, place: &Place) -> Result<Self> {
        let (liveness, maker) =
            (Liveness::new(liveness::READING, liveness::WRITING), (place.instance.as_str(), place.host.as_str()));
        S3Store::connect(settings, liveness, maker, Arc::clone(&place.server)).await
    }

    /// The same for backups, which wait for 30 seconds.
    pub async fn open_to_write(settings: &S3Settings, place: &Place) -> Result<Self> {
        let (liveness, maker) =
            (Liveness::new(liveness::WRITING, liveness::WRITING), (place.instance.as_str(), place.host.as_str()));
        S3Store::connect(settings, liveness, maker, Arc::clone(&place.server)).await
    }

    async fn connect(
        settings: &S3Settings,
        liveness: Liveness,
        maker: (&str, &str),
        server: Arc<OnceLock<Identity>>,
    ) -> Result<Self> {
        let client = client::connect(settings, liveness.clone()).await?;
        Ok(S3Store { bucket: Arc::new(Bucket::new(client, settings.clone(), liveness, maker, server)) })
    }

    /// The listed objects whose keys begin with `begin`, in the order of their keys.
    fn listed(&self, begin: &str) -> Result<Vec<StoreEntry>> {
        let mut entries = self.bucket.wait(self.bucket.objects(begin))?;
        entries.retain(|entry| list::is_listed(&entry.key));
        entries.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    /// Reads a small object, but at most `limit` bytes of it.
    fn small(&self, full: String, limit: u64) -> Result<Vec<u8>> {
        self.bucket.wait(self.bucket.ask(errors::READ, &full, || read_small(&self.bucket, &full, limit)))?
    }

    fn partial_key(&self, key: &str) -> Result<String> {
        Ok(format!("{}{PARTIAL}", self.bucket.full_key(key)?))
    }
}

impl Store for S3Store {
    fn kind(&self) -> StoreKind {
        StoreKind::S3
    }

    fn location(&self) -> String {
        self.bucket.address(&self.bucket.settings.prefix)
    }

    fn create(&self, key: &str, bytes: Option<u64>, kind: ObjectKind) -> Result<Box<dyn Upload>> {
        Ok(Box::new(S3Upload::begin(Arc::clone(&self.bucket), self.bucket.full_key(key)?, bytes, kind)?))
    }

    fn read(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>> {
        Ok(Box::new(S3Reader::begin(Arc::clone(&self.bucket), self.bucket.full_key(key)?, offset)?))
    }

    fn read_whole(&self, key: &str, limit: u64) -> Result<Vec<u8>> {
        self.small(self.bucket.full_key(key)?, limit)
    }

    fn size(&self, key: &str) -> Result<Option<u64>> {
        let full = self.bucket.full_key(key)?;
        let head = self.bucket.wait(self.bucket.head(&full))?;
        Ok(head.map(|head| head.content_length().and_then(|length| u64::try_from(length).ok()).unwrap_or_default()))
    }

    fn list(&self) -> Result<Vec<StoreEntry>> {
        self.listed("")
    }

    fn folder(&self, key: &str) -> Result<Vec<StoreEntry>> {
        self.listed(&format!("{key}/"))
    }

    fn delete(&self, key: &str) -> Result<()> {
        let full = self.bucket.full_key(key)?;
        self.bucket.wait(self.bucket.delete(&full))
    }

    fn replace(&self, key: &str, bytes: &[u8], kind: ObjectKind) -> Result<()> {
        let full = self.bucket.full_key(key)?;
        self.bucket.wait(self.bucket.replace(&full, Bytes::copy_from_slice(bytes), kind))
    }

    /// At each moment either the object exists, or its bytes are under the temporary name.
    fn withdraw(&self, key: &str) -> Result<()> {
        match self.read_whole(key, LARGEST_DOCUMENT) {
            Err(error) if error.kind() == Kind::Missing => return Ok(()),
            bytes => {
                let (partial, bytes) = (self.partial_key(key)?, Bytes::from(bytes?));
                self.bucket.wait(self.bucket.replace(&partial, bytes, ObjectKind::Record))?;
            }
        }
        self.delete(key)
    }

    fn reinstate(&self, key: &str) -> Result<()> {
        let bytes = Bytes::from(self.read_partial(key)?);
        let full = self.bucket.full_key(key)?;
        self.bucket.wait(self.bucket.put_new(&full, bytes, &upload::mark(), ObjectKind::Document))?;
        self.bucket.wait(self.bucket.delete(&self.partial_key(key)?))
    }

    fn announce(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let full = self.partial_key(key)?;
        let (bytes, mark) = (Bytes::copy_from_slice(bytes), upload::mark());
        self.bucket.wait(self.bucket.put_new(&full, bytes, &mark, ObjectKind::Record))
    }

    fn announce_anew(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let full = self.partial_key(key)?;
        self.bucket.wait(async {
            self.bucket.replace(&full, Bytes::copy_from_slice(bytes), ObjectKind::Record).await?;
            self.bucket.abort_uploads(key).await
        })
    }

    fn partials(&self) -> Result<Vec<StoreEntry>> {
        self.bucket.wait(self.bucket.partials())
    }

    fn read_partial(&self, key: &str) -> Result<Vec<u8>> {
        self.small(self.partial_key(key)?, LARGEST_DOCUMENT)
    }

    fn discard(&self, key: &str) -> Result<()> {
        let full = self.partial_key(key)?;
        self.bucket.wait(async {
            self.bucket.delete(&full).await?;
            self.bucket.abort_uploads(key).await
        })
    }

    fn is_labelled(&self, key: &str) -> Result<bool> {
        let full = self.bucket.full_key(key)?;
        let head = self.bucket.wait(self.bucket.head(&full))?;
        Ok(head.is_some_and(|head| self.bucket.is_own(&head)))
    }

    fn locked_until(&self, key: &str) -> Result<Option<Timestamp>> {
        let full = self.bucket.full_key(key)?;
        let Some(head) = self.bucket.wait(self.bucket.head(&full))? else { return Ok(None) };
        if head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On) {
            return Ok(Some(Timestamp::MAX));
        }
        let until = head.object_lock_retain_until_date().map(|until| bucket::timestamp(Some(until)));
        Ok(until.filter(|until| *until > Timestamp::now()))
    }

    fn has_locks(&self) -> bool {
        let lock = self.bucket.wait(self.bucket.lock_configuration());
        lock.is_none_or(|lock| lock.is_some_and(|lock| lock.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled)))
    }

    fn is_silent(&self) -> bool {
        self.bucket.liveness.is_silent()
    }

    fn lists(&self, key: &str) -> Result<bool> {
        Ok(self.listed(key)?.iter().any(|entry| entry.key == key))
    }
}

//! The bucket: its keys, the metadata and options of its objects, and how long to wait for its server.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::Builder;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::DateTime;
use aws_sdk_s3::types::{self, ObjectLockConfiguration, ObjectLockMode, StorageClass};
use bytes::Bytes;
use jiff::Timestamp;
use tokio::runtime::Handle;

use crate::config::{ObjectLock, S3Settings, ServerSideEncryption};
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::store::interface::{ObjectKind, is_inside};
use crate::store::s3::errors::{Operation, RequestError, Silence};
use crate::store::s3::liveness::{Liveness, WRITING};
use crate::store::s3::rate::{Pace, Rate};
use crate::store::s3::{client, errors};

/// Metadata: the instance that wrote an object.
const INSTANCE: &str = "pgcellar-instance";
/// Metadata: the host that wrote an object.
const HOST: &str = "pgcellar-host";
/// Metadata: marks of the server that the object is a backup of, separated by dots.
const MARKS: &str = "pgcellar-marks";
const SEPARATOR: &str = ".";

/// Metadata: the upload that made the object.
const UPLOAD: &str = "pgcellar-upload";

/// The slowest upload that is waited for, in bytes per second.
const SLOWEST: u64 = 32 << 10;

/// The bucket, with the labels of the objects that this instance writes there.
#[derive(Debug)]
pub struct Bucket {
    /// The client.
    pub client: Client,
    /// The settings.
    pub settings: S3Settings,
    /// When the server sent something last.
    pub liveness: Liveness,
    labels: HashMap<String, String>,
    server: Arc<OnceLock<Identity>>,
    handle: Handle,
    rate: Option<Arc<Rate>>,
    /// Whether the server has answered that it does not support conditional writes.
    unconditional: AtomicBool,
}

/// Metadata and options of a new object.
pub struct ObjectOptions {
    pub metadata: HashMap<String, String>,
    pub storage_class: Option<StorageClass>,
    pub encryption: Option<types::ServerSideEncryption>,
    pub encryption_key: Option<String>,
    pub lock: Option<(ObjectLockMode, DateTime)>,
}

/// Whether the upload with this mark made the object, by its metadata.
pub fn is_marked_by(head: &HeadObjectOutput, mark: &str) -> bool {
    head.metadata().and_then(|metadata| metadata.get(UPLOAD)).is_some_and(|upload| upload == mark)
}

impl Bucket {
    /// The bucket that the settings name, for objects of this instance and host, and of this server once it is known.
    pub fn new(
        client: Client,
        settings: S3Settings,
        liveness: Liveness,
        (instance, host): (&str, &str),
        server: Arc<OnceLock<Identity>>,
    ) -> Self {
        let labels = [(INSTANCE, instance), (HOST, host)].map(|(name, value)| (name.to_owned(), label(value)));
        let rate = settings.rate_limit.map(|rate| Arc::new(Rate::new(rate)));
        Bucket {
            client,
            liveness,
            rate,
            settings,
            labels: HashMap::from(labels),
            server,
            handle: Handle::current(),
            unconditional: AtomicBool::new(false),
        }
    }

    /// Waits for a request, on any thread.
    pub fn wait<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::task::block_in_place(|| self.handle.block_on(work))
    }

    /// The runtime that requests run on.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Key in the bucket of a key of the store. A key that would lead out of the prefix is refused, whatever its origin.
    pub fn full_key(&self, key: &str) -> Result<String> {
        match is_inside(key) {
            true => Ok(format!("{}{key}", self.prefix())),
            false => Err(Error::new(Kind::Data, format!("the object name '{key}' points outside the prefix"))),
        }
    }

    /// The beginning of all keys in the bucket.
    pub fn prefix(&self) -> String {
        match self.settings.prefix.as_str() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        }
    }

    /// Name of an object for messages, from its key in the bucket.
    pub fn address(&self, full: &str) -> String {
        format!("s3://{}/{full}", self.settings.bucket)
    }

    /// Value of the header `If-None-Match`, if the server supports conditional writes.
    pub fn if_none_match(&self) -> Option<String> {
        self.is_conditional().then(|| "*".to_owned())
    }

    /// Whether the server supports conditional writes, as far as it is known.
    pub fn is_conditional(&self) -> bool {
        !self.unconditional.load(Ordering::Relaxed)
    }

    /// Records that the server does not support conditional writes. Returns false if that was known already.
    pub fn disable_conditional_writes(&self) -> bool {
        !self.unconditional.swap(true, Ordering::Relaxed)
    }

    /// The pace of sending one body.
    pub fn pace(&self) -> Pace {
        Pace::new(self.rate.clone())
    }

    /// The error for a failed request about an object.
    pub fn explain<E>(&self, operation: Operation, full: &str, error: &RequestError<E>) -> Error
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        errors::explain(&self.settings, operation, &self.address(full), error)
    }

    /// Time limit of one attempt that sends this many bytes while other requests send, too.
    fn attempt_limit(&self, bytes: u64) -> Duration {
        let slowest = self.settings.rate_limit.map_or(SLOWEST, |rate| SLOWEST.min(rate / 8)).max(1);
        client::ATTEMPT + Duration::from_secs(bytes / slowest)
    }

    /// Time-outs for a request that sends these bytes.
    pub fn time_limits(&self, bytes: &Bytes) -> aws_sdk_s3::config::Builder {
        aws_sdk_s3::config::Builder::new().timeout_config(client::timeouts(self.attempt_limit(bytes.len() as u64)))
    }

    /// Metadata and options of a new object; `mark` distinguishes this upload from every other. Only archives have the storage
    /// class of the settings: other objects are read regularly, and reading them may not require a retrieval first. Records are
    /// not locked.
    pub fn object_options(&self, mark: Option<&str>, kind: ObjectKind) -> ObjectOptions {
        let mut metadata = self.labels.clone();
        let marks: Vec<&str> = self.server.get().into_iter().flat_map(Identity::marks).collect();
        metadata.extend((!marks.is_empty()).then(|| (MARKS.to_owned(), marks.join(SEPARATOR))));
        metadata.extend(mark.map(|mark| (UPLOAD.to_owned(), mark.to_owned())));
        let class = self.settings.storage_class.as_deref().filter(|_| kind == ObjectKind::Archive);
        let (encryption, encryption_key) = match &self.settings.encryption {
            None => (None, None),
            Some(ServerSideEncryption::Aes256) => (Some(types::ServerSideEncryption::Aes256), None),
            Some(ServerSideEncryption::Kms(key)) => (Some(types::ServerSideEncryption::AwsKms), key.clone()),
        };
        ObjectOptions {
            metadata,
            storage_class: class.map(StorageClass::from),
            encryption,
            encryption_key,
            lock: self.settings.lock.filter(|_| kind != ObjectKind::Record).map(retention),
        }
    }

    /// Whether the metadata say that this instance wrote the object: on this host, or on a host of another name whose server has
    /// a mark of this one.
    pub fn is_own(&self, head: &HeadObjectOutput) -> bool {
        let value_of = |name: &str| head.metadata().and_then(|metadata| metadata.get(name));
        let same = |name: &str| value_of(name).is_some_and(|value| self.labels.get(name) == Some(value));
        let marks = || value_of(MARKS).into_iter().flat_map(|marks| marks.split(SEPARATOR));
        let has_mark =
            || marks().any(|mark| self.server.get().is_some_and(|server| server.marks().any(|our| our == mark)));
        same(INSTANCE) && (same(HOST) || has_mark())
    }

    /// The Object Lock of the bucket, if it has one; none if the key has no permission to ask.
    pub async fn lock_configuration(&self) -> Option<Option<ObjectLockConfiguration>> {
        let request = self.client.get_object_lock_configuration().bucket(&self.settings.bucket);
        match self.ask(errors::READ, "", || request.clone().send()).await.ok()? {
            Ok(answer) => Some(answer.object_lock_configuration),
            Err(error) if errors::code(&error) == Some("ObjectLockConfigurationNotFoundError") => Some(None),
            Err(_) => None,
        }
    }

    /// Sends a request that reads. Fails if the server is silent for too long.
    pub async fn ask<F: Future>(&self, operation: Operation, full: &str, request: impl Fn() -> F) -> Result<F::Output> {
        self.liveness.ask(request).await.map_err(|silence| self.explain_silence(operation, full, &silence))
    }

    /// Waits for a request that writes or deletes, as long as the server is alive.
    pub async fn wait_while_alive<T>(
        &self,
        operation: Operation,
        full: &str,
        pace: Option<&Pace>,
        request: impl Future<Output = T>,
    ) -> Result<T> {
        let answered = self.liveness.wait_while_alive(pace, || self.probe(full), request).await;
        answered.map_err(|silence| self.explain_silence(operation, full, &silence))
    }

    /// A request whose only purpose is that the server answers something.
    fn probe(&self, full: &str) -> impl Future<Output = ()> + Send + 'static {
        let once = Builder::new().retry_config(RetryConfig::disabled()).timeout_config(client::timeouts(WRITING));
        let request = self.client.head_object().bucket(&self.settings.bucket).key(full).customize();
        async move { drop(request.config_override(once).send().await) }
    }

    fn explain_silence(&self, operation: Operation, full: &str, silence: &Silence) -> Error {
        errors::explain_silence(&self.settings, operation, &self.address(full), silence)
    }
}

fn retention(lock: ObjectLock) -> (ObjectLockMode, DateTime) {
    let mode = if lock.compliance { ObjectLockMode::Compliance } else { ObjectLockMode::Governance };
    let until = Timestamp::now().as_second() + i64::from(lock.days) * 86_400;
    (mode, DateTime::from_secs(until))
}

/// A text as a value of metadata, which is sent in a header: all but plain characters are written as `%XX`.
fn label(text: &str) -> String {
    let mut label = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' => label.push(char::from(byte)),
            _ => label.push_str(&format!("%{byte:02X}")),
        }
    }
    label
}

/// The time in an answer; the earliest possible time if there is none.
pub fn timestamp(time: Option<&DateTime>) -> Timestamp {
    time.and_then(|time| Timestamp::new(time.secs(), 0).ok()).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_marked_by_its_own_upload_only() {
        let by = |mark: &str| HeadObjectOutput::builder().metadata(UPLOAD, mark).build();
        assert!(is_marked_by(&by("a"), "a"));
        assert!(!is_marked_by(&by("b"), "a"));
        assert!(!is_marked_by(&HeadObjectOutput::builder().build(), "a"));
    }

    #[test]
    fn labels_are_plain() {
        assert_eq!(label("shop-1.example_x"), "shop-1.example_x");
        assert_eq!(label("ü b\n%"), "%C3%BC%20b%0A%25");
    }
}

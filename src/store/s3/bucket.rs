//! Single requests to the bucket, and what every object carries.

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{self, ObjectLockConfiguration, ObjectLockMode, StorageClass};
use aws_smithy_types::base64;
use bytes::Bytes;
use jiff::Timestamp;
use md5::{Digest, Md5};
use tokio::runtime::Handle;

use crate::config::{ObjectLock, S3Settings, ServerSideEncryption};
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::store::s3::life::Life;
use crate::store::s3::rate::{Pace, Rate};
use crate::store::s3::{client, errors};
use crate::store::{is_inside, local::PARTIAL};

/// Metadata: the instance that wrote an object.
const INSTANCE: &str = "pgcellar-instance";
/// Metadata: the host that wrote an object.
const HOST: &str = "pgcellar-host";
/// Metadata: what ties the object to its server, divided by dots.
const MARKS: &str = "pgcellar-marks";
const DIVIDER: &str = ".";

/// Metadata: the one upload that made the object.
const UPLOAD: &str = "pgcellar-upload";

/// How long is waited when another write was in the way.
const CONFLICT: Duration = Duration::from_millis(200);

/// The slowest upload that is waited for, in bytes a second.
const SLOWEST: u64 = 32 << 10;

/// The bucket, and whose objects we write there.
#[derive(Debug)]
pub struct Bucket {
    /// The client.
    pub client: Client,
    /// The settings.
    pub settings: S3Settings,
    /// What is heard of its server.
    pub life: Life,
    labels: HashMap<String, String>,
    server: Arc<OnceLock<Identity>>,
    handle: Handle,
    rate: Option<Arc<Rate>>,
    /// Whether the server said that it knows no conditional writes.
    unconditional: AtomicBool,
}

/// What an object carries beside its bytes.
pub struct Carried {
    pub metadata: HashMap<String, String>,
    pub storage_class: Option<StorageClass>,
    pub encryption: Option<types::ServerSideEncryption>,
    pub encryption_key: Option<String>,
    pub lock: Option<(ObjectLockMode, DateTime)>,
}

/// Whether an object says that it was made by the upload with this mark.
pub fn is_by(head: &HeadObjectOutput, mark: &str) -> bool {
    head.metadata().and_then(|told| told.get(UPLOAD)).is_some_and(|told| told == mark)
}

impl Bucket {
    /// The bucket that the settings name, for objects of this instance and host, and of this server once it is known.
    pub fn new(
        client: Client,
        settings: S3Settings,
        life: Life,
        (instance, host): (&str, &str),
        server: Arc<OnceLock<Identity>>,
    ) -> Self {
        let labels = [(INSTANCE, instance), (HOST, host)].map(|(name, value)| (name.to_owned(), label(value)));
        let rate = settings.rate_limit.map(|rate| Arc::new(Rate::new(rate)));
        Bucket {
            client,
            life,
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

    /// Key in the bucket of a key of the store. One that would lead out of the prefix is refused, wherever it came from.
    pub fn full_key(&self, key: &str) -> Result<String> {
        match is_inside(key) {
            true => Ok(format!("{}{key}", self.prefix())),
            false => Err(Error::new(Kind::Data, format!("the object name '{key}' points outside the prefix"))),
        }
    }

    /// What keys in the bucket begin with.
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

    /// Says what a failed request about an object means.
    pub fn explain<E>(&self, doing: errors::Doing, full: &str, error: &errors::Refused<E>) -> Error
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        errors::explain(&self.settings, doing, &self.address(full), error)
    }

    /// How long one attempt may take that sends so many bytes while others send, too.
    fn patience(&self, bytes: u64) -> Duration {
        let slowest = self.settings.rate_limit.map_or(SLOWEST, |rate| SLOWEST.min(rate / 8)).max(1);
        client::ATTEMPT + Duration::from_secs(bytes / slowest)
    }

    /// What a new object carries; `mark` tells this upload from every other. Only what is bulk has the storage class of the
    /// settings: the others are read in the ordinary course of things, and may not have to be fetched first.
    pub fn carried(&self, full: &str, mark: Option<&str>, bulk: bool) -> Carried {
        let mut metadata = self.labels.clone();
        let marks: Vec<&str> = self.server.get().into_iter().flat_map(Identity::marks).collect();
        metadata.extend((!marks.is_empty()).then(|| (MARKS.to_owned(), marks.join(DIVIDER))));
        metadata.extend(mark.map(|mark| (UPLOAD.to_owned(), mark.to_owned())));
        // What is replaced or removed in the ordinary course of things is not locked.
        let is_lasting = ![PARTIAL, ".verify.json", ".pin.json", ".drill.json", ".acknowledged.json"]
            .iter()
            .any(|end| full.ends_with(end));
        let class = self.settings.storage_class.as_deref().filter(|_| bulk);
        let (encryption, encryption_key) = match &self.settings.encryption {
            None => (None, None),
            Some(ServerSideEncryption::Aes256) => (Some(types::ServerSideEncryption::Aes256), None),
            Some(ServerSideEncryption::Kms(key)) => (Some(types::ServerSideEncryption::AwsKms), key.clone()),
        };
        Carried {
            metadata,
            storage_class: class.map(StorageClass::from),
            encryption,
            encryption_key,
            lock: self.settings.lock.filter(|_| is_lasting).map(retention),
        }
    }

    /// Whether the object says that this instance wrote it: on this host, or wherever the host had another name, as its marks
    /// tell.
    pub fn is_ours(&self, head: &HeadObjectOutput) -> bool {
        let told = |name: &str| head.metadata().and_then(|told| told.get(name));
        let same = |name: &str| told(name).is_some_and(|value| self.labels.get(name) == Some(value));
        let marks = || told(MARKS).into_iter().flat_map(|marks| marks.split(DIVIDER));
        let has_mark =
            || marks().any(|mark| self.server.get().is_some_and(|server| server.marks().any(|our| our == mark)));
        same(INSTANCE) && (same(HOST) || has_mark())
    }

    /// Looks at an object; none if there is none.
    pub async fn head(&self, full: &str) -> Result<Option<HeadObjectOutput>> {
        let request = self.client.head_object().bucket(&self.settings.bucket).key(full);
        match self.ask(errors::READ, full, || request.clone().send()).await? {
            Ok(head) => Ok(Some(head)),
            Err(error) if errors::status(&error) == Some(404) => Ok(None),
            Err(error) if error.raw_response().is_some() => {
                // An answer to HEAD has no body that says why.
                let request = self.client.get_object().bucket(&self.settings.bucket).key(full).range("bytes=0-0");
                match self.ask(errors::READ, full, || request.clone().send()).await? {
                    Err(telling) => Err(self.explain(errors::READ, full, &telling)),
                    Ok(_) => Err(self.explain(errors::READ, full, &error)),
                }
            }
            Err(error) => Err(self.explain(errors::READ, full, &error)),
        }
    }

    /// Whether the object was made by this very upload.
    pub async fn is_marked(&self, full: &str, mark: &str) -> bool {
        matches!(self.head(full).await, Ok(Some(head)) if is_by(&head, mark))
    }

    /// Looks whether the key is free where the server may not look itself when it writes.
    pub async fn look_first(&self, full: &str) -> Result<()> {
        match self.settings.endpoint.is_some() || !self.is_conditional() {
            true => self.must_be_free(full).await,
            false => Ok(()),
        }
    }

    /// An object that is there already is an error. Who may not look gets told when the object is written.
    pub async fn must_be_free(&self, full: &str) -> Result<()> {
        match self.head(full).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(self.taken(full)),
            Err(error) if error.kind() == Kind::NotPermitted => {
                log::debug!("cannot look at {full}: {error}");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The error that says that a key has an object.
    pub fn taken(&self, full: &str) -> Error {
        Error::new(Kind::CannotWrite, format!("cannot write {}: there is such an object already", self.address(full)))
    }

    /// What `If-None-Match` is to say.
    pub fn condition(&self) -> Option<String> {
        self.is_conditional().then(|| "*".to_owned())
    }

    fn is_conditional(&self) -> bool {
        !self.unconditional.load(Ordering::Relaxed)
    }

    /// Remembers that the server does not know conditional writes; false if it was not asked for one.
    pub fn goes_without_condition(&self) -> bool {
        !self.unconditional.swap(true, Ordering::Relaxed)
    }

    /// `Content-MD5`, by which any server sees that bytes were garbled on their way; Amazon gets the SDK's checksums.
    pub async fn digest(&self, bytes: &Bytes) -> Option<String> {
        self.settings.endpoint.as_ref()?;
        let bytes = bytes.clone();
        let digest = tokio::task::spawn_blocking(move || base64::encode(Md5::digest(&bytes))).await;
        digest.ok()
    }

    /// A request that writes an object with all that it carries.
    pub async fn put(&self, full: &str, bytes: Bytes, mark: Option<&str>, bulk: bool) -> PutObjectFluentBuilder {
        let carried = self.carried(full, mark, bulk);
        let (mode, until) = carried.lock.unzip();
        self.client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(full)
            .set_metadata(Some(carried.metadata))
            .set_storage_class(carried.storage_class)
            .set_server_side_encryption(carried.encryption)
            .set_ssekms_key_id(carried.encryption_key)
            .set_object_lock_mode(mode)
            .set_object_lock_retain_until_date(until)
            .set_content_md5(self.digest(&bytes).await)
            .body(ByteStream::from(bytes))
    }

    /// Writes a small object, whatever is there.
    pub async fn replace(&self, full: &str, bytes: Bytes) -> Result<()> {
        let mut attempts = 0;
        loop {
            let request = self.put(full, bytes.clone(), None, false).await;
            let pace = self.pace();
            let request = request.customize().config_override(self.patient(&bytes)).interceptor(pace.clone());
            attempts += 1;
            match self.outlast(errors::WRITE, full, Some(&pace), pace.watch(request.send())).await? {
                None if attempts < client::ATTEMPTS => {}
                None => return Err(self.stuck(full)),
                Some(Err(error)) if errors::is_garbled(&error) && attempts < client::ATTEMPTS => {}
                Some(sent) => return sent.map(drop).map_err(|error| self.explain(errors::WRITE, full, &error)),
            }
        }
    }

    /// Writes an object in one request, unless there is one.
    pub async fn put_new(&self, full: &str, bytes: Bytes, mark: &str, bulk: bool) -> Result<()> {
        let mut attempts = 0;
        loop {
            self.look_first(full).await?;
            let request = self.put(full, bytes.clone(), Some(mark), bulk).await.set_if_none_match(self.condition());
            let pace = self.pace();
            let request = request.customize().config_override(self.patient(&bytes)).interceptor(pace.clone());
            attempts += 1;
            let is_last = attempts >= client::ATTEMPTS;
            let error = match self.outlast(errors::WRITE, full, Some(&pace), pace.watch(request.send())).await? {
                Some(Ok(_)) => return Ok(()),
                Some(Err(error)) => error,
                None if self.is_marked(full, mark).await => return Ok(()),
                None if is_last => return Err(self.stuck(full)),
                None => continue,
            };
            match errors::status(&error) {
                // An answer that got lost makes the request be sent again, and then the object is in its own way.
                Some(412) if self.is_marked(full, mark).await => return Ok(()),
                Some(412) => return Err(self.taken(full)),
                Some(409) if !is_last => tokio::time::sleep(CONFLICT).await,
                _ if errors::is_garbled(&error) && !is_last => {}
                _ if errors::is_unknown_there(&error) && self.goes_without_condition() => {}
                _ if errors::is_in_doubt(&error) && self.is_marked(full, mark).await => return Ok(()),
                _ => return Err(self.explain(errors::WRITE, full, &error)),
            }
        }
    }

    /// For the sending of one body.
    pub fn pace(&self) -> Pace {
        Pace::new(self.rate.clone())
    }

    /// The error that says that nothing moves.
    pub fn stuck(&self, full: &str) -> Error {
        Error::new(Kind::Unavailable, format!("cannot write {}: the server takes no more bytes", self.address(full)))
    }

    /// Time-outs for a request that sends these bytes.
    pub fn patient(&self, bytes: &Bytes) -> aws_sdk_s3::config::Builder {
        aws_sdk_s3::config::Builder::new().timeout_config(client::timeouts(self.patience(bytes.len() as u64)))
    }

    /// The Object Lock of the bucket, if it has one; none if we may not ask.
    pub async fn lock_configuration(&self) -> Option<Option<ObjectLockConfiguration>> {
        let request = self.client.get_object_lock_configuration().bucket(&self.settings.bucket);
        match self.ask(errors::READ, "", || request.clone().send()).await.ok()? {
            Ok(found) => Some(found.object_lock_configuration),
            Err(error) if errors::code(&error) == Some("ObjectLockConfigurationNotFoundError") => Some(None),
            Err(_) => None,
        }
    }

    /// Deletes an object; one that is not there is no error.
    pub async fn delete(&self, full: &str) -> Result<()> {
        let request = self.client.delete_object().bucket(&self.settings.bucket).key(full);
        match self.outlast(errors::DELETE, full, None, request.send()).await? {
            Err(error) if errors::code(&error) == Some("NoSuchKey") => Ok(()),
            Err(error) => Err(self.explain(errors::DELETE, full, &error)),
            Ok(_) => Ok(()),
        }
    }
}

fn retention(lock: ObjectLock) -> (ObjectLockMode, DateTime) {
    let mode = if lock.compliance { ObjectLockMode::Compliance } else { ObjectLockMode::Governance };
    let until = Timestamp::now().as_second() + i64::from(lock.days) * 86_400;
    (mode, DateTime::from_secs(until))
}

/// A text as a value of metadata, which travels in a header: everything else than plain characters as `%XX`.
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

/// The time of an answer; the beginning of time where there is none.
pub fn timestamp(time: Option<&DateTime>) -> Timestamp {
    time.and_then(|time| Timestamp::new(time.secs(), 0).ok()).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_upload_itself_has_made_an_object() {
        let by = |mark: &str| HeadObjectOutput::builder().metadata(UPLOAD, mark).build();
        assert!(is_by(&by("a"), "a"));
        assert!(!is_by(&by("b"), "a"));
        assert!(!is_by(&HeadObjectOutput::builder().build(), "a"));
    }

    #[test]
    fn labels_are_plain() {
        assert_eq!(label("shop-1.example_x"), "shop-1.example_x");
        assert_eq!(label("ü b\n%"), "%C3%BC%20b%0A%25");
    }
}

//! A test of a bucket with a small object and an upload, which are removed again.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use aws_sdk_s3::types::{BucketVersioningStatus, ObjectLockEnabled};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::BeforeDeserializationInterceptorContextRef;
use aws_smithy_runtime_api::client::interceptors::dyn_dispatch_hint;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};

use crate::error::{Error, Kind, Result};
use crate::store::interface::{ObjectKind, PARTIAL};
use crate::store::s3::bucket::Bucket;
use crate::store::s3::{S3Store, client, errors, upload};

pub use crate::store::s3::errors::Stage;

/// Time limit of the first attempt to reach a server: a person waits for it.
const FIRST: Duration = Duration::from_secs(10);

/// The beginning of the test objects' names. Lists of backups skip names that begin with a dot.
const BEGIN: &str = ".pgcellar-doctor-";

/// A failed request and its stage.
#[derive(Debug)]
pub struct Refusal {
    /// The stage.
    pub stage: Stage,
    /// The failure.
    pub error: Error,
}

/// How a bucket treats what is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// Whether old versions of objects are kept; none if the key has no permission to ask.
    pub versions: Option<bool>,
    /// Whether the bucket has Object Lock; none if the key has no permission to ask.
    pub lock: Option<bool>,
    /// For how long new objects are locked by default, in words.
    pub default_lock: Option<String>,
}

/// A test object and a test upload. Their names are unique.
#[derive(Debug)]
pub struct Probe {
    bucket: Arc<Bucket>,
    /// Key of the upload, which has the options of an archive and is never completed.
    archive: String,
    /// Key of the object, which is neither locked nor of another storage class.
    object: String,
    mark: String,
    clock: ServerClock,
    upload: Mutex<UploadState>,
}

/// The state of the upload.
#[derive(Clone, Debug, PartialEq, Eq)]
enum UploadState {
    None,
    /// It was requested, and the answer has not arrived.
    Requested,
    /// It has this id.
    Begun(String),
}

impl S3Store {
    /// Prepares a test; no request is sent yet. `host` makes the names unique among hosts.
    pub fn probe(&self, host: &str) -> Result<Probe> {
        let mark = upload::mark();
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        let host: String = host.chars().filter(|c| plain(*c)).collect();
        let archive = self.bucket.full_key(&format!("{BEGIN}{host}-{mark}"))?;
        let object = format!("{archive}{PARTIAL}");
        let (bucket, clock, upload) = (Arc::clone(&self.bucket), ServerClock::default(), Mutex::new(UploadState::None));
        Ok(Probe { bucket, archive, object, mark, clock, upload })
    }
}

impl Probe {
    /// Where the object is, for messages.
    pub fn address(&self) -> String {
        self.bucket.address(&self.object)
    }

    /// How far the server's clock is ahead of this host's, to a second, if an answer had its time.
    pub fn ahead(&self) -> Option<SignedDuration> {
        *self.clock.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lists at most one object under the prefix: checks the server, the access key, the bucket, and the permission to list.
    pub async fn reach(&self) -> std::result::Result<(), Refusal> {
        let prefix = self.bucket.prefix();
        let quick = Builder::new()
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .timeout_config(client::timeouts(FIRST));
        let request = self.bucket.client.list_objects_v2().bucket(&self.bucket.settings.bucket);
        let request = request.prefix(&prefix).max_keys(1);
        let ask = || {
            let quick = quick.clone();
            request.clone().customize().config_override(quick).interceptor(self.clock.clone()).send()
        };
        let answer = self.bucket.ask(errors::LIST, &prefix, ask).await;
        match answer.map_err(|error| Refusal { stage: Stage::Server, error })? {
            Ok(_) => Ok(()),
            Err(error) => {
                Err(Refusal { stage: errors::stage(&error), error: self.bucket.explain(errors::LIST, &prefix, &error) })
            }
        }
    }

    /// Writes the object as announcements and manifests are written.
    pub async fn write(&self) -> Result<()> {
        self.bucket.put_new(&self.object, self.bytes(), &self.mark, ObjectKind::Record).await
    }

    /// Whether the server refuses a write of the object on the condition that it does not exist.
    pub async fn is_conditional(&self) -> Result<bool> {
        let request =
            self.bucket.put(&self.object, self.bytes(), Some(&self.mark), ObjectKind::Record).await.if_none_match("*");
        match request.send().await {
            Ok(_) => Ok(false),
            Err(error) if matches!(errors::status(&error), Some(409 | 412)) => Ok(true),
            Err(error) if errors::is_unsupported(&error) => Ok(false),
            Err(error) => Err(self.bucket.explain(errors::WRITE, &self.object, &error)),
        }
    }

    /// Reads the object, and compares its bytes.
    pub async fn read(&self) -> Result<()> {
        let explain = |error| self.bucket.explain(errors::READ, &self.object, &error);
        let request = self.bucket.client.get_object().bucket(&self.bucket.settings.bucket).key(&self.object);
        let body = request.send().await.map_err(explain)?.body;
        let broken = |why: String| Error::new(Kind::Unavailable, format!("cannot read {}: {why}", self.address()));
        let bytes = body.collect().await.map_err(|error| broken(errors::innermost(&error)))?.into_bytes();
        match bytes == self.bytes() {
            true => Ok(()),
            false => {
                Err(Error::new(Kind::Data, format!("{} does not have the bytes that were written", self.address())))
            }
        }
    }

    /// Whether the list of objects contains the object.
    pub async fn is_listed(&self) -> Result<bool> {
        let prefix = self.bucket.prefix();
        let key = self.object.strip_prefix(&prefix).unwrap_or(&self.object);
        Ok(self.bucket.objects(key).await?.iter().any(|entry| entry.key == key))
    }

    /// Begins an upload with the options of an archive (storage class, Object Lock, key of the encryption), sends a part, lists
    /// the unfinished uploads, and aborts it.
    pub async fn upload(&self) -> Result<()> {
        self.note(UploadState::Requested);
        let begun = upload::Parts::begin(&self.bucket, &self.archive, &self.mark, ObjectKind::Archive).await;
        let parts = begun.inspect_err(|error| {
            if error.kind() != Kind::Unavailable {
                self.note(UploadState::None);
            }
        })?;
        self.note(UploadState::Begun(parts.id().to_owned()));
        let used = async {
            let part = ByteStream::from(self.bytes());
            let request = self.bucket.client.upload_part().bucket(&self.bucket.settings.bucket).key(&self.archive);
            let sent = request.upload_id(parts.id()).part_number(1).body(part).send().await;
            sent.map_err(|error| self.bucket.explain(errors::WRITE, &self.archive, &error))?;
            self.bucket.uploads(&self.archive).await.map(drop)
        };
        let used = used.await;
        self.bucket.abort(&self.archive, parts.id()).await?;
        self.note(UploadState::None);
        used
    }

    fn note(&self, begun: UploadState) {
        *self.upload.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }

    /// What the bucket does with deleted objects, as far as the key has the permission to ask.
    pub async fn keeping(&self) -> Keeping {
        let (client, bucket) = (&self.bucket.client, &self.bucket.settings.bucket);
        let versions = client.get_bucket_versioning().bucket(bucket).send().await.ok();
        let lock = self.bucket.lock_configuration().await;
        let rule = lock.as_ref().and_then(|lock| lock.as_ref()?.rule()?.default_retention());
        Keeping {
            versions: versions.map(|found| found.status() == Some(&BucketVersioningStatus::Enabled)),
            default_lock: rule.and_then(|rule| {
                let mode = rule.mode().map_or("", |mode| mode.as_str());
                let time = rule.days().map(|days| format!("{days} days"));
                let time = time.or_else(|| rule.years().map(|years| format!("{years} years")))?;
                Some(format!("{time} ({mode})"))
            }),
            lock: lock.map(|found| {
                found.is_some_and(|found| found.object_lock_enabled() == Some(&ObjectLockEnabled::Enabled))
            }),
        }
    }

    /// Deletes the object and its versions. Returns whether a version is left.
    pub async fn delete(&self) -> Result<bool> {
        let version = match self.bucket.head(&self.object).await? {
            Some(head) => head.version_id().map(str::to_owned),
            None => return Ok(false),
        };
        let deleted = self.bucket.client.delete_object().bucket(&self.bucket.settings.bucket).key(&self.object);
        let deleted = deleted.send().await;
        let deleted = deleted.map_err(|error| self.bucket.explain(errors::DELETE, &self.object, &error))?;
        if self.bucket.head(&self.object).await?.is_some() {
            let what = self.address();
            return Err(Error::new(Kind::Unavailable, format!("{what} was deleted, and still exists")));
        }
        let versions = version.as_deref().into_iter().chain(deleted.version_id());
        let mut stays = false;
        for version in versions.filter(|version| *version != "null") {
            let request = self.bucket.client.delete_object().bucket(&self.bucket.settings.bucket).key(&self.object);
            stays |= request.version_id(version).send().await.is_err();
        }
        Ok(stays)
    }

    /// Removes the object and the upload, whatever failed before.
    pub async fn clear(&self) -> Result<()> {
        let deleted = self.delete().await.map(drop);
        let begun = self.upload.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let aborted = match begun {
            UploadState::None => Ok(()),
            UploadState::Begun(id) => self.bucket.abort(&self.archive, &id).await,
            UploadState::Requested => {
                let key = self.archive.strip_prefix(&self.bucket.prefix()).unwrap_or(&self.archive);
                self.bucket.abort_uploads(key).await
            }
        };
        deleted.and(aborted)
    }

    /// Whether an upload may be left that was not aborted.
    pub fn has_upload(&self) -> bool {
        *self.upload.lock().unwrap_or_else(PoisonError::into_inner) != UploadState::None
    }

    fn bytes(&self) -> Bytes {
        Bytes::from(format!("pgcellar doctor wrote this, and deletes it: {}\n", self.mark))
    }
}

/// Reads the server's time from its answers.
#[derive(Clone, Debug, Default)]
struct ServerClock(Arc<Mutex<Option<SignedDuration>>>);

#[dyn_dispatch_hint]
impl Intercept for ServerClock {
    fn name(&self) -> &'static str {
        "ServerClock"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> std::result::Result<(), BoxError> {
        let date = context.response().headers().get("date");
        let date = date.and_then(|date| DateTime::from_str(date, Format::HttpDate).ok());
        let date = date.and_then(|date| Timestamp::from_second(date.secs()).ok());
        if let Some(date) = date {
            let ahead = SignedDuration::from_secs(date.as_second() - Timestamp::now().as_second());
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
        }
        Ok(())
    }
}

//! Requests about one object: read its metadata, write it, delete it.

use std::time::Duration;

use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::primitives::ByteStream;
use aws_smithy_types::base64;
use bytes::Bytes;
use md5::{Digest, Md5};

use crate::error::{Error, Kind, Result};
use crate::store::interface::ObjectKind;
use crate::store::s3::bucket::{Bucket, is_marked_by};
use crate::store::s3::{client, errors};

/// How long to wait before trying again after a conflict with another write.
const CONFLICT: Duration = Duration::from_millis(200);

impl Bucket {
    /// The metadata of an object; none if there is no such object.
    pub async fn head(&self, full: &str) -> Result<Option<HeadObjectOutput>> {
        let request = self.client.head_object().bucket(&self.settings.bucket).key(full);
        match self.ask(errors::READ, full, || request.clone().send()).await? {
            Ok(head) => Ok(Some(head)),
            Err(error) if errors::status(&error) == Some(404) => Ok(None),
            Err(error) if error.raw_response().is_some() => {
                // The answer to HEAD has no body, and so no reason: GET has one.
                let request = self.client.get_object().bucket(&self.settings.bucket).key(full).range("bytes=0-0");
                match self.ask(errors::READ, full, || request.clone().send()).await? {
                    Err(with_reason) => Err(self.explain(errors::READ, full, &with_reason)),
                    Ok(_) => Err(self.explain(errors::READ, full, &error)),
                }
            }
            Err(error) => Err(self.explain(errors::READ, full, &error)),
        }
    }

    /// Whether this upload made the object.
    pub async fn is_marked(&self, full: &str, mark: &str) -> bool {
        matches!(self.head(full).await, Ok(Some(head)) if is_marked_by(&head, mark))
    }

    /// Checks that the key is free, unless the server checks it itself during the write.
    pub async fn check_free_first(&self, full: &str) -> Result<()> {
        match self.settings.endpoint.is_some() || !self.is_conditional() {
            true => self.check_free(full).await,
            false => Ok(()),
        }
    }

    /// Fails if the key has an object. Without the permission to read, the write itself will fail instead.
    pub async fn check_free(&self, full: &str) -> Result<()> {
        match self.head(full).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) => Err(self.already_exists(full)),
            Err(error) if error.kind() == Kind::NotPermitted => {
                log::debug!("cannot check whether {full} exists: {error}");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The error for a key that already has an object.
    pub fn already_exists(&self, full: &str) -> Error {
        Error::new(
            Kind::CannotWrite,
            format!("cannot write {}: an object with this name exists already", self.address(full)),
        )
    }

    /// Value of the header `Content-MD5`, by which any server detects corruption in transit; Amazon gets the SDK's checksums.
    pub async fn digest(&self, bytes: &Bytes) -> Option<String> {
        self.settings.endpoint.as_ref()?;
        let bytes = bytes.clone();
        let digest = tokio::task::spawn_blocking(move || base64::encode(Md5::digest(&bytes))).await;
        digest.ok()
    }

    /// A request that writes an object with its metadata and options.
    pub async fn put(&self, full: &str, bytes: Bytes, mark: Option<&str>, kind: ObjectKind) -> PutObjectFluentBuilder {
        let options = self.object_options(mark, kind);
        let (mode, until) = options.lock.unzip();
        self.client
            .put_object()
            .bucket(&self.settings.bucket)
            .key(full)
            .set_metadata(Some(options.metadata))
            .set_storage_class(options.storage_class)
            .set_server_side_encryption(options.encryption)
            .set_ssekms_key_id(options.encryption_key)
            .set_object_lock_mode(mode)
            .set_object_lock_retain_until_date(until)
            .set_content_md5(self.digest(&bytes).await)
            .body(ByteStream::from(bytes))
    }

    /// Writes a small object over any existing one.
    pub async fn replace(&self, full: &str, bytes: Bytes, kind: ObjectKind) -> Result<()> {
        let mut attempts = 0;
        loop {
            let request = self.put(full, bytes.clone(), None, kind).await;
            let pace = self.pace();
            let request = request.customize().config_override(self.time_limits(&bytes)).interceptor(pace.clone());
            attempts += 1;
            match self.wait_while_alive(errors::WRITE, full, Some(&pace), pace.watch(request.send())).await? {
                None if attempts < client::ATTEMPTS => {}
                None => return Err(self.stalled(full)),
                Some(Err(error)) if errors::is_corrupted(&error) && attempts < client::ATTEMPTS => {}
                Some(sent) => return sent.map(drop).map_err(|error| self.explain(errors::WRITE, full, &error)),
            }
        }
    }

    /// Writes an object in one request. An existing object is an error.
    pub async fn put_new(&self, full: &str, bytes: Bytes, mark: &str, kind: ObjectKind) -> Result<()> {
        let mut attempts = 0;
        loop {
            self.check_free_first(full).await?;
            let request = self.put(full, bytes.clone(), Some(mark), kind).await.set_if_none_match(self.if_none_match());
            let pace = self.pace();
            let request = request.customize().config_override(self.time_limits(&bytes)).interceptor(pace.clone());
            attempts += 1;
            let is_last = attempts >= client::ATTEMPTS;
            let error =
                match self.wait_while_alive(errors::WRITE, full, Some(&pace), pace.watch(request.send())).await? {
                    Some(Ok(_)) => return Ok(()),
                    Some(Err(error)) => error,
                    None if self.is_marked(full, mark).await => return Ok(()),
                    None if is_last => return Err(self.stalled(full)),
                    None => continue,
                };
            match errors::status(&error) {
                // If the answer is lost, the request is sent again, and finds the object that it has written itself.
                Some(412) if self.is_marked(full, mark).await => return Ok(()),
                Some(412) => return Err(self.already_exists(full)),
                Some(409) if !is_last => tokio::time::sleep(CONFLICT).await,
                _ if errors::is_corrupted(&error) && !is_last => {}
                _ if errors::is_unsupported(&error) && self.disable_conditional_writes() => {}
                _ if errors::is_uncertain(&error) && self.is_marked(full, mark).await => return Ok(()),
                _ => return Err(self.explain(errors::WRITE, full, &error)),
            }
        }
    }

    /// The error of an upload that makes no progress.
    pub fn stalled(&self, full: &str) -> Error {
        Error::new(Kind::Unavailable, format!("cannot write {}: the server accepts no more bytes", self.address(full)))
    }

    /// Deletes an object; it is no error if there is none.
    pub async fn delete(&self, full: &str) -> Result<()> {
        let request = self.client.delete_object().bucket(&self.settings.bucket).key(full);
        match self.wait_while_alive(errors::DELETE, full, None, request.send()).await? {
            Err(error) if errors::code(&error) == Some("NoSuchKey") => Ok(()),
            Err(error) => Err(self.explain(errors::DELETE, full, &error)),
            Ok(_) => Ok(()),
        }
    }
}

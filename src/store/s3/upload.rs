//! Writes a new object: in one request if it is small, else as a multipart upload.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::error::{Error, Kind, Result};
use crate::store::interface::{ObjectKind, Upload};
use crate::store::s3::bucket::{Bucket, is_marked_by};
use crate::store::s3::{client, errors};

/// Size of a part, in bytes; an object up to this goes in one request.
const PART: u64 = 8 << 20;

/// Maximum number of parts ("Amazon S3 multipart upload limits").
const PARTS: u64 = 10_000;

/// If the size of the object is unknown, the size of the parts doubles after each of so many parts…
const STEP: usize = 850;

/// …so many times: 10,000 parts then hold 5.2 TB.
const STEPS: usize = 7;

/// How many parts are sent at once, and how many bytes, unless a single part has more.
const PARALLEL: u64 = 5;
const IN_FLIGHT: u64 = PARALLEL * PART;

/// An object that is being written.
pub struct S3Upload {
    bucket: Arc<Bucket>,
    full: String,
    mark: String,
    kind: ObjectKind,
    expected: Option<u64>,
    written: u64,
    buffer: Vec<u8>,
    parts: Option<Parts>,
    /// Whether a part could not be sent.
    is_incomplete: bool,
    is_sealed: bool,
    is_committed: bool,
}

/// The parts of a unfinished upload.
pub struct Parts {
    id: String,
    begun: usize,
    running: JoinSet<Result<CompletedPart>>,
    done: Vec<CompletedPart>,
}

impl S3Upload {
    /// Begins an object. Nothing of a large one is sent if its key already has an object.
    pub fn begin(bucket: Arc<Bucket>, full: String, expected: Option<u64>, kind: ObjectKind) -> Result<Self> {
        if expected.is_none_or(|bytes| bytes > PART) {
            bucket.wait(bucket.check_free(&full))?;
        }
        Ok(S3Upload {
            bucket,
            full,
            mark: mark(),
            kind,
            expected,
            written: 0,
            buffer: Vec::new(),
            parts: None,
            is_incomplete: false,
            is_sealed: false,
            is_committed: false,
        })
    }

    fn part_size(&self) -> u64 {
        part_size(self.expected, self.parts.as_ref().map_or(0, |parts| parts.begun))
    }

    /// Sends the buffer as a part, once fewer than the permitted number are being sent.
    fn send_part(&mut self) -> Result<()> {
        let size = self.part_size();
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let bucket = Arc::clone(&self.bucket);
        let sent = bucket.wait(async {
            let parts = match &mut self.parts {
                Some(parts) => parts,
                none => none.insert(Parts::begin(&self.bucket, &self.full, &self.mark, self.kind).await?),
            };
            let limit = (IN_FLIGHT / size).clamp(1, PARALLEL);
            while parts.running.len() as u64 >= limit {
                parts.finish_one().await?;
            }
            parts.send(Arc::clone(&self.bucket), self.full.clone(), bytes)
        });
        self.is_incomplete |= sent.is_err();
        sent
    }

    fn finish_parts(&mut self) -> Result<()> {
        if self.parts.is_some() && !self.buffer.is_empty() {
            self.send_part()?;
        }
        match &mut self.parts {
            Some(parts) => self.bucket.wait(async {
                while !parts.running.is_empty() {
                    parts.finish_one().await?;
                }
                parts.done.sort_unstable_by_key(CompletedPart::part_number);
                Ok(())
            }),
            None => Ok(()),
        }
    }

    /// Completes the upload, and checks the result.
    async fn complete(&self, id: &str, parts: Vec<CompletedPart>) -> Result<()> {
        self.bucket.check_free_first(&self.full).await?;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        loop {
            let slow = client::timeouts(client::SLOW);
            let request = self
                .bucket
                .client
                .complete_multipart_upload()
                .bucket(&self.bucket.settings.bucket)
                .key(&self.full)
                .upload_id(id)
                .multipart_upload(parts.clone())
                .set_if_none_match(self.bucket.if_none_match());
            let request = request.customize().config_override(Builder::new().timeout_config(slow)).send();
            let Err(error) = self.bucket.wait_while_alive(errors::WRITE, &self.full, None, request).await? else {
                return self.compare_size().await;
            };
            let is_gone = errors::code(&error) == Some("NoSuchUpload");
            let may_be_there = is_gone || errors::status(&error) == Some(412) || errors::is_uncertain(&error);
            match errors::status(&error) {
                // If the answer is lost, the request is sent again, and finds the object that it has completed itself.
                _ if may_be_there && self.bucket.is_marked(&self.full, &self.mark).await => {
                    return self.compare_size().await;
                }
                Some(409 | 412) => return Err(self.bucket.already_exists(&self.full)),
                _ if errors::is_unsupported(&error) && self.bucket.disable_conditional_writes() => {
                    self.bucket.check_free(&self.full).await?;
                }
                _ => return Err(self.bucket.explain(errors::WRITE, &self.full, &error)),
            }
        }
    }

    /// Deletes the object again if it does not have the size of what was sent. Without conditional writes, it may be another
    /// writer's by now: then it stays, and this upload has failed.
    async fn compare_size(&self) -> Result<()> {
        let head = match self.bucket.head(&self.full).await {
            Ok(head) => head,
            Err(error) => {
                log::warn!("the uploaded object cannot be checked: {error}");
                return Ok(());
            }
        };
        if head.as_ref().is_some_and(|head| !is_marked_by(head, &self.mark)) {
            return Err(self.bucket.already_exists(&self.full));
        }
        let length = head.as_ref().and_then(|head| u64::try_from(head.content_length()?).ok());
        if length == Some(self.written) {
            return Ok(());
        }
        let size = length.map_or("no object".to_owned(), |length| format!("{length} bytes"));
        let what = self.bucket.address(&self.full);
        let error = Error::new(
            Kind::Unavailable,
            format!("{what} is not what was uploaded: the server has {size} instead of {} bytes", self.written),
        );
        if head.is_some() {
            self.bucket.delete(&self.full).await?;
        }
        Err(error)
    }
}

impl Parts {
    /// The upload's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Begins an upload.
    pub async fn begin(bucket: &Bucket, full: &str, mark: &str, kind: ObjectKind) -> Result<Self> {
        let options = bucket.object_options(Some(mark), kind);
        let (mode, until) = options.lock.unzip();
        let begun = bucket
            .client
            .create_multipart_upload()
            .bucket(&bucket.settings.bucket)
            .key(full)
            .set_metadata(Some(options.metadata))
            .set_storage_class(options.storage_class)
            .set_server_side_encryption(options.encryption)
            .set_ssekms_key_id(options.encryption_key)
            .set_object_lock_mode(mode)
            .set_object_lock_retain_until_date(until);
        let begun = bucket.wait_while_alive(errors::WRITE, full, None, begun.send()).await?;
        let begun = begun.map_err(|error| bucket.explain(errors::WRITE, full, &error))?;
        match begun.upload_id() {
            Some(id) => Ok(Parts { id: id.to_owned(), begun: 0, running: JoinSet::new(), done: Vec::new() }),
            None => Err(Error::new(
                Kind::Unavailable,
                format!("cannot write {}: the server returned no id for the upload", bucket.address(full)),
            )),
        }
    }

    fn send(&mut self, bucket: Arc<Bucket>, full: String, bytes: Bytes) -> Result<()> {
        self.begun += 1;
        if self.begun as u64 > PARTS {
            let what = bucket.address(&full);
            return Err(Error::new(Kind::CannotWrite, format!("cannot write {what}: it is larger than S3 permits")));
        }
        let (number, id) = (self.begun as i32, self.id.clone());
        let handle = bucket.handle().clone();
        self.running.spawn_on(async move { send_part(&bucket, &full, &id, number, bytes).await }, &handle);
        Ok(())
    }

    async fn finish_one(&mut self) -> Result<()> {
        match self.running.join_next().await {
            Some(Ok(part)) => self.done.push(part?),
            Some(Err(_)) => return Err(Error::new(Kind::Internal, "the task that uploads a part has ended")),
            None => {}
        }
        Ok(())
    }
}

async fn send_part(bucket: &Bucket, full: &str, id: &str, number: i32, bytes: Bytes) -> Result<CompletedPart> {
    let digest = bucket.digest(&bytes).await;
    let mut attempts = 0;
    let sent = loop {
        let request = bucket.client.upload_part().bucket(&bucket.settings.bucket).key(full).upload_id(id);
        let request = request.part_number(number).set_content_md5(digest.clone()).body(ByteStream::from(bytes.clone()));
        let pace = bucket.pace();
        let request = request.customize().config_override(bucket.time_limits(&bytes)).interceptor(pace.clone());
        // Content-MD5 is signed with the other headers, so a second digest of the bytes adds nothing.
        let request = if digest.is_some() { request.disable_payload_signing() } else { request };
        attempts += 1;
        match bucket.wait_while_alive(errors::WRITE, full, Some(&pace), pace.watch(request.send())).await? {
            Some(Ok(sent)) => break sent,
            None if attempts < client::ATTEMPTS => {}
            None => return Err(bucket.stalled(full)),
            Some(Err(error)) if errors::is_corrupted(&error) && attempts < client::ATTEMPTS => {}
            Some(Err(error)) => return Err(bucket.explain(errors::WRITE, full, &error)),
        }
    };
    // The answer has only the checksums that were sent.
    Ok(CompletedPart::builder()
        .part_number(number)
        .set_e_tag(sent.e_tag)
        .set_checksum_crc32(sent.checksum_crc32)
        .set_checksum_crc32_c(sent.checksum_crc32_c)
        .set_checksum_crc64_nvme(sent.checksum_crc64_nvme)
        .set_checksum_sha1(sent.checksum_sha1)
        .set_checksum_sha256(sent.checksum_sha256)
        .build())
}

impl Write for S3Upload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() as u64 >= self.part_size() {
            self.send_part()?;
        }
        let room = self.part_size() - self.buffer.len() as u64;
        let taken = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        if self.buffer.capacity() == 0 && (self.parts.is_some() || self.expected.is_some()) {
            let rest = self.expected.map_or(u64::MAX, |expected| expected.saturating_sub(self.written));
            self.buffer.reserve_exact(room.min(rest.max(taken as u64)) as usize);
        }
        self.buffer.extend_from_slice(&bytes[..taken]);
        self.written += taken as u64;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Upload for S3Upload {
    fn seal(&mut self) -> Result<()> {
        if self.is_incomplete {
            let what = self.bucket.address(&self.full);
            return Err(Error::new(Kind::Unavailable, format!("cannot write {what}: a part of it could not be sent")));
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != self.written) {
            let what = self.bucket.address(&self.full);
            let text = format!("cannot write {what}: there were {} bytes instead of {expected}", self.written);
            return Err(Error::new(Kind::Data, text));
        }
        let finished = self.finish_parts();
        self.is_incomplete |= finished.is_err();
        self.is_sealed = finished.is_ok();
        finished
    }

    fn commit(mut self: Box<Self>) -> Result<()> {
        if !self.is_sealed {
            self.seal()?;
        }
        match &mut self.parts {
            Some(parts) => {
                let (id, done) = (parts.id.clone(), std::mem::take(&mut parts.done));
                self.bucket.wait(self.complete(&id, done))?;
            }
            None => {
                let bytes = Bytes::from(std::mem::take(&mut self.buffer));
                self.bucket.wait(self.bucket.put_new(&self.full, bytes, &self.mark, self.kind))?;
            }
        }
        self.is_committed = true;
        Ok(())
    }
}

impl Drop for S3Upload {
    fn drop(&mut self) {
        let Some(mut parts) = self.parts.take().filter(|_| !self.is_committed) else { return };
        let aborted = self.bucket.wait(async {
            // A part that arrives after the abort would stay.
            parts.running.shutdown().await;
            self.bucket.abort(&self.full, &parts.id).await
        });
        if let Err(error) = aborted {
            log::warn!("{error}");
        }
    }
}

/// Size of the next part, after `begun` parts.
fn part_size(expected: Option<u64>, begun: usize) -> u64 {
    match expected {
        Some(bytes) => bytes.div_ceil(PARTS).next_multiple_of(1 << 20).max(PART),
        None => PART << (begun / STEP).min(STEPS),
    }
}

/// A unique mark for an upload.
pub fn mark() -> String {
    static UPLOADS: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    format!("{now:x}-{:x}-{:x}", std::process::id(), UPLOADS.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_fits_into_the_parts() {
        const LARGEST: u64 = 5_000_000_000_000;
        for bytes in [0, 1, PART, PART + 1, PART * PARTS, PART * PARTS + 1, LARGEST] {
            assert!(part_size(Some(bytes), 0) * PARTS >= bytes, "{bytes}");
        }
        assert_eq!(part_size(Some(70 << 30), 0), PART);
        let unknown: u64 = (0..PARTS as usize).map(|begun| part_size(None, begun)).sum();
        assert!(unknown >= LARGEST, "{unknown}");
    }
}

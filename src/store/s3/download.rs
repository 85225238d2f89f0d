//! Reads an object in ranges, several at once; a range that breaks off is requested again from there.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use bytes::{Buf, Bytes, BytesMut};
use tokio_util::task::AbortOnDropHandle;

use crate::error::{Error, Kind, Result};
use crate::store::s3::bucket::Bucket;
use crate::store::s3::{client, errors};

/// The first range is small, because often only the beginning is read.
const FIRST: u64 = 1 << 20;

/// Size of the other ranges.
const RANGE: u64 = 8 << 20;

/// How many ranges are requested at once.
const PARALLEL: usize = 5;

/// How many attempts in a row at a range may yield no byte.
const ATTEMPTS: u32 = client::ATTEMPTS;

/// Pause before a range is requested again; doubled each time.
const PAUSE: Duration = Duration::from_millis(250);

/// An object that is being read.
pub struct S3Reader {
    source: Arc<Source>,
    next: u64,
    window: usize,
    pending: VecDeque<AbortOnDropHandle<Result<Bytes>>>,
    current: Bytes,
}

/// The object, as it was when reading began.
struct Source {
    bucket: Arc<Bucket>,
    full: String,
    size: u64,
    tag: Option<String>,
}

impl S3Reader {
    /// Reads an object from `offset` on.
    pub fn begin(bucket: Arc<Bucket>, full: String, offset: u64) -> Result<Self> {
        let begun =
            bucket.wait(bucket.wait_while_alive(errors::READ, &full, None, begin(&bucket, &full, offset)))??;
        let (size, tag) = begun.as_ref().map_or((0, None), |(answer, size)| (*size, answer.e_tag.clone()));
        let source = Arc::new(Source { bucket, full, size, tag });
        let next = size.min(offset + FIRST);
        let mut reader = S3Reader { source, next, window: 1, pending: VecDeque::new(), current: Bytes::new() };
        if let Some((answer, _)) = begun {
            reader.spawn(offset, next, Some(answer));
        }
        Ok(reader)
    }

    fn spawn(&mut self, start: u64, end: u64, begun: Option<GetObjectOutput>) {
        let source = Arc::clone(&self.source);
        let task = self.source.bucket.handle().spawn(async move { source.range(start, end, begun).await });
        self.pending.push_back(AbortOnDropHandle::new(task));
    }

    /// Requests further ranges, up to the limit.
    fn request_more(&mut self) {
        while self.pending.len() < self.window && self.next < self.source.size {
            let (start, end) = (self.next, self.source.size.min(self.next + RANGE));
            self.spawn(start, end, None);
            self.next = end;
        }
    }
}

impl Read for S3Reader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && !bytes.is_empty() {
            let Some(range) = self.pending.front_mut() else { return Ok(0) };
            let ended = |_| Error::new(Kind::Internal, "the task that downloads a range has ended");
            self.current = self.source.bucket.wait(range).map_err(ended)??;
            self.pending.pop_front();
            self.window = (self.window + 1).min(PARALLEL);
            self.request_more();
        }
        let length = bytes.len().min(self.current.len());
        self.current.copy_to_slice(&mut bytes[..length]);
        Ok(length)
    }
}

/// Requests the first range, whose answer has the object's size; none if the object ends at `offset` or before.
async fn begin(bucket: &Bucket, full: &str, offset: u64) -> Result<Option<(GetObjectOutput, u64)>> {
    let range = format!("bytes={offset}-{}", offset + FIRST - 1);
    let request = bucket.client.get_object().bucket(&bucket.settings.bucket).key(full).range(range);
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) if errors::status(&error) == Some(416) => return Ok(None),
        Err(error) => return Err(bucket.explain(errors::READ, full, &error)),
    };
    let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
    let size = match answer.content_range() {
        Some(range) => range.rsplit_once('/').and_then(|(_, size)| size.parse().ok()),
        None => length.filter(|_| offset == 0),
    };
    match size {
        Some(0) => Ok(None),
        Some(size) => Ok(Some((answer, size))),
        None => {
            let what = bucket.address(full);
            Err(Error::new(Kind::Unavailable, format!("cannot read {what}: the server does not report its size")))
        }
    }
}

/// Reads a small object, but at most `limit` bytes of it.
pub async fn read_small(bucket: &Arc<Bucket>, full: &str, limit: u64) -> Result<Vec<u8>> {
    let Some((answer, size)) = begin(bucket, full, 0).await? else { return Ok(Vec::new()) };
    let source = Source { bucket: Arc::clone(bucket), full: full.to_owned(), size, tag: answer.e_tag.clone() };
    let mut next = size.min(FIRST);
    let mut bytes = source.range(0, next, Some(answer)).await?.to_vec();
    while next < size.min(limit) {
        let end = size.min(next + RANGE);
        bytes.extend_from_slice(&source.range(next, end, None).await?);
        next = end;
    }
    bytes.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(bytes)
}

impl Source {
    /// The bytes from `start` up to `end`. `begun` is the answer of a request that was sent already.
    async fn range(&self, start: u64, end: u64, mut begun: Option<GetObjectOutput>) -> Result<Bytes> {
        let mut bytes = BytesMut::with_capacity((end - start) as usize);
        let mut failures = 0;
        loop {
            let before = bytes.len();
            let filled = match begun.take() {
                Some(answer) => self.fill(&mut bytes, start, end, answer).await,
                None => match self.request(start + bytes.len() as u64, end).await {
                    Ok(answer) => self.fill(&mut bytes, start, end, answer).await,
                    Err(error) => Err(error),
                },
            };
            let Err(error) = filled else { return Ok(bytes.freeze()) };
            failures = if bytes.len() > before { 1 } else { failures + 1 };
            if failures >= ATTEMPTS || error.kind() != Kind::Unavailable {
                return Err(error);
            }
            log::debug!("requesting again from byte {}: {error}", start + bytes.len() as u64);
            tokio::time::sleep(PAUSE * (1 << failures)).await;
        }
    }

    /// Requests the bytes from `from` up to `end` of the object as it was when reading began.
    async fn request(&self, from: u64, end: u64) -> Result<GetObjectOutput> {
        let request = self.bucket.client.get_object().bucket(&self.bucket.settings.bucket).key(&self.full);
        let request = request.range(format!("bytes={from}-{}", end - 1)).set_if_match(self.tag.clone());
        request.send().await.map_err(|error| match errors::status(&error) {
            Some(404 | 412 | 416) => {
                let what = self.bucket.address(&self.full);
                Error::new(Kind::Data, format!("{what} was changed or removed while it was read"))
            }
            _ => self.bucket.explain(errors::READ, &self.full, &error),
        })
    }

    /// Appends the body of an answer, which must continue where `bytes` ends.
    async fn fill(&self, bytes: &mut BytesMut, start: u64, end: u64, mut answer: GetObjectOutput) -> Result<()> {
        let from = start + bytes.len() as u64;
        let what = || self.bucket.address(&self.full);
        let is_requested =
            answer.content_range().is_some_and(|range| range.starts_with(&format!("bytes {from}-{}/", end - 1)));
        if !is_requested && (from, end) != (0, self.size) {
            return Err(Error::new(Kind::Data, format!("cannot read {}: the server sent another range", what())));
        }
        let broken = |why: String| Error::new(Kind::Unavailable, format!("cannot read {} to its end: {why}", what()));
        loop {
            let chunk = tokio::time::timeout(client::STALL * 2, answer.body.next()).await;
            match chunk.map_err(|_| broken("the server stopped sending".to_owned()))? {
                Some(Ok(chunk)) => bytes.extend_from_slice(&chunk),
                Some(Err(error)) => return Err(broken(errors::innermost(&error))),
                None => break,
            }
            if bytes.len() as u64 > end - start {
                bytes.clear();
                return Err(Error::new(Kind::Data, format!("cannot read {}: the server sent too much", what())));
            }
        }
        match bytes.len() as u64 == end - start {
            true => Ok(()),
            false => Err(broken("the answer is too short".to_owned())),
        }
    }
}

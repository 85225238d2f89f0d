//! Decompression of a gzip file on several threads, if the file has many members, as [`Compressor`](super::compress::Compressor)
//! writes it. Each member is a stream of its own (RFC 1952, section 2.2), but none says where it ends.
//!
//! Members begin with the ten bytes that the first one begins with, so the file is divided where these stand, and the parts are
//! decompressed at once. Data that contains the bytes by chance makes a part that is no member: from there on the file is decompressed
//! as one stream. Each member's own checksum is checked; only a reader of the whole file can find bytes behind a member.

use std::io::{self, BufRead, Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::Builder;

use libdeflater::{DecompressionError, Decompressor};
use memchr::memmem::Finder;

use super::decompress::{self, Decoder};
use super::method::Method;

/// Length of a member's header without optional fields (RFC 1952, section 2.3).
const HEADER: usize = 10;

/// Length of header and trailer.
const LEAST: usize = HEADER + 8;

/// Stored bytes in which a second member must begin: blocks have 1 MiB before they are compressed.
const PROBE: usize = 2 << 20;

/// Longest part that is decompressed as a whole, stored and plain.
const STORED: usize = 4 << 20;
const PLAIN: usize = 16 << 20;

/// Bytes that are read at once.
const READ: usize = 256 << 10;

/// Decompresses `stored`, by several threads if it has many members.
///
/// # Errors
/// Those of `stored`; the system's error if a thread cannot be started. The reads report damage.
pub fn decoder<R: Read + Send + 'static>(mut stored: R) -> io::Result<Box<dyn BufRead + Send>> {
    let mut head = Vec::new();
    stored.by_ref().take(PROBE as u64).read_to_end(&mut head)?;
    let header = head.get(..HEADER).filter(|header| header.starts_with(&[0x1f, 0x8b, 8, 0])).map(<[u8]>::to_vec);
    let has_members = |header: &Vec<u8>| memchr::memmem::find(head.get(LEAST..).unwrap_or_default(), header).is_some();
    match header.filter(has_members) {
        Some(header) => Ok(Box::new(Members::start(Finder::new(&header).into_owned(), head, stored)?)),
        None => Ok(Box::new(decompress::decoder(Method::Gzip, Cursor::new(head).chain(stored))?)),
    }
}

/// A part of the file, in their order.
enum Part {
    /// One that a worker decompresses.
    Promised(Receiver<Unpacked>),
    /// All that follows, which has no further member in the next [`STORED`] bytes.
    Rest(Box<dyn Read + Send>),
    Failed(io::Error),
    End,
}

/// A part, and what is in it; none if it is no whole member.
struct Unpacked {
    stored: Vec<u8>,
    plain: Option<Vec<u8>>,
}

type Job = (Vec<u8>, SyncSender<Unpacked>);

/// Plain buffers for reuse.
type Pool = Arc<Mutex<Vec<Vec<u8>>>>;

/// The plain bytes.
struct Members {
    parts: Option<Receiver<Part>>,
    pool: Pool,
    plain: Vec<u8>,
    position: usize,
    /// Set once a part was no member.
    stream: Option<Decoder>,
}

impl Members {
    fn start<R: Read + Send + 'static>(header: Finder<'static>, head: Vec<u8>, stored: R) -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(2, |threads| threads.get().min(8));
        let (to, parts) = sync_channel(2 * threads);
        let (jobs, queue) = channel();
        let (queue, pool) = (Arc::new(Mutex::new(queue)), Pool::default());
        for _ in 0..threads {
            let (queue, pool) = (Arc::clone(&queue), Arc::clone(&pool));
            Builder::new().name("decompress".into()).spawn(move || unpack_parts(&queue, &pool))?;
        }
        Builder::new().name("read".into()).spawn(move || divide(&header, head, stored, &to, &jobs))?;
        Ok(Members { parts: Some(parts), pool, plain: Vec::new(), position: 0, stream: None })
    }

    /// Receives the next part; false at the end of the file.
    fn next_part(&mut self) -> io::Result<bool> {
        let Some(parts) = &self.parts else { return Ok(false) };
        let part = parts.recv().map_err(|_| broken())?;
        let rest: Box<dyn Read + Send> = match part {
            Part::Promised(promise) => match promise.recv().map_err(|_| broken())? {
                Unpacked { plain: Some(plain), .. } => {
                    let used = std::mem::replace(&mut self.plain, plain);
                    self.pool.lock().map_err(|_| broken())?.push(used);
                    self.position = 0;
                    return Ok(true);
                }
                Unpacked { stored, plain: None } => {
                    let parts = self.parts.take();
                    Box::new(StoredParts { part: Cursor::new(stored), parts, rest: None })
                }
            },
            Part::Rest(rest) => rest,
            Part::Failed(error) => {
                self.parts = None;
                return Err(error);
            }
            Part::End => {
                self.parts = None;
                return Ok(false);
            }
        };
        self.parts = None;
        self.stream = Some(decompress::decoder(Method::Gzip, rest)?);
        Ok(true)
    }
}

impl BufRead for Members {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.stream.is_none() && self.position >= self.plain.len() {
            self.plain.clear();
            self.position = 0;
            if !self.next_part()? {
                break;
            }
        }
        match &mut self.stream {
            Some(stream) => stream.fill_buf(),
            None => Ok(self.plain.get(self.position..).unwrap_or_default()),
        }
    }

    fn consume(&mut self, amount: usize) {
        match &mut self.stream {
            Some(stream) => stream.consume(amount),
            None => self.position += amount,
        }
    }
}

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// The stored bytes from a part on.
struct StoredParts {
    part: Cursor<Vec<u8>>,
    parts: Option<Receiver<Part>>,
    rest: Option<Box<dyn Read + Send>>,
}

impl Read for StoredParts {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.rest {
                Some(rest) => return rest.read(buffer),
                None => self.part.read(buffer)?,
            };
            let Some(parts) = self.parts.as_ref().filter(|_| read == 0 && !buffer.is_empty()) else { return Ok(read) };
            match parts.recv().map_err(|_| broken())? {
                Part::Promised(promise) => self.part = Cursor::new(promise.recv().map_err(|_| broken())?.stored),
                Part::Rest(rest) => self.rest = Some(rest),
                Part::Failed(error) => return Err(error),
                Part::End => self.parts = None,
            }
        }
    }
}

/// Divides the stream before each header, until its end or until the reader of the parts is dropped.
fn divide<R: Read + Send + 'static>(
    header: &Finder<'static>,
    mut part: Vec<u8>,
    mut stored: R,
    to: &SyncSender<Part>,
    jobs: &Sender<Job>,
) {
    let promise = |part: Vec<u8>| {
        let (result, promised) = sync_channel(1);
        // Waits while enough parts are in progress.
        to.send(Part::Promised(promised)).is_ok() && jobs.send((part, result)).is_ok()
    };
    let mut searched = LEAST;
    loop {
        while let Some(at) = part.get(searched..).and_then(|rest| header.find(rest)) {
            let next = part.split_off(searched + at);
            if !promise(std::mem::replace(&mut part, next)) {
                return;
            }
            searched = LEAST;
        }
        searched = searched.max((part.len() + 1).saturating_sub(HEADER));
        if part.len() > STORED {
            drop(to.send(Part::Rest(Box::new(Cursor::new(part).chain(stored)))));
            return;
        }
        match stored.by_ref().take(READ as u64).read_to_end(&mut part) {
            Ok(0) => {
                if !part.is_empty() && !promise(part) {
                    return;
                }
                drop(to.send(Part::End));
                return;
            }
            Ok(_) => {}
            Err(error) => {
                drop(to.send(Part::Failed(error)));
                return;
            }
        }
    }
}

/// A worker: decompresses parts until there are no more.
fn unpack_parts(queue: &Mutex<Receiver<Job>>, pool: &Pool) {
    let mut decompressor = Decompressor::new();
    loop {
        let Some(Ok((stored, result))) = queue.lock().ok().map(|queue| queue.recv()) else { return };
        let buffer = pool.lock().ok().and_then(|mut pool| pool.pop()).unwrap_or_default();
        let plain = unpack(&mut decompressor, &stored, buffer);
        // The reader may be gone.
        drop(result.send(Unpacked { stored, plain }));
    }
}

/// Decompresses one member; none if it is damaged, no whole member, or too large.
fn unpack(decompressor: &mut Decompressor, stored: &[u8], mut plain: Vec<u8>) -> Option<Vec<u8>> {
    // The trailer ends with the length of the plain bytes.
    let length = usize::try_from(u32::from_le_bytes(*stored.last_chunk()?)).ok().filter(|length| *length <= PLAIN)?;
    plain.resize(length, 0);
    match decompressor.gzip_decompress(stored, &mut plain) {
        Ok(unpacked) if unpacked == length => Some(plain),
        Ok(_) | Err(DecompressionError::BadData | DecompressionError::InsufficientSpace) => None,
    }
}

fn broken() -> io::Error {
    io::Error::other("a thread that decompresses ended unexpectedly")
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::num::NonZeroUsize;

    use super::*;
    use crate::pipeline::compress::Compressor;

    fn text(length: usize) -> Vec<u8> {
        (0..length / 8).flat_map(|n| format!("{:07}\n", n * 7919 % 1_000_003).into_bytes()).collect()
    }

    fn members(plain: &[u8]) -> Vec<u8> {
        let mut compressor = Compressor::new(Method::Gzip, None, NonZeroUsize::MIN, Vec::new()).unwrap();
        compressor.write_all(plain).unwrap();
        compressor.finish().unwrap()
    }

    fn one_stream(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn read(stored: Vec<u8>) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        decoder(Cursor::new(stored))?.read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn files_of_one_and_of_many_members() {
        for length in [0, 8, 1 << 20, (1 << 20) + 8, 9 << 20] {
            let plain = text(length);
            assert!(read(members(&plain)).unwrap() == plain, "{length}");
            assert!(read(one_stream(&plain)).unwrap() == plain, "{length}");
        }
        let (small, large) = (text(3 << 20), text(40 << 20));
        let joined = [members(&small), one_stream(&large), members(&small)].concat();
        assert!(read(joined).unwrap() == [small.clone(), large, small].concat());
    }

    /// A file that is itself stored without compression in a member looks like several members.
    #[test]
    fn members_within_a_member_are_data() {
        let inner = members(&text(3 << 20));
        let mut outer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
        outer.write_all(&inner).unwrap();
        let outer = outer.finish().unwrap();
        let (before, after) = (text(2 << 20), text(2 << 20));
        let all = [members(&before), outer, members(&after)].concat();
        assert!(read(all).unwrap() == [before, inner, after].concat());
    }

    #[test]
    fn damage_is_found() {
        let whole = members(&text(6 << 20));
        for cut in [whole.len() / 2, whole.len() - 1, whole.len() - 9] {
            let error = read(whole[..cut].to_vec()).unwrap_err();
            assert!(
                matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData),
                "{cut}: {error}"
            );
        }
        let mut flipped = whole;
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        assert_eq!(read(flipped).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn a_reader_that_stops_early_ends_the_threads() {
        let stored = members(&text(64 << 20));
        let mut plain = decoder(Cursor::new(stored)).unwrap();
        assert!(!plain.fill_buf().unwrap().is_empty());
    }
}

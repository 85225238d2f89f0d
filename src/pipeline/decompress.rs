//! Decompression on a thread of its own, ahead of the reader.
//!
//! Every format is read to the end of the file: all its members, streams or frames. Anything else after the last one is an
//! error (`gunzip` only warns). A file that was cut where a member ends looks complete here; only its size and digest show
//! the difference.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::method::Method;

/// Bytes of a chunk that the decoding thread sends to the reader, and how many chunks may wait.
const CHUNK: usize = 256 << 10;
const CHUNKS: usize = 4;

/// Bytes read from the stored stream at once.
const STORED_CHUNK: usize = 64 << 10;

/// Memory limit for decoding an xz file, in bytes. Reading a file of `xz -9` takes 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;

/// The method whose magic bytes a file begins with; none for any other file.
///
/// gzip: RFC 1952 section 2.3.1, of the methods only deflate; xz: its file format, section 2.1.1.1; zstd: RFC 8878
/// section 3.1.1; bzip2: `BZh`, the level, and then the magic of a block or of the end of an empty stream.
pub fn sniff(beginning: &[u8]) -> Option<Method> {
    const BLOCK: &[u8] = &[0x31, 0x41, 0x59, 0x26, 0x53, 0x59];
    const END: &[u8] = &[0x17, 0x72, 0x45, 0x38, 0x50, 0x90];
    if beginning.starts_with(&[0x1f, 0x8b, 8]) {
        return Some(Method::Gzip);
    }
    if beginning.starts_with(&[0xfd, b'7', b'z', b'X', b'Z', 0]) {
        return Some(Method::Xz);
    }
    if beginning.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        return Some(Method::Zstd);
    }
    match beginning.strip_prefix(b"BZh") {
        Some([b'1'..=b'9', rest @ ..]) if rest.starts_with(BLOCK) || rest.starts_with(END) => Some(Method::Bzip2),
        _ => None,
    }
}

/// Starts a thread that decompresses `stored` ahead of the reader.
///
/// # Errors
/// The system's error if the thread cannot be started, `OutOfMemory` if a library gets no memory. The reads report damage.
pub fn decoder<R: Read + Send + 'static>(method: Method, stored: R) -> io::Result<Decoder> {
    let watch = Arc::new(Watch::default());
    let input = Input { inner: BufReader::with_capacity(STORED_CHUNK, stored), watch: Arc::clone(&watch) };
    let plain = open(method, input)?;
    let (filled, chunks) = sync_channel(CHUNKS);
    let (used, free) = channel();
    let thread = Builder::new().name("decompress".into()).spawn({
        let watch = Arc::clone(&watch);
        move || decode(method, plain, &watch, &filled, &free)
    })?;
    Ok(Decoder { chunks, used, chunk: Vec::new(), position: 0, state: State::Reading, watch, thread: Some(thread) })
}

fn open<R: Read + Send + 'static>(method: Method, input: Input<R>) -> io::Result<Box<dyn Read + Send>> {
    Ok(match method {
        Method::None => Box::new(input),
        Method::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(input)),
        Method::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(input)),
        Method::Xz => {
            let stream = xz2::stream::Stream::new_stream_decoder(XZ_MEMORY, xz2::stream::CONCATENATED)?;
            Box::new(xz2::bufread::XzDecoder::new_stream(input, stream))
        }
        Method::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
    })
}

/// The state of the stored stream, shared with the decoding thread.
#[derive(Default)]
struct Watch {
    /// Bytes of the stored stream that the decoder has used.
    offset: AtomicU64,
    /// Whether reading the stored stream failed: then the error is not the decoder's.
    source_failed: AtomicBool,
}

/// The stored stream, with the bytes that the decoder has used counted.
struct Input<R> {
    inner: BufReader<R>,
    watch: Arc<Watch>,
}

impl<R: Read> BufRead for Input<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.inner.buffer().is_empty() {
            match self.inner.fill_buf() {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => {
                    self.watch.source_failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(self.inner.buffer())
    }

    fn consume(&mut self, amount: usize) {
        self.watch.offset.fetch_add(amount as u64, Ordering::Relaxed);
        self.inner.consume(amount);
    }
}

impl<R: Read> Read for Input<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// From the decoding thread to the reader. Only `End` is the end of the stream: without it the thread has panicked.
enum Chunk {
    Data(Vec<u8>),
    Failed(io::Error),
    End,
}

/// The decoding thread: fills chunks until the end, an error, or the reader is dropped.
fn decode(
    method: Method,
    mut plain: Box<dyn Read + Send>,
    watch: &Watch,
    filled: &SyncSender<Chunk>,
    free: &Receiver<Vec<u8>>,
) {
    loop {
        let mut chunk = free.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let (length, outcome) = fill(&mut plain, &mut chunk);
        chunk.truncate(length);
        if length > 0 && filled.send(Chunk::Data(chunk)).is_err() {
            return;
        }
        let last = match outcome {
            Ok(false) => continue,
            Ok(true) => Chunk::End,
            Err(error) => Chunk::Failed(explain(method, error, watch)),
        };
        let _ = filled.send(last);
        return;
    }
}

/// Reads until the chunk is full; true at the end of the stream. The length includes the bytes read before an error.
fn fill(plain: &mut impl Read, chunk: &mut [u8]) -> (usize, io::Result<bool>) {
    let mut length = 0;
    while let Some(rest) = chunk.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match plain.read(rest) {
            Ok(0) => return (length, Ok(true)),
            Ok(read) => length += read,
            Err(error) => return (length, Err(error)),
        }
    }
    (length, Ok(false))
}

/// Errors of the source are unchanged; those of the decoders get one of two kinds and the name of the format.
fn explain(method: Method, error: io::Error, watch: &Watch) -> io::Error {
    if watch.source_failed.load(Ordering::Relaxed) || method == Method::None {
        return error;
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(io::ErrorKind::UnexpectedEof, format!("the {method} data ends in the middle"))
        }
        io::ErrorKind::OutOfMemory => error,
        _ => io::Error::new(io::ErrorKind::InvalidData, format!("the {method} data is corrupt: {error}")),
    }
}

enum State {
    Reading,
    Ended,
    Failed(io::ErrorKind, String),
}

/// The plain bytes of a compressed stream.
///
/// Reads fail with `InvalidData` for damage and for bytes after the end, with `UnexpectedEof` for a stream that ends early,
/// and with the errors of the stored stream. After an error each further read returns it again. Dropping the decoder early
/// ends its thread without waiting for it, because the thread may be waiting for its source.
pub struct Decoder {
    chunks: Receiver<Chunk>,
    used: Sender<Vec<u8>>,
    chunk: Vec<u8>,
    position: usize,
    state: State,
    watch: Arc<Watch>,
    thread: Option<JoinHandle<()>>,
}

impl Decoder {
    /// Bytes of the stored stream that the decoder has used; after an error, where it found the damage.
    ///
    /// This may be up to 64 KiB too early, because not every library reports its position, and as late as the format's
    /// checks are: at the end of a block of bzip2 or xz, a member of gzip, a frame of zstd.
    pub fn stored_offset(&self) -> u64 {
        self.watch.offset.load(Ordering::Relaxed)
    }

    /// The bytes that can be read without waiting.
    pub(super) fn buffer(&self) -> &[u8] {
        self.chunk.get(self.position..).unwrap_or_default()
    }

    /// Ends the thread and waits for it, so that the stored stream is no longer in use.
    pub(super) fn close(mut self) {
        let thread = self.thread.take();
        drop(self);
        if let Some(thread) = thread {
            // The reads have reported a panic.
            let _ = thread.join();
        }
    }

    /// Receives the next chunk; false at the end.
    fn next_chunk(&mut self) -> io::Result<bool> {
        match &self.state {
            State::Reading => (),
            State::Ended => return Ok(false),
            State::Failed(kind, message) => return Err(io::Error::new(*kind, message.clone())),
        }
        let error = match self.chunks.recv() {
            Ok(Chunk::Data(chunk)) => {
                let _ = self.used.send(std::mem::replace(&mut self.chunk, chunk));
                self.position = 0;
                return Ok(true);
            }
            Ok(Chunk::End) => {
                self.state = State::Ended;
                return Ok(false);
            }
            Ok(Chunk::Failed(error)) => error,
            Err(_) => io::Error::other("the thread that decompresses ended unexpectedly"),
        };
        self.state = State::Failed(error.kind(), error.to_string());
        Err(error)
    }
}

impl BufRead for Decoder {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.position == self.chunk.len() {
            self.chunk.clear();
            self.position = 0;
            self.next_chunk()?;
        }
        Ok(self.buffer())
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.chunk.len().min(self.position + amount);
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;

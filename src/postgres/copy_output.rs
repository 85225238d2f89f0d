//! Takes the data of COPY out of the messages of a session while they are read.
//!
//! The client makes an object of each message, which is a row, and keeps all of it in memory. Here rows pass in pieces of one
//! size, and the client sees a statement that returns nothing (PostgreSQL documentation, "Message Formats").

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;

use crate::error::Error;

/// Bytes of rows in one piece.
const PIECE: usize = 256 << 10;

/// Bytes that are read from the server at once.
const READ: usize = 128 << 10;

/// Types of messages.
const COPY_OUT: u8 = b'H';
const COPY_DATA: u8 = b'd';
const COPY_DONE: u8 = b'c';
const ERROR: u8 = b'E';

/// Type and length, with which each message of a server begins.
const HEAD: usize = 5;

/// What a session delivers.
#[derive(Debug)]
pub enum CopyMessage {
    /// Rows in COPY's text format, cut anywhere.
    Data(CopyPiece),
    /// The statement begins again, with the same rows.
    Restarted,
    /// The statement has succeeded.
    Ended,
    /// The statement has failed.
    Failed(Error),
}

/// Rows in memory, as long as they are not dropped.
#[derive(Debug)]
pub struct CopyPiece {
    /// The rows.
    pub bytes: Vec<u8>,
    /// Where the memory goes.
    free: Arc<FreeBuffers>,
    _room: OwnedSemaphorePermit,
}

/// Memory of dropped pieces for the next ones: the system would have to clear it for each of them.
type FreeBuffers = Mutex<Vec<Vec<u8>>>;

impl CopyPiece {
    fn new(free: &Arc<FreeBuffers>, room: OwnedSemaphorePermit) -> Self {
        let used = free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = used.unwrap_or_else(|| Vec::with_capacity(PIECE));
        CopyPiece { bytes, free: Arc::clone(free), _room: room }
    }

    /// A piece for tests.
    #[cfg(test)]
    pub fn of(bytes: &[u8]) -> Self {
        let room = Arc::new(Semaphore::new(1)).try_acquire_owned();
        #[allow(clippy::unwrap_used, reason = "there is one")]
        let mut piece = CopyPiece::new(&Arc::default(), room.unwrap());
        piece.bytes.extend_from_slice(bytes);
        piece
    }
}

impl Drop for CopyPiece {
    fn drop(&mut self) {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

/// Where a session delivers the data of its statements. It waits while as many pieces as agreed are not dropped.
#[derive(Clone, Debug)]
pub struct CopyOutput {
    to: UnboundedSender<CopyMessage>,
    room: Arc<Semaphore>,
    free: Arc<FreeBuffers>,
    copying: Arc<AtomicBool>,
}

impl CopyOutput {
    /// An output that keeps up to this many bytes in memory, and its other end.
    pub fn new(bytes: usize) -> (Self, UnboundedReceiver<CopyMessage>) {
        let (to, from) = unbounded_channel();
        let room = Arc::new(Semaphore::new((bytes / PIECE).max(2)));
        (CopyOutput { to, room, free: Arc::default(), copying: Arc::default() }, from)
    }

    /// Delivers a message after all data that were delivered before. The receiver may have stopped.
    pub fn send(&self, message: CopyMessage) {
        drop(self.to.send(message));
    }

    /// Whether a statement delivers data.
    pub fn is_copying(&self) -> bool {
        self.copying.load(Ordering::Relaxed)
    }

    /// Whether nothing more can be delivered.
    pub fn is_closed(&self) -> bool {
        self.to.is_closed() || self.room.is_closed()
    }

    /// Ends the sessions that deliver here.
    pub fn close(&self) {
        self.room.close();
    }
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Before the first byte of the server.
    First,
    /// Before or in the head of a message.
    Head,
    /// In data, with this many bytes left.
    Data(usize),
    /// In a message that the client does not get.
    Skip(usize),
    /// In a message of the client.
    Pass(usize),
    /// The stream is encrypted.
    Opaque,
}

/// Why no more of the buffer can be processed.
enum Halt {
    /// All of it was.
    Empty,
    /// The client's buffer is full.
    Full,
}

/// The messages of a session that are being read.
#[derive(Debug)]
pub(super) struct CopyFilter {
    output: CopyOutput,
    room: PollSemaphore,
    state: State,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    piece: Option<CopyPiece>,
}

impl CopyFilter {
    pub(super) fn new(output: CopyOutput) -> Self {
        let room = PollSemaphore::new(Arc::clone(&output.room));
        let buffer = vec![0; READ].into_boxed_slice();
        CopyFilter { output, room, state: State::First, buffer, start: 0, end: 0, piece: None }
    }

    /// Reads messages from the stream into the client's buffer, without the data.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        mut stream: Pin<&mut S>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let filled = into.filled().len();
        loop {
            let processed = self.poll_process(cx, into)?;
            if into.filled().len() > filled || matches!(processed, Poll::Ready(Halt::Full)) {
                return Poll::Ready(Ok(()));
            }
            ready!(processed);
            let mut buffer = ReadBuf::new(self.buffer.get_mut(self.end..).unwrap_or_default());
            ready!(stream.as_mut().poll_read(cx, &mut buffer))?;
            match buffer.filled().len() {
                0 => return Poll::Ready(Ok(())),
                bytes => self.end += bytes,
            }
        }
    }

    fn poll_process(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<Halt>> {
        loop {
            let there = self.end - self.start;
            match self.state {
                State::Data(0) | State::Skip(0) | State::Pass(0) => {
                    self.state = State::Head;
                    continue;
                }
                State::Head if there >= HEAD => {
                    self.head()?;
                    continue;
                }
                State::Head => {
                    self.buffer.copy_within(self.start..self.end, 0);
                    (self.start, self.end) = (0, there);
                    return Poll::Ready(Ok(Halt::Empty));
                }
                _ if there == 0 => {
                    (self.start, self.end) = (0, 0);
                    return Poll::Ready(Ok(Halt::Empty));
                }
                State::First => self.first(into),
                State::Data(left) => {
                    let taken = ready!(self.poll_data(cx, left))?;
                    self.state = State::Data(left - taken);
                }
                State::Skip(left) => {
                    let skipped = left.min(there);
                    self.start += skipped;
                    self.state = State::Skip(left - skipped);
                }
                State::Pass(_) | State::Opaque if into.remaining() == 0 => return Poll::Ready(Ok(Halt::Full)),
                State::Pass(left) => {
                    let passed = self.pass(left, into);
                    self.state = State::Pass(left - passed);
                }
                State::Opaque => drop(self.pass(there, into)),
            }
        }
    }

    /// The answer to a request for encryption has one byte and no head; no session begins with such a message.
    fn first(&mut self, into: &mut ReadBuf<'_>) {
        self.state = match self.buffer.get(self.start) {
            Some(b'S') => State::Opaque,
            Some(b'N') => {
                self.pass(1, into);
                State::Head
            }
            _ => State::Head,
        };
    }

    /// Reads the head of a message, which must be in the buffer.
    fn head(&mut self) -> io::Result<()> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a message of the server without a length");
        let head = self.buffer.get(self.start..).and_then(|rest| rest.first_chunk::<HEAD>()).ok_or_else(wrong)?;
        let [kind, length @ ..] = *head;
        let length = usize::try_from(u32::from_be_bytes(length)).ok().and_then(|length| length.checked_sub(4));
        let length = length.ok_or_else(wrong)?;
        if matches!(kind, COPY_OUT | COPY_DONE | ERROR) {
            self.output.copying.store(kind == COPY_OUT, Ordering::Relaxed);
        }
        self.state = match kind {
            COPY_DATA => State::Data(length),
            COPY_OUT | COPY_DONE => State::Skip(length),
            // What was not delivered belongs to no statement that succeeds.
            ERROR => {
                self.piece = None;
                State::Pass(HEAD + length)
            }
            _ => State::Pass(HEAD + length),
        };
        match self.state {
            State::Pass(_) => {}
            State::Skip(_) => {
                self.start += HEAD;
                self.deliver()?;
            }
            _ => self.start += HEAD,
        }
        Ok(())
    }

    /// Moves data into the current piece, and returns how much.
    fn poll_data(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<usize>> {
        let piece = match &mut self.piece {
            Some(piece) => piece,
            none => {
                let room = ready!(self.room.poll_acquire(cx)).ok_or_else(closed)?;
                none.insert(CopyPiece::new(&self.output.free, room))
            }
        };
        let there = self.buffer.get(self.start..self.end).unwrap_or_default();
        let taken = left.min(there.len()).min(PIECE - piece.bytes.len());
        piece.bytes.extend_from_slice(there.get(..taken).unwrap_or_default());
        self.start += taken;
        if piece.bytes.len() == PIECE {
            self.deliver()?;
        }
        Poll::Ready(Ok(taken))
    }

    fn deliver(&mut self) -> io::Result<()> {
        match self.piece.take() {
            Some(piece) => self.output.to.send(CopyMessage::Data(piece)).map_err(|_| closed()),
            None => Ok(()),
        }
    }

    fn pass(&mut self, bytes: usize, into: &mut ReadBuf<'_>) -> usize {
        let there = self.buffer.get(self.start..self.end).unwrap_or_default();
        let passed = bytes.min(there.len()).min(into.remaining());
        into.put_slice(there.get(..passed).unwrap_or_default());
        self.start += passed;
        passed
    }
}

/// The error of a session whose data no receiver takes any more. It ends the session.
fn closed() -> io::Error {
    io::ErrorKind::BrokenPipe.into()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A stream through the filter.
    struct Filtered<S>(S, CopyFilter);

    impl<S: AsyncRead + Unpin> AsyncRead for Filtered<S> {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            let Filtered(stream, filter) = self.get_mut();
            filter.poll_read(Pin::new(stream), cx, into)
        }
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[kind][..], &length, body].concat()
    }

    /// What the client reads, and the data.
    async fn filtered(bytes: Vec<u8>, step: usize) -> (Vec<u8>, Vec<u8>) {
        let (near, mut far) = tokio::io::duplex(step);
        let (output, mut from) = CopyOutput::new(1 << 20);
        let mut stream = Filtered(near, CopyFilter::new(output));
        let sender = tokio::spawn(async move { far.write_all(&bytes).await });
        let receiver = tokio::spawn(async move {
            let mut data = Vec::new();
            while let Some(CopyMessage::Data(piece)) = from.recv().await {
                assert!(piece.bytes.len() <= PIECE);
                data.extend_from_slice(&piece.bytes);
            }
            data
        });
        let mut seen = Vec::new();
        let mut buffer = vec![0; step];
        loop {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                bytes => seen.extend_from_slice(&buffer[..bytes]),
            }
        }
        sender.await.unwrap().unwrap();
        drop(stream);
        (seen, receiver.await.unwrap())
    }

    #[tokio::test]
    async fn data_is_delivered_and_the_rest_passed() {
        let long = vec![b'x'; 3 * PIECE + 7];
        let row = |row: &[u8]| message(b'd', row);
        let (begin, end) = (message(b'R', &[0; 4]), [message(b'C', b"COPY 3\0"), message(b'Z', b"I")].concat());
        let copy = [message(b'H', &[0; 5]), row(b"1\n"), row(b""), row(&long), row(b"\n"), message(b'c', b"")].concat();
        let data = [b"1\n", &long[..], b"\n"].concat();
        let statements = [&begin[..], &copy, &end, &copy, &end].concat();
        for step in [1, 6, 1000, 1 << 20] {
            let (seen, delivered) = filtered(statements.clone(), step).await;
            assert_eq!(seen, [&begin[..], &end, &end].concat(), "{step}");
            assert!(delivered == [&data[..], &data].concat(), "{step}");
        }
    }

    #[tokio::test]
    async fn rows_of_a_statement_that_fails_are_no_rows_of_the_next() {
        let [begin, end, done] = [message(b'H', &[0; 5]), message(b'c', b""), message(b'Z', b"I")];
        let failed = [&begin[..], &message(b'd', b"1\n"), &message(b'E', b"C57014\0\0"), &done].concat();
        let next = [&begin[..], &message(b'd', b"2\n"), &end, &done].concat();
        let (seen, delivered) = filtered([&failed[..], &next].concat(), 1 << 20).await;
        assert_eq!(seen, [&message(b'E', b"C57014\0\0")[..], &done, &done].concat());
        assert_eq!(delivered, b"2\n");
    }

    #[tokio::test]
    async fn answers_to_a_request_for_encryption() {
        let refused = [b"N", &message(b'R', &[0; 4])[..], &message(b'd', b"1\n"), &message(b'c', b"")].concat();
        assert_eq!(filtered(refused, 3).await, ([b"N", &message(b'R', &[0; 4])[..]].concat(), b"1\n".to_vec()));
        let agreed = [b"S", &message(b'd', b"1\n")[..]].concat();
        assert_eq!(filtered(agreed.clone(), 3).await, (agreed, Vec::new()));
    }

    #[tokio::test]
    async fn a_session_waits_for_room_and_ends_without_a_receiver() {
        let rows = message(b'd', &vec![b'x'; 10 * PIECE]);
        let (near, mut far) = tokio::io::duplex(READ);
        let (output, mut from) = CopyOutput::new(0);
        let mut stream = Filtered(near, CopyFilter::new(output.clone()));
        let sender = tokio::spawn(async move { far.write_all(&rows).await });
        let mut buffer = [0; 8];
        let waits = tokio::time::timeout(Duration::from_millis(100), stream.read(&mut buffer)).await;
        assert!(waits.is_err() && !output.is_closed());
        let pieces: Vec<_> = std::iter::from_fn(|| from.try_recv().ok()).collect();
        assert_eq!(pieces.len(), 2);
        output.close();
        assert_eq!(stream.read(&mut buffer).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        drop(stream);
        assert!(sender.await.unwrap().is_err());
    }
}

//! Compression on several threads, into files that the stock commands read.
//!
//! The calling thread fills a block, worker threads turn blocks into complete streams of the format, and one writer
//! thread owns the output and writes the streams in order. The output's own work (encryption, hashing, writing to a disk)
//! therefore runs in parallel with the source and the compression. At most about twice as many blocks as threads are in
//! progress, in buffers that are reused, so that memory does not grow with the data.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use super::block::{self, Encoder};
pub use super::method::Method;

/// A compressed block, or one that a worker is going to send, in the order of the output.
enum Block {
    Ready(Vec<u8>),
    Promised(Receiver<io::Result<Vec<u8>>>),
}

/// A full block for a worker, and the channel for its result.
struct Job {
    plain: Vec<u8>,
    result: SyncSender<io::Result<Vec<u8>>>,
}

/// What the threads of one compressor share.
#[derive(Default)]
struct Shared {
    /// Set when the output has failed or is dropped: nothing more is compressed or written.
    stop: AtomicBool,
    plain_buffers: Pool,
    stored_buffers: Pool,
}

/// Buffers for reuse; never more than were in use at once.
#[derive(Default)]
struct Pool(Mutex<Vec<Vec<u8>>>);

impl Pool {
    fn take(&self) -> Vec<u8> {
        self.0.lock().ok().and_then(|mut free| free.pop()).unwrap_or_default()
    }

    fn give(&self, buffer: Vec<u8>) {
        if let Ok(mut free) = self.0.lock() {
            free.push(buffer);
        }
    }
}

/// Compresses what is written to it, block by block on several threads, into `W`.
///
/// [`Compressor::finish`] must be called: dropping the compressor does not write the last block. Such a file may end where
/// a member ends, which `gunzip` takes for the end of the file, so the owner must remove a file that was not finished.
pub struct Compressor<W: Write + Send + 'static> {
    block_size: usize,
    plain: Vec<u8>,
    began: bool,
    shared: Arc<Shared>,
    jobs: Option<Sender<Job>>,
    order: Option<SyncSender<Block>>,
    workers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<io::Result<W>>>,
    failure: Option<io::Error>,
}

impl<W: Write + Send + 'static> Compressor<W> {
    /// Starts `threads` workers and the writer thread. `none` has no workers, only the writer thread.
    ///
    /// Memory for each thread, about: gzip 6 MiB, zstd 10 MiB at its default level, bzip2 11 MiB, xz 60 MiB.
    ///
    /// # Errors
    /// `InvalidInput` for a level that the method does not have; the system's error if a thread cannot be started.
    pub fn new(method: Method, level: Option<i32>, threads: NonZeroUsize, output: W) -> io::Result<Self> {
        let level = method.level(level)?;
        let mut encoders = Vec::new();
        for _ in 0..threads.get() {
            encoders.extend(block::encoder(method, level)?);
        }
        Self::with_encoders(encoders, block::block_size(method, level), threads, output)
    }

    fn with_encoders(encoders: Vec<Encoder>, block_size: usize, threads: NonZeroUsize, output: W) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (order, blocks) = sync_channel(2 * threads.get());
        let (jobs, queue) = channel();
        let queue = Arc::new(Mutex::new(queue));
        let workers = encoders
            .into_iter()
            .map(|encoder| {
                let (shared, queue) = (Arc::clone(&shared), Arc::clone(&queue));
                Builder::new().name("compress".into()).spawn(move || compress_blocks(encoder, &queue, &shared))
            })
            .collect::<io::Result<Vec<_>>>()?;
        let writer = Builder::new().name("write".into()).spawn({
            let shared = Arc::clone(&shared);
            move || write_blocks(&blocks, output, &shared)
        })?;
        Ok(Self {
            block_size,
            plain: Vec::with_capacity(block_size),
            began: false,
            shared,
            jobs: (!workers.is_empty()).then_some(jobs),
            order: Some(order),
            workers,
            writer: Some(writer),
            failure: None,
        })
    }

    /// Compresses and writes the last block, flushes the output and returns it.
    ///
    /// # Errors
    /// Those of the output, in their own kind; `Other` if a thread panicked.
    pub fn finish(mut self) -> io::Result<W> {
        self.check()?;
        if !self.plain.is_empty() || !self.began {
            self.dispatch()?;
        }
        self.join()
    }

    /// Sends the current block to a worker.
    fn dispatch(&mut self) -> io::Result<()> {
        let mut next = self.shared.plain_buffers.take();
        next.clear();
        let plain = std::mem::replace(&mut self.plain, next);
        self.began = true;
        let (block, job) = match &self.jobs {
            None => (Block::Ready(plain), None),
            Some(_) => {
                let (result, promise) = sync_channel(1);
                (Block::Promised(promise), Some(Job { plain, result }))
            }
        };
        // Waits while enough blocks are in progress. Fails only if the writer has ended, which returns its error; the
        // writer also notices a job that no worker takes.
        let sent = self.order.as_ref().is_some_and(|order| order.send(block).is_ok());
        if let (Some(jobs), Some(job)) = (&self.jobs, job) {
            let _ = jobs.send(job);
        }
        if sent { Ok(()) } else { Err(self.fail()) }
    }

    /// Returns an error of the output early, also while a block is being filled.
    fn check(&mut self) -> io::Result<()> {
        match &self.failure {
            Some(failure) => Err(copy(failure)),
            None if self.writer.as_ref().is_none_or(JoinHandle::is_finished) => Err(self.fail()),
            None => Ok(()),
        }
    }

    /// The error with which the writer ended early; kept for later calls.
    fn fail(&mut self) -> io::Error {
        let error = match self.join() {
            Ok(_) => io::Error::other("the thread that writes the compressed data ended too early"),
            Err(error) => error,
        };
        self.failure = Some(copy(&error));
        error
    }

    /// Waits for the threads. The writer writes all blocks that were sent, unless `stop` is set.
    fn join(&mut self) -> io::Result<W> {
        self.jobs = None;
        self.order = None;
        let result = match self.writer.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(io::Error::other("the thread that writes the compressed data ended unexpectedly")),
        };
        for worker in self.workers.drain(..) {
            // If a worker panicked, its block is missing and the writer has returned an error.
            let _ = worker.join();
        }
        result
    }
}

impl<W: Write + Send + 'static> Write for Compressor<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.check()?;
        if self.plain.capacity() < self.block_size {
            self.plain.reserve_exact(self.block_size - self.plain.len());
        }
        let room = self.block_size - self.plain.len();
        let taken = data.get(..room).unwrap_or(data);
        self.plain.extend_from_slice(taken);
        if self.plain.len() == self.block_size {
            self.dispatch()?;
        }
        Ok(taken.len())
    }

    /// Only checks whether the output has failed: ending a block early would make the file larger.
    fn flush(&mut self) -> io::Result<()> {
        self.check()
    }
}

impl<W: Write + Send + 'static> Drop for Compressor<W> {
    fn drop(&mut self) {
        if self.writer.is_some() {
            self.shared.stop.store(true, Ordering::Relaxed);
            let _ = self.join();
        }
    }
}

/// A worker thread: takes blocks until there are no more.
fn compress_blocks(mut encoder: Encoder, queue: &Mutex<Receiver<Job>>, shared: &Shared) {
    loop {
        let job = match queue.lock() {
            Ok(queue) => queue.recv(),
            Err(_) => return,
        };
        let Ok(Job { plain, result }) = job else {
            return;
        };
        if shared.stop.load(Ordering::Relaxed) {
            continue;
        }
        let mut stored = shared.stored_buffers.take();
        let outcome = encoder(&plain, &mut stored);
        shared.plain_buffers.give(plain);
        // The receiver is gone if the writer has failed.
        let _ = result.send(outcome.map(|()| stored));
    }
}

/// The writer thread: writes the blocks in order, until the output fails.
fn write_blocks<W: Write>(blocks: &Receiver<Block>, mut output: W, shared: &Shared) -> io::Result<W> {
    let written = blocks.iter().try_for_each(|block| write_block(block, &mut output, shared));
    if written.is_err() {
        shared.stop.store(true, Ordering::Relaxed);
    }
    written?;
    if shared.stop.load(Ordering::Relaxed) {
        return Err(io::Error::other("the compressed data was abandoned"));
    }
    output.flush()?;
    Ok(output)
}

fn write_block<W: Write>(block: Block, output: &mut W, shared: &Shared) -> io::Result<()> {
    let (stored, pool) = match block {
        Block::Ready(stored) => (stored, &shared.plain_buffers),
        Block::Promised(promise) => match promise.recv() {
            Ok(stored) => (stored?, &shared.stored_buffers),
            Err(_) => return Err(io::Error::other("a compression thread ended unexpectedly")),
        },
    };
    if shared.stop.load(Ordering::Relaxed) {
        return Err(io::Error::other("the compressed data was abandoned"));
    }
    output.write_all(&stored)?;
    pool.give(stored);
    Ok(())
}

/// A copy of an error: its number if it is the system's, else its kind and message.
fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
pub(super) mod tests;

//! The queue of blocks to load from an archive that is still being unpacked.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::postgres::archive::{Block, BlockEvent, BlockRows};

/// The bytes to load that justify a call of pg_restore, which takes some hundredths of a second.
const WORTH: u64 = 16 << 20;

/// How many times the size of the table of contents a call should load: every call reads the table of contents.
const TIMES_FRONT: u64 = 8;

/// The largest number of blocks of one call: small tables take time, too. If more blocks wait, a call loads a quarter of them.
const BLOCKS: usize = 1000;

/// When a block may be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At any time, as far as the blocks before it are concerned.
    Any,
    /// Alone, before all later blocks. An extension's table has foreign keys, and values of other tables may need its rows; no entry
    /// of the archive says so, and pg_dump's order observes the foreign keys alone.
    InOrder,
}

/// A block of the archive.
#[derive(Debug)]
pub struct Span {
    /// The block.
    pub block: Block,
    turn: Turn,
    /// Where it ends, once that is known.
    end: OnceLock<u64>,
}

/// A table that several calls load at once.
#[derive(Debug)]
pub struct Table {
    /// Its block.
    pub span: Arc<Span>,
    /// Its rows.
    pub rows: Mutex<BlockRows>,
    /// Offset up to which its rows have been taken, which can be read without the lock on `rows`.
    pub at: AtomicU64,
}

/// What one call of pg_restore loads.
#[derive(Clone, Debug)]
pub enum Batch {
    /// Whole blocks, in the archive's order.
    Blocks(Vec<Arc<Span>>),
    /// Some rows of a table that other calls load, too.
    Rows(Arc<Table>),
}

impl Batch {
    /// The entries whose data it loads.
    pub fn dump_ids(&self) -> Vec<u32> {
        match self {
            Batch::Blocks(spans) => spans.iter().map(|span| span.block.dump_id).collect(),
            Batch::Rows(table) => vec![table.span.block.dump_id],
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Whole,
    Lost,
}

#[derive(Debug, Default)]
struct State {
    /// How many bytes of the archive are in the file.
    there: u64,
    /// Size of its header and table of contents.
    front: Option<u64>,
    /// Blocks that no call has taken.
    waiting: VecDeque<Arc<Span>>,
    /// The block whose end is not there yet.
    growing: Option<Arc<Span>>,
    /// Tables that several calls load.
    tables: Vec<Arc<Table>>,
    /// Whether a batch is being loaded for which all others wait.
    in_order: bool,
    end: Option<End>,
}

/// An archive in a growing file, and its blocks that wait to be loaded.
#[derive(Debug)]
pub struct LoadQueue {
    archive: File,
    /// Whether several calls may load a table. Each of them succeeds or fails by itself.
    sharing: bool,
    state: Mutex<State>,
    changed: Condvar,
}

impl LoadQueue {
    /// An empty queue.
    pub fn new(archive: File, sharing: bool) -> Self {
        LoadQueue { archive, sharing, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Adds the blocks that begin or end in the bytes that are new in the file, up to the offset `there`. Blocks without a turn are
    /// not loaded.
    pub fn add(&self, marks: impl IntoIterator<Item = BlockEvent>, there: u64, turn: impl Fn(u32) -> Option<Turn>) {
        let mut state = self.lock();
        for mark in marks {
            match mark {
                BlockEvent::Front(bytes) => state.front = Some(bytes),
                BlockEvent::Begins(block) => {
                    let selected = turn(block.dump_id);
                    let turn = selected.unwrap_or(Turn::Any);
                    let span = Arc::new(Span { block, turn, end: OnceLock::new() });
                    if selected.is_some() {
                        state.waiting.push_back(Arc::clone(&span));
                    }
                    state.growing = Some(span);
                }
                BlockEvent::Ends(end) => {
                    if let Some(span) = state.growing.take() {
                        span.end.get_or_init(|| end);
                    }
                }
            }
        }
        state.there = there;
        drop(state);
        self.changed.notify_all();
    }

    /// Marks the archive as complete.
    pub fn whole(&self) {
        self.end(End::Whole);
    }

    /// Ends the queue, unless the archive is complete: unpacking has failed, or the load has stopped.
    pub fn abandon(&self) {
        self.end(End::Lost);
    }

    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    /// Whether the queue has ended before the archive was complete.
    pub fn is_abandoned(&self) -> bool {
        self.lock().end == Some(End::Lost)
    }

    /// Waits for the table of contents, and returns its size with the header in bytes. Blocks.
    pub fn front(&self) -> io::Result<u64> {
        self.wait_for(|state| state.front)
    }

    /// Waits for a batch; none if the archive is complete and all of it has been taken. Blocks.
    pub fn take(&self) -> io::Result<Option<Batch>> {
        self.wait_for(|state| match state.next(self.sharing) {
            Some(share) => Some(Some(share)),
            None => (state.end == Some(End::Whole) && !state.in_order).then_some(None),
        })
    }

    /// Notes that a batch is loaded, for which others may wait.
    pub fn loaded(&self, batch: &Batch) {
        if matches!(batch, Batch::Blocks(spans) if spans.iter().any(|span| span.turn == Turn::InOrder)) {
            self.lock().in_order = false;
            self.changed.notify_all();
        }
    }

    /// Reads at least `least` bytes of the archive from the offset `at`, once they are in the file. Blocks.
    pub fn read(&self, at: u64, least: usize, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.wait_for(|state| (state.there >= at.saturating_add(least as u64)).then_some(state.there))?;
        let length = usize::try_from(there - at).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..length).unwrap_or_default();
        self.archive.read_exact_at(buffer, at)?;
        Ok(length)
    }

    /// Waits for bytes of a block from the offset `at`, and returns the offset of their end; none if the block ends at `at`.
    /// Blocks.
    pub fn known(&self, span: &Span, at: u64) -> io::Result<Option<u64>> {
        self.wait_for(|state| {
            let known = state.known_end(span);
            match span.end.get() {
                Some(end) if *end <= at => Some(None),
                _ => (known > at).then_some(Some(known)),
            }
        })
    }

    fn wait_for<T>(&self, mut read: impl FnMut(&mut State) -> Option<T>) -> io::Result<T> {
        let mut state = self.lock();
        loop {
            if state.end == Some(End::Lost) {
                return Err(io::Error::other("the archive was not unpacked to its end"));
            }
            if let Some(value) = read(&mut state) {
                return Ok(value);
            }
            if state.end == Some(End::Whole) && !state.in_order {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The state is valid even if a thread has panicked with the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Large blocks first, since they take longest; then several small ones; then a part of a table that other calls load.
    fn next(&mut self, sharing: bool) -> Option<Batch> {
        let worth = WORTH.max(self.front?.saturating_mul(TIMES_FRONT));
        if self.in_order {
            return None;
        }
        let is_ready = |span: &Arc<Span>| (span.turn == Turn::InOrder && span.end.get().is_some()).then_some(());
        let number = self.waiting.iter().map_while(is_ready).count();
        if number > 0 {
            self.in_order = true;
            return Some(Batch::Blocks(self.waiting.drain(..number).collect()));
        }
        let free = self.waiting.iter().position(|span| span.turn == Turn::InOrder).unwrap_or(self.waiting.len());
        if let Some(large) =
            self.waiting.iter().take(free).position(|span| self.known_end(span) - span.block.start >= worth)
        {
            let span = self.waiting.remove(large)?;
            if !(sharing && span.block.rows) {
                return Some(Batch::Blocks(vec![span]));
            }
            let (rows, at) = (Mutex::new(BlockRows::new(&span.block)), AtomicU64::new(span.block.start));
            let table = Arc::new(Table { span, rows, at });
            self.tables.push(Arc::clone(&table));
            return Some(Batch::Rows(table));
        }
        let mut bytes = 0;
        let small = |span: &Arc<Span>| {
            let before = bytes;
            bytes += span.end.get()? - span.block.start;
            (before < worth).then_some(())
        };
        let most = BLOCKS.max(self.waiting.len() / 4);
        let number = self.waiting.iter().take(most.min(free)).map_while(small).count();
        if number > 0 {
            return Some(Batch::Blocks(self.waiting.drain(..number).collect()));
        }
        // Tables that are loaded would keep memory.
        self.tables.retain(|table| table.span.end.get().is_none_or(|end| table.at.load(Ordering::Relaxed) < *end));
        let left = |table: &Table| self.known_end(&table.span).saturating_sub(table.at.load(Ordering::Relaxed));
        let table = self.tables.iter().max_by_key(|table| left(table)).filter(|table| left(table) >= worth)?;
        Some(Batch::Rows(Arc::clone(table)))
    }

    /// Offset up to which a block is in the file.
    fn known_end(&self, span: &Span) -> u64 {
        span.end.get().copied().unwrap_or(self.there)
    }
}

#[cfg(test)]
mod tests;

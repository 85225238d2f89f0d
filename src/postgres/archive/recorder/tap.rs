//! Sends the rows of some tables to a receiver while they are recorded.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::fingerprint::{Quoted, TableFingerprint};

/// Bytes of rows in one message, unless a row is longer.
const BATCH: usize = 256 << 10;

/// The tables whose rows are sent, by the names in their COPY statements, and the channel.
#[derive(Clone, Debug)]
pub struct Tap {
    tables: Arc<HashSet<Quoted>>,
    to: mpsc::Sender<Tapped>,
}

/// Rows of a table: complete lines of COPY's text format in their order, the terminator last.
#[derive(Debug)]
pub struct Tapped {
    /// The table as the archive quotes it.
    pub table: Quoted,
    /// The lines.
    pub lines: Vec<u8>,
}

impl Tap {
    /// Sends the rows of these tables. The archive must be read by a thread that may block.
    pub fn new(tables: HashSet<Quoted>, to: mpsc::Sender<Tapped>) -> Self {
        Tap { tables: Arc::new(tables), to }
    }

    pub(super) fn of(&self, table: &TableFingerprint) -> Option<Tapping> {
        self.tables.contains(&table.target).then(|| Tapping {
            table: table.target.clone(),
            lines: Vec::new(),
            to: self.to.clone(),
        })
    }
}

/// The rows of one table that are being read.
#[derive(Debug)]
pub(super) struct Tapping {
    table: Quoted,
    lines: Vec<u8>,
    to: mpsc::Sender<Tapped>,
}

impl Tapping {
    pub(super) fn push(&mut self, piece: &[u8]) {
        self.lines.extend_from_slice(piece);
        if self.lines.len() < BATCH {
            return;
        }
        if let Some(end) = memchr::memrchr(b'\n', &self.lines) {
            let rest = self.lines.split_off(end + 1);
            self.send(rest);
        }
    }

    pub(super) fn finish(mut self) {
        self.send(Vec::new());
    }

    fn send(&mut self, rest: Vec<u8>) {
        let lines = std::mem::replace(&mut self.lines, rest);
        // A receiver that has failed takes no more rows, and reports its error itself.
        drop(self.to.blocking_send(Tapped { table: self.table.clone(), lines }));
    }
}

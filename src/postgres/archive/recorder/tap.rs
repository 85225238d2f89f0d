//! The rows of some tables, handed on while they are recorded.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;

use crate::fingerprint::{Quoted, TableFingerprint};

/// How many bytes of rows are handed on at once, unless a row is longer.
const BATCH: usize = 256 << 10;

/// Which tables' rows are wanted, by the names that COPY loads them into, and who takes them.
#[derive(Clone, Debug)]
pub struct Tap {
    tables: Arc<HashSet<Quoted>>,
    to: mpsc::Sender<Tapped>,
}

/// Some rows of a table: whole lines of COPY's text format, in their order. What COPY ends with comes last.
#[derive(Debug)]
pub struct Tapped {
    /// The table as the archive quotes it.
    pub table: Quoted,
    /// The lines.
    pub lines: Vec<u8>,
}

impl Tap {
    /// Hands the rows of these tables on. What is read has to be read by a thread that may block.
    pub fn new(tables: HashSet<Quoted>, to: mpsc::Sender<Tapped>) -> Self {
        Tap { tables: Arc::new(tables), to }
    }

    pub(super) fn of(&self, table: &TableFingerprint) -> Option<Tapping> {
        let wanted = self.tables.contains(&table.target);
        wanted.then(|| Tapping { table: table.target.clone(), lines: Vec::new(), to: self.to.clone() })
    }
}

/// The rows of one table while they pass.
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
        // Whoever has met an error takes no more, and tells of it.
        drop(self.to.blocking_send(Tapped { table: self.table.clone(), lines }));
    }
}

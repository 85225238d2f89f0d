//! Writes a batch to a call of pg_restore as an archive of its own: the header, the table of contents, and the blocks in its
//! list.

use std::io::{self, Write};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::postgres::archive::{BlockRows, RowPiece};
use crate::restore::parallel::queue::{Batch, LoadQueue, Table};

/// How many bytes are copied at once.
const PIECE: usize = 256 << 10;

/// Writes a batch while it is being unpacked. Blocks.
pub fn pour(work: &LoadQueue, share: &Batch, to: &mut impl Write) -> io::Result<()> {
    copy(work, 0, work.front()?, to)?;
    match share {
        Batch::Rows(table) => rows(work, table, to),
        Batch::Blocks(spans) => spans.iter().try_for_each(|span| {
            let mut at = span.block.start;
            while let Some(known) = work.known(span, at)? {
                copy(work, at, known, to)?;
                at = known;
            }
            Ok(())
        }),
    }
}

fn copy(work: &LoadQueue, mut at: u64, end: u64, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    while at < end {
        let length = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
        let read = work.read(at, length, buffer.get_mut(..length).unwrap_or_default())?;
        to.write_all(buffer.get(..read).unwrap_or_default())?;
        at += read as u64;
    }
    Ok(())
}

/// Writes a block with some of a table's rows, until all rows are taken.
fn rows(work: &LoadQueue, table: &Table, to: &mut impl Write) -> io::Result<()> {
    to.write_all(&BlockRows::head(table.span.block.dump_id))?;
    let mut piece = Vec::new();
    loop {
        let kind = {
            let mut rows = table.rows.lock().unwrap_or_else(PoisonError::into_inner);
            loop {
                let kind = rows.take(&mut piece, |at, least, buffer| work.read(at, least, buffer))?;
                table.at.store(rows.at(), Ordering::Relaxed);
                if kind != RowPiece::Unfinished {
                    break kind;
                }
                // Keeps the lock: the next bytes belong to the same row.
                chunk(&piece, to)?;
            }
        };
        chunk(&piece, to)?;
        match kind {
            RowPiece::Rows | RowPiece::Unfinished => {}
            RowPiece::Last => return to.write_all(&BlockRows::tail()),
            RowPiece::None => return to.write_all(&BlockRows::terminator()),
        }
    }
}

/// An empty piece would end the block.
fn chunk(piece: &[u8], to: &mut impl Write) -> io::Result<()> {
    if piece.is_empty() {
        return Ok(());
    }
    to.write_all(&BlockRows::chunk(piece.len()))?;
    to.write_all(piece)
}

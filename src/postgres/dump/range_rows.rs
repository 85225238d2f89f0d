//! The rows of tables that several sessions read, in their physical order.

use std::io;

use tokio::sync::mpsc::UnboundedReceiver;
use xxhash_rust::xxh3::Xxh3;

use crate::error::{Error, Kind};
use crate::host::progress::Counter;
use crate::postgres::archive::RowSource;
use crate::postgres::copy_output::CopyMessage;
use crate::postgres::dump::readers::Deliveries;

/// Writes the ranges one after the other. In another order, indexes of ranges of pages (BRIN) and rows that are read by an index
/// would be slow after a restore.
pub struct RangeRows {
    deliveries: Deliveries,
    /// Counts the bytes.
    moved: Counter,
}

impl RangeRows {
    /// The rows that these sessions deliver.
    pub fn new(deliveries: Deliveries, moved: Counter) -> Self {
        RangeRows { deliveries, moved }
    }
}

impl RowSource for RangeRows {
    fn rows(&mut self, dump_id: u32, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let Deliveries { order, sessions, ranges } = &mut self.deliveries;
        for _ in 0..ranges.get(&dump_id).copied().unwrap_or_default() {
            let (table, number) = order.blocking_recv().ok_or_else(ended)?;
            if table != dump_id {
                return Err(Error::new(Kind::Internal, "the rows of another table are next").into());
            }
            let session = sessions.get_mut(number).ok_or_else(ended)?;
            range(session, &mut |bytes| {
                self.moved.add(bytes.len() as u64);
                write(bytes)
            })?;
        }
        Ok(())
    }
}

/// Writes the rows of one range. If its session was replaced, the other one delivers the same rows again: what was written before is
/// compared by its hash, and skipped.
fn range(
    session: &mut UnboundedReceiver<CopyMessage>,
    write: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let (mut written, mut hash) = (0, Xxh3::new());
    let mut again: Option<(usize, Xxh3)> = None;
    loop {
        let piece = match session.blocking_recv().ok_or_else(ended)? {
            CopyMessage::Data(piece) => piece,
            CopyMessage::Restarted => {
                again = (written > 0).then(|| (written, Xxh3::new()));
                continue;
            }
            CopyMessage::Ended if again.is_some() => return Err(differs()),
            CopyMessage::Ended => return Ok(()),
            CopyMessage::Failed(error) => return Err(error.into()),
        };
        let mut new = piece.bytes.as_slice();
        if let Some((left, same)) = &mut again {
            let (old, rest) = new.split_at((*left).min(new.len()));
            same.update(old);
            *left -= old.len();
            new = rest;
            if *left > 0 {
                continue;
            }
            if same.digest() != hash.digest() {
                return Err(differs());
            }
            again = None;
        }
        hash.update(new);
        written += new.len();
        write(new)?;
    }
}

fn ended() -> io::Error {
    Error::new(Kind::Unavailable, "the sessions that read rows have ended").transient().into()
}

fn differs() -> io::Error {
    let message = "a session that was replaced has read other rows in the same snapshot";
    Error::new(Kind::Unavailable, message).transient().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::copy_output::{CopyOutput, CopyPiece};

    /// What is written of these deliveries.
    fn written(messages: Vec<CopyMessage>) -> io::Result<Vec<u8>> {
        let (output, mut from) = CopyOutput::new(0);
        messages.into_iter().for_each(|message| output.send(message));
        drop(output);
        let mut all = Vec::new();
        range(&mut from, &mut |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }

    fn data(bytes: &[u8]) -> CopyMessage {
        CopyMessage::Data(CopyPiece::of(bytes))
    }

    #[test]
    fn a_range_that_is_read_again_is_written_once() {
        use CopyMessage::{Ended, Restarted};
        let cases = vec![
            vec![data(b"1\n2\n3\n"), Ended],
            vec![data(b"1\n2"), Restarted, data(b"1\n2\n3\n"), Ended],
            vec![Restarted, data(b"1\n2\n3\n"), Ended],
            vec![data(b"1"), data(b"\n2"), Restarted, data(b"1\n"), Restarted, data(b"1"), data(b"\n2\n3\n"), Ended],
            vec![data(b"1\n2\n3\n"), Restarted, data(b"1\n2\n3\n"), Ended],
        ];
        for case in cases {
            assert_eq!(written(case).unwrap(), b"1\n2\n3\n");
        }
        for case in [
            vec![data(b"1\n2"), Restarted, data(b"1\n3\n"), Ended],
            vec![data(b"1\n2\n"), Restarted, data(b"1\n"), Ended],
            vec![data(b"1\n2\n")],
        ] {
            assert!(Error::within(&written(case).unwrap_err()).unwrap().is_transient());
        }
    }
}

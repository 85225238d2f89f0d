//! Locates the parts of a custom-format archive while it is read.

use std::io;

use super::blocks::{BlockEvent, BlockSink};
use super::contents::Contents;
use super::parser::{Expect, Parser};
use super::toc_entry::TocEntry;

/// Takes a custom-format archive in pieces, checks it as [`walk`](super::walk) does, and reports where its parts are.
pub struct BlockLocator {
    parser: Parser,
    /// Bytes taken so far.
    passed: u64,
}

impl Default for BlockLocator {
    fn default() -> Self {
        Self { parser: Parser::new(Expect::Custom), passed: 0 }
    }
}

impl BlockLocator {
    /// Takes the next piece. After an error nothing more may be taken.
    ///
    /// # Errors
    ///
    /// [`Malformed`](super::Malformed) for bytes that are no archive.
    pub fn take(
        &mut self,
        piece: &[u8],
        visit: &mut dyn FnMut(&TocEntry<'_>),
        report: &mut dyn FnMut(BlockEvent),
    ) -> io::Result<()> {
        let mut front = 0;
        if !self.parser.in_data() {
            front = self.parser.front(piece, visit)?;
            if self.parser.in_data() {
                report(BlockEvent::Front(self.passed + front as u64));
            }
        }
        self.passed += piece.len() as u64;
        self.parser.back(piece.get(front..).unwrap_or_default(), &mut Reporter(report))
    }

    /// The contents, if the stream has ended where an archive does.
    ///
    /// # Errors
    ///
    /// [`Malformed`](super::Malformed) if it has not.
    pub fn finish(self) -> io::Result<Contents> {
        self.parser.finish()
    }
}

struct Reporter<'a>(&'a mut dyn FnMut(BlockEvent));

impl BlockSink for Reporter<'_> {
    fn event(&mut self, event: BlockEvent) {
        (self.0)(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::archive::blocks::Block;
    use crate::postgres::archive::sample::{self, shop};

    /// The events of an archive that is taken in pieces of this size.
    fn events(bytes: &[u8], size: usize) -> Vec<BlockEvent> {
        let (mut locator, mut events) = (BlockLocator::default(), Vec::new());
        for piece in bytes.chunks(size) {
            locator.take(piece, &mut |_| (), &mut |event| events.push(event)).unwrap();
        }
        locator.finish().unwrap();
        events
    }

    #[test]
    fn every_block_is_where_it_is_reported() {
        let archive = shop(15);
        let bytes = archive.bytes();
        let mut at = (archive.header().len() + archive.toc().len()) as u64;
        let mut expected = vec![BlockEvent::Front(at)];
        for block in &archive.blocks {
            let alone = sample::SampleArchive { blocks: vec![block.clone()], ..archive.clone() };
            let (dump_id, rows) = match block {
                sample::SampleBlock::Table(id, _) => (*id, true),
                sample::SampleBlock::LargeObjects(id, _) => (*id, false),
            };
            let dump_id = u32::try_from(dump_id).unwrap();
            let rows =
                rows && archive.items.iter().any(|item| item.dump_id == i64::from(dump_id) && item.copy.is_some());
            expected.push(BlockEvent::Begins(Block { dump_id, start: at, rows }));
            at += alone.bytes().len() as u64 - (archive.header().len() + archive.toc().len()) as u64;
            expected.push(BlockEvent::Ends(at));
        }
        assert!(expected.len() > 6);
        for size in [1, 7, bytes.len()] {
            assert_eq!(events(&bytes, size), expected, "{size}");
        }
    }

    #[test]
    fn compressed_rows_cannot_be_divided() {
        let compressed = sample::SampleArchive { compression: 1, ..shop(16) };
        let events = events(&compressed.bytes(), 64 << 10);
        assert!(events.iter().all(|event| !matches!(event, BlockEvent::Begins(Block { rows: true, .. }))));
    }

    #[test]
    fn half_an_archive_is_refused() {
        let bytes = shop(15).bytes();
        let mut locator = BlockLocator::default();
        locator.take(&bytes[..bytes.len() / 2], &mut |_| (), &mut |_| ()).unwrap();
        assert_eq!(locator.finish().unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

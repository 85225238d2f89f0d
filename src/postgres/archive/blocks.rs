//! The data blocks of the custom format: pg_backup_custom.c.

use std::io;

use super::malformed::Malformed;
use super::primitive::{ArchiveInput, Int};

/// `BLK_DATA` of pg_backup_archiver.h: the rows of a table.
pub(super) const TABLE: u8 = 1;
/// `BLK_BLOBS`: large objects.
pub(super) const LARGE_OBJECTS: u8 = 3;

/// The terminator of rows in COPY format (`dumpTableData_copy` of pg_dump.c).
pub(super) const TERMINATOR: [u8; 5] = *b"\\.\n\n\n";

/// A data block that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The entry of the table of contents that it belongs to.
    pub dump_id: u32,
    /// Where it begins, in bytes from the start of the archive.
    pub start: u64,
    /// Whether its data is in COPY format and not compressed: then [`BlockRows`](super::BlockRows) can divide it.
    pub rows: bool,
}

/// A boundary that was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockEvent {
    /// The end of the header and the table of contents, at this offset.
    Front(u64),
    /// The first bytes of a block.
    Begins(Block),
    /// The end of the current block, before this offset.
    Ends(u64),
}

/// Receives the parts of the blocks in their order, and by default discards them.
pub(super) trait BlockSink {
    fn block(&mut self, _kind: u8, _dump_id: i64) -> io::Result<()> {
        Ok(())
    }
    /// The next object of a large objects block; 0 ends the block.
    fn large_object(&mut self, _oid: i64) -> io::Result<()> {
        Ok(())
    }
    /// A piece of the data, which need not be a whole chunk.
    fn data(&mut self, _piece: &[u8]) -> io::Result<()> {
        Ok(())
    }
    /// The end of a table's rows or of one large object.
    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// A block begins or ends.
    fn event(&mut self, _: BlockEvent) {}
}

/// Discards everything.
pub(super) struct Ignore;

impl BlockSink for Ignore {}

/// What the table of contents says of the data of an entry, and whether its block was found.
#[derive(Clone, Copy)]
pub(super) struct EntryData {
    pub(super) dump_id: u32,
    /// `BLK_DATA` or `BLK_BLOBS`.
    pub(super) kind: u8,
    /// The data is in COPY format.
    pub(super) copy: bool,
    /// The block has begun.
    pub(super) seen: bool,
    /// Offset of the block, by the table of contents or as found.
    pub(super) position: Option<u64>,
}

/// The entries that have data, sorted by dump id after [`Claims::seal`].
#[derive(Default)]
pub(super) struct Claims(pub(super) Vec<EntryData>);

impl Claims {
    pub(super) fn seal(&mut self) -> Result<(), String> {
        self.0.sort_unstable_by_key(|claim| claim.dump_id);
        self.0.shrink_to_fit();
        match self.0.array_windows().find(|[a, b]| a.dump_id == b.dump_id) {
            Some([twice, _]) => Err(format!("two entries with dump id {}", twice.dump_id)),
            None => Ok(()),
        }
    }

    pub(super) fn get_mut(&mut self, dump_id: i64) -> Option<&mut EntryData> {
        let dump_id = u32::try_from(dump_id).ok()?;
        let at = self.0.binary_search_by_key(&dump_id, |claim| claim.dump_id).ok()?;
        self.0.get_mut(at)
    }

    fn begin(&mut self, kind: u8, dump_id: i64, position: u64) -> Result<bool, String> {
        let claim = self
            .get_mut(dump_id)
            .ok_or_else(|| format!("a block for dump id {dump_id}, for which the table of contents has no data"))?;
        if claim.kind != kind {
            return Err(format!("a block of type {kind} for dump id {dump_id}, whose type should be {}", claim.kind));
        }
        if std::mem::replace(&mut claim.seen, true) {
            return Err(format!("a second block for dump id {dump_id}"));
        }
        match claim.position.replace(position) {
            Some(promised) if promised != position => {
                Err(format!("the block for dump id {dump_id}, which should begin at byte {promised}"))
            }
            _ => Ok(claim.copy),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between blocks.
    Kind,
    DumpId,
    LargeObject,
    Length,
    Chunk(usize),
}

/// The blocks that are being read.
pub(super) struct Blocks {
    state: State,
    kind: u8,
    dump_id: i64,
    start: u64,
    int: Int,
    /// Whether the block must end as COPY data does.
    copy: bool,
    /// The rows are not compressed by pg_dump.
    pub(super) plain: bool,
    tail: Tail,
    pub(super) large_objects: u64,
    pub(super) bytes: u64,
}

impl Blocks {
    pub(super) fn new() -> Self {
        Self {
            state: State::Kind,
            kind: TABLE,
            dump_id: 0,
            start: 0,
            int: Int::default(),
            copy: false,
            plain: false,
            tail: Tail::default(),
            large_objects: 0,
            bytes: 0,
        }
    }

    pub(super) fn is_between(&self) -> bool {
        self.state == State::Kind
    }

    pub(super) fn part(&self) -> String {
        let what = match self.state {
            State::Kind => return "the type of a block".to_owned(),
            State::DumpId => return "the dump id of a block".to_owned(),
            State::LargeObject => "the OID of a large object",
            State::Length => "the length of a chunk",
            State::Chunk(_) => "a chunk",
        };
        format!("{what} in the block for dump id {}", self.dump_id)
    }

    /// Reads on until the input is used up (true) or something other than a block follows a block (false).
    pub(super) fn read<S: BlockSink>(
        &mut self,
        input: &mut ArchiveInput<'_>,
        claims: &mut Claims,
        sink: &mut S,
    ) -> io::Result<bool> {
        while !input.is_empty() {
            match self.state {
                State::Kind => {
                    if input.peek() == Some(0) {
                        return Ok(false);
                    }
                    self.kind(input)?;
                }
                State::DumpId => {
                    let Some(dump_id) = self.int(input)? else {
                        break;
                    };
                    self.dump_id = dump_id;
                    self.copy = claims
                        .begin(self.kind, dump_id, self.start)
                        .map_err(|what| Malformed::new(self.start, what))?
                        && self.plain;
                    self.tail = Tail::default();
                    self.state = if self.kind == TABLE { State::Length } else { State::LargeObject };
                    sink.block(self.kind, dump_id)?;
                    let dump_id = u32::try_from(dump_id).unwrap_or_default();
                    sink.event(BlockEvent::Begins(Block { dump_id, start: self.start, rows: self.copy }));
                }
                State::LargeObject => {
                    let Some(oid) = self.int(input)? else { break };
                    self.large_objects += u64::from(oid != 0);
                    self.state = if oid == 0 { State::Kind } else { State::Length };
                    sink.large_object(oid)?;
                    if oid == 0 {
                        sink.event(BlockEvent::Ends(input.offset()));
                    }
                }
                State::Length => {
                    let Some(length) = self.int(input)? else {
                        break;
                    };
                    self.length(length, input, sink)?;
                }
                State::Chunk(left) => {
                    let piece = input.take(left);
                    if self.copy {
                        self.tail.push(piece);
                    }
                    self.bytes += piece.len() as u64;
                    self.state = match left - piece.len() {
                        0 => State::Length,
                        left => State::Chunk(left),
                    };
                    sink.data(piece)?;
                }
            }
        }
        Ok(true)
    }

    #[inline]
    fn int(&mut self, input: &mut ArchiveInput<'_>) -> Result<Option<i64>, Malformed> {
        self.int.read(input).map_err(|error| error.reading(self.part()))
    }

    fn kind(&mut self, input: &mut ArchiveInput<'_>) -> Result<(), Malformed> {
        self.start = input.offset();
        match input.byte() {
            Some(kind @ (TABLE | LARGE_OBJECTS)) => self.kind = kind,
            Some(kind) => {
                return Err(Malformed::new(self.start, format!("block type {kind} is not known (1 and 3 are)")));
            }
            None => return Ok(()),
        }
        self.state = State::DumpId;
        Ok(())
    }

    #[inline]
    fn length<S: BlockSink>(&mut self, length: i64, input: &ArchiveInput<'_>, sink: &mut S) -> io::Result<()> {
        match usize::try_from(length) {
            Ok(0) => self.end(input, sink),
            Ok(length) => {
                self.state = State::Chunk(length);
                Ok(())
            }
            Err(_) => {
                let what = format!("a chunk of length {length} in the block for dump id {}", self.dump_id);
                Err(Malformed::new(input.offset() - 5, what).into())
            }
        }
    }

    fn end<S: BlockSink>(&mut self, input: &ArchiveInput<'_>, sink: &mut S) -> io::Result<()> {
        if self.copy && !self.tail.is_terminator() {
            let what = format!("the COPY data for dump id {} does not end with pg_dump's \\. line", self.dump_id);
            return Err(Malformed::new(input.offset() - 5, what).into());
        }
        sink.end()?;
        if self.kind == TABLE {
            self.state = State::Kind;
            sink.event(BlockEvent::Ends(input.offset()));
        } else {
            self.state = State::LargeObject;
        }
        Ok(())
    }
}

/// The last bytes of a block: the terminator and the byte before it, which must end a line.
#[derive(Default)]
struct Tail {
    bytes: [u8; TERMINATOR.len() + 1],
    len: usize,
}

impl Tail {
    #[inline]
    fn push(&mut self, piece: &[u8]) {
        if let Some(last) = piece.last_chunk() {
            self.bytes = *last;
            self.len = self.bytes.len();
            return;
        }
        for &byte in piece {
            self.bytes.rotate_left(1);
            if let Some(last) = self.bytes.last_mut() {
                *last = byte;
            }
            self.len = (self.len + 1).min(self.bytes.len());
        }
    }

    /// Whether the data ends with the terminator on a line of its own.
    fn is_terminator(&self) -> bool {
        let [before, end @ ..] = self.bytes;
        end == TERMINATOR && (self.len == TERMINATOR.len() || self.len > TERMINATOR.len() && before == b'\n')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(pieces: &[&[u8]]) -> bool {
        let mut tail = Tail::default();
        pieces.iter().for_each(|piece| tail.push(piece));
        tail.is_terminator()
    }

    #[test]
    fn the_terminator_is_a_line_of_its_own() {
        assert!(ends(&[b"\\.\n\n\n"]));
        assert!(ends(&[b"1\t2\n", b"\\.\n\n\n"]));
        assert!(ends(&[b"1\t2\n\\", b".", b"\n\n", b"\n"]));
        assert!(!ends(&[b"1\t2", b"\\.\n\n\n"]));
        assert!(!ends(&[b"1\t2\n"]));
        assert!(!ends(&[b"1\t2\n\\.\n\n"]));
        assert!(!ends(&[]));
    }
}

//! Joins two archives of one snapshot: the table of contents of the first, and its data from the second, which lacks the rows
//! of some tables, and from elsewhere for these tables.

use std::collections::{HashSet, VecDeque};
use std::io::{self, Write};

use super::blocks::BlockSink;
use super::malformed::Malformed;
use super::parser::{Expect, Parser};
use super::primitive::encode;
use super::recorder::copy;
use super::rows::BlockRows;
use super::toc_entry::TocEntry;

/// Bytes written at once.
const BATCH: usize = 64 << 10;

/// An entry of a table of contents that has data. Names are in the encoding of the dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataEntry {
    /// The archive's own number of the entry.
    pub dump_id: u32,
    /// OID of the table in pg_class.
    pub oid: u32,
    /// `TABLE DATA` or `BLOBS`.
    pub desc: Vec<u8>,
    /// Schema.
    pub schema: Vec<u8>,
    /// Name of the table, or the range of the large objects.
    pub tag: Vec<u8>,
    /// The COPY statement, up to 1 MiB; empty if there is none.
    pub copy_statement: Vec<u8>,
}

impl DataEntry {
    /// The entry, if it has data.
    pub fn of(entry: &TocEntry<'_>) -> Option<Self> {
        entry.has_data.then(|| DataEntry {
            dump_id: entry.dump_id,
            oid: entry.oid,
            desc: entry.desc.bytes.to_owned(),
            schema: entry.namespace.bytes.to_owned(),
            tag: entry.tag.bytes.to_owned(),
            copy_statement: if entry.copy_statement.truncated {
                Vec::new()
            } else {
                entry.copy_statement.bytes.to_owned()
            },
        })
    }

    /// The columns of its rows as SQL, if they are a table's; a table without columns has none.
    pub fn columns(&self) -> Option<&[u8]> {
        if self.desc != b"TABLE DATA" {
            return None;
        }
        let (_, columns) = copy(&self.copy_statement)?;
        columns.strip_prefix(b"(")?.strip_suffix(b")")
    }

    /// Whether both describe the same data. Dump ids differ from dump to dump.
    fn is_same(&self, other: &DataEntry) -> bool {
        (self.oid, &self.desc, &self.schema, &self.tag) == (other.oid, &other.desc, &other.schema, &other.tag)
    }
}

/// Writes the rows of a table, by its dump id, in COPY's text format and in pieces of any size, without the terminator.
pub trait RowSource {
    /// Writes the rows. Blocks until all were written.
    fn rows(&mut self, dump_id: u32, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;
}

/// Takes the second archive in pieces, and writes all data of the first.
pub struct Splice {
    parser: Parser,
    /// The entries of the second archive that have data.
    entries: Vec<DataEntry>,
}

impl Default for Splice {
    fn default() -> Self {
        Splice { parser: Parser::new(Expect::Custom), entries: Vec::new() }
    }
}

impl Splice {
    /// Takes the bytes of a piece that belong to the header and the table of contents, and returns their number.
    ///
    /// # Errors
    /// [`Malformed`] for bytes that are no archive.
    pub fn front(&mut self, piece: &[u8]) -> io::Result<usize> {
        let entries = &mut self.entries;
        self.parser.front(piece, &mut |entry| entries.extend(DataEntry::of(entry)))
    }

    /// Whether the table of contents was read.
    pub fn has_contents(&self) -> bool {
        self.parser.in_data()
    }

    /// The order in which the data are written, for the data entries of the first archive; none if those without `elsewhere`
    /// (dump ids) are not the entries of the second archive, in the same order.
    pub fn order(&self, all: &[DataEntry], elsewhere: &HashSet<u32>) -> Option<SpliceOrder> {
        let mut own = self.entries.iter();
        let mut steps = VecDeque::with_capacity(all.len());
        for entry in all {
            let from = match elsewhere.contains(&entry.dump_id) {
                true => None,
                false => Some(own.next().filter(|own| own.is_same(entry))?.dump_id),
            };
            steps.push_back(Step { dump_id: entry.dump_id, from });
        }
        (own.next().is_none() && self.parser.can_join()).then_some(SpliceOrder(steps))
    }

    /// Takes the next piece after the table of contents, and writes what can be written.
    ///
    /// # Errors
    /// [`Malformed`] for bytes that are no archive; those of the writer and the source.
    pub fn back<W: Write, R: RowSource>(&mut self, piece: &[u8], to: &mut Spliced<W, R>) -> io::Result<()> {
        self.parser.back(piece, to)
    }

    /// Writes what is left after the last piece, and returns the writer.
    ///
    /// # Errors
    /// [`Malformed`] if the second archive has not ended where an archive does; those of the writer and the source.
    pub fn finish<W: Write, R: RowSource>(self, mut to: Spliced<W, R>) -> io::Result<W> {
        self.parser.finish()?;
        to.until(None)?;
        to.write_out()?;
        Ok(to.out)
    }
}

/// Data of the first archive: its dump id there, and in the second archive unless the rows come from elsewhere.
#[derive(Debug)]
struct Step {
    dump_id: u32,
    from: Option<u32>,
}

/// The order of the data.
#[derive(Debug)]
pub struct SpliceOrder(VecDeque<Step>);

/// What is written.
pub struct Spliced<W: Write, R> {
    out: W,
    source: R,
    buffer: Vec<u8>,
    steps: VecDeque<Step>,
}

impl<W: Write, R: RowSource> Spliced<W, R> {
    /// Nothing yet, after the table of contents of the first archive.
    pub fn new(out: W, source: R, SpliceOrder(steps): SpliceOrder) -> Self {
        Spliced { out, source, buffer: Vec::with_capacity(2 * BATCH), steps }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn written(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BATCH { self.write_out() } else { Ok(()) }
    }

    /// Writes the rows from elsewhere up to the data with this dump id of the second archive, or to the end, and returns the dump
    /// id of the first.
    fn until(&mut self, from: Option<u32>) -> io::Result<u32> {
        while let Some(step) = self.steps.pop_front() {
            match step.from {
                None => self.rows(step.dump_id)?,
                Some(id) if Some(id) == from => return Ok(step.dump_id),
                Some(id) => return Err(out_of_order(id)),
            }
        }
        from.map_or(Ok(0), |id| Err(out_of_order(id)))
    }

    fn rows(&mut self, dump_id: u32) -> io::Result<()> {
        self.write_out()?;
        let out = &mut self.out;
        out.write_all(&BlockRows::head(dump_id))?;
        self.source.rows(dump_id, &mut |piece| {
            // A chunk of no bytes would end the block.
            if piece.is_empty() {
                return Ok(());
            }
            out.write_all(&BlockRows::chunk(piece.len()))?;
            out.write_all(piece)
        })?;
        out.write_all(&BlockRows::terminator())
    }
}

fn out_of_order(dump_id: u32) -> io::Error {
    Malformed::new(0, format!("the block for dump id {dump_id} is missing or out of order")).into()
}

impl<W: Write, R: RowSource> BlockSink for Spliced<W, R> {
    fn block(&mut self, kind: u8, dump_id: i64) -> io::Result<()> {
        let dump_id = self.until(Some(u32::try_from(dump_id).unwrap_or_default()))?;
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&encode(i64::from(dump_id)));
        Ok(())
    }

    fn large_object(&mut self, oid: i64) -> io::Result<()> {
        self.buffer.extend_from_slice(&encode(oid));
        self.written()
    }

    #[inline]
    fn data(&mut self, piece: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(&BlockRows::chunk(piece.len()));
        self.buffer.extend_from_slice(piece);
        self.written()
    }

    fn end(&mut self) -> io::Result<()> {
        self.buffer.extend_from_slice(&encode(0));
        self.written()
    }
}

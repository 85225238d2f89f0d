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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::archive::Rechunker;
    use crate::postgres::archive::sample::{SampleArchive, SampleBlock, shop};

    /// The rows of the table with dump id 10 of the sample, in pieces of this many bytes.
    struct Pieces(usize);

    impl RowSource for Pieces {
        fn rows(&mut self, dump_id: u32, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
            let rows: &[u8] = if dump_id == 10 { b"1\tone\n2\ttwo\n" } else { b"" };
            rows.chunks(self.0).try_for_each(write)
        }
    }

    /// The same archive with other dump ids and without the data of these.
    fn second(left_out: &[i64]) -> SampleArchive {
        let mut archive = shop(15);
        archive.items.retain(|item| !(item.data && left_out.contains(&item.dump_id)));
        archive.blocks.retain(|block| match block {
            SampleBlock::Table(id, _) | SampleBlock::LargeObjects(id, _) => !left_out.contains(id),
        });
        archive.items.iter_mut().for_each(|item| item.dump_id += 500);
        for block in &mut archive.blocks {
            match block {
                SampleBlock::Table(id, _) | SampleBlock::LargeObjects(id, _) => *id += 500,
            }
        }
        archive
    }

    /// Splices the sample from both, read in pieces of this many bytes; none if they do not fit.
    fn spliced(second: &[u8], elsewhere: &[u32], size: usize) -> io::Result<Option<Vec<u8>>> {
        let (mut archive, mut entries) = (Rechunker::new(Vec::new()), Vec::new());
        let front = shop(15).front();
        assert_eq!(archive.front(&front, &mut |entry| entries.extend(DataEntry::of(entry)))?, front.len());
        let mut splice = Splice::default();
        let begun = splice.front(second)?;
        let Some(order) = splice.order(&entries, &elsewhere.iter().copied().collect()) else { return Ok(None) };
        let mut to = Spliced::new(&mut archive, Pieces(size), order);
        for piece in second[begun..].chunks(size) {
            splice.back(piece, &mut to)?;
        }
        splice.finish(to)?;
        archive.finish().map(|(out, ..)| Some(out))
    }

    #[test]
    fn the_archive_is_that_of_one_dump() {
        let mut whole = Rechunker::new(Vec::new());
        whole.write_all(&shop(15).bytes()).unwrap();
        let whole = whole.finish().unwrap().0;
        for left_out in [&[][..], &[10], &[11], &[10, 11]] {
            let elsewhere: Vec<u32> = left_out.iter().map(|id| u32::try_from(*id).unwrap()).collect();
            for size in [1, 5, 100_000] {
                let joined = spliced(&second(left_out).bytes(), &elsewhere, size).unwrap();
                assert!(joined.as_ref() == Some(&whole), "{left_out:?} {size}");
            }
        }
    }

    #[test]
    fn archives_with_other_data_do_not_fit() {
        assert_eq!(spliced(&second(&[10]).bytes(), &[], 100).unwrap(), None);
        assert_eq!(spliced(&second(&[10]).bytes(), &[11], 100).unwrap(), None);
        assert_eq!(spliced(&second(&[]).bytes(), &[10], 100).unwrap(), None);
        let mut renamed = second(&[10]);
        renamed.items.iter_mut().filter(|item| item.data).for_each(|item| item.tag.push('x'));
        assert_eq!(spliced(&renamed.bytes(), &[10], 100).unwrap(), None);
        let mut turned = second(&[10]);
        turned.items.reverse();
        assert_eq!(spliced(&turned.bytes(), &[10], 100).unwrap(), None);
    }

    #[test]
    fn half_an_archive_is_refused() {
        let bytes = second(&[10]).bytes();
        let error = spliced(&bytes[..bytes.len() - 1], &[10], 100).unwrap_err();
        assert!(Malformed::in_error(&error).is_some(), "{error}");
        let mut turned = second(&[10]);
        turned.blocks.reverse();
        let error = spliced(&turned.bytes(), &[10], 100).unwrap_err();
        assert!(Malformed::in_error(&error).is_some(), "{error}");
    }

    #[test]
    fn columns_of_tables() {
        let entry = |desc: &str, copy: &str| DataEntry {
            dump_id: 1,
            oid: 2,
            desc: desc.into(),
            schema: b"s".to_vec(),
            tag: b"t".to_vec(),
            copy_statement: copy.into(),
        };
        let columns = entry("TABLE DATA", "COPY s.t (a, \"b)\") FROM stdin;\n");
        assert_eq!(columns.columns(), Some(&b"a, \"b)\""[..]));
        for (desc, copy) in [("TABLE DATA", "COPY s.t  FROM stdin;\n"), ("TABLE DATA", ""), ("BLOBS", "")] {
            assert_eq!(entry(desc, copy).columns(), None, "{desc} {copy}");
        }
    }
}

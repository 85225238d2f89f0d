//! A custom archive of two dumps of one snapshot: the table of contents is the first one's. Its data come from the second, which
//! leaves out the rows of large tables, and from sessions that read these in ranges.
//!
//! The first dump holds its locks while its output is not read. As long as nothing but its table of contents was written, it can
//! still be written whole.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::{Error, Kind, Result};
use crate::host::progress::Counter;
use crate::pipeline::Sink;
use crate::postgres::archive::{DataEntry, Rechunker, Splice, SpliceOrder, Spliced};
use crate::postgres::dump::range_rows::RangeRows;
use crate::postgres::dump::stream::{Pieces, Recipe, Stored, broken, sink};
use crate::postgres::pipes::PipeReader;
use crate::store::Upload;

const PROGRAM: &str = "pg_dump";

/// What the table of contents of the first dump says.
#[derive(Debug)]
pub struct DumpContents {
    /// The entries with data.
    pub entries: Arc<[DataEntry]>,
    /// The encoding.
    pub encoding: Option<String>,
}

/// The second dump, and the rows that it leaves out.
pub struct SecondDump {
    /// Its output.
    pub stdout: File,
    /// The dump ids of the tables whose rows it leaves out, in the first dump.
    pub split: HashSet<u32>,
    /// Their rows.
    pub rows: RangeRows,
}

/// Which dump is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrittenDump {
    /// The second.
    Second,
    /// The first, because the second has ended in its table of contents.
    FirstAsSecondEnded,
    /// The first, because it has ended before the second had its locks: what was changed in between would be missing.
    FirstAsItEnded,
    /// The first, because the second has other data.
    FirstAsSecondDiffers,
}

/// The thread's ends of the channels to the task that prepares the second dump.
pub struct PumpSide {
    /// The first byte of the first dump.
    pub first: oneshot::Sender<()>,
    /// Its table of contents.
    pub contents: oneshot::Sender<DumpContents>,
    /// The second dump; none if there is none.
    pub second: oneshot::Receiver<Option<SecondDump>>,
    /// Which of them is written.
    pub written: oneshot::Sender<WrittenDump>,
}

/// Writes the archive to the store, and makes it durable. Blocks until all of it was written. Only the exit status of the program
/// that is written shows whether the output is complete.
pub fn pump(from: File, recipe: &Recipe, upload: Box<dyn Upload>, moved: &Counter, side: PumpSide) -> Result<Stored> {
    let mut archive = Rechunker::new(sink(recipe, upload)?);
    // What waits in a small pipe keeps the program from ending, with which its locks would end.
    let mut pieces = Pieces::new(PROGRAM, PipeReader::new(from), moved.clone());
    let rest = front(&mut archive, &mut pieces, side.first, side.contents)?;
    let stopped = |_| Error::new(Kind::TryAgain, "the dump was given up");
    if let Some(second) = side.second.blocking_recv().map_err(stopped)? {
        let begun = Second::begin(second, &rest.entries, moved).and_then(|second| match pieces.is_open() {
            true => Ok(second),
            false => Err(WrittenDump::FirstAsItEnded),
        });
        // The receiver is dropped if the dump is given up.
        let _ = side.written.send(*begun.as_ref().err().unwrap_or(&WrittenDump::Second));
        if let Ok(second) = begun {
            second.write(&mut archive)?;
            return finish(archive);
        }
    }
    archive.write_all(&rest.data).map_err(|error| broken(PROGRAM, &error))?;
    let mut pieces = pieces.enlarged();
    while let Some(piece) = pieces.next()? {
        archive.write_all(piece).map_err(|error| broken(PROGRAM, &error))?;
    }
    finish(archive)
}

/// What was read of the first dump behind its table of contents.
struct Rest {
    entries: Arc<[DataEntry]>,
    data: Vec<u8>,
}

/// Writes the header and the table of contents.
fn front<W: Write>(
    archive: &mut Rechunker<W>,
    pieces: &mut Pieces,
    first: oneshot::Sender<()>,
    contents: oneshot::Sender<DumpContents>,
) -> Result<Rest> {
    let (mut first, mut entries, mut data) = (Some(first), Vec::new(), Vec::new());
    while !archive.has_contents() {
        let Some(piece) = pieces.next()? else {
            return Err(Error::new(Kind::Data, format!("the output of {PROGRAM} ends in its table of contents")));
        };
        let _ = first.take().map(|first| first.send(()));
        let taken = archive.front(piece, &mut |entry| entries.extend(DataEntry::of(entry)));
        let taken = taken.map_err(|error| broken(PROGRAM, &error))?;
        data = piece.get(taken..).unwrap_or_default().to_owned();
    }
    let entries: Arc<[DataEntry]> = entries.into();
    let encoding = archive.encoding().map(str::to_owned);
    // The receiver is dropped if the dump is given up.
    let _ = contents.send(DumpContents { entries: Arc::clone(&entries), encoding });
    Ok(Rest { entries, data })
}

fn finish(archive: Rechunker<Sink<Box<dyn Upload>>>) -> Result<Stored> {
    let (sink, contents, recorded) = archive.finish().map_err(|error| broken(PROGRAM, &error))?;
    let mut finished = sink.finish().map_err(|error| broken(PROGRAM, &error))?;
    finished.inner.seal()?;
    Ok(Stored { finished, dumped: contents.into(), recorded })
}

/// A second dump whose table of contents was read and fits.
struct Second {
    splice: Splice,
    order: SpliceOrder,
    pieces: Pieces,
    data: Vec<u8>,
    rows: RangeRows,
}

impl Second {
    /// Reads the table of contents.
    fn begin(
        SecondDump { stdout, split, rows }: SecondDump,
        all: &[DataEntry],
        moved: &Counter,
    ) -> std::result::Result<Self, WrittenDump> {
        let (mut splice, mut data) = (Splice::default(), Vec::new());
        let mut pieces = Pieces::new(PROGRAM, PipeReader::new(stdout).enlarged(), moved.clone());
        while !splice.has_contents() {
            let Ok(Some(piece)) = pieces.next() else { return Err(WrittenDump::FirstAsSecondEnded) };
            let taken = splice.front(piece).map_err(|_| WrittenDump::FirstAsSecondDiffers)?;
            data = piece.get(taken..).unwrap_or_default().to_owned();
        }
        let order = splice.order(all, &split).ok_or(WrittenDump::FirstAsSecondDiffers)?;
        Ok(Second { splice, order, pieces, data, rows })
    }

    /// Writes all data.
    fn write<W: Write>(mut self, archive: &mut Rechunker<W>) -> Result<()> {
        let mut spliced = Spliced::new(archive, self.rows, self.order);
        let broken = |error: io::Error| broken(PROGRAM, &error);
        self.splice.back(&self.data, &mut spliced).map_err(broken)?;
        while let Some(piece) = self.pieces.next()? {
            self.splice.back(piece, &mut spliced).map_err(broken)?;
        }
        self.splice.finish(spliced).map(drop).map_err(broken)
    }
}

//! A dump in one stream: parsed, compressed, encrypted and stored while pg_dump runs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::{Format, processors};
use crate::error::{Error, Kind, Result};
use crate::host::progress::Counter;
use crate::pipeline::compress::Method;
use crate::pipeline::encrypt::Recipients;
use crate::pipeline::{Finished, Sink};
use crate::postgres::archive::{Malformed, Rechunker, Record, TarReader};
use crate::postgres::dump::Dumped;
use crate::postgres::pipes::{PIECE, PipeReader};
use crate::postgres::script::ScriptScanner;
use crate::store::Upload;

/// How to store the plain bytes.
#[derive(Debug)]
pub struct Recipe {
    /// Compression.
    pub method: Method,
    /// Its level, or the method's own.
    pub level: Option<i32>,
    /// Encryption.
    pub recipients: Option<Arc<Recipients>>,
}

/// A stream that was read to its end and is stored durably, but not published yet.
pub struct Stored {
    /// The upload, and the digests.
    pub finished: Finished<Box<dyn Upload>>,
    /// What it contains.
    pub dumped: Dumped,
    /// Its fingerprints.
    pub recorded: Record,
}

/// The error of a script without pg_dump's completion line.
#[derive(Debug)]
struct Incomplete;

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it does not end with the completion line of pg_dump")
    }
}

impl std::error::Error for Incomplete {}

/// Parses a dump while it is written.
enum Observer<W: Write> {
    Custom(Box<Rechunker<W>>),
    Tar(Box<TarReader<W>>),
    Script(Box<ScriptScanner<W>>),
}

impl<W: Write> Observer<W> {
    fn new(format: Format, out: W) -> Self {
        match format {
            Format::Custom => Observer::Custom(Box::new(Rechunker::new(out))),
            Format::Tar => Observer::Tar(Box::new(TarReader::new(out))),
            Format::Plain | Format::Directory => Observer::Script(Box::new(ScriptScanner::new(out))),
        }
    }

    fn finish(self) -> io::Result<(W, Dumped, Record)> {
        match self {
            Observer::Custom(rechunker) => {
                rechunker.finish().map(|(out, contents, record)| (out, contents.into(), record))
            }
            Observer::Tar(reader) => reader.finish().map(|(out, contents, record)| (out, contents.into(), record)),
            Observer::Script(scanner) => match scanner.finish()? {
                (out, script) if script.complete || script.cluster_complete => {
                    Ok((out, script.into(), Err("there are none for SQL scripts".to_owned())))
                }
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, Incomplete)),
            },
        }
    }
}

impl<W: Write> Write for Observer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Observer::Custom(rechunker) => rechunker.write(bytes),
            Observer::Tar(reader) => reader.write(bytes),
            Observer::Script(scanner) => scanner.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes the output of a program to the store, and makes it durable. Blocks until the output ends; `first` is notified of its
/// first byte, and `program` is the name in errors. Only the program's exit status shows whether the output is complete.
pub fn pump(
    program: &'static str,
    from: File,
    format: Format,
    recipe: &Recipe,
    upload: Box<dyn Upload>,
    moved: &Counter,
    first: oneshot::Sender<()>,
) -> Result<Stored> {
    let mut observer = Observer::new(format, sink(recipe, upload)?);
    let mut first = Some(first);
    let mut pieces = Pieces::new(program, PipeReader::new(from).enlarged(), moved.clone());
    while let Some(piece) = pieces.next()? {
        // The receiver may have been dropped.
        let _ = first.take().map(|first| first.send(()));
        observer.write_all(piece).map_err(|error| broken(program, &error))?;
    }
    let (sink, dumped, recorded) = observer.finish().map_err(|error| broken(program, &error))?;
    let mut finished = sink.finish().map_err(|error| broken(program, &error))?;
    finished.inner.seal()?;
    Ok(Stored { finished, dumped, recorded })
}

/// What stores the plain bytes.
pub(super) fn sink(recipe: &Recipe, upload: Box<dyn Upload>) -> Result<Sink<Box<dyn Upload>>> {
    Sink::new(recipe.method, recipe.level, threads(recipe.method), recipe.recipients.as_deref(), upload)
        .map_err(|error| Error::write("the archive", &error))
}

/// The output of a program in pieces.
pub(super) struct Pieces {
    program: &'static str,
    from: PipeReader,
    buffer: Vec<u8>,
    moved: Counter,
}

impl Pieces {
    /// The output, whose bytes are counted.
    pub fn new(program: &'static str, from: PipeReader, moved: Counter) -> Self {
        Pieces { program, from, buffer: vec![0; PIECE], moved }
    }

    /// The same from a larger pipe.
    pub fn enlarged(self) -> Self {
        Pieces { from: self.from.enlarged(), ..self }
    }

    /// Whether the program has not written everything.
    pub fn is_open(&self) -> bool {
        self.from.is_open()
    }

    /// The next piece; none at the end.
    pub fn next(&mut self) -> Result<Option<&[u8]>> {
        loop {
            match self.from.read(&mut self.buffer) {
                Ok(0) => return Ok(None),
                Ok(bytes) => {
                    self.moved.add(bytes as u64);
                    return Ok(self.buffer.get(..bytes));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::read(format!("the output of {}", self.program), &error)),
            }
        }
    }
}

/// Number of threads that compress: one for each processor. They use what pg_dump and the server leave.
fn threads(method: Method) -> NonZeroUsize {
    match method {
        Method::None => NonZeroUsize::MIN,
        _ => processors(),
    }
}

/// The error of a failed write: the store's, unless the bytes themselves are not a complete dump.
pub(super) fn broken(program: &str, error: &io::Error) -> Error {
    let incomplete = error.get_ref().is_some_and(|inner| inner.is::<Incomplete>());
    match Malformed::in_error(error) {
        None if !incomplete => Error::write("the archive", error),
        _ => Error::new(Kind::Data, format!("the output of {program} is incomplete or damaged: {error}"))
            .hint(format!("{program} ended early, or it is of a version that this pgcellar does not support")),
    }
}

//! A dump that comes as one stream: read, observed, compressed, encrypted and stored while pg_dump runs.

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
use crate::postgres::script::ScriptScanner;
use crate::store::Upload;

/// What is read from a pipe at once: as much as it holds by default (`pipe(7)`).
const PIECE: usize = 64 << 10;

/// What becomes of the plain bytes.
#[derive(Debug)]
pub struct Recipe {
    /// Compression.
    pub method: Method,
    /// Its level, or the method's own.
    pub level: Option<i32>,
    /// Encryption.
    pub recipients: Option<Arc<Recipients>>,
}

/// A stream that was read to its end and is stored, durable and still without its name.
pub struct Stored {
    /// Where it is, and the digests.
    pub finished: Finished<Box<dyn Upload>>,
    /// What it has.
    pub dumped: Dumped,
    /// Its rows, for the fingerprints.
    pub recorded: Record,
}

/// A script without the line that pg_dump ends it with.
#[derive(Debug)]
struct Incomplete;

impl std::fmt::Display for Incomplete {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it does not end with the line that says that it is complete")
    }
}

impl std::error::Error for Incomplete {}

/// Looks at a dump while it passes.
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
            Observer::Custom(joiner) => joiner.finish().map(|(out, contents, record)| (out, contents.into(), record)),
            Observer::Tar(reader) => reader.finish().map(|(out, contents, record)| (out, contents.into(), record)),
            Observer::Script(scanner) => match scanner.finish()? {
                (out, script) if script.complete || script.cluster_complete => {
                    Ok((out, script.into(), Err("they are not taken of SQL scripts".to_owned())))
                }
                _ => Err(io::Error::new(io::ErrorKind::InvalidData, Incomplete)),
            },
        }
    }
}

impl<W: Write> Write for Observer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Observer::Custom(joiner) => joiner.write(bytes),
            Observer::Tar(reader) => reader.write(bytes),
            Observer::Script(scanner) => scanner.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Moves a program's output into the store, and makes it durable. Blocks until the output ends; `first` is told of its
/// first byte, and `program` is what errors call the program. That the output is whole, only the program's exit status can say.
pub fn pump(
    program: &str,
    mut from: File,
    format: Format,
    recipe: &Recipe,
    upload: Box<dyn Upload>,
    moved: &Counter,
    first: oneshot::Sender<()>,
) -> Result<Stored> {
    let sink = Sink::new(recipe.method, recipe.level, threads(recipe.method), recipe.recipients.as_deref(), upload)
        .map_err(|error| Error::write("the archive", &error))?;
    let mut observer = Observer::new(format, sink);
    let mut first = Some(first);
    let mut piece = vec![0; PIECE];
    loop {
        let bytes = match from.read(&mut piece) {
            Ok(0) => break,
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Error::read(format!("the output of {program}"), &error)),
        };
        // Nobody may be waiting for the first byte any more.
        let _ = first.take().map(|first| first.send(()));
        observer.write_all(&piece[..bytes]).map_err(|error| broken(program, &error))?;
        moved.add(bytes as u64);
    }
    let (sink, dumped, recorded) = observer.finish().map_err(|error| broken(program, &error))?;
    let mut finished = sink.finish().map_err(|error| broken(program, &error))?;
    finished.inner.seal()?;
    Ok(Stored { finished, dumped, recorded })
}

/// Threads that compress. All processors: what is left of them is what pg_dump and the server do not use.
fn threads(method: Method) -> NonZeroUsize {
    match method {
        Method::None => NonZeroUsize::MIN,
        _ => processors(),
    }
}

/// A failed write is the store's fault, unless the bytes themselves were not an archive.
fn broken(program: &str, error: &io::Error) -> Error {
    let incomplete = error.get_ref().is_some_and(|inner| inner.is::<Incomplete>());
    match Malformed::in_error(error) {
        None if !incomplete => Error::write("the archive", error),
        _ => Error::new(Kind::Data, format!("the output of {program} is not whole: {error}"))
            .hint(format!("{program} broke off, or it is of a version that this pgcellar does not know")),
    }
}

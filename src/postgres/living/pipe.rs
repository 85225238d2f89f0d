//! A named pipe into which a server of this host writes rows. The protocol has a message for each row, which costs both
//! sides more than the hash of it, and a client keeps a whole row in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::catalogue::fingerprint::Sum;
use crate::error::{Error, Result};
use crate::host::progress::Counter;
use crate::host::thread::joined;
use crate::postgres::living::rows::Passing;
use crate::postgres::living::work::Failure;

/// How many bytes are read at once: what a pipe holds (`pipe(7)`).
const BUFFER: usize = 64 << 10;

/// A pipe with a name, which goes with its folder.
#[derive(Debug)]
pub struct Pipe(PathBuf);

impl Pipe {
    /// Makes one in a private folder.
    pub fn make(folder: &Path, number: usize) -> Result<Self> {
        let path = folder.join(format!("rows-{number}"));
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .map_err(|error| Error::write(path.display(), &error.into()))?;
        Ok(Pipe(path))
    }

    /// Its name.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads what comes of a statement that writes into this pipe.
    pub async fn read(
        &self,
        statement: impl Future<Output = std::result::Result<(), tokio_postgres::Error>>,
        moved: &Counter,
    ) -> std::result::Result<Sum, Failure> {
        let (from, ours) = self.ends().map_err(|error| Failure::Other(Error::read(self.0.display(), &error)))?;
        let moved = moved.clone();
        let reading = tokio::task::spawn_blocking(move || Ok(read(from, &moved)));
        let said = statement.await;
        // A server that never opened the pipe never closes it.
        drop(ours);
        let read = joined(reading.await).map_err(Failure::Other)?;
        said?;
        let rows = read.map_err(|error| Failure::Other(Error::read(self.0.display(), &error)))?;
        rows.finish().ok_or(Failure::CutShort)
    }

    /// An end to read from, and one that keeps it open. To open either of them alone waits for the other one.
    fn ends(&self) -> io::Result<(File, File)> {
        let both = OpenOptions::new().read(true).write(true).open(&self.0)?;
        let ends = (File::open(&self.0)?, OpenOptions::new().write(true).open(&self.0)?);
        drop(both);
        Ok(ends)
    }
}

fn read(mut from: File, moved: &Counter) -> io::Result<Passing> {
    let (mut rows, mut buffer) = (Passing::default(), vec![0; BUFFER]);
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(rows),
            Ok(length) => {
                rows.take(buffer.get(..length).unwrap_or_default());
                moved.add(length as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

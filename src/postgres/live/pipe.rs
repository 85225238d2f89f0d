//! A named pipe into which a server of this host writes rows. The protocol sends each row as a message, which costs both sides
//! more than hashing it, and the client keeps a whole row in memory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::blocking::joined;
use crate::error::{Error, Result};
use crate::fingerprint::Sum;
use crate::host::progress::Counter;
use crate::postgres::live::rows::{CopyRows, QueryFailure};
use crate::postgres::pipes::{PIECE, PipeReader};

/// A named pipe. Removing it is left to the owner of its folder.
#[derive(Debug)]
pub struct Pipe(PathBuf);

impl Pipe {
    /// Creates one in a private folder.
    pub fn make(folder: &Path, number: usize) -> Result<Self> {
        let path = folder.join(format!("rows-{number}"));
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
            .map_err(|error| Error::write(path.display(), &error.into()))?;
        Ok(Pipe(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads the output of a statement that writes into this pipe.
    pub async fn read(
        &self,
        statement: impl Future<Output = std::result::Result<(), tokio_postgres::Error>>,
        moved: &Counter,
    ) -> std::result::Result<Sum, QueryFailure> {
        let (from, keeper) = self.ends().map_err(|error| QueryFailure::Other(Error::read(self.0.display(), &error)))?;
        let moved = moved.clone();
        let reading = tokio::task::spawn_blocking(move || Ok(read(from, &moved)));
        let outcome = statement.await;
        // If the server has not opened the pipe, only this ends the reading.
        drop(keeper);
        let read = joined(reading.await).map_err(QueryFailure::Other)?;
        outcome?;
        let rows = read.map_err(|error| QueryFailure::Other(Error::read(self.0.display(), &error)))?;
        rows.finish().ok_or(QueryFailure::CutShort)
    }

    /// An end to read from, and one for writing that keeps the pipe open. Opening one of them alone blocks until the other is
    /// opened.
    fn ends(&self) -> io::Result<(File, File)> {
        let both = OpenOptions::new().read(true).write(true).open(&self.0)?;
        let ends = (File::open(&self.0)?, OpenOptions::new().write(true).open(&self.0)?);
        drop(both);
        Ok(ends)
    }
}

fn read(from: File, moved: &Counter) -> io::Result<CopyRows> {
    let (mut from, mut rows, mut buffer) = (PipeReader::new(from).enlarged(), CopyRows::default(), vec![0; PIECE]);
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

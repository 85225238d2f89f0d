//! Where rows are written: standard output, or a file that gets its name once it is complete.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::stdout;

/// An output. Its errors say what cannot be written.
pub enum RowsFile {
    /// Standard output.
    Standard(io::Stdout),
    /// A file under a temporary name, which is removed unless it is committed.
    Named {
        /// The open file.
        file: File,
        /// Its temporary name; none once it has its own.
        partial: Option<PathBuf>,
        /// Its name.
        path: PathBuf,
    },
}

impl RowsFile {
    /// Begins to write a file, or standard output.
    ///
    /// # Errors
    /// A folder in which no file can be made.
    pub fn create(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else { return Ok(RowsFile::Standard(io::stdout())) };
        let Some(name) = path.file_name() else {
            return Err(Error::new(Kind::Usage, format!("{} is not the name of a file", path.display())));
        };
        let partial = path.with_file_name(format!(".{}.{}.partial", name.to_string_lossy(), std::process::id()));
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
        let file = file.map_err(|error| Error::write(path.display(), &error))?;
        Ok(RowsFile::Named { file, partial: Some(partial), path: path.to_owned() })
    }

    /// Gives the file its name, durably.
    ///
    /// # Errors
    /// What keeps it from being written.
    pub fn commit(mut self) -> Result<()> {
        match &mut self {
            RowsFile::Standard(out) => out.flush().map_err(|error| stdout::failed(&error)),
            RowsFile::Named { file, partial, path } => {
                let Some(from) = partial else { return Ok(()) };
                let folder = match path.parent() {
                    Some(folder) if !folder.as_os_str().is_empty() => folder,
                    _ => Path::new("."),
                };
                let commit = file.sync_all().and_then(|()| std::fs::rename(from, &*path));
                let commit = commit.and_then(|()| File::open(folder)?.sync_all());
                commit.map_err(|error| Error::write(path.display(), &error))?;
                *partial = None;
                Ok(())
            }
        }
    }
}

impl Write for RowsFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            RowsFile::Standard(out) => out.write(bytes).map_err(|error| again_or(error, stdout::failed)),
            RowsFile::Named { file, path, .. } => {
                file.write(bytes).map_err(|error| again_or(error, |error| Error::write(path.display(), error)))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            RowsFile::Standard(out) => out.flush().map_err(|error| stdout::failed(&error).into()),
            RowsFile::Named { .. } => Ok(()),
        }
    }
}

/// An interrupted write is repeated by the caller; any other error says what cannot be written.
fn again_or(error: io::Error, explain: impl FnOnce(&io::Error) -> Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::Interrupted => error,
        _ => explain(&error).into(),
    }
}

impl Drop for RowsFile {
    fn drop(&mut self) {
        if let RowsFile::Named { partial: Some(partial), .. } = self
            && let Err(error) = std::fs::remove_file(&partial)
        {
            log::warn!("cannot remove {}: {error}", partial.display());
        }
    }
}

//! Sorted rows in files without a name, encrypted where the archive is, and their merge.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, BufWriter, IntoInnerError, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::error::Error;
use crate::host::staging::Staging;
use crate::pipeline::encrypt::{Identities, Recipients, ephemeral};

/// Bytes of a run that are read or written at once.
const BUFFER: usize = 64 << 10;

/// Runs of one level that are merged into one of the next when there are as many: each keeps a file open.
const MOST_RUNS: usize = 32;

/// A row and how often it stands there, sorted by its key and then by its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortedRow {
    /// Its key; empty in a table without one.
    pub key: Vec<u8>,
    /// The row.
    pub row: Vec<u8>,
    /// How often it stands there.
    pub count: u64,
}

impl SortedRow {
    fn write(&self, to: &mut impl Write) -> io::Result<()> {
        for length in [self.key.len() as u64, self.row.len() as u64, self.count] {
            to.write_all(&length.to_le_bytes())?;
        }
        to.write_all(&self.key)?;
        to.write_all(&self.row)
    }

    /// The next row; none at the end.
    fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let mut first = [0; 1];
        if from.read(&mut first)? == 0 {
            return Ok(None);
        }
        let mut head = [0; 24];
        head[0] = first[0];
        from.read_exact(&mut head[1..])?;
        let mut numbers = head.chunks_exact(8).map(|bytes| bytes.try_into().map_or(0, u64::from_le_bytes));
        let mut next = || numbers.next().unwrap_or_default();
        let (key, row, count) = (next(), next(), next());
        let mut part = |length: u64| {
            let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
            from.take(length).read_to_end(&mut bytes).map(|_| bytes)
        };
        Ok(Some(SortedRow { key: part(key)?, row: part(row)?, count }))
    }
}

/// Rows in a file.
struct Run {
    file: File,
    /// How many times its rows were merged.
    level: u32,
}

/// Where runs are written.
pub struct SpillFolder {
    parent: PathBuf,
    /// Made with the first run.
    folder: Option<Staging>,
    /// A key that is in memory only, for rows of an encrypted archive.
    keys: Option<(Recipients, Identities)>,
    files: u64,
}

impl SpillFolder {
    /// A folder below `parent`; `secret` if the rows must not reach a disk in plain text.
    pub fn new(parent: PathBuf, secret: bool) -> Self {
        SpillFolder { parent, folder: None, keys: secret.then(ephemeral), files: 0 }
    }

    /// The error of a file in this folder.
    pub fn error(&self, error: &io::Error) -> Error {
        Error::within(error).unwrap_or_else(|| {
            Error::write(self.parent.display(), error)
                .hint("set RESTORE_STAGING_DIR (--staging-dir) to a folder with more space")
        })
    }

    /// A new file without a name, which the system removes when this process ends.
    fn file(&mut self) -> io::Result<File> {
        let folder = match self.folder.take() {
            Some(folder) => folder,
            None => Staging::anywhere(&self.parent).map_err(io::Error::other)?,
        };
        let path = self.folder.insert(folder).path().join(self.files.to_string());
        self.files += 1;
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
        std::fs::remove_file(&path)?;
        Ok(file)
    }

    fn write(&mut self, rows: impl Iterator<Item = io::Result<SortedRow>>, level: u32) -> io::Result<Run> {
        let plain = BufWriter::with_capacity(BUFFER, self.file()?);
        let written = match &self.keys {
            None => write_all(rows, plain)?,
            Some((recipients, _)) => write_all(rows, recipients.encrypt(plain)?)?.finish()?,
        };
        let mut file = written.into_inner().map_err(IntoInnerError::into_error)?;
        file.rewind()?;
        Ok(Run { file, level })
    }

    fn read(&self, run: Run) -> io::Result<RunRows> {
        let stored = BufReader::with_capacity(BUFFER, run.file);
        let plain: Box<dyn Read + Send> = match &self.keys {
            None => Box::new(stored),
            Some((_, identities)) => Box::new(BufReader::with_capacity(BUFFER, identities.decrypt(stored)?)),
        };
        Ok(RunRows::Stored(plain))
    }
}

fn write_all<W: Write>(rows: impl Iterator<Item = io::Result<SortedRow>>, mut to: W) -> io::Result<W> {
    for row in rows {
        row?.write(&mut to)?;
    }
    Ok(to)
}

/// The rows of a run in their order.
enum RunRows {
    Stored(Box<dyn Read + Send>),
    Kept(std::vec::IntoIter<SortedRow>),
}

impl RunRows {
    fn next(&mut self) -> io::Result<Option<SortedRow>> {
        match self {
            RunRows::Stored(from) => SortedRow::read(from),
            RunRows::Kept(rows) => Ok(rows.next()),
        }
    }
}

/// The rows of one side that have to be sorted, in as many runs as they need.
#[derive(Default)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// Writes rows to a run of their own.
    ///
    /// # Errors
    /// Those of the file, and of a merge.
    pub fn add(&mut self, mut rows: Vec<SortedRow>, folder: &mut SpillFolder) -> io::Result<()> {
        rows.sort_unstable();
        self.0.push(folder.write(rows.into_iter().map(Ok), 0)?);
        let mut level = 0;
        while self.0.iter().filter(|run| run.level == level).count() >= MOST_RUNS {
            let runs = self.0.extract_if(.., |run| run.level == level).map(|run| folder.read(run));
            let merge = RunMerge::new(runs.collect::<io::Result<_>>()?)?;
            level += 1;
            self.0.push(folder.write(merge, level)?);
        }
        Ok(())
    }

    /// All rows, with the last ones from memory, in their order. A row that stands in several runs comes once, with all its
    /// counts.
    ///
    /// # Errors
    /// Those of the files.
    pub fn merge(self, mut last: Vec<SortedRow>, folder: &SpillFolder) -> io::Result<RunMerge> {
        last.sort_unstable();
        let mut runs = self.0.into_iter().map(|run| folder.read(run)).collect::<io::Result<Vec<_>>>()?;
        runs.push(RunRows::Kept(last.into_iter()));
        RunMerge::new(runs)
    }
}

/// The rows of several runs in their order.
pub struct RunMerge {
    runs: Vec<RunRows>,
    /// The next row of each run that has one.
    next: BinaryHeap<Reverse<(SortedRow, usize)>>,
}

impl RunMerge {
    fn new(mut runs: Vec<RunRows>) -> io::Result<Self> {
        let mut next = BinaryHeap::new();
        for (at, run) in runs.iter_mut().enumerate() {
            next.extend(run.next()?.map(|row| Reverse((row, at))));
        }
        Ok(RunMerge { runs, next })
    }

    fn pop(&mut self) -> io::Result<Option<SortedRow>> {
        let Some(Reverse((row, at))) = self.next.pop() else { return Ok(None) };
        if let Some(run) = self.runs.get_mut(at) {
            self.next.extend(run.next()?.map(|row| Reverse((row, at))));
        }
        Ok(Some(row))
    }
}

impl Iterator for RunMerge {
    type Item = io::Result<SortedRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut row = match self.pop() {
            Ok(row) => row?,
            Err(error) => return Some(Err(error)),
        };
        while let Some(Reverse((same, _))) = self.next.peek()
            && (&same.key, &same.row) == (&row.key, &row.row)
        {
            match self.pop() {
                Ok(same) => row.count += same.map_or(0, |same| same.count),
                Err(error) => return Some(Err(error)),
            }
        }
        Some(Ok(row))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64) -> SortedRow {
        SortedRow { key: (number / 3).to_be_bytes().to_vec(), row: format!("row {number}").into_bytes(), count: 1 }
    }

    #[test]
    fn many_runs_are_merged_in_order() {
        for secret in [false, true] {
            let parent = tempfile::tempdir().unwrap();
            let mut folder = SpillFolder::new(parent.path().to_owned(), secret);
            let (mut runs, number) = (Runs::default(), 40 * MOST_RUNS as u64);
            for run in 0..number {
                runs.add((0..5).map(|at| row(run + at * number)).collect(), &mut folder).unwrap();
            }
            runs.add(vec![row(7)], &mut folder).unwrap();
            assert!(runs.0.len() < 2 * MOST_RUNS);
            let staging = folder.folder.as_ref().unwrap().path().to_owned();
            assert_eq!(std::fs::read_dir(&staging).unwrap().count(), 0, "files have no names");
            let merged: Vec<SortedRow> = runs.merge(vec![row(8)], &folder).unwrap().collect::<io::Result<_>>().unwrap();
            assert!(merged.is_sorted());
            assert_eq!(merged.len() as u64, number * 5);
            let twice: Vec<&SortedRow> = merged.iter().filter(|row| row.count == 2).collect();
            assert_eq!(twice.iter().map(|twice| &twice.row).collect::<Vec<_>>(), [b"row 7", b"row 8"]);
            drop(folder);
            assert!(!staging.exists());
        }
    }

    #[test]
    fn rows_of_an_encrypted_archive_are_encrypted() {
        let parent = tempfile::tempdir().unwrap();
        for (secret, is_there) in [(false, true), (true, false)] {
            let mut folder = SpillFolder::new(parent.path().to_owned(), secret);
            let mut run = folder.write(std::iter::once(Ok(row(123))), 0).unwrap();
            let mut stored = Vec::new();
            run.file.read_to_end(&mut stored).unwrap();
            assert_eq!(memchr::memmem::find(&stored, b"row 123").is_some(), is_there);
        }
    }
}

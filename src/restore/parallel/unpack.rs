//! Unpacks an archive of one file into a file that can be read in any order, while its beginning is already being loaded. The
//! archive is compared with the manifest at the same time: a load succeeds only if that succeeds.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinHandle;

use crate::blocking::joined;
use crate::catalogue::manifest::StoredFile;
use crate::error::{Error, Kind, Result};
use crate::host::progress::{Counter, Progress};
use crate::host::staging::Staging;
use crate::postgres::archive::{BlockEvent, BlockLocator, Malformed, TocEntry};
use crate::restore::archive::Archive;
use crate::restore::parallel::queue::{LoadQueue, Turn};
use crate::restore::selection::{DefinedTables, Selection, is_rows};
use crate::restore::staging;
use crate::stop::Stop;

/// An archive that is being unpacked. Dropping it stops that, and removes the file.
pub struct Unpacking {
    /// The queue of its blocks.
    pub work: Arc<LoadQueue>,
    path: PathBuf,
    thread: JoinHandle<Result<()>>,
    _staging: Option<Staging>,
    _progress: Progress,
}

impl Unpacking {
    /// Begins to unpack. An archive that is stored plain is read in place. Blocks only for a moment.
    ///
    /// # Errors
    /// Without enough space in the staging folder; a file that cannot be made or read.
    pub fn begin(
        archive: &Arc<Archive>,
        part: Option<&Selection>,
        (staging, sharing): (Option<&Path>, bool),
        stop: &Stop,
    ) -> Result<Self> {
        let file = archive.file()?.clone();
        let (staging, path, to) = match archive.in_place()? {
            Some(path) => (None, path, None),
            None => {
                let staging = staging::reserve(archive, staging, file.plain_bytes)?;
                let path = staging.path().join("archive");
                let mut options = OpenOptions::new();
                let opened = options.write(true).create_new(true).mode(0o600).open(&path);
                let to = opened.map_err(|error| staging::advise(Error::write(path.display(), &error)))?;
                (Some(staging), path, Some(to))
            }
        };
        let from = File::open(&path).map_err(|error| Error::read(path.display(), &error))?;
        let work = Arc::new(LoadQueue::new(from, sharing));
        let what = if to.is_none() { "checking" } else { "unpacking" };
        let progress = Progress::begin(&format!("{} ({what})", archive.name), Some(file.stored_bytes));
        let (archive, part, stop, moved) = (Arc::clone(archive), part.cloned(), stop.clone(), progress.counter());
        let (follower, name) = (Follower::new(to, Arc::clone(&work), part), path.display().to_string());
        let thread = tokio::task::spawn_blocking(move || follower.follow(&archive, &file, &name, (&moved, &stop)));
        Ok(Unpacking { work, path, thread, _staging: staging, _progress: progress })
    }

    /// The file, which is growing.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// `Data` if the archive is not what the manifest says; what keeps it from being read or written.
    pub async fn finish(&mut self) -> Result<()> {
        joined((&mut self.thread).await)
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        self.work.abandon();
    }
}

/// Writes the plain bytes of the archive, and adds their blocks to the queue.
pub struct Follower {
    to: Option<File>,
    work: Arc<LoadQueue>,
    part: Option<Selection>,
    places: BlockLocator,
    marks: Vec<BlockEvent>,
    tables: DefinedTables,
    /// Entries whose rows are loaded.
    selected: HashMap<u32, Turn>,
    there: u64,
    malformed: Option<io::Error>,
}

impl Follower {
    /// Writes the bytes to `to`, if they are not in a file already, and adds the blocks of the part to `work`.
    pub fn new(to: Option<File>, work: Arc<LoadQueue>, part: Option<Selection>) -> Self {
        let (marks, selected, tables) = (Vec::new(), HashMap::new(), DefinedTables::default());
        Follower { to, work, part, places: BlockLocator::default(), marks, tables, selected, there: 0, malformed: None }
    }

    fn follow(
        mut self,
        archive: &Archive,
        file: &StoredFile,
        name: &str,
        (moved, stop): (&Counter, &Stop),
    ) -> Result<()> {
        let read = archive.read(file, &mut self, name, moved, stop);
        if let Some(malformed) = self.malformed.take() {
            return Err(archive.unreadable(&file.key, &malformed));
        }
        read.map_err(|error| match error.kind() {
            Kind::CannotWrite => staging::advise(error),
            _ => error,
        })?;
        self.finish().map_err(|error| archive.unreadable(&file.key, &error))
    }

    /// Marks the archive as complete.
    ///
    /// # Errors
    /// An archive that ends too early.
    pub fn finish(mut self) -> io::Result<()> {
        std::mem::take(&mut self.places).finish()?;
        self.work.whole();
        Ok(())
    }

    /// Why the archive is malformed, after a write that failed because of it.
    pub fn malformed(&mut self) -> Option<io::Error> {
        self.malformed.take()
    }
}

impl Write for Follower {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.work.is_abandoned() {
            return Err(io::Error::other("the load has stopped"));
        }
        if let Some(to) = &mut self.to {
            to.write_all(piece)?;
        }
        let (part, selected, marks, tables) = (&self.part, &mut self.selected, &mut self.marks, &mut self.tables);
        let mut visit = |entry: &TocEntry<'_>| {
            let turn = if tables.lack(entry) { Turn::InOrder } else { Turn::Any };
            if is_rows(entry) && part.as_ref().is_none_or(|part| part.holds(entry)) {
                selected.insert(entry.dump_id, turn);
            }
        };
        if let Err(error) = self.places.take(piece, &mut visit, &mut |mark| marks.push(mark)) {
            self.malformed = Malformed::in_error(&error).is_some().then_some(error);
            return Err(io::Error::other("not an archive"));
        }
        self.there += piece.len() as u64;
        self.work.add(self.marks.drain(..), self.there, |dump_id| self.selected.get(&dump_id).copied());
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Follower {
    /// Ends the queue even if this thread panics, so that no load waits for it.
    fn drop(&mut self) {
        self.work.abandon();
    }
}

//! An archive in one file, unpacked into a file that can be read in any order, while what is there already is loaded. It
//! is compared with the manifest meanwhile: until that has come to its end, nothing that was loaded counts.

use std::collections::HashSet;
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
use crate::restore::parallel::queue::LoadQueue;
use crate::restore::selection::{Selection, is_rows};
use crate::restore::staging;
use crate::stop::Stop;

/// An archive that is being unpacked. Dropped, it ends that, and removes what was unpacked.
pub struct Unpacking {
    /// What of it waits to be loaded.
    pub work: Arc<LoadQueue>,
    path: PathBuf,
    thread: JoinHandle<Result<()>>,
    _staging: Option<Staging>,
    _progress: Progress,
}

impl Unpacking {
    /// Begins, if there is room. A plain archive is read where it is. Blocks only for a moment.
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

    /// Where the archive is, as far as it is there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the end: whether the archive is what it was when it was made.
    pub async fn finish(&mut self) -> Result<()> {
        joined((&mut self.thread).await)
    }
}

impl Drop for Unpacking {
    fn drop(&mut self) {
        self.work.abandon();
    }
}

/// Takes the plain bytes, and tells of what is in them.
pub struct Follower {
    to: Option<File>,
    work: Arc<LoadQueue>,
    part: Option<Selection>,
    places: BlockLocator,
    marks: Vec<BlockEvent>,
    /// Entries whose rows are wanted.
    wanted: HashSet<u32>,
    there: u64,
    malformed: Option<io::Error>,
}

impl Follower {
    /// Writes what it takes to `to`, unless it is there already, and tells `work` of the wanted part of it.
    pub fn new(to: Option<File>, work: Arc<LoadQueue>, part: Option<Selection>) -> Self {
        let (marks, wanted) = (Vec::new(), HashSet::new());
        Follower { to, work, part, places: BlockLocator::default(), marks, wanted, there: 0, malformed: None }
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

    /// Tells that this was all; an error if it is no whole archive.
    pub fn finish(mut self) -> io::Result<()> {
        std::mem::take(&mut self.places).finish()?;
        self.work.whole();
        Ok(())
    }

    /// What is wrong with the archive, after a write that failed for it.
    pub fn malformed(&mut self) -> Option<io::Error> {
        self.malformed.take()
    }
}

impl Write for Follower {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.work.is_abandoned() {
            return Err(io::Error::other("nobody wants the rest"));
        }
        if let Some(to) = &mut self.to {
            to.write_all(piece)?;
        }
        let (part, wanted, marks) = (&self.part, &mut self.wanted, &mut self.marks);
        let mut visit = |entry: &TocEntry<'_>| {
            if is_rows(entry) && part.as_ref().is_none_or(|part| part.holds(entry)) {
                wanted.insert(entry.dump_id);
            }
        };
        if let Err(error) = self.places.take(piece, &mut visit, &mut |mark| marks.push(mark)) {
            let told = io::Error::other("not an archive");
            self.malformed = Malformed::in_error(&error).is_some().then_some(error);
            return Err(told);
        }
        self.there += piece.len() as u64;
        self.work.add(self.marks.drain(..), self.there, |dump_id| self.wanted.contains(&dump_id));
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Follower {
    /// Also if this thread broke down: nobody waits for what will not come.
    fn drop(&mut self) {
        self.work.abandon();
    }
}

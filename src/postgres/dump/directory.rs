//! A directory archive: pg_dump writes the folder with several jobs. Its files are then read to record their rows, and hashed
//! or encrypted.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::catalogue::manifest::{FileRole, StoredFile};
use crate::config::processors;
use crate::error::{Error, Result};
use crate::host::progress::Counter;
use crate::parallel;
use crate::pipeline::compress::Method;
use crate::pipeline::digest::Digest;
use crate::pipeline::encrypt::Recipients;
use crate::pipeline::{Sink, Source};
use crate::postgres::archive::data_file::{Packing, split};
use crate::postgres::archive::{Record, Recorder, read_toc};
use crate::postgres::dump::Dumped;
use crate::stop::Stop;
use crate::store::local::LocalFolder;

/// The table of contents of a directory archive. pg_dump starts to write it once it holds its locks.
const TOC: &str = "toc.dat";

/// How often a folder that pg_dump fills is checked.
const POLL: Duration = Duration::from_millis(20);

/// Waits until pg_dump has started to write its table of contents, and thus holds its locks.
pub async fn begun(folder: &Path) {
    while !has_begun(folder) {
        tokio::time::sleep(POLL).await;
    }
}

/// Whether pg_dump has started to write its table of contents.
pub fn has_begun(folder: &Path) -> bool {
    folder.join(TOC).metadata().is_ok_and(|toc| toc.len() > 0)
}

/// Keeps a counter at the size of a folder. Never returns.
pub async fn follow(folder: PathBuf, moved: Counter) {
    loop {
        tokio::time::sleep(POLL * 10).await;
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        moved.set(entries.filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum());
    }
}

/// What the archive contains by its table of contents, and the recorder for its files.
pub fn dumped(folder: &Path) -> Result<(Dumped, Recorder)> {
    let path = folder.join(TOC);
    let mut recorder = Recorder::default();
    let mut read = || read_toc(io::BufReader::new(File::open(&path)?), |entry| recorder.entry(entry));
    let contents = read().map_err(|error| Error::read(path.display(), &error))?;
    Ok((contents.into(), recorder))
}

/// A folder that pg_dump has filled, and how to store its files.
pub struct Collection<'a> {
    /// Id of the backup.
    pub id: &'a str,
    /// The folder.
    pub staged: &'a Path,
    /// Folder of the backup. Files that are not encrypted are in it already.
    pub folder: &'a LocalFolder,
    /// Encryption.
    pub recipients: Option<&'a Recipients>,
    /// Counts the bytes that are read.
    pub moved: Counter,
    /// When to stop.
    pub stop: Stop,
}

impl Collection<'_> {
    /// Reads every file to its end, several at once, records its rows and large objects, and hashes it, or encrypts it into the
    /// backup's folder. Blocks, and returns soon after a request to stop.
    pub fn collect(&self, recorder: Recorder) -> Result<(Vec<StoredFile>, Record)> {
        let mut names: Vec<String> = Vec::new();
        let entries = std::fs::read_dir(self.staged).map_err(|error| Error::read(self.staged.display(), &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::read(self.staged.display(), &error))?;
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        let (recorder, failed) = (Mutex::new(recorder), AtomicBool::new(false));
        let file = |name: &String| match failed.load(Ordering::Relaxed) {
            true => Ok(None),
            false => self.file(name, &recorder).map(Some).inspect_err(|_| failed.store(true, Ordering::Relaxed)),
        };
        let done = parallel::map_by(processors().get(), &names, file);
        let files = done.into_iter().collect::<Result<Vec<Option<StoredFile>>>>()?;
        let recorder = recorder.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok((files.into_iter().flatten().collect(), recorder.finish()))
    }

    fn file(&self, name: &str, recorder: &Mutex<Recorder>) -> Result<StoredFile> {
        let path = self.staged.join(name);
        let digest = self.record(name, &path, recorder)?;
        let Some(recipients) = self.recipients else {
            let key = format!("{}/{name}", self.id);
            return Ok(StoredFile::new(FileRole::Archive, key, &digest, &digest));
        };
        let from = self.stop.reader(open(&path)?);
        let to = self.folder.folder().join(format!("{name}.age"));
        let stored = encrypt(&format!("{}/{name}.age", self.id), from, &to, recipients);
        // The plain bytes are in memory and are removed as soon as possible.
        std::fs::remove_file(&path).map_err(|error| Error::write(path.display(), &error))?;
        stored
    }

    /// Records the contents of a file, and returns the hash of the file.
    fn record(&self, name: &str, path: &Path, recorder: &Mutex<Recorder>) -> Result<Digest> {
        let (plain_name, packing) = split(name);
        let method = match packing {
            Packing::By(method) => method,
            Packing::Plain | Packing::Lz4 => Method::None,
        };
        let from = self.stop.reader(self.moved.reader(open(path)?));
        let recorder = || recorder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut passing = recorder().file(plain_name);
        let read = || {
            let mut source = Source::open(method, None, from)?;
            loop {
                let piece = source.fill_buf()?;
                let length = piece.len();
                if length == 0 {
                    return source.finish();
                }
                passing.push(piece);
                source.consume(length);
            }
        };
        let digests = read().map_err(|error| Error::read(path.display(), &error))?;
        recorder().take(&mut passing);
        Ok(digests.stored)
    }
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|error| Error::read(path.display(), &error))
}

fn encrypt(key: &str, mut from: impl io::Read, to: &Path, recipients: &Recipients) -> Result<StoredFile> {
    let mut write = || -> io::Result<_> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        let mut sink = Sink::new(Method::None, None, NonZeroUsize::MIN, Some(recipients), file)?;
        io::copy(&mut from, &mut sink)?;
        let mut finished = sink.finish()?;
        finished.inner.flush()?;
        Ok(finished)
    };
    let finished = write().map_err(|error| Error::write(to.display(), &error))?;
    Ok(StoredFile::new(FileRole::Archive, key.to_owned(), &finished.plain, &finished.stored))
}

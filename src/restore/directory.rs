//! Prepares the files of a directory archive for pg_restore, which reads them itself and in any order. Every file is compared
//! with the manifest before, unless it has been read whole already.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blocking;
use crate::error::{Error, Kind, Result};
use crate::host::progress::{Counter, Progress};
use crate::host::staging::Staging;
use crate::restore::archive::Archive;
use crate::restore::staging;
use crate::stop::Stop;

/// How many files are copied at once: a bucket answers slowly for each.
const AT_ONCE: usize = 4;

/// Files with more bytes are copied one after the other.
const LARGE: u64 = 8 << 20;

/// A file or folder that pg_restore can read.
pub enum Files {
    /// The files of the backup.
    InPlace(PathBuf),
    /// A decrypted and decompressed copy, which is removed with this value.
    Staged {
        /// Removes the copy when it is dropped.
        _staging: Staging,
        /// The folder.
        path: PathBuf,
    },
}

impl Files {
    /// The file or folder.
    pub fn path(&self) -> &Path {
        match self {
            Files::InPlace(path) | Files::Staged { path, .. } => path,
        }
    }
}

/// Checks every file. Encrypted files and those in a bucket are copied at the same time.
///
/// # Errors
/// `Data` for a damaged file; a staging folder without enough space; what keeps a file from being read.
pub async fn ready(archive: &Arc<Archive>, requested: Option<&Path>, stop: &Stop) -> Result<Files> {
    let (archive, requested, stop) = (Arc::clone(archive), requested.map(Path::to_owned), stop.clone());
    let files: u64 = archive.files.iter().map(|file| file.stored_bytes).sum();
    let progress = Progress::begin(&format!("{} (checking)", archive.name), Some(files));
    let moved = progress.counter();
    blocking::to_end(move || match archive.in_place()? {
        Some(path) if archive.checked => Ok(Files::InPlace(path)),
        Some(path) => check(&archive, path, &moved, &stop),
        None => stage(&archive, requested.as_deref(), &moved, &stop),
    })
    .await
}

fn check(archive: &Archive, path: PathBuf, moved: &Counter, stop: &Stop) -> Result<Files> {
    for file in &archive.files {
        archive.read(file, &mut io::sink(), "nowhere", moved, stop)?;
    }
    Ok(Files::InPlace(path))
}

fn stage(archive: &Archive, requested: Option<&Path>, moved: &Counter, stop: &Stop) -> Result<Files> {
    let needed = archive.files.iter().map(|file| file.plain_bytes).sum();
    let staging = staging::reserve(archive, requested, needed)?;
    let (large, small): (Vec<_>, Vec<_>) = archive.files.iter().partition(|file| file.stored_bytes > LARGE);
    let (large, small) = (Mutex::new(large.into_iter()), Mutex::new(small.into_iter()));
    // Copying a large file takes memory: only one worker copies these.
    let next = |first: bool| if first { lock(&large).next() } else { None }.or_else(|| lock(&small).next());
    let failed = AtomicBool::new(false);
    let work = |first: bool| {
        while let Some(file) = next(first).filter(|_| !failed.load(Ordering::Relaxed)) {
            let path = staging.path().join(archive.plain_name(file));
            staging::write(archive, file, &path, moved, stop).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
        }
        Ok(())
    };
    let work = &work;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|at| scope.spawn(move || work(at == 0))).collect();
        let broken = || Err(Error::new(Kind::Internal, "a thread panicked"));
        // Waits for all of them, and returns the first error.
        let done: Vec<Result<()>> = workers.into_iter().map(|one| one.join().unwrap_or_else(|_| broken())).collect();
        done.into_iter().collect::<Result<()>>()
    })?;
    let path = staging.path().to_owned();
    Ok(Files::Staged { _staging: staging, path })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

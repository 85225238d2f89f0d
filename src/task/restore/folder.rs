//! The files of a directory archive, made ready for pg_restore, which reads them itself and in any order. Every file is
//! compared with the manifest before pg_restore sees one, or was read to its end already.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Kind, Result};
use crate::host::progress::{Counter, Progress};
use crate::host::staging::Staging;
use crate::host::stop::Stop;
use crate::task::restore::archive::Archive;

/// A folder that pg_restore can read.
pub enum Folder {
    /// The backup's own.
    InPlace(PathBuf),
    /// A decrypted copy in memory, which goes with this value.
    Staged(Staging),
}

impl Folder {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Folder::InPlace(path) => path,
            Folder::Staged(staging) => staging.path(),
        }
    }
}

/// Checks every file where it is, or decrypts it into memory while it is checked.
pub async fn ready(archive: &Arc<Archive>, parent: &Path, stop: &Stop) -> Result<Folder> {
    let (archive, parent, stop) = (Arc::clone(archive), parent.to_owned(), stop.clone());
    let files: u64 = archive.files.iter().map(|file| file.stored_bytes).sum();
    let progress = Progress::begin(&format!("{} (checking)", archive.name), Some(files));
    let moved = progress.counter();
    let work = tokio::task::spawn_blocking(move || match archive.is_encrypted() {
        false if archive.checked => Ok(Folder::InPlace(archive.folder()?)),
        false => check(&archive, &moved, &stop),
        true => stage(&archive, &parent, &moved, &stop),
    });
    work.await.unwrap_or_else(|error| Err(Error::new(Kind::Internal, format!("a thread broke down: {error}"))))
}

fn check(archive: &Archive, moved: &Counter, stop: &Stop) -> Result<Folder> {
    for file in &archive.files {
        archive.read(file, &mut io::sink(), "nowhere", moved, stop)?;
    }
    Ok(Folder::InPlace(archive.folder()?))
}

fn stage(archive: &Archive, parent: &Path, moved: &Counter, stop: &Stop) -> Result<Folder> {
    const SETTING: &str = "RESTORE_STAGING_DIR";
    let staging = Staging::create(parent, SETTING)?;
    let needed: u64 = archive.files.iter().map(|file| file.plain_bytes).sum();
    let space = rustix::fs::statvfs(parent).map_err(|error| Error::read(parent.display(), &error.into()))?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < needed {
        let message = format!("{} has {free} bytes free, and the decrypted archive takes {needed}", parent.display());
        return Err(Error::new(Kind::CannotWrite, message).hint(format!("set {SETTING} to a larger tmpfs")));
    }
    for file in &archive.files {
        let path = staging.path().join(archive.plain_name(file));
        let cannot_write = |error: io::Error| Error::write(path.display(), &error);
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(cannot_write)?;
        archive.read(file, &mut to, &path.display().to_string(), moved, stop)?;
    }
    Ok(Folder::Staged(staging))
}

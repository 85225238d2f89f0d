//! The files of a directory archive, made ready for pg_restore, which reads them itself and in any order. Every file is
//! compared with the manifest before pg_restore sees one, or was read to its end already.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Result;
use crate::host::progress::{Counter, Progress};
use crate::host::staging::Staging;
use crate::host::stop::Stop;
use crate::host::thread::joined;
use crate::task::restore::archive::Archive;
use crate::task::restore::stage;

/// A file or folder that pg_restore can read.
pub enum Files {
    /// The backup's own.
    InPlace(PathBuf),
    /// A copy, decrypted and decompressed, which goes with this value.
    Staged { _staging: Staging, path: PathBuf },
}

impl Files {
    /// Where it is.
    pub fn path(&self) -> &Path {
        match self {
            Files::InPlace(path) | Files::Staged { path, .. } => path,
        }
    }
}

/// Checks every file where it is, or decrypts it into memory while it is checked.
pub async fn ready(archive: &Arc<Archive>, wanted: Option<&Path>, stop: &Stop) -> Result<Files> {
    let (archive, wanted, stop) = (Arc::clone(archive), wanted.map(Path::to_owned), stop.clone());
    let files: u64 = archive.files.iter().map(|file| file.stored_bytes).sum();
    let progress = Progress::begin(&format!("{} (checking)", archive.name), Some(files));
    let moved = progress.counter();
    let work = tokio::task::spawn_blocking(move || match archive.is_encrypted() {
        false if archive.checked => Ok(Files::InPlace(archive.folder()?)),
        false => check(&archive, &moved, &stop),
        true => stage(&archive, wanted.as_deref(), &moved, &stop),
    });
    joined(work.await)
}

fn check(archive: &Archive, moved: &Counter, stop: &Stop) -> Result<Files> {
    for file in &archive.files {
        archive.read(file, &mut io::sink(), "nowhere", moved, stop)?;
    }
    Ok(Files::InPlace(archive.folder()?))
}

fn stage(archive: &Archive, wanted: Option<&Path>, moved: &Counter, stop: &Stop) -> Result<Files> {
    let needed = archive.files.iter().map(|file| file.plain_bytes).sum();
    let staging = stage::reserve(archive, wanted, needed)?;
    for file in &archive.files {
        stage::write(archive, file, &staging.path().join(archive.plain_name(file)), moved, stop)?;
    }
    let path = staging.path().to_owned();
    Ok(Files::Staged { _staging: staging, path })
}

//! The number of jobs of a restore, and the folder in which an archive is unpacked for them.

use std::fs::OpenOptions;
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use indicatif::HumanBytes;
use rustix::fs::Access;

use crate::catalogue::manifest::StoredFile;
use crate::config::{Format, processors};
use crate::error::{Error, Kind, Result, reason};
use crate::host::memory;
use crate::host::progress::Counter;
use crate::host::staging::{Staging, free_bytes, is_in_memory, must_be_in_memory, sweep};
use crate::restore::archive::Archive;
use crate::stop::Stop;

/// The setting that an error names.
const SETTING: &str = "RESTORE_STAGING_DIR";

/// The usual folder in memory.
const MEMORY: &str = "/dev/shm";

/// The number of jobs: more than one only if pg_restore can read the archive in any order.
pub fn jobs_for(requested: Option<NonZeroUsize>, format: Format) -> NonZeroUsize {
    match (format, requested) {
        (Format::Directory, None) => processors(),
        (Format::Custom, None) => {
            log::debug!("the archive is restored serially: --jobs would load several tables at once");
            NonZeroUsize::MIN
        }
        (Format::Custom | Format::Directory, Some(jobs)) => jobs,
        (Format::Tar | Format::Plain, requested) => {
            if requested.is_some_and(|jobs| jobs > NonZeroUsize::MIN) {
                log::warn!(
                    "the archive is restored serially: --jobs needs the custom or directory format, not {format}"
                );
            }
            NonZeroUsize::MIN
        }
    }
}

/// Removes what killed runs left in the folders that this run uses.
pub fn sweep_up(requested: Option<&Path>) {
    match requested {
        Some(parent) => sweep(parent),
        None => [PathBuf::from(MEMORY), disk()].iter().for_each(|parent| sweep(parent)),
    }
}

/// The folder for so many plain bytes of the archive, and the free bytes in it.
///
/// # Errors
/// `CannotWrite` without enough space, `Config` for a folder that must be in memory and is not.
pub fn place(archive: &Archive, requested: Option<&Path>, needed: u64) -> Result<(PathBuf, u64)> {
    let encrypted = archive.is_encrypted();
    let parent = requested.map_or_else(|| usual_place(encrypted, needed), Path::to_owned);
    if encrypted {
        must_be_in_memory(&parent, SETTING).map_err(advise)?;
    }
    let free = free_bytes(&parent)?;
    if free < needed {
        let (has, takes) = (HumanBytes(free), HumanBytes(needed));
        let message = format!(
            "{} has {free} bytes ({has}) free, and the unpacked archive takes {needed} ({takes})",
            parent.display()
        );
        return Err(advise(Error::new(Kind::CannotWrite, message)));
    }
    Ok((parent, free))
}

/// Makes a folder for so many plain bytes of the archive.
pub fn reserve(archive: &Archive, requested: Option<&Path>, needed: u64) -> Result<Staging> {
    let (parent, _) = place(archive, requested, needed)?;
    if let Err(error) = rustix::fs::access(&parent, Access::WRITE_OK | Access::EXEC_OK) {
        let user = whoami::username().unwrap_or_else(|_| "this user".to_owned());
        let why = format!("'{user}' cannot write in {}: {}", parent.display(), reason(&error.into()));
        let hint = format!("set {SETTING} to a folder of that user's; a custom archive needs none without --jobs");
        return Err(Error::new(Kind::CannotWrite, why).hint(hint));
    }
    Staging::anywhere(&parent).map_err(advise)
}

/// Unpacks one file of the archive to `path`, which must not exist.
pub fn write(archive: &Archive, file: &StoredFile, path: &Path, moved: &Counter, stop: &Stop) -> Result<()> {
    let mut options = OpenOptions::new();
    let opened = options.write(true).create_new(true).mode(0o600).open(path);
    let mut to = opened.map_err(|error| advise(Error::write(path.display(), &error)))?;
    archive.read(file, &mut to, &path.display().to_string(), moved, stop).map_err(|error| match error.kind() {
        Kind::CannotWrite => advise(error),
        _ => error,
    })
}

/// Adds a hint to the error of a folder that cannot take the archive.
pub fn advise(error: Error) -> Error {
    let place = match error.kind() {
        Kind::Config => "a tmpfs",
        _ => "a folder with more space",
    };
    Error::new(error.kind(), error.message())
        .hint(format!("set {SETTING} to {place}; a custom archive needs none without --jobs"))
}

/// The default: memory for an encrypted archive, and for any other that leaves three quarters of the free memory to the
/// server; else a disk.
fn usual_place(encrypted: bool, needed: u64) -> PathBuf {
    let shared = PathBuf::from(MEMORY);
    let fits = || {
        let free = free_bytes(&shared).unwrap_or_default().min(memory::available());
        is_in_memory(&shared) && needed <= free / 4
    };
    match encrypted || fits() {
        true => shared,
        false => disk(),
    }
}

/// A folder that is usually on a disk, and usually large.
pub fn disk() -> PathBuf {
    std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_not_filled() {
        assert_eq!(usual_place(true, u64::MAX), Path::new(MEMORY));
        assert_ne!(usual_place(false, u64::MAX), Path::new(MEMORY));
    }
}

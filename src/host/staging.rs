//! Places for bytes that wait a moment for the program that wants them as files. Those that must not reach a disk
//! unencrypted wait in memory.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs, statvfs};

use crate::error::{Error, Kind, Result};

/// `f_type` of tmpfs and ramfs (`statfs(2)`).
pub const IN_MEMORY: &[i64] = &[0x0102_1994, 0x8584_58f6];

/// What the names of our folders begin with; the process's id follows.
const PREFIX: &str = "pgcellar-staging-";

/// A private folder. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    /// Holds the lock that tells other runs that this one lives, whatever namespace they see process ids from.
    _lock: File,
}

impl Staging {
    /// Makes a folder below `parent`, which must be in memory. `setting` is what a user would change.
    pub fn create(parent: &Path, setting: &str) -> Result<Self> {
        must_be_in_memory(parent, setting)?;
        Staging::anywhere(parent)
    }

    /// Makes a folder below `parent`, which may be on a disk: not for plain bytes of what is stored encrypted.
    pub fn anywhere(parent: &Path) -> Result<Self> {
        sweep(parent);
        let mut number = 0;
        loop {
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => match hold(&path) {
                    Some(lock) => return Ok(Staging { path, _lock: lock }),
                    None if number < 1000 => number += 1,
                    None => {
                        let message = format!("cannot lock {}", path.display());
                        return Err(
                            Error::new(Kind::CannotWrite, message).hint("choose a folder on another file system")
                        );
                    }
                },
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
                Err(error) => return Err(Error::write(path.display(), &error)),
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Locks a folder, if nobody else has locked it, and it has not been removed meanwhile.
fn hold(path: &Path) -> Option<File> {
    let folder = File::open(path).ok()?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive).ok()?;
    let (opened, there) = (folder.metadata().ok()?, std::fs::symlink_metadata(path).ok()?);
    (there.is_dir() && (opened.dev(), opened.ino()) == (there.dev(), there.ino())).then_some(folder)
}

/// Whether a folder is in memory.
pub fn is_in_memory(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| IN_MEMORY.contains(&found.f_type))
}

/// Bytes that an unprivileged user may still write below a folder.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let space = statvfs(path).map_err(|error| Error::read(path.display(), &error.into()))?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            log::warn!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// Refuses a folder that lies on a disk.
pub fn must_be_in_memory(path: &Path, setting: &str) -> Result<()> {
    let found = statfs(path).map_err(|error| {
        Error::new(
            Kind::Config,
            format!("{setting}: {} cannot be used: {}", path.display(), crate::error::reason(&error.into())),
        )
    })?;
    match IN_MEMORY.contains(&found.f_type) {
        true => Ok(()),
        false => Err(Error::new(
            Kind::Config,
            format!("{} is on a disk, and would hold plain bytes of an encrypted backup", path.display()),
        )
        .hint(format!("mount a tmpfs there, or set {setting}; the custom and plain formats need no such place"))),
    }
}

/// Removes folders that dead runs of this user left below `parent`.
pub fn sweep(parent: &Path) {
    let us = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == us);
        let Some(_lock) = ours.then(|| hold(&entry.path())).flatten() else { continue };
        match std::fs::remove_dir_all(entry.path()) {
            Ok(()) => log::info!("removed {}, which a killed run had left", entry.path().display()),
            Err(error) => log::warn!("cannot remove {}: {error}", entry.path().display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_what_the_dead_left_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let living = Staging::anywhere(parent.path()).unwrap();
        assert_eq!(living.path().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        // Process 1 lives, and never was a run of ours.
        let dead = parent.path().join(format!("{PREFIX}1-0"));
        let foreign = parent.path().join("somebody-elses");
        for folder in [&dead, &foreign] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("file"), "rows").unwrap();
        }
        let second = Staging::anywhere(parent.path()).unwrap();
        assert!(living.path().is_dir() && second.path().is_dir() && foreign.join("file").exists());
        assert!(!dead.exists());
        let path = living.path().to_owned();
        drop(living);
        assert!(!path.exists());
    }
}

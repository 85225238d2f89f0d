//! Folders for data that a program needs as files for a moment. Data that must not reach a disk unencrypted stays in
//! memory.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock, statfs, statvfs};

use crate::error::{Error, Kind, Result};

/// `f_type` of tmpfs and ramfs (`statfs(2)`).
pub const IN_MEMORY: &[i64] = &[0x0102_1994, 0x8584_58f6];

/// Prefix of the folders' names; the process ID follows.
const PREFIX: &str = "pgcellar-staging-";

/// A private folder. Dropping it removes it with its contents.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
    /// Its lock shows other runs that this one is alive, also in other PID namespaces.
    _lock: File,
}

impl Staging {
    /// Creates a folder below `parent`, which must be in memory. `setting` is the setting to name in errors.
    pub fn create(parent: &Path, setting: &str) -> Result<Self> {
        must_be_in_memory(parent, setting)?;
        Staging::anywhere(parent)
    }

    /// Creates a folder below `parent`, which may be on a disk: not for plaintext of encrypted backups.
    pub fn anywhere(parent: &Path) -> Result<Self> {
        sweep(parent);
        let mut number = 0;
        loop {
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => match locked(&path) {
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

/// Locks a folder, unless another process has locked or removed it.
fn locked(path: &Path) -> Option<File> {
    let folder = File::open(path).ok()?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive).ok()?;
    let (opened, there) = (folder.metadata().ok()?, std::fs::symlink_metadata(path).ok()?);
    (there.is_dir() && (opened.dev(), opened.ino()) == (there.dev(), there.ino())).then_some(folder)
}

/// Whether a folder is in memory.
pub fn is_in_memory(path: &Path) -> bool {
    statfs(path).is_ok_and(|found| IN_MEMORY.contains(&found.f_type))
}

/// Free bytes below a folder for an unprivileged user.
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
        .hint(format!("mount a tmpfs there, or set {setting}; the custom and plain formats need no such folder"))),
    }
}

/// Removes folders that dead runs of this user left below `parent`.
pub fn sweep(parent: &Path) {
    let user = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_own = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == user);
        let Some(_lock) = is_own.then(|| locked(&entry.path())).flatten() else { continue };
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
    fn only_folders_of_ended_runs_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let live = Staging::anywhere(parent.path()).unwrap();
        assert_eq!(live.path().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
        // Process 1 lives, and never was one of these runs.
        let dead = parent.path().join(format!("{PREFIX}1-0"));
        let foreign = parent.path().join("another-program");
        for folder in [&dead, &foreign] {
            std::fs::create_dir(folder).unwrap();
            std::fs::write(folder.join("file"), "rows").unwrap();
        }
        let second = Staging::anywhere(parent.path()).unwrap();
        assert!(live.path().is_dir() && second.path().is_dir() && foreign.join("file").exists());
        assert!(!dead.exists());
        let path = live.path().to_owned();
        drop(live);
        assert!(!path.exists());
    }
}

//! Places in memory for bytes that must not reach a disk unencrypted.

use std::fs::DirBuilder;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use crate::error::{Error, Kind, Result};

/// `f_type` of tmpfs and ramfs (`statfs(2)`).
const IN_MEMORY: &[i64] = &[0x0102_1994, 0x8584_58f6];

/// What the names of our folders begin with; the process's id follows.
const PREFIX: &str = "pgcellar-staging-";

/// A private folder in memory. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub struct Staging {
    path: PathBuf,
}

impl Staging {
    /// Makes a folder below `parent`, which must be in memory. `setting` is what a user would change.
    pub fn create(parent: &Path, setting: &str) -> Result<Self> {
        must_be_in_memory(parent, setting)?;
        sweep(parent);
        let mut number = 0;
        loop {
            let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Staging { path }),
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

/// Removes folders that dead runs of this user left.
fn sweep(parent: &Path) {
    let us = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|rest| rest.split('-').next());
        let Some(pid) = pid.and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        let ours = entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == us);
        if ours && !Path::new("/proc").join(pid.to_string()).exists() {
            match std::fs::remove_dir_all(entry.path()) {
                Ok(()) => log::info!("removed {}, which a killed run had left", entry.path().display()),
                Err(error) => log::warn!("cannot remove {}: {error}", entry.path().display()),
            }
        }
    }
}

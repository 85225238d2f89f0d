//! The folder for files that are useless after the next boot: locks and sockets.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};

/// A private folder that does not survive a boot: the unit's, the user's, or one in /tmp.
pub fn find() -> Result<PathBuf> {
    // Several folders are separated by colons (`systemd.exec(5)`).
    let named = |variable: &str| {
        let value = std::env::var(variable).ok()?;
        let first = value.split(':').next().map(PathBuf::from)?;
        (first.is_absolute() && first.is_dir()).then_some(first)
    };
    match named("RUNTIME_DIRECTORY").or_else(|| named("XDG_RUNTIME_DIR")) {
        Some(folder) => Ok(folder),
        // A container whose root is read-only has no other folder in memory.
        None => private("/tmp").or_else(|error| private("/dev/shm").map_err(|_| error)),
    }
}

/// A private folder below a world-writable one.
pub fn private(parent: &str) -> Result<PathBuf> {
    private_folder(&Path::new(parent).join(format!("pgcellar-{}", rustix::process::geteuid().as_raw())))
}

/// Creates a folder in a world-writable one, or takes an existing one if only this user can have written to it.
fn private_folder(path: &Path) -> Result<PathBuf> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(Error::write(path.display(), &error)),
        _ => {}
    }
    let found = std::fs::symlink_metadata(path).map_err(|error| Error::read(path.display(), &error))?;
    let is_private = found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    match is_private {
        true => Ok(path.to_owned()),
        false => Err(Error::new(Kind::CannotWrite, format!("{} is not private to this user", path.display()))
            .hint("set XDG_RUNTIME_DIR to a private folder")),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_of_others_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("pgcellar");
        assert_eq!(private_folder(&path).unwrap(), path);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        private_folder(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(private_folder(&path).unwrap_err().kind(), Kind::CannotWrite);
        let link = parent.path().join("link");
        std::os::unix::fs::symlink(parent.path(), &link).unwrap();
        assert_eq!(private_folder(&link).unwrap_err().kind(), Kind::CannotWrite);
    }
}

//! The folders of a sandbox, in which restored code may have left anything.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Result};

/// Removes everything of our user's in a folder but one file. What is another user's, a drill has not left.
pub fn empty(folder: &Path, kept: &Path) -> Result<()> {
    let cannot = |error: io::Error| Error::write(folder.display(), &error);
    let us = rustix::process::geteuid().as_raw();
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(cannot)?,
    };
    for entry in entries {
        let path = entry.map_err(cannot)?.path();
        let is_ours = path.symlink_metadata().is_ok_and(|found| found.uid() == us);
        if is_ours && path != kept && !is_mounted(&path) {
            remove(&path).map_err(|error| Error::write(path.display(), &error))?;
        }
    }
    Ok(())
}

/// Removes a file, or a folder with all that is in it, also where its mode forbids that to its owner.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match path.symlink_metadata() {
        Err(error) => Err(error),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path).or_else(|_| {
            open_all(path)?;
            fs::remove_dir_all(path)
        }),
        Ok(_) => fs::remove_file(path),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether something is mounted there: that is not what a drill has left.
pub fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| path.symlink_metadata().map(|found| found.dev()).ok();
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

fn open_all(folder: &Path) -> io::Result<()> {
    let mut waiting = vec![folder.to_owned()];
    while let Some(folder) = waiting.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(0o700))?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_goes_but_what_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, closed) = (folder.path().join("socket"), folder.path().join("a/closed"));
        fs::create_dir_all(closed.join("deep")).unwrap();
        fs::write(closed.join("deep/file"), "left").unwrap();
        fs::write(folder.path().join(".hidden"), "left").unwrap();
        fs::write(&kept, "").unwrap();
        std::os::unix::fs::symlink("/etc", folder.path().join("link")).unwrap();
        fs::set_permissions(closed.join("deep"), Permissions::from_mode(0o000)).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o500)).unwrap();
        empty(folder.path(), &kept).unwrap();
        let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(left, [kept]);
        assert!(Path::new("/etc/passwd").exists());
        empty(&folder.path().join("none"), &folder.path().join("socket")).unwrap();
    }
}

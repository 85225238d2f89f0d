//! The socket where drills come, in a folder that only they and their sandbox have.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::error::{Error, Result};
use crate::task::sandbox::folders;

/// Who may connect: everybody who sees the socket.
const MODE: u32 = 0o666;

/// Who may see what is in its folder, where nothing else says it: everybody who has the folder.
const FOLDER: u32 = 0o711;

/// A socket that is listened at.
pub struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and number of its file.
    file: (u64, u64),
}

impl Socket {
    /// Makes it, whatever is there under its name.
    pub fn bind(path: &Path) -> Result<Self> {
        let cannot = |error: std::io::Error| Error::write(path.display(), &error);
        if let Some(folder) = path.parent() {
            open(folder).map_err(cannot)?;
        }
        folders::remove(path).map_err(cannot)?;
        let listener = UnixListener::bind(path).map_err(cannot)?;
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(cannot)?;
        let made = fs::symlink_metadata(path).map_err(cannot)?;
        Ok(Socket { path: path.to_owned(), listener, file: (made.dev(), made.ino()) })
    }

    /// Waits for a drill: a stream whose reads and writes block.
    pub async fn accept(&self) -> Result<UnixStream> {
        let broken = |error: std::io::Error| Error::read(self.path.display(), &error);
        let (stream, _) = self.listener.accept().await.map_err(broken)?;
        let stream = stream.into_std().map_err(broken)?;
        stream.set_nonblocking(false).map_err(broken)?;
        Ok(stream)
    }

    /// Whether drills can no longer find it, or not connect to it.
    pub fn is_taken_away(&self) -> bool {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| {
            found.file_type().is_socket()
                && (found.dev(), found.ino()) == self.file
                && found.permissions().mode() & 0o777 == MODE
        });
        !is_ours || self.path.parent().is_some_and(is_closed)
    }
}

/// Whether only our own user can go through a folder of ours.
fn is_closed(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mode = found.permissions().mode();
        let group_may = mode & 0o010 != 0 && found.gid() != group;
        found.uid() == user && mode & 0o001 == 0 && !group_may
    })
}

/// Opens a folder that restored code has closed. Its group cannot be given back, but everybody may be let through.
fn open(folder: &Path) -> std::io::Result<()> {
    match is_closed(folder) && folders::is_mounted(folder) {
        true => fs::set_permissions(folder, Permissions::from_mode(FOLDER)),
        false => Ok(()),
    }
}

//! The socket for drills, in a folder that only they and their sandbox can reach.

use std::fs::{self, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::error::{Error, Kind, Result};
use crate::task::drill::sandbox::folders;

/// Permissions of the socket: everybody who can reach it may connect.
const MODE: u32 = 0o666;

/// Permissions of its folder if they were lost: everybody who has the folder.
const FOLDER: u32 = 0o711;

/// A listening socket.
#[derive(Debug)]
pub struct SandboxSocket {
    path: PathBuf,
    listener: UnixListener,
    /// Device and number of its file.
    file: (u64, u64),
}

impl SandboxSocket {
    /// Binds it, in place of a socket of an earlier sandbox.
    ///
    /// # Errors
    /// `Config` if another file has its name; that file stays.
    pub fn bind(path: &Path) -> Result<Self> {
        if is_in_the_way(path)? {
            return Err(Error::new(Kind::Config, format!("{} exists and is not a socket", path.display()))
                .hint("move it away, or wait for drills at another path"));
        }
        SandboxSocket::make(path)
    }

    /// Binds it again after restored code has removed it. Another file of its name is moved aside.
    pub fn bind_again(path: &Path) -> Result<Self> {
        if is_in_the_way(path)? {
            let aside = aside(path);
            fs::rename(path, &aside).map_err(|error| Error::write(path.display(), &error))?;
            log::warn!("the file in its place was moved to {}", aside.display());
        }
        SandboxSocket::make(path)
    }

    fn make(path: &Path) -> Result<Self> {
        let cannot = |error: std::io::Error| Error::write(path.display(), &error);
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(cannot(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(cannot)?;
        fs::set_permissions(path, Permissions::from_mode(MODE)).map_err(cannot)?;
        let made = fs::symlink_metadata(path).map_err(cannot)?;
        Ok(SandboxSocket { path: path.to_owned(), listener, file: (made.dev(), made.ino()) })
    }

    /// Waits for a drill, and returns its blocking stream.
    pub async fn accept(&self) -> Result<UnixStream> {
        let broken = |error: std::io::Error| Error::read(self.path.display(), &error);
        let (stream, _) = self.listener.accept().await.map_err(broken)?;
        let stream = stream.into_std().map_err(broken)?;
        stream.set_nonblocking(false).map_err(broken)?;
        Ok(stream)
    }

    /// Whether drills can no longer find it or connect to it.
    pub fn is_taken_away(&self) -> bool {
        let is_ours = fs::symlink_metadata(&self.path).is_ok_and(|found| {
            found.file_type().is_socket()
                && (found.dev(), found.ino()) == self.file
                && found.permissions().mode() & 0o777 == MODE
        });
        !is_ours || self.path.parent().is_some_and(is_closed)
    }
}

/// Whether there is a file that is neither a socket nor an empty folder.
fn is_in_the_way(path: &Path) -> Result<bool> {
    if let Some(folder) = path.parent() {
        open(folder).map_err(|error| Error::write(path.display(), &error))?;
    }
    let is_other = |found: fs::Metadata| !found.file_type().is_socket();
    Ok(fs::symlink_metadata(path).is_ok_and(is_other) && fs::remove_dir(path).is_err())
}

/// A free name beside it.
fn aside(path: &Path) -> PathBuf {
    let name = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".moved-{number}"));
        PathBuf::from(name)
    };
    let mut names = (0..).map(name);
    names.find(|name| name.symlink_metadata().is_err()).unwrap_or_else(|| name(0))
}

/// Whether only the sandbox's user can go through its folder.
fn is_closed(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|found| {
        let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let mode = found.permissions().mode();
        let group_may = mode & 0o010 != 0 && found.gid() != group;
        found.uid() == user && mode & 0o001 == 0 && !group_may
    })
}

/// Restores the permissions of a folder that restored code has closed. Its group cannot be restored, so everybody gets access.
fn open(folder: &Path) -> std::io::Result<()> {
    match is_closed(folder) && folders::is_mounted(folder) {
        true => fs::set_permissions(folder, Permissions::from_mode(FOLDER)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_socket_is_replaced_by_the_socket() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("drill.socket");
        fs::write(folder.path().join("shop.dump"), "rows").unwrap();
        drop(SandboxSocket::bind(&path).unwrap());
        let socket = SandboxSocket::bind(&path).unwrap();
        assert!(!socket.is_taken_away());
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::write(path.join("shop.dump"), "rows").unwrap();
        assert!(socket.is_taken_away());
        let error = SandboxSocket::bind(&path).unwrap_err();
        assert!(error.kind() == Kind::Config && path.join("shop.dump").exists(), "{error}");
        assert!(!SandboxSocket::bind_again(&path).unwrap().is_taken_away());
        assert!(folder.path().join("drill.socket.moved-0/shop.dump").exists());
        assert!(folder.path().join("shop.dump").exists());
    }
}

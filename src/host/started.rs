//! Proof that a unit's program was started. systemd-run ends with 0 where it was not, because something that the unit needs
//! has failed: the program makes itself known at a socket, whose path it has in a variable.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::environment::UNIT_STARTED;
use crate::error::{Error, Result};

/// Where the sockets are.
const FOLDER: &str = "/run/pgcellar-calls";

/// Whether this process is the program of a unit that `pgcellar -i` has asked for, and need not ask for one.
pub fn is_expected() -> bool {
    std::env::var_os(UNIT_STARTED).is_some()
}

/// Makes this process known, if it is expected.
pub fn make_known() {
    let Some(path) = std::env::var_os(UNIT_STARTED) else { return };
    if let Err(error) = UnixStream::connect(&path) {
        log::debug!("cannot reach {}: {error}", Path::new(&path).display());
    }
}

/// A program that is expected. Dropping it removes the socket.
#[derive(Debug)]
pub struct Awaited {
    listener: UnixListener,
    path: PathBuf,
}

impl Awaited {
    /// Waits at a socket of its own.
    pub fn listen() -> Result<Self> {
        let path = Path::new(FOLDER).join(std::process::id().to_string());
        let open = |path: &Path| {
            std::fs::create_dir_all(FOLDER)?;
            std::fs::set_permissions(FOLDER, Permissions::from_mode(0o755))?;
            // A killed call of this number has left it.
            std::fs::remove_file(path).ok();
            let listener = UnixListener::bind(path)?;
            // The unit's user is another one.
            std::fs::set_permissions(path, Permissions::from_mode(0o666))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        match open(&path) {
            Ok(listener) => Ok(Awaited { listener, path }),
            Err(error) => Err(Error::write(path.display(), &error)),
        }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the program has come.
    pub fn has_come(&self) -> bool {
        self.listener.accept().is_ok()
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
    }
}

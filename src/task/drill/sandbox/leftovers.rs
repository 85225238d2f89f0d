//! Remains of earlier drills wherever restored code can write: they must not reach the next drill.

use std::path::{Path, PathBuf};

use crate::blocking;
use crate::error::Result;
use crate::task::drill::sandbox::folders::{InitialEntries, OwnFolder};
use crate::task::drill::sandbox::ipc;

/// Set only by the sandbox's image: the number of its user, who owns no other files in these folders.
const IMAGE_USER: &str = "SANDBOX_IMAGE_USER";

/// Folders that everybody may write to. In the image's container, only drills use them.
const SHARED: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];

/// The folders that a sandbox cleans between two drills.
#[derive(Debug)]
pub struct Leftovers {
    own: OwnFolder,
    shared: Vec<InitialEntries>,
    ipc: Option<ipc::InitialIpc>,
}

impl Leftovers {
    /// Makes the sandbox's folder below the given one, and lists the contents of the shared ones. Blocks.
    pub fn at_start(parent: &Path) -> Self {
        let mut own = OwnFolder::below(parent);
        if let Err(error) = own.empty() {
            log::error!("drills cannot be run: {error}");
        }
        let shared = if is_image() { SHARED } else { &[] };
        let shared = shared.iter().filter_map(|folder| InitialEntries::of(Path::new(folder)).ok()).collect();
        Leftovers { own, shared, ipc: is_image().then(ipc::InitialIpc::take) }
    }

    /// The folder that drills work in.
    pub fn folder(&self) -> PathBuf {
        self.own.path()
    }

    /// Removes the remains of the last drill.
    ///
    /// # Errors
    /// The inner error says why the next drill cannot be run.
    pub async fn remove(mut self) -> Result<(Self, Result<()>)> {
        let work = move || {
            if let Some(ipc) = &self.ipc {
                ipc.restore();
            }
            let removed = self.shared.iter().try_for_each(InitialEntries::restore).and_then(|()| self.own.empty());
            Ok((self, removed))
        };
        blocking::to_end(work).await
    }
}

/// Whether this is the image's container with the image's user: a container may run with a person's user number, whose files may be
/// anywhere.
fn is_image() -> bool {
    let user = std::env::var(IMAGE_USER).ok().and_then(|user| user.parse().ok());
    user == Some(rustix::process::geteuid().as_raw())
}

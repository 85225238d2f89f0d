//! What earlier drills have left where their code can write: it must not meet the next one.

use std::path::{Path, PathBuf};

use crate::blocking;
use crate::error::Result;
use crate::task::drill::sandbox::folders::{InitialEntries, OwnFolder};
use crate::task::drill::sandbox::ipc;

/// Set by the image of the sandbox alone: the number of its own user, who owns no other files in these folders.
const IMAGE_USER: &str = "SANDBOX_IMAGE_USER";

/// Folders that everybody may write to. In the image's container, they are there for drills.
const SHARED: &[&str] = &["/tmp", "/var/tmp", "/dev/shm"];

/// What a sandbox removes between two drills.
#[derive(Debug)]
pub struct Leftovers {
    own: OwnFolder,
    shared: Vec<InitialEntries>,
    ipc: Option<ipc::InitialIpc>,
}

impl Leftovers {
    /// Makes our own folder below the one that was given, and takes stock of those that are shared. Blocks.
    pub fn at_start(parent: &Path) -> Self {
        let mut own = OwnFolder::below(parent);
        if let Err(error) = own.empty() {
            log::error!("drills cannot be held: {error}");
        }
        let shared = if is_image() { SHARED } else { &[] };
        let shared = shared.iter().filter_map(|folder| InitialEntries::of(Path::new(folder)).ok()).collect();
        Leftovers { own, shared, ipc: is_image().then(ipc::InitialIpc::take) }
    }

    /// The folder that drills work in.
    pub fn folder(&self) -> PathBuf {
        self.own.path()
    }

    /// Removes what the last drill has left.
    ///
    /// # Errors
    /// The inner one says why the next drill cannot be held.
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

/// Whether this is the image's container with its own user: with the number of a person's, that person's files may be anywhere.
fn is_image() -> bool {
    let user = std::env::var(IMAGE_USER).ok().and_then(|user| user.parse().ok());
    user == Some(rustix::process::geteuid().as_raw())
}

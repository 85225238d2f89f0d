//! State of an instance that is kept between runs, in a small file that is replaced as a whole.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::Place;
use crate::error::{Error, Kind, Result, reason};
use crate::host::{replace_file, runtime_folder};
use crate::printable::printable;

/// How often a lock that another run holds is tried.
const PAUSE: Duration = Duration::from_millis(100);

/// Only the owner may read the state.
const MODE: u32 = 0o600;

/// A locked state file: no other run reads or writes it meanwhile.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    _lock: File,
}

impl StateFile {
    /// Waits up to `patience` until no other run holds the state.
    pub async fn open(place: &Place, name: &str, patience: Duration) -> Result<Self> {
        let path = path(place, name)?;
        let lock = locked(&beside(&path, ".lock"), Instant::now() + patience).await?;
        Ok(StateFile { path, _lock: lock })
    }

    /// The saved state, or the default. A file that cannot be parsed is logged and counts as missing: a repeated mail
    /// is better than a lost one.
    pub fn read<T: DeserializeOwned + Default>(&self) -> Result<T> {
        match fs::read(&self.path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                let error = printable(&error.to_string());
                log::warn!("{} cannot be parsed, and is replaced: {error}", self.path.display());
                T::default()
            })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
            Err(error) => Err(Error::read(self.path.display(), &error)),
        }
    }

    /// Replaces it, durably.
    pub fn write<T: Serialize>(&self, state: &T) -> Result<()> {
        let bytes = serde_json::to_vec_pretty(state)
            .map_err(|error| Error::new(Kind::Internal, format!("the state cannot be written as JSON: {error}")))?;
        replace_file::replace(&self.path, &bytes, MODE).map_err(|error| {
            Error::new(Kind::CannotWrite, format!("cannot write {}: {}", self.path.display(), reason(&error))).hint(
                "the user that pgcellar runs as must be able to write to the folder; in a unit set StateDirectory=",
            )
        })
    }
}

/// The saved state, if it can be read, without waiting for a run that holds it: the file is replaced as a whole.
pub fn peek<T: DeserializeOwned>(place: &Place, name: &str) -> Option<T> {
    serde_json::from_slice(&fs::read(path(place, name).ok()?).ok()?).ok()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

async fn locked(path: &Path, deadline: Instant) -> Result<File> {
    let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    let file = options.map_err(|error| Error::write(path.display(), &error))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => tokio::time::sleep(PAUSE).await,
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(Kind::TryAgain, format!("{} is locked by another run", path.display())));
            }
            Err(TryLockError::Error(error)) => {
                return Err(Error::new(Kind::System, format!("cannot lock {}: {}", path.display(), reason(&error))));
            }
        }
    }
}

/// The unit's state directory: the first of several, which are separated by colons (`systemd.exec(5)`).
pub fn of_unit() -> Option<PathBuf> {
    let first = std::env::var("STATE_DIRECTORY").ok()?.split(':').next().map(PathBuf::from);
    first.filter(|folder| folder.is_absolute())
}

/// The path of a state: in the unit's state directory; by hand and in a container in the backup directory, where no
/// backup's name begins with a dot; else in the user's state folder.
pub fn path(place: &Place, name: &str) -> Result<PathBuf> {
    let file = format!("{}.{name}.json", place.instance);
    if let Some(folder) = of_unit() {
        return Ok(folder.join(file));
    }
    if let Some(folder) = place.directory.as_ref().filter(|folder| folder.is_dir()) {
        return Ok(folder.join(format!(".pgcellar.{file}")));
    }
    let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    let folder = base.map(|base| base.join("pgcellar")).ok_or_else(|| {
        Error::new(Kind::CannotWrite, "there is no folder for the state")
            .hint("set STATE_DIRECTORY to one that pgcellar may write to")
    })?;
    let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
    let made = made.map_err(|error| Error::write(folder.display(), &error));
    // With a read-only root, or a user without a name, /var/tmp still survives a restart.
    let folder = made.map(|()| folder).or_else(|error| runtime_folder::private("/var/tmp").map_err(|_| error))?;
    Ok(folder.join(file))
}

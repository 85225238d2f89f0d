//! One writer at a time in a backup directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use jiff::Timestamp;

use crate::error::{Error, Kind, Result};

/// Name of the lock file. It stays where it is: only the kernel's lock on it counts (`flock(2)`).
const NAME: &str = ".pgcellar.lock";

/// The lock of a directory; it is released when it is dropped, or by the kernel when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says who holds it.
    pub fn take(directory: &Path, task: &str) -> Result<Self> {
        let path = directory.join(NAME);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| Error::write(path.display(), &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(&mut file, directory)),
            Err(TryLockError::Error(error)) => {
                return Err(Error::new(Kind::System, format!("cannot lock {}: {error}", path.display()))
                    .hint("the file system must know flock(2); NFS does since version 4"));
            }
        }
        let holder = format!("pgcellar {task}, process {}, since {:.0}\n", std::process::id(), Timestamp::now());
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        written.map_err(|error| Error::write(path.display(), &error))?;
        Ok(Lock { _file: file })
    }
}

fn held(file: &mut File, directory: &Path) -> Error {
    let mut holder = String::new();
    let read = Read::by_ref(file).take(200).read_to_string(&mut holder);
    let holder = match holder.trim() {
        "" => "another run",
        _ if read.is_err() => "another run",
        text => text,
    };
    Error::new(Kind::TryAgain, format!("{} is locked by {holder}", directory.display()))
        .hint("wait until that run has ended, and try again")
}

//! Files and folders under temporary names, and how they get their final ones.

use std::fs::File;
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use crate::error::{Error, Result};
use crate::store::interface::Upload;

/// Bytes that are sent to the disk at once.
const WINDOW: u64 = 8 << 20;

/// A file under its temporary name.
pub struct LocalUpload {
    file: File,
    path: PathBuf,
    partial: PathBuf,
    committed: bool,
    written: u64,
    /// The end of what is on its way to the disk.
    begun: u64,
}

impl LocalUpload {
    /// The open file, its final path, and its temporary path.
    pub fn new(file: File, path: PathBuf, partial: PathBuf) -> Self {
        LocalUpload { file, path, partial, committed: false, written: 0, begun: 0 }
    }
}

impl Write for LocalUpload {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.file.write(bytes)?;
        self.written += taken as u64;
        if self.written - self.begun >= WINDOW {
            // Makes the system begin to write. By itself it waits until a tenth of the memory is to be written
            // (`vm.dirty_background_ratio`), and the backup would wait for all of that at its end.
            fadvise(&self.file, self.begun, NonZeroU64::new(self.written - self.begun), Advice::DontNeed).ok();
            self.begun = self.written;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Upload for LocalUpload {
    fn seal(&mut self) -> Result<()> {
        let sealed = self.file.sync_all().and_then(|()| sync_parent(&self.partial));
        sealed.map_err(|error| Error::write(self.partial.display(), &error))
    }

    fn commit(mut self: Box<Self>) -> Result<()> {
        publish(&self.partial, &self.path)?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for LocalUpload {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = std::fs::remove_file(&self.partial)
        {
            log::warn!("cannot remove {}: {error}", self.partial.display());
        }
    }
}

/// A folder under its temporary name. Dropping it removes it with its contents.
#[derive(Debug)]
pub struct LocalFolder {
    path: PathBuf,
    partial: PathBuf,
    committed: bool,
}

impl LocalFolder {
    /// The final and the temporary path of a folder that exists under the temporary one.
    pub fn new(path: PathBuf, partial: PathBuf) -> Self {
        LocalFolder { path, partial, committed: false }
    }

    /// Where its files are written.
    pub fn folder(&self) -> &Path {
        &self.partial
    }

    /// Makes its files durable, one level deep.
    pub fn seal(&self) -> Result<()> {
        let sync = || -> io::Result<()> {
            for entry in std::fs::read_dir(&self.partial)? {
                File::open(entry?.path())?.sync_all()?;
            }
            File::open(&self.partial)?.sync_all()
        };
        sync().map_err(|error| Error::write(self.partial.display(), &error))
    }

    /// Gives it its name, durably.
    pub fn commit(mut self) -> Result<()> {
        publish(&self.partial, &self.path)?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for LocalFolder {
    fn drop(&mut self) {
        if !self.committed
            && let Err(error) = std::fs::remove_dir_all(&self.partial)
        {
            log::warn!("cannot remove {}: {error}", self.partial.display());
        }
    }
}

/// Renames without replacing (`renameat2(2)`, RENAME_NOREPLACE), and makes the new name durable.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let rename = || -> io::Result<()> {
        match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
            // Some network file systems do not support the flag; the lock of the directory excludes other runs.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => std::fs::rename(from, to)?,
            Err(error) => return Err(error.into()),
            Ok(()) => {}
        }
        // If the new name may not be durable, the renaming is undone, because the caller gets an error.
        sync_parent(to).inspect_err(|_| {
            if let Err(error) = std::fs::rename(to, from) {
                log::warn!("cannot undo the renaming to {}: {error}", to.display());
            }
        })
    };
    rename().map_err(|error| Error::write(to.display(), &error))
}

/// Makes the names in the file's folder durable.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

//! A directory as a store: temporary name, fsync, rename, fsync of the folder.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::error::{Error, Kind, Result, reason};
use crate::store::{LARGEST_DOCUMENT, Store, StoreEntry, Upload, is_inside};

mod irregular;
mod named;
pub mod usable;

pub use named::LocalFolder;
use named::{LocalUpload, publish, sync_parent};

/// What a name ends in until its bytes are whole.
pub const PARTIAL: &str = ".partial";

/// A directory of the local machine.
#[derive(Clone, Debug)]
pub struct LocalStore {
    directory: PathBuf,
    /// Of the directory of the backups: whether they are nowhere else.
    alone: Option<bool>,
}

impl LocalStore {
    /// A store in this directory, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        LocalStore { directory: directory.into(), alone: None }
    }

    /// The directory of the backups, which must be the one that is meant; `alone` says that they are nowhere else.
    pub fn of_backups(directory: impl Into<PathBuf>, alone: bool) -> Self {
        LocalStore { directory: directory.into(), alone: Some(alone) }
    }

    /// Whether the directory is the one that is meant, before anything is written there.
    pub fn check(&self) -> Result<()> {
        self.alone.map_or(Ok(()), |_| usable::check(&self.directory))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the directory itself (0700) if its parent is there.
    ///
    /// Parents are not made: a missing one is more often a disk that is not mounted.
    pub fn prepare(&self) -> Result<()> {
        self.check()?;
        if self.alone == Some(true) {
            usable::must_last(&self.directory)?;
        }
        match DirBuilder::new().mode(0o700).create(&self.directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(self.cannot_write(&error)),
            _ if !self.directory.is_dir() => Err(self.cannot_write(&io::Error::from(io::ErrorKind::NotADirectory))),
            _ => Ok(()),
        }
    }

    fn cannot_write(&self, error: &io::Error) -> Error {
        let what = format!("the backup directory {}", self.directory.display());
        match error.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem if !self.directory.exists() => {
                Error::new(
                    Kind::CannotWrite,
                    format!("{what} does not exist, and cannot be created: {}", reason(error)),
                )
                .hint(usable::how_to_make(&self.directory))
            }
            io::ErrorKind::NotFound => {
                Error::new(Kind::CannotWrite, format!("{what} does not exist, and neither does the folder above it"))
                    .hint(format!("is its disk mounted? if it is, {}", usable::how_to_make(&self.directory)))
            }
            _ => Error::write(what, error),
        }
    }

    /// Path of a key. A key that would lead out of the directory is refused, wherever it came from.
    pub fn path(&self, key: &str) -> Result<PathBuf> {
        if !is_inside(key) {
            return Err(Error::new(Kind::Data, format!("the file name '{key}' points outside the backup directory")));
        }
        Ok(self.directory.join(key))
    }

    /// Path of a key while its bytes are not whole.
    pub fn partial_path(&self, key: &str) -> Result<PathBuf> {
        self.path(key)?;
        self.path(&format!("{key}{PARTIAL}"))
    }

    fn cannot_read(&self, error: &io::Error) -> Error {
        let error = Error::read(format!("the backup directory {}", self.directory.display()), error);
        match error.kind() {
            Kind::Missing => {
                let next = match self.directory.parent().is_some_and(usable::may_write) {
                    true => "the first backup makes the folder".to_owned(),
                    false => usable::how_to_make(&self.directory),
                };
                error.hint(format!("BACKUP_DIR (--backup-dir) says where backups are; {next}"))
            }
            _ => error,
        }
    }

    /// Begins a folder under a temporary name; its files are written there by others.
    pub fn create_folder(&self, key: &str) -> Result<LocalFolder> {
        let (path, partial) = (self.path(key)?, self.partial_path(key)?);
        DirBuilder::new().mode(0o700).create(&partial).map_err(|error| Error::write(partial.display(), &error))?;
        Ok(LocalFolder::new(path, partial))
    }

    /// Removes a folder if nothing is in it.
    pub fn remove_empty_folder(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        match std::fs::remove_dir(&path) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                Err(Error::write(path.display(), &error))
            }
            _ => Ok(()),
        }
    }

    /// The files of a folder, and of the folders in it. A symbolic link is what it leads to.
    fn walk(&self, folder: &Path, prefix: &str, entries: &mut Vec<StoreEntry>) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // The second is the file system's own (`mke2fs(8)`), and root's.
            if name.ends_with(PARTIAL) || name.starts_with('.') || (prefix.is_empty() && name == "lost+found") {
                continue;
            }
            let key = format!("{prefix}{name}");
            match irregular::look(&entry.path())? {
                Some(metadata) if metadata.is_dir() && prefix.is_empty() => {
                    match self.walk(&entry.path(), &format!("{key}/"), entries) {
                        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                            let folder = entry.path();
                            let closed = Error::read(format!("{} in the backup directory", folder.display()), &error);
                            return Err(closed.hint(usable::how_to_give(&folder)).into());
                        }
                        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                        _ => {}
                    }
                }
                Some(metadata) if metadata.is_file() => {
                    entries.push(StoreEntry { key, bytes: metadata.len(), modified: modified(&metadata) })
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Store for LocalStore {
    fn name(&self) -> &'static str {
        "local"
    }

    fn location(&self) -> String {
        self.directory.display().to_string()
    }

    fn create(&self, key: &str, _bytes: Option<u64>) -> Result<Box<dyn Upload>> {
        let path = self.path(key)?;
        let partial = self.partial_path(key)?;
        if let Some((folder, _)) = key.rsplit_once('/') {
            let folder = self.path(folder)?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&folder)
                .map_err(|error| Error::write(folder.display(), &error))?;
        }
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)
            .map_err(|error| Error::write(partial.display(), &error))?;
        Ok(Box::new(LocalUpload::new(file, path, partial)))
    }

    fn read(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>> {
        let path = self.path(key)?;
        let open = || -> io::Result<File> {
            let mut file = irregular::open(&path)?;
            file.seek(SeekFrom::Start(offset))?;
            Ok(file)
        };
        Ok(Box::new(open().map_err(|error| Error::read(path.display(), &error))?))
    }

    fn size(&self, key: &str) -> Result<Option<u64>> {
        let path = self.path(key)?;
        match irregular::look(&path) {
            Ok(found) => Ok(found.filter(Metadata::is_file).map(|metadata| metadata.len())),
            Err(error) => Err(Error::read(path.display(), &error)),
        }
    }

    fn list(&self) -> Result<Vec<StoreEntry>> {
        self.check()?;
        let mut entries = Vec::new();
        self.walk(&self.directory, "", &mut entries).map_err(|error| self.cannot_read(&error))?;
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    fn folder(&self, key: &str) -> Result<Vec<StoreEntry>> {
        let path = self.path(key)?;
        let read = || -> io::Result<Vec<StoreEntry>> {
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(&path)? {
                let entry = entry?;
                let Ok(name) = entry.file_name().into_string() else { continue };
                if name.starts_with('.') || name.ends_with(PARTIAL) {
                    continue;
                }
                if let Some(metadata) = irregular::look(&entry.path())?.filter(Metadata::is_file) {
                    let key = format!("{key}/{name}");
                    entries.push(StoreEntry { key, bytes: metadata.len(), modified: modified(&metadata) });
                }
            }
            entries.sort_by(|a, b| a.key.cmp(&b.key));
            Ok(entries)
        };
        match read() {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Ok(Vec::new())
            }
            entries => entries.map_err(|error| Error::read(path.display(), &error)),
        }
    }

    fn path_of(&self, key: &str) -> Result<Option<PathBuf>> {
        self.path(key).map(Some)
    }

    fn delete(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::write(path.display(), &error)),
            _ => Ok(()),
        }
    }

    fn replace(&self, key: &str, bytes: &[u8]) -> Result<()> {
        static REPLACEMENTS: AtomicU64 = AtomicU64::new(0);
        let path = self.path(key)?;
        // Each writer has a temporary file of its own, so that none takes another's half-written one for its own.
        let number = REPLACEMENTS.fetch_add(1, Ordering::Relaxed);
        let partial = self.partial_path(&format!("{key}.{}-{number}", std::process::id()))?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(&partial, &path)?;
            sync_parent(&path)
        };
        write().map_err(|error| {
            // It may not have been made, or have got its name already.
            let _ = std::fs::remove_file(&partial);
            Error::write(path.display(), &error)
        })
    }

    fn withdraw(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        let withdrawn = std::fs::rename(&path, self.partial_path(key)?).and_then(|()| sync_parent(&path));
        match withdrawn {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::write(path.display(), &error)),
            _ => Ok(()),
        }
    }

    fn reinstate(&self, key: &str) -> Result<()> {
        let partial = self.partial_path(key)?;
        partial.symlink_metadata().map_err(|error| Error::read(partial.display(), &error))?;
        publish(&partial, &self.path(key)?)
    }

    fn not_a_file(&self, key: &str) -> Result<Option<&'static str>> {
        Ok(irregular::name(&self.path(key)?))
    }

    fn not_files(&self) -> Result<Vec<(String, &'static str)>> {
        let names = std::fs::read_dir(&self.directory).map_err(|error| self.cannot_read(&error))?;
        let names = names.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let shown = names.filter(|name| !name.ends_with(PARTIAL) && !name.starts_with('.'));
        Ok(shown.filter_map(|name| irregular::name(&self.directory.join(&name)).map(|what| (name, what))).collect())
    }

    fn announce(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let path = self.partial_path(key)?;
        let write = || -> io::Result<()> {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            sync_parent(&path)
        };
        write().map_err(|error| Error::write(path.display(), &error))
    }

    fn partials(&self) -> Result<Vec<StoreEntry>> {
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(|error| self.cannot_read(&error))? {
            let entry = entry.map_err(|error| self.cannot_read(&error))?;
            let name = entry.file_name();
            // Also those with a dot at their beginning: what replaces a record of the directory has a temporary name, too.
            let name = name.to_str().and_then(|name| name.strip_suffix(PARTIAL));
            let Some(key) = name.map(str::to_owned) else { continue };
            match entry.metadata() {
                Ok(metadata) => entries.push(StoreEntry { key, bytes: metadata.len(), modified: modified(&metadata) }),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(self.cannot_read(&error)),
            }
        }
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(entries)
    }

    fn read_partial(&self, key: &str) -> Result<Vec<u8>> {
        let path = self.partial_path(key)?;
        let read = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            irregular::open(&path)?.take(LARGEST_DOCUMENT).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| Error::read(path.display(), &error))
    }

    fn discard(&self, key: &str) -> Result<()> {
        let path = self.partial_path(key)?;
        let removed = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::write(path.display(), &error)),
            _ => Ok(()),
        }
    }

    fn is_labelled(&self, _key: &str) -> Result<bool> {
        Ok(false)
    }

    fn locked_until(&self, _key: &str) -> Result<Option<Timestamp>> {
        Ok(None)
    }
}

/// When a file was written last; the beginning of time where nobody can tell.
fn modified(metadata: &Metadata) -> Timestamp {
    metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::MIN)
}

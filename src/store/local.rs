//! A directory as a store: temporary name, fsync, rename, fsync of the folder.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;

use crate::error::{Error, Kind, Result, reason};
use crate::store::interface::{LARGEST_DOCUMENT, ObjectKind, PARTIAL, Store, StoreEntry, StoreKind, Upload, is_inside};

mod irregular;
mod partial;
pub mod usable;

pub use partial::LocalFolder;
use partial::{LocalUpload, publish, sync_parent};

/// A directory of the local machine.
#[derive(Clone, Debug)]
pub struct LocalStore {
    directory: PathBuf,
    /// For the backup directory: whether it is the only store.
    is_only_store: Option<bool>,
}

impl LocalStore {
    /// A store in this directory, which need not exist yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        LocalStore { directory: directory.into(), is_only_store: None }
    }

    /// The backup directory, which [`LocalStore::check`] checks; `is_only_store` says that backups are stored nowhere else.
    pub fn of_backups(directory: impl Into<PathBuf>, is_only_store: bool) -> Self {
        LocalStore { directory: directory.into(), is_only_store: Some(is_only_store) }
    }

    /// Checks that the backup directory is the intended one: its disk is mounted, and the unit sees it.
    pub fn check(&self) -> Result<()> {
        self.is_only_store.map_or(Ok(()), |_| usable::check(&self.directory))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Creates the directory (0700) if its parent exists. A missing parent is not created: more often than not it is on a disk
    /// that is not mounted.
    pub fn prepare(&self) -> Result<()> {
        self.check()?;
        if self.is_only_store == Some(true) {
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

    /// Path of a key. A key that would lead out of the directory is refused, whatever its origin.
    pub fn path(&self, key: &str) -> Result<PathBuf> {
        if !is_inside(key) {
            return Err(Error::new(Kind::Data, format!("the file name '{key}' points outside the backup directory")));
        }
        Ok(self.directory.join(key))
    }

    /// Path of a key while its bytes are incomplete.
    pub fn partial_path(&self, key: &str) -> Result<PathBuf> {
        self.path(key)?;
        self.path(&format!("{key}{PARTIAL}"))
    }

    fn cannot_read(&self, error: &io::Error) -> Error {
        let error = Error::read(format!("the backup directory {}", self.directory.display()), error);
        match error.kind() {
            Kind::Missing => {
                let next = match self.directory.parent().is_some_and(usable::may_write) {
                    true => "the first backup creates the folder".to_owned(),
                    false => usable::how_to_make(&self.directory),
                };
                error.hint(format!("BACKUP_DIR (--backup-dir) is the folder of the backups; {next}"))
            }
            _ => error,
        }
    }

    /// Creates a folder under a temporary name; the caller writes its files.
    pub fn create_folder(&self, key: &str) -> Result<LocalFolder> {
        let (path, partial) = (self.path(key)?, self.partial_path(key)?);
        DirBuilder::new().mode(0o700).create(&partial).map_err(|error| Error::write(partial.display(), &error))?;
        Ok(LocalFolder::new(path, partial))
    }

    /// Removes a folder if it is empty.
    pub fn remove_empty_folder(&self, key: &str) -> Result<()> {
        let path = self.path(key)?;
        match std::fs::remove_dir(&path) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                Err(Error::write(path.display(), &error))
            }
            _ => Ok(()),
        }
    }

    /// The files of a folder, and of the folders in it. Symbolic links are followed.
    fn walk(&self, folder: &Path, prefix: &str, entries: &mut Vec<StoreEntry>) -> io::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // `lost+found` belongs to the file system (`mke2fs(8)`) and to root.
            if name.ends_with(PARTIAL) || name.starts_with('.') || (prefix.is_empty() && name == "lost+found") {
                continue;
            }
            let key = format!("{prefix}{name}");
            match irregular::metadata(&entry.path())? {
                Some(metadata) if metadata.is_dir() && prefix.is_empty() => {
                    match self.walk(&entry.path(), &format!("{key}/"), entries) {
                        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                            let folder = entry.path();
                            let error = Error::read(format!("{} in the backup directory", folder.display()), &error);
                            return Err(error.hint(usable::how_to_give(&folder)).into());
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
    fn kind(&self) -> StoreKind {
        StoreKind::Local
    }

    fn location(&self) -> String {
        self.directory.display().to_string()
    }

    fn create(&self, key: &str, _bytes: Option<u64>, _kind: ObjectKind) -> Result<Box<dyn Upload>> {
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
        match irregular::metadata(&path) {
            Ok(metadata) => Ok(metadata.filter(Metadata::is_file).map(|metadata| metadata.len())),
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
                if let Some(metadata) = irregular::metadata(&entry.path())?.filter(Metadata::is_file) {
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

    fn replace(&self, key: &str, bytes: &[u8], _kind: ObjectKind) -> Result<()> {
        static REPLACEMENTS: AtomicU64 = AtomicU64::new(0);
        let path = self.path(key)?;
        // Each writer has its own temporary file, so that none renames a file that another is still writing.
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
            // It may not have been created, or may have been renamed already.
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
        Ok(irregular::describe(&self.path(key)?))
    }

    fn not_files(&self) -> Result<Vec<(String, &'static str)>> {
        let names = std::fs::read_dir(&self.directory).map_err(|error| self.cannot_read(&error))?;
        let names = names.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let shown = names.filter(|name| !name.ends_with(PARTIAL) && !name.starts_with('.'));
        Ok(shown.filter_map(|name| irregular::describe(&self.directory.join(&name)).map(|what| (name, what))).collect())
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
            // Including names that begin with a dot: records of the directory are replaced through temporary files, too.
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

/// When a file was written last; the earliest possible time if that is unknown.
fn modified(metadata: &Metadata) -> Timestamp {
    metadata.modified().ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(Timestamp::MIN)
}

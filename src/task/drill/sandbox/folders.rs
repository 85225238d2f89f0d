//! The folders of a sandbox, in which restored code may have left anything: trees too deep for a path, folders without their owner's
//! permissions, symbolic links. All of it is removed by file descriptors, in a walk that needs few of them at any depth.

use std::collections::HashSet;
use std::ffi::{CStr, CString, OsStr};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags, flock, mkdirat, openat,
    renameat, statx, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Kind, Result};

/// The beginning of the name of a sandbox's own folder; the user's number follows.
const OWN: &str = "pgcellar-drill-";

/// The beginning of the names of folders that are moved up before their removal.
const MOVED: &str = ".pgcellar-removed-";

/// The folder of drills: the sandbox's own, below a given one in which others may have files.
#[derive(Debug)]
pub struct OwnFolder {
    parent: PathBuf,
    name: String,
    /// Whether it has belonged to the sandbox: a later file of its name was put there by restored code.
    is_known: bool,
    /// Locks it against other sandboxes of this user.
    lock: Option<OwnedFd>,
}

impl OwnFolder {
    /// The one below a folder, which is not made yet.
    pub fn below(parent: &Path) -> Self {
        let name = format!("{OWN}{}", rustix::process::geteuid().as_raw());
        OwnFolder { parent: parent.to_owned(), name, is_known: false, lock: None }
    }

    /// Its path.
    pub fn path(&self) -> PathBuf {
        self.parent.join(&self.name)
    }

    /// Makes it if it is missing, and removes all its contents.
    ///
    /// # Errors
    /// `CannotWrite` and the like if that fails; `System` if its name is that of another file, or another sandbox uses it.
    pub fn empty(&mut self) -> Result<()> {
        self.lock = None;
        let path = self.path();
        let folder = self.open().map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => {
                Error::new(Kind::System, format!("{} is not our own folder", path.display()))
                    .hint("move it away, or set DRILL_DIR to another folder")
            }
            _ => Error::write(path.display(), &error),
        })?;
        if let Err(Errno::WOULDBLOCK) = flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            return Err(Error::new(Kind::System, format!("another sandbox works in {}", path.display()))
                .hint("set DRILL_DIR to a folder of its own for each"));
        }
        self.is_known = true;
        let cleared = clear(&folder, &path, |_, _| true);
        self.lock = Some(folder);
        cleared
    }

    fn open(&self) -> io::Result<OwnedFd> {
        let parent = openat(CWD, &self.parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let name = CString::new(self.name.as_str())?;
        match Entry::at(&parent, &name) {
            Ok(found) if found.is_folder && found.is_ours() && !found.is_mounted => {}
            // Removing a link loses no data.
            Ok(found) if !found.is_folder && (self.is_known || found.is_link) => {
                unlinkat(&parent, &name, AtFlags::empty())?;
            }
            Ok(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match mkdirat(&parent, &name, Mode::RWXU) {
            Err(error) if error != Errno::EXIST => Err(error.into()),
            _ => Ok(open(&parent, &name)?),
        }
    }
}

/// The contents of a folder when the sandbox began, which stay.
#[derive(Debug)]
pub struct InitialEntries {
    folder: PathBuf,
    names: HashSet<CString>,
    files: HashSet<(u64, u64)>,
}

impl InitialEntries {
    /// Lists a folder.
    pub fn of(folder: &Path) -> io::Result<Self> {
        let mut stock = InitialEntries { folder: folder.to_owned(), names: HashSet::new(), files: HashSet::new() };
        let opened = openat(CWD, folder, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        for name in names(&opened)? {
            let name = name?;
            match Entry::at(&opened, &name) {
                Ok(found) => drop(stock.files.insert(found.file)),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            }
            stock.names.insert(name);
        }
        Ok(stock)
    }

    /// Removes the entries that were added since then and belong to this user: a drill leaves no files of other users.
    pub fn restore(&self) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = match openat(CWD, &self.folder, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(()),
            opened => opened.map_err(|error| Error::read(self.folder.display(), &error.into()))?,
        };
        let is_new = |name: &CStr, found: &Entry| {
            found.is_ours() && !found.is_mounted && !self.names.contains(name) && !self.files.contains(&found.file)
        };
        clear(&folder, &self.folder, is_new)
    }
}

/// A file, without following a link.
struct Entry {
    user: u32,
    is_folder: bool,
    is_link: bool,
    is_mounted: bool,
    /// Device and number.
    file: (u64, u64),
}

impl Entry {
    fn at(folder: impl AsFd, name: &CStr) -> rustix::io::Result<Self> {
        let found = statx(folder, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS)?;
        let kind = FileType::from_raw_mode(found.stx_mode.into());
        let device = rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor);
        Ok(Entry {
            user: found.stx_uid,
            is_folder: kind == FileType::Directory,
            is_link: kind == FileType::Symlink,
            is_mounted: found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
            file: (device, found.stx_ino),
        })
    }

    /// The file as an entry below a folder on that device: files of an overlay have the device of their layer.
    fn below(self, device: u64) -> Self {
        Entry { is_mounted: self.is_mounted || (self.is_folder && self.file.0 != device), ..self }
    }

    fn is_ours(&self) -> bool {
        self.user == rustix::process::geteuid().as_raw()
    }
}

/// Whether something is mounted there, which no drill can have done.
pub fn is_mounted(path: &Path) -> bool {
    let device = |path: &Path| path.symlink_metadata().map(|found| found.dev()).ok();
    path.parent().is_some_and(|parent| device(parent) != device(path))
}

/// Removes the entries of a folder that `goes` selects, with all their contents.
///
/// Folders in them are moved up to it, one level in each pass, so that neither depth nor the length of a path is a limit.
fn clear(top: &OwnedFd, path: &Path, goes: impl Fn(&CStr, &Entry) -> bool) -> Result<()> {
    let device = Entry::at(top, c".").map_err(|error| Error::read(path.display(), &error.into()))?.file.0;
    let mut walk = Walk { top, device, number: 0 };
    loop {
        let (mut any, mut moved) = (false, false);
        for name in names(top).map_err(|error| Error::read(path.display(), &error))? {
            let name = name.map_err(|error| Error::read(path.display(), &error.into()))?;
            let cannot = |error: Errno| {
                Error::write(path.join(OsStr::new(&*name.to_string_lossy())).display(), &error.into())
                    .context("the remains of an earlier drill cannot be removed")
                    .hint("restart the sandbox's container, or remove it by hand")
            };
            let found = match Entry::at(top, &name) {
                Err(Errno::NOENT) => continue,
                found => found.map_err(cannot)?.below(device),
            };
            if goes(&name, &found) {
                any = true;
                moved |= walk.remove(&name, &found).map_err(cannot)?;
            }
        }
        match (any, moved) {
            (false, _) => return Ok(()),
            (true, true) => {}
            (true, false) => return Err(Error::write(path.display(), &Errno::NOTEMPTY.into())),
        }
    }
}

struct Walk<'a> {
    top: &'a OwnedFd,
    /// The device of `top`.
    device: u64,
    /// The number of the next folder that is moved.
    number: u64,
}

impl Walk<'_> {
    /// Removes a file, or the contents of a folder and then the folder if it is empty. Returns whether anything has changed.
    fn remove(&mut self, name: &CStr, found: &Entry) -> rustix::io::Result<bool> {
        if found.is_mounted {
            return Err(Errno::BUSY);
        }
        if !found.is_folder {
            unlinkat(self.top, name, AtFlags::empty())?;
            return Ok(true);
        }
        let mut changed = false;
        let folder = open(self.top, name)?;
        for inner in Dir::read_from(&folder)? {
            let inner = inner?;
            let inner = inner.file_name();
            if inner == c"." || inner == c".." {
                continue;
            }
            let known = Entry::at(&folder, inner)?.below(self.device);
            changed |= match known.is_folder {
                _ if known.is_mounted => return Err(Errno::BUSY),
                true => self.move_up(&folder, inner)?,
                false => unlinkat(&folder, inner, AtFlags::empty()).map(|()| true)?,
            };
        }
        match unlinkat(self.top, name, AtFlags::REMOVEDIR) {
            Ok(()) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(changed),
            Err(error) => Err(error),
        }
    }

    /// Whether it could be moved: a full disk may have more space in the next pass.
    fn move_up(&mut self, folder: &OwnedFd, name: &CStr) -> rustix::io::Result<bool> {
        // A folder that is moved must be writable: its `..` is written.
        drop(open(folder, name)?);
        loop {
            let new = format!("{MOVED}{}-{}", std::process::id(), self.number);
            self.number += 1;
            match renameat(folder, name, self.top, new.as_str()) {
                Ok(()) => return Ok(true),
                Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
                Err(Errno::NOSPC | Errno::DQUOT) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Opens a folder and no link, after giving its owner permission.
fn open(parent: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let only_path = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = openat(parent, name, only_path, Mode::empty())?;
    // fchmod(2) takes no O_PATH descriptor.
    let opened = format!("/proc/self/fd/{}", folder.as_raw_fd());
    fs::set_permissions(opened, Permissions::from_mode(0o700))
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    openat(&folder, c".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The names in a folder.
fn names(folder: &OwnedFd) -> io::Result<impl Iterator<Item = rustix::io::Result<CString>>> {
    let entries = Dir::read_from(folder)?.map(|entry| entry.map(|entry| entry.file_name().to_owned()));
    Ok(entries.filter(|name| !matches!(name, Ok(name) if name.as_bytes() == b"." || name.as_bytes() == b"..")))
}

#[cfg(test)]
mod tests;

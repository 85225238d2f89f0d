//! What has a name in the store and is not a regular file: a pipe, a folder, a socket, a dangling link. A symbolic link to a file
//! counts as that file.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The metadata of a path; none if there is nothing, or a dangling link.
pub fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match std::fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if is_nothing(&error) => Ok(None),
        // The link is readable and its target is not.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && is_link(path) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_nothing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || Errno::from_io_error(error) == Some(Errno::LOOP)
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

/// Opens a regular file for reading. Anything else is refused: a pipe would wait for its writer without end.
pub fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path);
    let file = file.map_err(|error| match Errno::from_io_error(&error) {
        Some(Errno::LOOP) => io::ErrorKind::NotFound.into(),
        Some(Errno::NXIO) => not_a_file("a socket"),
        _ => error,
    })?;
    match file_type_name(file.metadata()?.file_type()) {
        Some(what) => Err(not_a_file(what)),
        None => Ok(file),
    }
}

fn not_a_file(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is {what}, not a file"))
}

/// What a path is, in words; none for a regular file.
pub fn describe(path: &Path) -> Option<&'static str> {
    let itself = path.symlink_metadata().ok()?;
    match std::fs::metadata(path) {
        Ok(metadata) => file_type_name(metadata.file_type()),
        Err(error) if !itself.is_symlink() || !is_nothing(&error) => {
            itself.is_symlink().then_some("a symbolic link whose target may not be read")
        }
        Err(_) => Some("a dangling symbolic link"),
    }
}

fn file_type_name(kind: FileType) -> Option<&'static str> {
    match kind {
        kind if kind.is_file() => None,
        kind if kind.is_dir() => Some("a folder"),
        kind if kind.is_fifo() => Some("a named pipe"),
        kind if kind.is_socket() => Some("a socket"),
        _ => Some("a device"),
    }
}

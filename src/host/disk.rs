//! The free space of a disk.

use std::path::Path;

use serde::Serialize;

use crate::store::local::usable;

/// A disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// Size in bytes.
    pub bytes: u64,
    /// Free for an unprivileged user, in bytes.
    pub free_bytes: u64,
    /// Files that can still be created; none if the file system does not count them.
    pub free_files: Option<u64>,
    /// Whether it is in memory, and lost at the next boot.
    pub in_memory: bool,
}

/// The disk of a folder; none if it cannot be examined.
pub fn of(folder: &Path) -> Option<Disk> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some(Disk {
        bytes: bytes(disk.f_blocks),
        // Without the blocks reserved for root.
        free_bytes: bytes(disk.f_bavail),
        free_files: (disk.f_files > 0).then_some(disk.f_favail),
        in_memory: usable::is_in_memory(folder),
    })
}

//! How much room a disk has.

use std::path::Path;

use crate::health::facts::Disk;
use crate::store::local::usable;

/// The disk of a folder, if it can be looked at.
pub fn of(folder: &Path) -> Option<Disk> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some(Disk {
        bytes: bytes(disk.f_blocks),
        // What is kept for root is not for us.
        free_bytes: bytes(disk.f_bavail),
        free_files: (disk.f_files > 0).then_some(disk.f_favail),
        in_memory: usable::is_in_memory(folder),
    })
}

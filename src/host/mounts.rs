//! Whether the disk is there that a folder is meant to be on.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

/// Where disks are mounted by hand or by a desktop (Filesystem Hierarchy Standard 3.0, 3.11 and 3.12; udisks(8)).
const BY_HAND: &[&str] = &["/media", "/mnt", "/run/media"];

/// Where a disk should be mounted for `path` to be on it, and none is: a place that fstab(5) names, or an unused one for disks
/// that are mounted by hand.
pub fn missing_disk(path: &Path) -> Option<PathBuf> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let there = path.ancestors().find_map(|folder| Some((folder, folder.canonicalize().ok()?)));
    let real = there.and_then(|(folder, real)| Some(real.join(path.strip_prefix(folder).ok()?)));
    let path = real.as_deref().unwrap_or(path);
    let named = not_mounted(path, &read("/etc/fstab"), &read("/proc/self/mountinfo"));
    named.or_else(|| by_hand(path))
}

/// Whether a backup directory is not there, and a backup can make it. In the mount point of a disk that is not there it
/// cannot, unless that is ours.
pub fn is_to_be_made(directory: &Path) -> bool {
    let is_missing = matches!(directory.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    let may_write = |parent: &Path| rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    is_missing && directory.parent().is_some_and(may_write)
}

/// The place in fstab at or above the path that is not among the mounts (proc_pid_mountinfo(5)).
fn not_mounted(path: &Path, fstab: &str, mountinfo: &str) -> Option<PathBuf> {
    let mounted = |place: &Path| {
        let mut mounts = mountinfo.lines().filter_map(|line| line.split_whitespace().nth(4));
        mounts.any(|mount| Path::new(&plain(mount)) == place)
    };
    let lines = fstab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let places = lines.filter_map(|line| line.split_whitespace().nth(1)).map(|place| PathBuf::from(plain(place)));
    let above = places.filter(|place| place.is_absolute() && path.starts_with(place) && *place != Path::new("/"));
    (!mountinfo.is_empty()).then(|| above.into_iter().find(|place| !mounted(place))).flatten()
}

fn by_hand(path: &Path) -> Option<PathBuf> {
    let there = path.ancestors().find(|folder| folder.exists())?;
    let device = |folder: &Path| folder.metadata().ok().map(|metadata| metadata.dev());
    let is_place = BY_HAND.iter().any(|place| there.starts_with(place));
    (is_place && device(there) == device(Path::new("/"))).then(|| there.to_owned())
}

/// A path without the octal escapes that blanks and backslashes have in both files.
fn plain(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, letter)| text.replace(escape, letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FSTAB: &str = "# <file system> <mount point> <type>\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n\
        UUID=3 /srv/disk ext4 nofail 0 2\nnas:/x /srv/my\\040nas nfs noauto 0 0\n";
    const ROOT: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";

    #[test]
    fn places_of_fstab_without_a_mount_are_told() {
        let disk = "40 22 8:2 / /srv/disk rw shared:2 - ext4 /dev/sdb1 rw\n";
        let nas = "41 22 0:50 / /srv/my\\040nas rw shared:3 - nfs nas:/x rw\n";
        let cases = [
            ("/srv/disk/backups", ROOT, Some("/srv/disk")),
            ("/srv/disk", ROOT, Some("/srv/disk")),
            ("/srv/my nas/backups", ROOT, Some("/srv/my nas")),
            ("/srv/disks", ROOT, None),
            ("/var/backups/pgcellar/main", ROOT, None),
            // Where mounts cannot be seen, nothing is known of them.
            ("/srv/disk/backups", "", None),
        ];
        for (path, mounts, expected) in cases {
            assert_eq!(not_mounted(Path::new(path), FSTAB, mounts), expected.map(PathBuf::from), "{path}");
        }
        let all = format!("{ROOT}{disk}{nas}");
        for path in ["/srv/disk/backups", "/srv/my nas"] {
            assert_eq!(not_mounted(Path::new(path), FSTAB, &all), None, "{path}");
        }
        assert_eq!(by_hand(Path::new("/proc/self")), None);
        assert_eq!(by_hand(Path::new("/nonexistent/x")), None);
    }
}

//! Whether a backup directory is the intended one and keeps what is written to it. A folder at its path can also be the mount
//! point of a disk that is not mounted, or a private folder that systemd removes with the unit.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::error::{Error, Kind, Result};
use crate::host::unit::confinement::HOMES;
use crate::host::{mounts, staging, unit};
use crate::printable::{path_word, shell_word};

/// The beginning of the names of the folders that systemd mounts over /tmp and /var/tmp (`PrivateTmp=` in `systemd.exec(5)`).
const PRIVATE: &str = "/systemd-private-";

/// Checks that the disk of the directory is mounted, and that the unit sees the directory itself. Blocks.
///
/// # Errors
/// `Unavailable` if its disk is not mounted; `Config` if the unit has a private folder in its place or cannot see it.
pub fn check(directory: &Path) -> Result<()> {
    let shown = directory.display();
    if let Some(unit) = mounts::missing(directory) {
        return Err(Error::new(Kind::Unavailable, format!("the disk of the backup directory {shown} is not mounted"))
            .hint(format!("as root: systemctl start {unit}; journalctl -u {unit} shows why it fails")));
    }
    if let Some(place) = mounts::of_fstab(directory) {
        return Err(Error::new(Kind::Unavailable, format!("the disk of the backup directory {shown} is not mounted"))
            .hint(format!("as root: mount {}", path_word(&place))));
    }
    if let Some(setting) = private_mount(directory) {
        let why = format!("the service has a private folder in place of the backup directory {shown} ({setting})");
        return Err(Error::new(Kind::Config, format!("{why}, which is removed when it stops")).hint(elsewhere()));
    }
    if unit::is_own() && sees_nothing(directory) {
        let why = format!("the units do not see the backup directory {shown} (ProtectHome=yes)");
        return Err(Error::new(Kind::Config, why).hint(elsewhere()));
    }
    // A link to what the unit does not see, or to nothing.
    match std::fs::read_link(directory) {
        Ok(target) if directory.metadata().is_err() => {
            let why = format!("the backup directory {shown} is a link to {}, which does not exist", target.display());
            let why = if unit::is_own() { why + " for a unit" } else { why };
            Err(Error::new(Kind::Config, why).hint(elsewhere()))
        }
        _ => Ok(()),
    }
}

/// Whether a backup directory does not exist and a backup can create it: not in the mount point of a missing disk, unless this
/// user may write there.
pub fn is_to_be_made(directory: &Path) -> bool {
    let is_missing = matches!(directory.symlink_metadata(), Err(error) if error.kind() == ErrorKind::NotFound);
    is_missing && directory.parent().is_some_and(may_write) && check(directory).is_ok()
}

/// Whether this process may create files in a folder.
pub fn may_write(folder: &Path) -> bool {
    rustix::fs::access(folder, Access::WRITE_OK | Access::EXEC_OK).is_ok()
}

/// Whether the directory is in memory, and so is lost at the next boot.
pub fn is_in_memory(directory: &Path) -> bool {
    existing(directory).is_some_and(|folder| staging::is_in_memory(&folder))
}

/// Refuses a directory in memory as a unit's only store.
pub fn must_last(directory: &Path) -> Result<()> {
    match unit::is_own() && is_in_memory(directory) {
        true => {
            let shown = directory.display();
            Err(Error::new(
                Kind::Config,
                format!("the backup directory {shown} is in memory, and is lost at the next reboot"),
            )
            .hint(elsewhere()))
        }
        false => Ok(()),
    }
}

/// What to do about a directory that does not exist and that its user cannot create.
pub fn how_to_make(directory: &Path) -> String {
    let user = whoami::username().unwrap_or_else(|_| "pgcellar".to_owned());
    format!("as root: {}", command(directory, &user))
}

/// What to do about a folder in the backup directory that belongs to another user.
pub fn how_to_give(folder: &Path) -> String {
    let user = whoami::username().unwrap_or_else(|_| "pgcellar".to_owned());
    let folder = path_word(folder);
    format!("as root: chown -R {} {folder} if it belongs to a backup; if not, move it elsewhere", shell_word(&user))
}

/// The command that creates a backup directory for a user.
pub fn command(directory: &Path, user: &str) -> String {
    format!("install -d -o {} -m 700 {}", shell_word(user), path_word(directory))
}

/// Where backups can be instead.
pub fn elsewhere() -> String {
    format!(
        "set BACKUP_DIR to a folder such as /srv/backups, created by {}",
        command(Path::new("/srv/backups"), "pgcellar")
    )
}

/// Whether `ProtectHome=` hides the directory: it is not visible, or an empty folder is mounted over it.
fn sees_nothing(directory: &Path) -> bool {
    let is_home = HOMES.iter().any(|home| directory == Path::new(home));
    is_hidden(directory) && (directory.metadata().is_err() || (is_home && is_in_memory(directory)))
}

/// Whether it is below a folder that `ProtectHome=` hides.
pub fn is_hidden(directory: &Path) -> bool {
    HOMES.iter().any(|home| directory.starts_with(home))
}

/// The setting that gives the unit a private mount at the directory.
fn private_mount(directory: &Path) -> Option<&'static str> {
    // The unit's private /dev has a new /dev/shm.
    if unit::is_own() && directory.starts_with("/dev") {
        return Some("PrivateDevices=yes");
    }
    let folder = existing(directory)?.canonicalize().ok()?;
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    root_of(&mounts, &folder)?.contains(PRIVATE).then_some("PrivateTmp=yes")
}

/// The folder itself, or the nearest existing one above it.
fn existing(folder: &Path) -> Option<PathBuf> {
    folder.ancestors().find(|path| path.exists()).map(Path::to_owned)
}

/// The root of the mount that the folder is in (`proc_pid_mountinfo(5)`, field 4); of several mounts at one point the last one
/// counts.
fn root_of<'a>(mounts: &'a str, folder: &Path) -> Option<&'a str> {
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(3);
        Some((fields.next()?, fields.next()?))
    });
    let mut at = fields.filter(|(_, point)| folder.starts_with(point));
    let first = at.next()?;
    let longest = at.fold(first, |best, next| if next.1.len() >= best.1.len() { next } else { best });
    Some(longest.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_folders_of_a_unit_are_recognized() {
        let mounts = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:36 /systemd-private-0a-pgcellar-backup@x.service-Zq/tmp /tmp rw - tmpfs tmpfs rw
41 22 8:1 /var/tmp/systemd-private-0a-pgcellar-backup@x.service-Zr/tmp /var/tmp rw - ext4 /dev/sda1 rw
42 22 8:17 / /tmpfiles rw - ext4 /dev/sdb1 rw
43 40 8:18 / /tmp/disk rw - ext4 /dev/sdb2 rw
";
        for (folder, is_private) in [
            ("/tmp/backups", true),
            ("/var/tmp", true),
            ("/tmpfiles/x", false),
            ("/srv/backups", false),
            ("/tmp/disk/x", false),
        ] {
            let root = root_of(mounts, Path::new(folder)).unwrap();
            assert_eq!(root.contains(PRIVATE), is_private, "{folder}: {root}");
        }
    }

    #[test]
    fn the_command_names_user_and_folder() {
        let made = command(Path::new("/srv/a b"), "pgcellar");
        assert_eq!(made, "install -d -o pgcellar -m 700 '/srv/a b'");
    }
}

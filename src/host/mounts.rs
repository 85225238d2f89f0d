//! Whether the disk of a folder is mounted: by systemd's mount units (`systemd.mount(5)`), which it makes of /etc/fstab
//! too, or by that file itself.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::host::{systemctl, unit};

/// A mount unit of the folder or of one above it that systemd has loaded and that is not active. Blocks.
pub fn missing(folder: &Path) -> Option<String> {
    find(folder, &["inactive", "failed"])
}

fn find(folder: &Path, states: &[&str]) -> Option<String> {
    // This triggers an automount.
    drop(folder.metadata());
    let mut names = units(folder);
    if let Ok(real) = folder.canonicalize() {
        names.extend(units(&real));
    }
    let units = systemctl::show_blocking(names, "Id,LoadState,ActiveState");
    units
        .iter()
        .find(|unit| unit.get("LoadState") == "loaded" && states.contains(&unit.get("ActiveState")))
        .map(|unit| unit.get("Id").to_owned())
}

/// Mounts the missing disks of these folders, as the packaged units do by `RequiresMountsFor=`. A failure shows where
/// the folder is used. Units that have failed already are left to the administrator: systemd limits the attempts.
pub fn mount(folders: &[String]) {
    for unit in folders.iter().filter_map(|folder| find(Path::new(folder), &["inactive"])) {
        let mut start = Command::new("systemctl");
        start.args(["start", "--quiet", "--", &unit]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        match start.status() {
            Ok(status) if status.success() => {}
            _ => log::debug!("{unit} cannot be started"),
        }
    }
}

/// Names of the mount units that can be at a folder or above it (`systemd-escape(1)`, `--path`). A folder of temporary
/// files exists with and without a mount.
fn units(folder: &Path) -> Vec<String> {
    let escaped = folder.ancestors().filter_map(|path| {
        let path = path.to_str()?.trim_matches('/');
        (!path.is_empty() && !matches!(path, "tmp" | "var/tmp")).then(|| escape(path))
    });
    escaped.map(|name| format!("{name}.mount")).collect()
}

fn escape(path: &str) -> String {
    let parts: Vec<String> = path.split('/').map(|part| unit::escaped(part, b":_.")).collect();
    let escaped = parts.join("-");
    escaped.strip_prefix('.').map(|rest| format!("\\x2e{rest}")).unwrap_or(escaped)
}

/// Where administrators and desktops mount disks (Filesystem Hierarchy Standard 3.0, 3.11 and 3.12; udisks(8)).
const BY_HAND: &[&str] = &["/media", "/mnt", "/run/media"];

/// The mount point on which `path` should be and where nothing is mounted: one in fstab(5), or a folder for disks that
/// are mounted by hand.
pub fn missing_disk(path: &Path) -> Option<PathBuf> {
    let there = path.ancestors().find_map(|folder| Some((folder, folder.canonicalize().ok()?)));
    let real = there.and_then(|(folder, real)| Some(real.join(path.strip_prefix(folder).ok()?)));
    let path = real.as_deref().unwrap_or(path);
    of_fstab(path).or_else(|| by_hand(path))
}

/// A mount point in fstab(5) at the path or above it where nothing is mounted.
pub fn of_fstab(path: &Path) -> Option<PathBuf> {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    not_mounted(path, &read("/etc/fstab"), &read("/proc/self/mountinfo"))
}

/// The mount point in fstab at or above the path that is not among the mounts (proc_pid_mountinfo(5)).
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

/// A path with the octal escapes of both files decoded.
fn plain(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (escape, letter)| text.replace(escape, letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_mount_units() {
        assert_eq!(
            units(Path::new("/srv/my-disk/a b")),
            ["srv-my\\x2ddisk-a\\x20b.mount", "srv-my\\x2ddisk.mount", "srv.mount"]
        );
        assert_eq!(units(Path::new("/.x/y.z")), ["\\x2ex-y.z.mount", "\\x2ex.mount"]);
        assert_eq!(units(Path::new("/tmp/x")), ["tmp-x.mount"]);
    }

    const FSTAB: &str = "# <file system> <mount point> <type>\nUUID=1 / ext4 defaults 0 1\nUUID=2 none swap sw 0 0\n\
        UUID=3 /srv/disk ext4 nofail 0 2\nnas:/x /srv/my\\040nas nfs noauto 0 0\n";
    const ROOT: &str = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n";

    #[test]
    fn mount_points_of_fstab_without_a_mount_are_found() {
        let disk = "40 22 8:2 / /srv/disk rw shared:2 - ext4 /dev/sdb1 rw\n";
        let nas = "41 22 0:50 / /srv/my\\040nas rw shared:3 - nfs nas:/x rw\n";
        let cases = [
            ("/srv/disk/backups", ROOT, Some("/srv/disk")),
            ("/srv/disk", ROOT, Some("/srv/disk")),
            ("/srv/my nas/backups", ROOT, Some("/srv/my nas")),
            ("/srv/disks", ROOT, None),
            ("/var/backups/pgcellar/main", ROOT, None),
            // Where the mounts cannot be read, nothing is reported.
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

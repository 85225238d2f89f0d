//! Whether the disk of a folder is mounted, by systemd's mount units (`systemd.mount(5)`), which it makes of /etc/fstab too.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::host::systemctl;

/// A mount unit at or above the folder that systemd knows, and that is not mounted. Blocks.
pub fn missing(folder: &Path) -> Option<String> {
    find(folder, &["inactive", "failed"])
}

fn find(folder: &Path, states: &[&str]) -> Option<String> {
    // Where an automount stands, this mounts it.
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

/// Mounts what is missing of these folders' disks, as the packaged units do by `RequiresMountsFor=`. What fails shows where
/// the folder is used. What has failed already is left to those who mend it: systemd counts the attempts.
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
/// files is there with and without a mount.
fn units(folder: &Path) -> Vec<String> {
    let escaped = folder.ancestors().filter_map(|path| {
        let path = path.to_str()?.trim_matches('/');
        (!path.is_empty() && !matches!(path, "tmp" | "var/tmp")).then(|| escape(path))
    });
    escaped.map(|name| format!("{name}.mount")).collect()
}

fn escape(path: &str) -> String {
    let mut escaped = String::new();
    for (index, byte) in path.bytes().enumerate() {
        match byte {
            b'/' => escaped.push('-'),
            b'.' if index == 0 => escaped.push_str("\\x2e"),
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'.') => {
                escaped.push(char::from(byte))
            }
            byte => escaped.push_str(&format!("\\x{byte:02x}")),
        }
    }
    escaped
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
}

//! What a unit gets from its instance: the folders that it may write, and its credentials. The generator writes it into
//! drop-ins for the packaged units, and `pgcellar -i` into a transient unit, both from here.

use std::path::{Path, PathBuf};

use crate::config::env_file::EnvFile;
use crate::printable::printable;
use crate::redacted::redacted;

pub mod confinement;
pub mod drop_in;

/// Where the instances' settings are.
pub const SETTINGS: &str = "/etc/pgcellar";

/// Credentials that a verb may need.
pub const CREDENTIALS: &[&str] = &[
    "db-password",
    "aws-access-key-id",
    "aws-secret-access-key",
    "aws-session-token",
    "smtp-password",
    "ping-url",
    "age-identity",
];

/// Variables with folders that tasks write to.
const FOLDERS: &[&str] = &["BACKUP_DIR", "BACKUP_STAGING_DIR", "RESTORE_STAGING_DIR"];

/// Path of an instance's settings.
pub fn settings(instance: &str) -> PathBuf {
    Path::new(SETTINGS).join(format!("{instance}.env"))
}

/// Where backups of an instance are by default.
pub fn usual_folder(instance: &str) -> PathBuf {
    Path::new("/var/backups/pgcellar").join(instance)
}

/// Whether systemd started this process itself as that of a unit, as with systemd-run (`systemd.exec(5)`,
/// `$SYSTEMD_EXEC_PID`).
pub fn is_own() -> bool {
    std::env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == std::process::id().to_string())
}

/// Whether that unit is one of pgcellar's, so that all variables are systemd's or from the instance's file.
pub fn is_of_instance() -> bool {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let unit = |line: &str| {
        line.rsplit('/').next().is_some_and(|unit| unit.starts_with("pgcellar-") && unit.ends_with(".service"))
    };
    is_own() && groups.lines().any(unit)
}

/// The folders that the tasks of an instance may write, and errors for paths that no unit can use.
pub fn folders(instance: &str, file: &EnvFile) -> (Vec<String>, Vec<String>) {
    let (mut folders, mut faults) = (Vec::new(), Vec::new());
    let usual = usual_folder(instance).display().to_string();
    for variable in FOLDERS {
        let folder = match file.get(variable) {
            // Backups that go straight to the bucket have no folder.
            Some("") => continue,
            Some(folder) => folder,
            None if *variable == "BACKUP_DIR" => &usual,
            None => continue,
        };
        match why_unusable(folder) {
            Some(why) => faults.push(format!("{variable}={} {why}", printable(&redacted(folder)))),
            None if !folders.iter().any(|known| known == folder) => folders.push(folder.to_owned()),
            None => {}
        }
    }
    (folders, faults)
}

/// Why systemd does not accept a path for a unit.
pub fn why_unusable(path: &str) -> Option<&'static str> {
    match path {
        path if !path.starts_with('/') || path.contains(|c: char| c.is_control()) => Some("is not an absolute path"),
        path if path.split('/').any(|part| part == "..") => Some("has '..' in it, and systemd ignores such a path"),
        _ => None,
    }
}

/// A path as one word of a unit's property (`systemd.syntax(7)`, "Quoting").
pub fn quoted(path: &str) -> String {
    match path.contains([' ', '"', '\'', '\\']) {
        false => path.to_owned(),
        true => format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"")),
    }
}

/// A text for a unit file with specifiers escaped (`systemd.unit(5)`, "Specifiers").
pub fn without_specifiers(text: &str) -> String {
    text.replace('%', "%%")
}

/// A part of a unit's name (`systemd-escape(1)`): all bytes but letters, digits and those in `plain` are escaped.
pub fn escaped(text: &str, plain: &[u8]) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || plain.contains(&byte);
    let byte = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("\\x{byte:02x}") };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (Vec<String>, Vec<String>) {
        folders("shop", &EnvFile::parse(text))
    }

    #[test]
    fn folders_of_an_instance() {
        let usual = || vec!["/var/backups/pgcellar/shop".to_owned()];
        assert_eq!(of("DB_NAME=shop\n"), (usual(), vec![]));
        assert_eq!(of("BACKUP_DIR=\n"), (vec![], vec![]));
        let three = "BACKUP_DIR='/srv/a b'\nBACKUP_STAGING_DIR=/mnt/ram\nRESTORE_STAGING_DIR=/mnt/ram\n";
        assert_eq!(of(three), (vec!["/srv/a b".to_owned(), "/mnt/ram".to_owned()], vec![]));
        let (folders, faults) = of("BACKUP_DIR=backups\nRESTORE_STAGING_DIR=/srv/x\n");
        assert_eq!(folders, ["/srv/x"]);
        assert_eq!(faults, ["BACKUP_DIR=backups is not an absolute path"]);
        let (folders, faults) = of("BACKUP_DIR=/srv/x/../x\n");
        assert!(folders.is_empty() && faults[0].starts_with("BACKUP_DIR=/srv/x/../x has '..' in it"), "{faults:?}");
    }

    /// A unit file has a credential twice, as it is and encrypted, and names no other one.
    #[test]
    fn the_packaged_units_have_these_credentials() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd");
        let mut seen = std::collections::BTreeSet::new();
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if !entry.file_name().to_string_lossy().ends_with("@.service") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let loaded = |key: &str| -> Vec<String> {
                let lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
                let names = lines.map(|value| value.split(':').next().unwrap().trim_end_matches(".encrypted"));
                // The others are the credentials' files, for messages.
                names.filter(|name| !name.contains('.')).map(str::to_owned).collect()
            };
            let (mut plain, encrypted) = (loaded("LoadCredential"), loaded("LoadCredentialEncrypted"));
            // An alert alone gets the file of settings, as it is.
            let is_alert = entry.file_name().to_string_lossy().contains("-alert@");
            assert_eq!(plain.iter().any(|name| name == "settings"), is_alert, "{}", entry.path().display());
            plain.retain(|name| name != "settings");
            assert_eq!(plain, encrypted, "{}", entry.path().display());
            seen.extend(plain);
        }
        let all: std::collections::BTreeSet<String> = CREDENTIALS.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(seen, all);
    }

    #[test]
    fn quoting() {
        for (path, word) in [("/srv/a", "/srv/a"), ("/srv/a b", "\"/srv/a b\""), ("/a\"\\", "\"/a\\\"\\\\\"")] {
            assert_eq!(quoted(path), word);
        }
        assert_eq!(without_specifiers("/srv/50%"), "/srv/50%%");
    }
}

//! Checks of files and folders in settings: whether they exist, and whether the units can see them.

use std::collections::BTreeSet;
use std::path::Path;

use crate::error::{Error, Kind, reason};
use crate::host::settings_check::findings::SettingFindings;
use crate::host::settings_check::names::Values;
use crate::host::settings_check::source::{Origin, SettingsSource};
use crate::host::unit::confinement::{HOMES, TEMPORARY};
use crate::host::{mounts, systemctl, unit};
use crate::printable::printable;
use crate::redacted::shown_path;
use crate::store::local::usable;

/// Files that are read.
const FILES: &[&str] = &[
    "AWS_ACCESS_KEY_ID_FILE",
    "AWS_CA_BUNDLE",
    "AWS_SECRET_ACCESS_KEY_FILE",
    "BACKUP_AGE_IDENTITY_FILE",
    "BACKUP_AGE_RECIPIENTS_FILE",
    "DB_PASSWORD_FILE",
    "DB_SSLCERT",
    "DB_SSLKEY",
    "DB_SSLROOTCERT",
    "MONITOR_PING_URL_FILE",
    "SMTP_CA_FILE",
    "SMTP_PASS_FILE",
];

/// Folders; tasks create their own ones, and the disk of the backups may be mounted later.
const FOLDERS: &[&str] =
    &["BACKUP_DIR", "BACKUP_LOG_DIR", "BACKUP_STAGING_DIR", "DB_HOST", "DRILL_DIR", "PG_BINDIR", "RESTORE_STAGING_DIR"];

/// Where the units may create folders for backups.
const USUAL: &str = "/var/backups/pgcellar";

/// Reports paths that cannot be used; returns the variables of files that cannot be read here.
pub fn check(source: &SettingsSource, values: &Values, findings: &mut SettingFindings) -> BTreeSet<String> {
    let mut unreadable = BTreeSet::new();
    for variable in FILES.iter().chain(FOLDERS).copied() {
        // DB_HOST is a folder if it begins with a slash, and an empty BACKUP_DIR is no path.
        let is_path = |text: &&String| !text.is_empty() && (variable != "DB_HOST" || text.starts_with('/'));
        let Some(path) = values.get(variable).filter(is_path) else { continue };
        let trouble =
            matches!(source.origin, Origin::Units { .. }).then(|| confined(variable, Path::new(path))).flatten();
        if let Some(trouble) = trouble {
            findings.error(variable, trouble);
            unreadable.insert(variable.to_owned());
        } else if variable == "BACKUP_DIR" {
            // Settings are also checked where they are built, such as for a NixOS system.
            if systemctl::is_booted() || matches!(source.origin, Origin::Environment) {
                backup_dir(source, values, Path::new(path), findings);
            }
        } else if let Some(why) = missing(variable, Path::new(path)) {
            let path = printable(&name(variable, Path::new(path)));
            match source.origin {
                Origin::Environment => findings.error(variable, format!("cannot read {path}: {why}")),
                // Units run as another user, and files may come later.
                _ => findings
                    .warning(variable, format!("{path} cannot be read here: {why}; the service must be able to")),
            }
            unreadable.insert(variable.to_owned());
        }
    }
    unreadable
}

/// Reports a backup directory that units cannot use, or that is lost at a reboot.
fn backup_dir(source: &SettingsSource, values: &Values, path: &Path, findings: &mut SettingFindings) {
    const VARIABLE: &str = "BACKUP_DIR";
    let of_units = matches!(source.origin, Origin::Units { .. });
    let shown = printable(&path.display().to_string());
    let has_bucket = values.get("AWS_S3_BUCKET").is_some_and(|bucket| !bucket.is_empty());
    if let Some(unit) = mounts::missing(path).filter(|_| of_units) {
        let why = format!("the disk of {shown} is not mounted");
        let error = Error::new(Kind::Config, why).hint(format!("systemctl start {unit}; journalctl -u {unit}"));
        findings.error(VARIABLE, error.to_string());
    } else if usable::is_in_memory(path) {
        let why = format!("{shown} is in memory, and is lost at the next reboot");
        let text = Error::new(Kind::Config, why).hint(usable::elsewhere()).to_string();
        match of_units && !has_bucket {
            true => findings.error(VARIABLE, text),
            false => findings.warning(VARIABLE, text),
        }
    } else if of_units && path.try_exists().is_ok_and(|there| !there) && !path.starts_with(USUAL) {
        let why = format!("{shown} does not exist, and the units cannot create it");
        let command = usable::command(path, "pgcellar");
        findings.error(VARIABLE, Error::new(Kind::Config, why).hint(command).to_string());
    }
}

/// The path for messages; a setting for a file with a secret may contain the secret itself.
fn name(variable: &str, path: &Path) -> String {
    match FILES.contains(&variable) {
        true => shown_path(path),
        false => path.display().to_string(),
    }
}

fn missing(variable: &str, path: &Path) -> Option<String> {
    let found = match variable {
        "PG_BINDIR" => std::fs::read_dir(path).map(drop),
        _ if FILES.contains(&variable) => std::fs::File::open(path).map(drop),
        _ => return None,
    };
    found.err().map(|error| reason(&error))
}

/// Why the units cannot use a path, with a hint.
fn confined(variable: &str, path: &Path) -> Option<String> {
    let shown = printable(&name(variable, path));
    if !path.is_absolute() {
        let what = if FILES.contains(&variable) { "its value" } else { &shown };
        return Some(format!("{what} is not an absolute path, which the units need"));
    }
    if let Some(why) = path.to_str().and_then(unit::why_unusable) {
        return Some(format!("{shown} {why}: name it without"));
    }
    // A link may lead to a hidden folder.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder) || real.starts_with(folder));
    let is_itself = TEMPORARY.iter().any(|folder| path == Path::new(folder));
    let why = match (below(HOMES), below(TEMPORARY)) {
        (true, _) => "ProtectHome=yes",
        // The empty folder is good enough for temporary data.
        (_, true) if is_itself && variable.ends_with("_STAGING_DIR") => return None,
        (_, true) => "PrivateTmp=yes",
        _ => return None,
    };
    let instead = match variable {
        "BACKUP_DIR" => {
            return Some(
                Error::new(Kind::Config, format!("{shown} is hidden from the units by {why}"))
                    .hint(format!(
                        "remove the setting to use /var/backups/pgcellar/INSTANCE, or {}",
                        usable::elsewhere()
                    ))
                    .to_string(),
            );
        }
        "BACKUP_STAGING_DIR" | "RESTORE_STAGING_DIR" => {
            "remove the setting to use /dev/shm, or use a folder such as /var/lib/pgcellar/INSTANCE"
        }
        "DB_HOST" => "the server's unix_socket_directories can have /var/run/postgresql too",
        "PG_BINDIR" => "use a folder such as /usr/lib/postgresql/17/bin",
        _ => "put the file into /etc/pgcellar, readable for the group pgcellar",
    };
    Some(Error::new(Kind::Config, format!("{shown} is hidden from the units by {why}")).hint(instead).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_confinement_hides() {
        let cases = [
            ("BACKUP_DIR", "/home/me/backups", Some("ProtectHome")),
            ("BACKUP_DIR", "/root", Some("ProtectHome")),
            ("DB_PASSWORD_FILE", "/run/user/1000/password", Some("/etc/pgcellar")),
            ("BACKUP_AGE_RECIPIENTS_FILE", "/tmp/keys", Some("PrivateTmp")),
            ("DB_HOST", "/tmp", Some("unix_socket_directories")),
            ("BACKUP_STAGING_DIR", "/var/tmp/pgcellar-none", Some("PrivateTmp")),
            ("RESTORE_STAGING_DIR", "/var/tmp", None),
            ("BACKUP_DIR", "backups", Some("absolute")),
            ("BACKUP_DIR", "/srv/home/backups", None),
            ("BACKUP_DIR", "/homes", None),
            ("BACKUP_STAGING_DIR", "/dev/shm", None),
            ("DB_SSLROOTCERT", "/etc/ssl/certs/db.pem", None),
        ];
        for (variable, path, expected) in cases {
            let found = confined(variable, Path::new(path));
            let fits = match expected {
                Some(text) => found.as_deref().is_some_and(|found| found.contains(text)),
                None => found.is_none(),
            };
            assert!(fits, "{variable}={path}: {found:?}");
        }
    }

    /// Every option that takes a path must be in one of the lists.
    #[test]
    fn every_variable_that_names_a_file_is_here() {
        let declared = crate::cli::Cli::variables();
        for variable in FILES.iter().chain(FOLDERS) {
            assert!(declared.contains(*variable), "{variable}");
        }
        for variable in declared.iter().filter(|name| name.ends_with("_FILE") || name.ends_with("_DIR")) {
            assert!(FILES.contains(&variable.as_str()) || FOLDERS.contains(&variable.as_str()), "{variable}");
        }
    }
}

//! Folders that this process's user cannot use, such as those that scripts running as root have left.

use std::fs;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::host::surroundings::Surroundings;
use crate::printable::printable;

/// The variable with the folder of logs, and its default.
const LOGS: (&str, &str) = ("BACKUP_LOG_DIR", "/var/log/backup");

/// A folder that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InaccessibleFolder {
    /// Its path.
    pub folder: String,
    /// Whether no backup can be made because of it.
    pub no_backups: bool,
    /// The path and the reason.
    pub message: String,
    /// The command that repairs it, together with all others.
    pub hint: String,
}

/// Checks the folder of backups and that of logs. Missing folders are left out.
pub fn folders(backups: Option<&Path>, logs: &Path) -> Vec<InaccessibleFolder> {
    let place = Surroundings::here();
    let all = [(backups, true), (Some(logs), false)];
    let there: Vec<(&Path, bool)> = all
        .into_iter()
        .filter_map(|(folder, of_backups)| Some((folder.filter(|folder| folder.is_dir())?, of_backups)))
        .collect();
    let found: Vec<(&Path, bool, String)> =
        there.iter().filter_map(|(folder, of_backups)| closed(folder, *of_backups)).collect();
    let folders: Vec<&Path> = found.iter().map(|(folder, ..)| *folder).collect();
    let hint = place.give(&folders);
    let unusable = |(folder, no_backups, message): (&Path, bool, String)| {
        let folder = folder.display().to_string();
        InaccessibleFolder { folder, no_backups, message, hint: hint.clone() }
    };
    let mut unusable: Vec<InaccessibleFolder> = found.into_iter().map(unusable).collect();
    // A container that runs a single command may rightly have folders that it only reads.
    let read_only = there.into_iter().filter(|(folder, _)| place != Surroundings::Job && is_read_only(folder));
    unusable.extend(read_only.map(|(folder, of_backups)| InaccessibleFolder {
        folder: folder.display().to_string(),
        no_backups: of_backups,
        message: format!("{} is mounted read-only", folder.display()),
        hint: place.mount_writable(folder),
    }));
    unusable
}

/// What this user may not use of a folder, and whether that prevents backups.
fn closed(folder: &Path, of_backups: bool) -> Option<(&Path, bool, String)> {
    match may(folder, Access::WRITE_OK | Access::EXEC_OK) {
        false => Some((folder, of_backups, format!("{} cannot be written by {}", folder.display(), own_user()))),
        true => closed_files(folder, of_backups).map(|words| (folder, false, words)),
    }
}

/// The folder of the scheduler's logs.
pub fn logs() -> std::path::PathBuf {
    std::env::var_os(LOGS.0).filter(|folder| !folder.is_empty()).unwrap_or_else(|| LOGS.1.into()).into()
}

fn own_user() -> String {
    format!("user {}", rustix::process::geteuid().as_raw())
}

fn may(path: &Path, access: Access) -> bool {
    !matches!(accessat(CWD, path, access, AtFlags::EACCESS), Err(rustix::io::Errno::ACCESS))
}

/// Whether its file system is read-only, which no permissions change.
fn is_read_only(folder: &Path) -> bool {
    matches!(accessat(CWD, folder, Access::WRITE_OK, AtFlags::EACCESS), Err(rustix::io::Errno::ROFS))
}

/// Files of a folder that cannot be read, or logs that cannot be written.
fn closed_files(folder: &Path, of_backups: bool) -> Option<String> {
    let (access, words) = match of_backups {
        true => (Access::READ_OK, "read"),
        false => (Access::WRITE_OK, "written"),
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let files = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let mut closed: Vec<_> = files.map(|entry| entry.path()).filter(|path| !may(path, access)).collect();
    closed.sort();
    let first = printable(&closed.first()?.display().to_string());
    let more = match closed.len() {
        1 => String::new(),
        number => format!(" and {} more", number - 1),
    };
    Some(format!("{first}{more} cannot be {words} by {}", own_user()))
}

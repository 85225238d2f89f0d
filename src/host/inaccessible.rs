//! Folders that the user we run as cannot use, as those that scripts have left which ran as root.

use std::fs;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use crate::host::surroundings::Surroundings;
use crate::printable::printable;

/// Where the logs are, and the variable that says otherwise.
const LOGS: (&str, &str) = ("BACKUP_LOG_DIR", "/var/log/backup");

/// A folder that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its path.
    pub folder: String,
    /// Whether no backup can be made because of it.
    pub no_backups: bool,
    /// Which, and why.
    pub message: String,
    /// The command that mends it, together with all others.
    pub hint: String,
}

/// Which of the folder of backups and that of logs are closed to us. Missing folders are left out.
pub fn folders(backups: Option<&Path>, logs: &Path) -> Vec<Closed> {
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
    let told = |(folder, no_backups, message): (&Path, bool, String)| {
        let folder = folder.display().to_string();
        Closed { folder, no_backups, message, hint: hint.clone() }
    };
    let mut told: Vec<Closed> = found.into_iter().map(told).collect();
    // A container that has this one thing to do may well have been given what it only reads.
    let read_only = there.into_iter().filter(|(folder, _)| place != Surroundings::Job && is_read_only(folder));
    told.extend(read_only.map(|(folder, of_backups)| Closed {
        folder: folder.display().to_string(),
        no_backups: of_backups,
        message: format!("{} is mounted read-only", folder.display()),
        hint: place.mount_writable(folder),
    }));
    told
}

/// Whether no backups can be made because of a folder, and what is closed to us.
fn closed(folder: &Path, of_backups: bool) -> Option<(&Path, bool, String)> {
    match may(folder, Access::WRITE_OK | Access::EXEC_OK) {
        false => Some((folder, of_backups, format!("{} cannot be written by {}", folder.display(), us()))),
        true => closed_files(folder, of_backups).map(|words| (folder, false, words)),
    }
}

/// The folder of logs as the scheduler has it.
pub fn logs() -> std::path::PathBuf {
    std::env::var_os(LOGS.0).filter(|folder| !folder.is_empty()).unwrap_or_else(|| LOGS.1.into()).into()
}

fn us() -> String {
    format!("user {}", rustix::process::geteuid().as_raw())
}

fn may(path: &Path, access: Access) -> bool {
    !matches!(accessat(CWD, path, access, AtFlags::EACCESS), Err(rustix::io::Errno::ACCESS))
}

/// Whether its file system is read-only, which no rights mend.
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
    Some(format!("{first}{more} cannot be {words} by {}", us()))
}

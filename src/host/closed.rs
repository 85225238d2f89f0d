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
    let found: Vec<(&Path, bool, String)> = [(backups, true), (Some(logs), false)]
        .into_iter()
        .filter_map(|(folder, no_backups)| {
            let folder = folder.filter(|folder| folder.is_dir())?;
            match may(folder, Access::WRITE_OK | Access::EXEC_OK) {
                false => Some((folder, no_backups, format!("{} cannot be written by {}", folder.display(), us()))),
                true => closed_files(folder, no_backups).map(|words| (folder, false, words)),
            }
        })
        .collect();
    let all: Vec<&Path> = found.iter().map(|(folder, ..)| *folder).collect();
    let hint = Surroundings::here().give(&all);
    let told = |(folder, no_backups, message): (&Path, bool, String)| {
        let folder = folder.display().to_string();
        Closed { folder, no_backups, message, hint: hint.clone() }
    };
    found.into_iter().map(told).collect()
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

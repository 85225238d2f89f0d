//! A file of settings for a host without systemd, such as `/backup/backup.env` in a container: its variables apply
//! where the environment sets none. An alert's unit reads its own file in the same way, where systemd cannot.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::config::env_file::EnvFile;
use crate::config::readers;
use crate::config::variables::{ENV_FILE, FROM_FILE, fits};
use crate::error::{Error, Kind, Result, reason};
use crate::host::journal;
use crate::printable::printable;

/// If PGCELLAR_ENV_FILE names a file, executes this program again with the file's variables added to the environment,
/// and without PGCELLAR_ENV_FILE. Returns none if there is no such file, and an error if that fails.
pub fn exec_with_env_file() -> Option<Error> {
    let path = std::env::var_os(ENV_FILE).filter(|path| !path.is_empty())?;
    // The executed program reads the verbosity from the command line.
    journal::start(false, false, None);
    let with_settings = || -> Result<Command> {
        let path = Path::new(&path);
        let bytes = std::fs::read(path).map_err(|error| {
            let read = Error::read(path.display(), &error).context(ENV_FILE);
            Error::new(Kind::Config, read.message())
                .hint("the user that pgcellar runs as must be able to read it; without the variable no file is read")
        })?;
        let text = String::from_utf8(bytes)
            .map_err(|_| Error::new(Kind::Config, format!("{ENV_FILE}: {} is not UTF-8", path.display())))?;
        let file = EnvFile::parse(&text);
        for fault in &file.faults {
            log::warn!("{}:{}: {}", path.display(), fault.line, printable(&fault.message));
        }
        if let Some(warning) = readers::warning(path, &file, |name, _| !is_set(name)) {
            log::warn!("{warning}");
        }
        this_program(added(&file, is_set))
    };
    Some(match with_settings() {
        Err(error) => error,
        Ok(mut command) => {
            Error::new(Kind::System, format!("cannot run this program again: {}", reason(&command.exec())))
        }
    })
}

/// The credential with the file of settings in an alert's unit (`systemd/*-alert@.service`).
const CREDENTIAL: &str = "settings";

/// In an alert's unit, executes this program again with the variables of its file of settings that the environment
/// lacks: systemd ignores a file that is not UTF-8 as a whole. Returns if there is nothing to add, or if that fails: an
/// alert is sent without them, too.
pub fn exec_with_alert_settings() {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|_| std::env::var_os(FROM_FILE).is_none());
    let Some(file) = directory.and_then(|directory| EnvFile::read(&Path::new(&directory).join(CREDENTIAL)).ok()) else {
        return;
    };
    let mut added = added(&file, is_set);
    added.retain(|(name, value)| is_usable(name, value));
    if !added.is_empty()
        && let Ok(mut command) = this_program(added)
    {
        // exec returns only if it fails.
        let _error = command.exec();
    }
}

/// Whether a variable of a file that may not be UTF-8 can be passed on with its meaning intact: only in a mail address,
/// a wrong character in the recipient's name does no harm.
fn is_usable(name: &str, value: &str) -> bool {
    let is_of_mail = ["SMTP_", "NOTIFICATION_"].iter().any(|prefix| name.starts_with(prefix));
    let is_whole = is_of_mail || !value.contains(char::REPLACEMENT_CHARACTER);
    is_whole && !value.contains('\0') && !name.contains(['\0', char::REPLACEMENT_CHARACTER]) && fits(name, value)
}

/// The command that runs this process's command line with these variables from a file.
fn this_program(added: Vec<(&str, &str)>) -> Result<Command> {
    let program = std::env::current_exe()
        .map_err(|error| Error::new(Kind::System, format!("cannot find the path of this program: {error}")))?;
    let mut command = Command::new(program);
    let mut words = std::env::args_os();
    command.arg0(words.next().unwrap_or_else(|| "pgcellar".into())).args(words).env_remove(ENV_FILE);
    let names: Vec<&str> = added.iter().map(|(name, _)| *name).collect();
    command.env(FROM_FILE, names.join(" ")).envs(added);
    Ok(command)
}

/// Whether the environment sets a variable.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| counts(name, value.is_empty()))
}

/// Whether a variable counts as set: an empty one does not, except `BACKUP_DIR`.
fn counts(name: &str, empty: bool) -> bool {
    !empty || name == "BACKUP_DIR"
}

/// The file's variables that are not set already. A file cannot name another one.
fn added(file: &EnvFile, is_set: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
    let all = file.assignments.iter().map(|assignment| (assignment.name.as_str(), assignment.value.as_str()));
    all.filter(|(name, _)| *name != ENV_FILE && !is_set(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_passed_on() {
        assert!(is_usable("NOTIFICATION_EMAIL", "J\u{fffd}rg <ops@example.org>") && is_usable("DB_NAME", "shop"));
        assert!(!is_usable("DB_NAME", "sh\u{fffd}p") && !is_usable("DB_NAME", "a\0b"));
        assert!(!is_usable("BACKUP_DUMP_OPTIONS", &"x".repeat(200_000)));
    }

    #[test]
    fn what_is_set_already_stays() {
        let file = EnvFile::parse("DB_HOST=a\nDB_NAME=shop\nDB_HOST=b\nPGCELLAR_ENV_FILE=/x\nBACKUP_DIR=/srv\n");
        let set = |name: &str| matches!(name, "DB_NAME" | "BACKUP_DIR");
        // Added in their order, the last one counts.
        assert_eq!(added(&file, set), [("DB_HOST", "a"), ("DB_HOST", "b")]);
        assert!(counts("DB_HOST", false) && !counts("DB_HOST", true) && counts("BACKUP_DIR", true));
    }
}

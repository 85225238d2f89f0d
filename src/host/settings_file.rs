//! A file of settings for a host without systemd, such as `/backup/backup.env` in a container: what it says holds where
//! the environment says nothing. So does an alert's unit read its own, where systemd cannot.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::config::env_file::EnvFile;
use crate::config::readers;
use crate::config::variables::{ENV_FILE, FROM_FILE, fits};
use crate::error::{Error, Kind, Result, reason};
use crate::host::journal;
use crate::printable::printable;

/// Where PGCELLAR_ENV_FILE names a file, becomes this very program with the file's variables added to the environment, and
/// without PGCELLAR_ENV_FILE. Returns if there is nothing to become, or with why it cannot be.
pub fn become_with_settings() -> Option<Error> {
    let path = std::env::var_os(ENV_FILE).filter(|path| !path.is_empty())?;
    // How much is to be said, the command line tells the program that we become.
    journal::start(false, false, None);
    let with_settings = || -> Result<Command> {
        let path = Path::new(&path);
        let bytes = std::fs::read(path).map_err(|error| {
            let read = Error::read(path.display(), &error).context(ENV_FILE);
            Error::new(Kind::Config, read.message())
                .hint("it must be readable for the user that pgcellar runs as; without the variable no file is read")
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

/// The credential that an alert's unit has its file of settings as (`systemd/*-alert@.service`).
const CREDENTIAL: &str = "settings";

/// Where this process is an alert's unit, becomes this very program with what its file of settings says and the environment does
/// not: systemd has nothing of a file that is not UTF-8. Returns if there is nothing to add; an alert gets out without it, too.
pub fn become_with_what_systemd_could_not_read() {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").filter(|_| std::env::var_os(FROM_FILE).is_none());
    let Some(file) = directory.and_then(|directory| EnvFile::read(&Path::new(&directory).join(CREDENTIAL)).ok()) else {
        return;
    };
    let mut added = added(&file, is_set);
    added.retain(|(name, value)| is_usable(name, value));
    if !added.is_empty()
        && let Ok(mut command) = this_program(added)
    {
        // It only returns if it fails.
        let _error = command.exec();
    }
}

/// Whether a variable of a file that may not be UTF-8 can be passed on, and is what was meant: in an address, the name of the
/// recipient may lack a letter.
fn is_usable(name: &str, value: &str) -> bool {
    let is_of_mail = ["SMTP_", "NOTIFICATION_"].iter().any(|prefix| name.starts_with(prefix));
    let is_whole = is_of_mail || !value.contains(char::REPLACEMENT_CHARACTER);
    is_whole && !value.contains('\0') && !name.contains(['\0', char::REPLACEMENT_CHARACTER]) && fits(name, value)
}

/// The command line of this process, with these variables from a file.
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

/// Whether the environment says something of a variable.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| said(name, value.is_empty()))
}

/// Whether a variable says something: an empty one does not, but for `BACKUP_DIR`.
fn said(name: &str, empty: bool) -> bool {
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
        // Of several the last one counts: that is what comes of adding them in their order.
        assert_eq!(added(&file, set), [("DB_HOST", "a"), ("DB_HOST", "b")]);
        assert!(said("DB_HOST", false) && !said("DB_HOST", true) && said("BACKUP_DIR", true));
    }
}

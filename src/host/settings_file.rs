//! A file of settings for a host without systemd, such as `/backup/backup.env` in a container: what it says holds where
//! the environment says nothing.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::config::env_file::EnvFile;
use crate::config::readers;
use crate::environment::{ENV_FILE, FROM_FILE};
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
        let program = std::env::current_exe()
            .map_err(|error| Error::new(Kind::System, format!("cannot find the path of this program: {error}")))?;
        let mut command = Command::new(program);
        let mut words = std::env::args_os();
        command.arg0(words.next().unwrap_or_else(|| "pgcellar".into())).args(words).env_remove(ENV_FILE);
        let added = added(&file, is_set);
        let names: Vec<&str> = added.iter().map(|(name, _)| *name).collect();
        command.env(FROM_FILE, names.join(" ")).envs(added);
        Ok(command)
    };
    Some(match with_settings() {
        Err(error) => error,
        Ok(mut command) => {
            Error::new(Kind::System, format!("cannot run this program again: {}", reason(&command.exec())))
        }
    })
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
    fn what_is_set_already_stays() {
        let file = EnvFile::parse("DB_HOST=a\nDB_NAME=shop\nDB_HOST=b\nPGCELLAR_ENV_FILE=/x\nBACKUP_DIR=/srv\n");
        let set = |name: &str| matches!(name, "DB_NAME" | "BACKUP_DIR");
        // Of several the last one counts: that is what comes of adding them in their order.
        assert_eq!(added(&file, set), [("DB_HOST", "a"), ("DB_HOST", "b")]);
        assert!(said("DB_HOST", false) && !said("DB_HOST", true) && said("BACKUP_DIR", true));
    }
}

//! The secrets of this process: from the credentials of its unit, from files, or from variables.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::config::credential_files;
use crate::config::credential_files::CredentialProblem;
use crate::config::secret::{Secret, Sources};
use crate::error::{Error, Kind, Result};

/// Credentials that cannot be used, and that this process ignores in order to do the rest of its work.
static LEFT_OUT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Reads a secret: from its credential, from the file that `VARIABLE_FILE` names, or from its variable; none if none is set.
/// `file` is the value of `VARIABLE_FILE`.
pub fn secret(credential: &str, variable: &str, file: Option<&Path>) -> Result<Option<Secret>> {
    let value = secret_variable(variable)?;
    Sources { credential, variable, file, value: value.as_ref() }.find(directory_of(credential).as_deref())
}

/// Where [`secret`] finds a secret, for messages; none if none is set.
pub fn secret_place(credential: &str, variable: &str, file: Option<&Path>) -> Option<String> {
    let value = secret_variable(variable).ok().flatten();
    Sources { credential, variable, file, value: value.as_ref() }.place(directory_of(credential).as_deref())
}

/// The variable of a secret, if it is set and not empty.
fn secret_variable(name: &str) -> Result<Option<Secret>> {
    match std::env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => Ok(Some(Secret::new(text))),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(Error::new(Kind::Config, format!("{name} is not UTF-8"))),
    }
}

/// The folder of the unit's credentials, unless this process ignores this one.
pub fn directory_of(credential: &str) -> Option<PathBuf> {
    let left_out = LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    credentials_directory().filter(|_| !left_out.contains(credential))
}

/// `$CREDENTIALS_DIRECTORY`, where systemd puts a unit's credentials.
fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// Makes this process ignore a credential from now on.
pub fn leave_out(credential: &str) {
    LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner).insert(credential.to_owned());
}

/// Problems that keep stored credentials from this process's unit.
pub fn credential_problems() -> Vec<CredentialProblem> {
    credentials_directory().map(|directory| credential_files::of_unit(&directory)).unwrap_or_default()
}

/// The encrypted credentials that are stored for this process's instance, each with its file.
pub fn stored_credentials() -> Vec<(&'static str, String)> {
    credentials_directory().map(|directory| credential_files::stored(&directory)).unwrap_or_default()
}

/// The command that stores a credential for this process's unit; none if it is not a unit of an instance.
pub fn how_to_store(credential: &str) -> Option<String> {
    credential_files::how_to_store(&credentials_directory()?, credential)
}

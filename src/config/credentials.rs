//! The credentials that systemd has given to this process's unit.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use crate::config::credential_files;
use crate::config::credential_files::CredentialProblem;

/// Credentials that are left out, because they cannot be used and something else is to be done without them.
static LEFT_OUT: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Where systemd has put this credential, unless it is left out.
pub(super) fn credentials(credential: &str) -> Option<PathBuf> {
    let left_out = LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner);
    credentials_directory().filter(|_| !left_out.contains(credential))
}

/// `$CREDENTIALS_DIRECTORY`, where systemd puts a unit's credentials.
fn credentials_directory() -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from)
}

/// From now on this process does without a credential.
pub fn leave_out(credential: &str) {
    LEFT_OUT.lock().unwrap_or_else(PoisonError::into_inner).insert(credential.to_owned());
}

/// What keeps this process's unit from having credentials that somebody has stored.
pub fn credential_problems() -> Vec<CredentialProblem> {
    credentials_directory().map(|directory| credential_files::of_unit(&directory)).unwrap_or_default()
}

/// The encrypted credentials that somebody has stored for this process's instance.
pub fn stored_credentials() -> Vec<(&'static str, String)> {
    credentials_directory().map(|directory| credential_files::stored(&directory)).unwrap_or_default()
}

/// The command that gives this process's unit a credential; none where it is no unit of an instance.
pub fn how_to_store(credential: &str) -> Option<String> {
    credential_files::how_to_store(&credentials_directory()?, credential)
}

//! Keys for encrypted backups, made by the stock programs.

use std::path::{Path, PathBuf};

use super::process::{must, plain};

/// A private key in a file, and what encrypts to it.
#[derive(Debug)]
pub struct Key {
    /// The file, as `BACKUP_AGE_IDENTITY_FILE` takes it.
    pub identity: PathBuf,
    /// The public part, as `BACKUP_AGE_RECIPIENTS` takes it.
    pub recipient: String,
}

/// A native age key.
pub fn age(folder: &Path, name: &str) -> Key {
    let identity = folder.join(name);
    must(plain("age-keygen").arg("-o").arg(&identity));
    let recipient = must(plain("age-keygen").arg("-y").arg(&identity)).trim().to_owned();
    Key { identity, recipient }
}

/// An SSH key of the type `ed25519` or `rsa`.
pub fn ssh(folder: &Path, name: &str, kind: &str) -> Key {
    let identity = folder.join(name);
    must(plain("ssh-keygen").args(["-q", "-N", "", "-C", "", "-t", kind, "-f"]).arg(&identity));
    let recipient = std::fs::read_to_string(identity.with_extension("pub")).unwrap().trim().to_owned();
    Key { identity, recipient }
}

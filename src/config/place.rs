//! The instance, its host, and where its backups are.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use crate::cli::PlaceArgs;
use crate::config::refusal::wrong;
use crate::config::s3::S3Settings;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;

/// Who makes backups: an instance on a host.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
pub struct Maker {
    /// Name of the instance.
    pub instance: String,
    /// Name of the host.
    pub host: String,
}

/// An instance, and where its backups are.
#[derive(Clone, Debug)]
pub struct Place {
    /// Name of the instance.
    pub instance: String,
    /// Name of this host, which is recorded in each backup.
    pub host: String,
    /// Folder of the local store; none if backups go straight to the bucket.
    pub directory: Option<PathBuf>,
    /// The bucket.
    pub s3: Option<S3Settings>,
    /// Identity of the server, once it was queried.
    pub server: Arc<OnceLock<Identity>>,
}

/// The folder of an instance's backups if BACKUP_DIR is not set.
pub fn default_directory(instance: &str) -> PathBuf {
    Path::new("/var/backups/pgcellar").join(instance)
}

impl Place {
    /// Checks the names of the instance and the host, the folder, and the settings of the bucket.
    pub fn new(args: &PlaceArgs) -> Result<Self> {
        instance_name(&args.instance)?;
        let default = || default_directory(&args.instance);
        let s3 = S3Settings::new(&args.s3)?;
        let directory = match args.backup_dir.clone().unwrap_or_else(default) {
            empty if empty.as_os_str().is_empty() && s3.is_some() => None,
            empty if empty.as_os_str().is_empty() => {
                return Err(Error::new(Kind::Config, "BACKUP_DIR is empty, and no bucket is set")
                    .hint("set BACKUP_DIR to a folder, or AWS_S3_BUCKET to a bucket"));
            }
            directory if !directory.is_absolute() => {
                let path = directory.display().to_string();
                return Err(wrong("BACKUP_DIR (--backup-dir)", &path, "an absolute path"));
            }
            directory => Some(directory),
        };
        let host = match args.host_name.as_deref() {
            Some(name) => host_name(name)?.to_owned(),
            None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        };
        Ok(Place { instance: args.instance.clone(), host, directory, s3, server: Arc::default() })
    }

    /// The identity of the server as far as it is known.
    pub fn known_server(&self) -> Identity {
        self.server.get().cloned().unwrap_or_default()
    }

    /// The instance on this host.
    pub fn maker(&self) -> Maker {
        Maker { instance: self.instance.clone(), host: self.host.clone() }
    }

    /// The folder of the local store, for operations that need one.
    ///
    /// # Errors
    /// `Config` if backups go straight to a bucket.
    pub fn local(&self) -> Result<&Path> {
        self.directory.as_deref().ok_or_else(|| Error::new(Kind::Config, "BACKUP_DIR is empty").hint("name a folder"))
    }
}

/// The longest permitted name of an instance. File names have at most 255 bytes (`NAME_MAX`), including that of the folder for
/// `PrivateTmp=`, `systemd-private-BOOT_ID-UNIT-RANDOM`; the longest unit name is
/// `pgcellar-as-restore-PID-USER@INSTANCE.service`.
pub const LONGEST_NAME: usize = 100;

/// Checks the name of an instance, which is part of file and unit names.
pub fn instance_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let refused = |expected: &str| Err(wrong("PGCELLAR_INSTANCE (--instance)", name, expected));
    match name {
        _ if name.is_empty() || !name.chars().all(plain) => refused("letters, digits, '_', '-' and '.'"),
        _ if name.starts_with(['.', '-']) => refused("a name that begins with a letter, a digit or '_'"),
        _ if name.len() > LONGEST_NAME => {
            let (found, longest) = (name.len(), "systemd adds to it, and a file name has 255 at most");
            let message = format!(
                "PGCELLAR_INSTANCE (--instance) has {found} letters, and should be a name of {LONGEST_NAME} at most: {longest}"
            );
            Err(Error::new(Kind::Config, message))
        }
        _ => Ok(()),
    }
}

/// Checks the host name of the settings, which is used in object names and in mails.
fn host_name(name: &str) -> Result<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match !name.is_empty() && name.len() <= 255 && !name.starts_with(['.', '-']) && name.chars().all(plain) {
        true => Ok(name),
        false => Err(wrong("PGCELLAR_HOST (--host-name)", name, "letters, digits, '_', '-' and '.'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_instances() {
        for good in ["main", "a", "_x", "0.b-c", &"a".repeat(LONGEST_NAME)] {
            instance_name(good).unwrap();
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a@b", &"a".repeat(LONGEST_NAME + 1)] {
            let error = instance_name(bad).unwrap_err().to_string();
            assert!(error.contains("PGCELLAR_INSTANCE (--instance)") && error.contains("should be"), "{error}");
        }
    }
}

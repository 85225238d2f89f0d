//! What is the same in two backups only if they are of the same server.

use serde::{Deserialize, Serialize};

/// The server that a backup is of, and the places that tell one copy of it from another. Every field may be missing: a role may
/// not be allowed to ask, and manifests of older versions have none of them.
///
/// The system identifier is that of the cluster: pg_upgrade, initdb and a restore into a new cluster change it; a copy of the
/// data directory, a standby and a server that was promoted keep it. So it tells different servers apart, and of two that
/// have the same one the digests may tell that they are one. They are digests because a manifest may be read by others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `system_identifier` of `pg_control_system()`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Timeline of the last checkpoint. Each promotion begins a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// Digest of when the data directory got its file PG_VERSION, which is written once: a copy of the directory got it at
    /// another time. None for a standby, which may be one of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_directory: Option<String>,
    /// Digest of the server's address, if that is a full host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Id of the backup directory, which was drawn when the first backup was made in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_directory: Option<String>,
}

impl Identity {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Identity::default()
    }

    /// What two backups of the same server on the same machine have in common, whatever the host was called.
    pub fn marks(&self) -> impl Iterator<Item = &str> {
        [&self.data_directory, &self.address, &self.backup_directory].into_iter().flatten().map(String::as_str)
    }
}

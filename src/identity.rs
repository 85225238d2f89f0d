//! What identifies the server that a backup is of.

use serde::{Deserialize, Serialize};

/// What identifies a server, and what distinguishes its copies. Every field may be missing: the role may lack the permission to
/// query it, and manifests of older versions have none of them.
///
/// The system identifier is that of the cluster: pg_upgrade, initdb and a restore into a new cluster change it; a copy of the
/// data directory, a standby and a promoted standby keep it. Different identifiers therefore mean different servers, and equal
/// digests show that two servers with the same identifier are one. They are digests because others may be able to read a
/// manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// `system_identifier` of `pg_control_system()`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// Timeline of the last checkpoint. Each promotion begins a higher one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<u32>,
    /// Digest of the time of the file PG_VERSION in the data directory, which is written once: in a copy of the directory it
    /// has another time. None for a standby, which may be one of many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_directory: Option<String>,
    /// Digest of the server's address, if that is a full host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Random id of the backup directory, which it gets with its first backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_directory: Option<String>,
}

impl Identity {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == Identity::default()
    }

    /// Marks that backups of the same server on the same machine have in common, whatever the name of the host.
    pub fn marks(&self) -> impl Iterator<Item = &str> {
        [&self.data_directory, &self.address, &self.backup_directory].into_iter().flatten().map(String::as_str)
    }
}

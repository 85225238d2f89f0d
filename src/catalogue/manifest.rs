//! The manifest: what a backup is, in JSON beside its files. `doc/manifest.md` describes each field.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::name::{self, MANIFEST, RECORDS};
use crate::config::Format;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::pipeline::compress::Method;
use crate::pipeline::digest::Digest;

mod preloaded;
mod properties;

pub use preloaded::Preloaded;
pub use properties::{DatabaseProperties, ParameterSetting, SecurityLabel};

/// Version of the manifest of a backup that is not encrypted.
pub const VERSION: u32 = 1;

/// Version of the manifest whose details are encrypted. A reader that does not know them would restore without owner,
/// privileges and settings. Newer versions are refused.
pub const ENCRYPTED_VERSION: u32 = 2;

/// How many rewritten tables a message names.
const REWRITTEN_NAMED: usize = 3;

/// The description of a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this document.
    pub manifest_version: u32,
    /// `DB_YYYYMMDD_HHMMSS`.
    pub id: String,
    /// The database's name, as the server has it.
    pub database: String,
    /// OID of the database, which changes if the database is dropped and created again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_oid: Option<u32>,
    /// Instance that made or adopted the backup.
    pub instance: String,
    /// Host that made or adopted the backup.
    pub host: String,
    /// When the backup began, UTC. Its data are those of the snapshot of that time.
    pub started: Timestamp,
    /// When its archive and globals were complete, UTC.
    pub ended: Timestamp,
    /// Version of the pgcellar that wrote this.
    pub pgcellar: String,
    /// When the archive of another tool was adopted, UTC; none if pgcellar made the backup.
    #[serde(default)]
    pub adopted: Option<Timestamp>,
    /// The server.
    pub server: Server,
    /// Version of pg_dump.
    pub pg_dump: String,
    /// Format of the archive.
    pub format: Format,
    /// Compression of the archive and the globals.
    pub compression: Compression,
    /// Encryption, if there is one.
    pub encryption: Option<Encryption>,
    /// Whether options left data out, or tables were rewritten when the dump began.
    pub partial: bool,
    /// Options of pg_dump that the user passed.
    pub dump_options: Vec<String>,
    /// Number of sessions that read rows in parallel; none if one read everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jobs: Option<u64>,
    /// The files of the backup: the archive first, then the globals, the fingerprints and the details.
    pub files: Vec<StoredFile>,
    /// Contents of the archive.
    pub contents: ObjectCounts,
    /// Properties of the database that are in no archive.
    pub properties: DatabaseProperties,
    /// Whether the globals contain the roles' passwords.
    pub role_passwords: bool,
    /// What is not in the archive, and why.
    pub omitted: Vec<Omission>,
    /// Warnings of pg_dump and pg_dumpall.
    pub warnings: Vec<String>,
    /// How much is only in the details, which are encrypted; none if nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concealed: Option<Concealed>,
}

/// The server that was backed up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Server {
    /// `server_version`.
    pub version: String,
    /// `server_version_num`.
    pub version_num: u32,
    /// Name of the bootstrap superuser, the role with OID 10.
    pub bootstrap_role: String,
    /// Whether it was a standby.
    pub standby: bool,
    /// Identity of the server.
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub identity: Identity,
    /// What it preloads. Backups of version 0.1.0 do not tell.
    #[serde(default, skip_serializing_if = "Preloaded::is_unknown")]
    pub preloaded: Preloaded,
}

/// Compression of a backup's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compression {
    /// Method.
    pub method: Method,
    /// Level, where the method has levels.
    pub level: Option<i32>,
}

/// Encryption of a backup's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Encryption {
    /// Always `age`.
    pub method: String,
    /// The recipients' public keys.
    pub recipients: Vec<String>,
}

impl Encryption {
    /// The recipients, for messages. They are unknown if another tool encrypted the archive.
    pub fn whom(&self) -> String {
        match self.recipients.as_slice() {
            [] => "keys that are not known".to_owned(),
            recipients => recipients.join(", "),
        }
    }
}

/// What a file of a backup is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileRole {
    /// The output of pg_dump, or a file of a directory archive.
    Archive,
    /// Roles and tablespaces.
    Globals,
    /// Fingerprints of the rows in the archive ([`Fingerprints`](crate::fingerprint::Fingerprints)).
    Fingerprints,
    /// What is left out of the manifest of an encrypted backup ([`Details`](crate::catalogue::details::Details)).
    Details,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its role.
    pub role: FileRole,
    /// Key in the store.
    pub key: String,
    /// Size in the store, in bytes.
    pub stored_bytes: u64,
    /// SHA-256 of the bytes in the store, hexadecimal.
    pub stored_sha256: String,
    /// Size before pgcellar's compression and encryption, in bytes.
    pub plain_bytes: u64,
    /// SHA-256 of the bytes before pgcellar's compression and encryption, hexadecimal.
    pub plain_sha256: String,
}

impl StoredFile {
    /// A file with these digests before (`plain`) and after compression and encryption.
    pub fn new(role: FileRole, key: String, plain: &Digest, stored: &Digest) -> Self {
        StoredFile {
            role,
            key,
            stored_bytes: stored.bytes,
            stored_sha256: stored.hex(),
            plain_bytes: plain.bytes,
            plain_sha256: plain.hex(),
        }
    }
}

/// Contents of an archive.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// Tables whose rows are in the archive.
    pub tables: u64,
    /// Rows of all these tables; none if they were not counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Large objects in the snapshot.
    pub large_objects: u64,
    /// Extensions of the database.
    pub extensions: Vec<Extension>,
    /// `pg_database_size()` in bytes.
    pub database_bytes: u64,
}

impl ObjectCounts {
    /// `1 table`, `12 tables`.
    pub fn tables_in_words(&self) -> String {
        tables_in_words(self.tables)
    }
}

/// `1 table`, `12 tables`.
pub fn tables_in_words(tables: u64) -> String {
    format!("{tables} table{}", if tables == 1 { "" } else { "s" })
}

/// An extension of the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Extension {
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Schema.
    pub schema: String,
}

/// The kind of an [`Omission`]: rows that `CREATE EXTENSION` inserts, of a table whose other rows are in the archive.
pub const EXTENSION_ROWS: &str = "extension rows";

/// Something that is not in the archive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Omission {
    /// `table data`, `subscription`, `user mapping`, `large objects` …
    pub kind: String,
    /// Its name, quoted as in SQL.
    pub name: String,
    /// Why it is not in the archive.
    pub reason: String,
    /// Whether it is the rows of a table that was truncated, rewritten or replaced when the dump began. The table itself is in
    /// the archive. A backup with such a table is partial.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rewritten: bool,
}

impl Omission {
    /// Whether creating the extension restores it, unless it was changed. It is listed, and causes no warning.
    pub fn is_made_by_extension(&self) -> bool {
        self.kind == EXTENSION_ROWS
    }
}

/// The number of things that are only in the details, for readers who cannot decrypt them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concealed {
    /// Extensions of the database.
    pub extensions: u64,
    /// Things that are not in the archive, except rows that an extension inserts.
    pub omitted: u64,
    /// Of these, tables whose rows are missing because they were rewritten when the dump began.
    pub rewritten: u64,
    /// Warnings that are not in the manifest.
    pub warnings: u64,
}

impl Concealed {
    /// A description of what cannot be read without a private key.
    pub fn words(&self) -> String {
        let number = |number: u64, one: &str, more: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            number => Some(format!("{number} {more}")),
        };
        let parts = [
            number(self.warnings, "warning of pg_dump", "warnings of pg_dump"),
            number(self.omitted, "thing that is not in the archive", "things that are not in the archive"),
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" and ")
    }
}

/// The version, which decides whether the rest can be read.
#[derive(Deserialize)]
struct Header {
    manifest_version: u32,
}

impl Manifest {
    /// Key of the manifest of the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{MANIFEST}")
    }

    /// Reads a manifest, and checks its version, that its id is that of its name, and that its files belong to the backup.
    ///
    /// # Errors
    /// `Data` for a manifest that cannot be used.
    pub fn parse(key: &str, bytes: &[u8]) -> Result<Self> {
        let bad = |why: String| Error::new(Kind::Data, format!("the manifest {key} cannot be used: {why}"));
        let header: Header =
            document::parse(bytes).map_err(|error| bad(format!("it is not JSON as pgcellar writes it: {error}")))?;
        if header.manifest_version > ENCRYPTED_VERSION {
            let why = format!(
                "it has version {}, and this pgcellar knows versions up to {ENCRYPTED_VERSION}",
                header.manifest_version
            );
            return Err(bad(why).hint("use the pgcellar that made the backup, or a newer one"));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        if Manifest::key(&manifest.id) != key {
            return Err(bad(format!("it is the manifest of {}", manifest.id)));
        }
        match manifest.files.iter().find(|file| !manifest.owns(&file.key)) {
            Some(file) => Err(bad(format!("it names the file '{}', which does not belong to its backup", file.key))),
            None if manifest.files.is_empty() => Err(bad("it names no file".to_owned())),
            None => match manifest.named_twice() {
                Some(key) => Err(bad(format!("it names the file '{key}' twice"))),
                None => Ok(manifest),
            },
        }
    }

    fn named_twice(&self) -> Option<&str> {
        let mut keys = HashSet::new();
        self.files.iter().map(|file| file.key.as_str()).find(|key| !keys.insert(*key))
    }

    /// Whether a key can belong to this backup: `ID.…`, or `ID/…` with no further folder.
    pub fn owns(&self, key: &str) -> bool {
        let Some(rest) = key.strip_prefix(&self.id) else { return false };
        let name = rest.strip_prefix('/').unwrap_or(rest);
        let beside = rest.starts_with('.') || rest.starts_with('/');
        let plain = !name.is_empty() && !name.contains(['/', '\0']) && name != ".." && name != ".";
        // `a_20231231_020000.b_20240101_020000.dump` belongs to the database `a_20231231_020000.b`, not to the first id.
        let anothers = name::leading_id(name.trim_start_matches('.')).is_some();
        beside && plain && !anothers && !rest.ends_with(MANIFEST) && !RECORDS.contains(&rest)
    }

    /// The document as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        document::to_json(self)
    }

    /// Files with this role.
    pub fn files(&self, role: FileRole) -> impl Iterator<Item = &StoredFile> {
        self.files.iter().filter(move |file| file.role == role)
    }

    /// Tables whose rows are missing in the archive because they were rewritten when the dump began, quoted as in SQL.
    pub fn rewritten(&self) -> impl Iterator<Item = &str> {
        self.omitted.iter().filter(|omission| omission.rewritten).map(|omission| omission.name.as_str())
    }

    /// The number of these tables, which is known even if their names are encrypted.
    pub fn rewritten_tables(&self) -> u64 {
        self.concealed.map_or_else(|| self.rewritten().count() as u64, |concealed| concealed.rewritten)
    }

    /// A description of what is missing in a partial backup; none for a complete one.
    pub fn lacking(&self) -> Option<String> {
        if !self.partial {
            return None;
        }
        if let Some(concealed) = self.concealed.filter(|concealed| concealed.rewritten > 0) {
            let tables = tables_in_words(concealed.rewritten);
            return Some(format!("it lacks the rows of {tables}, rewritten when the dump began"));
        }
        let first: Vec<&str> = self.rewritten().take(REWRITTEN_NAMED).collect();
        let more = match self.rewritten().count().saturating_sub(first.len()) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Some(match first.is_empty() {
            true => "options left data out".to_owned(),
            false => {
                format!("it lacks the rows of {}{more}, rewritten when the dump began", first.join(", "))
            }
        })
    }

    /// Size of all files in the store, in bytes.
    pub fn stored_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.stored_bytes))
    }

    /// The compression that pgcellar applied to this file: none for the files of a directory archive, which pg_dump compresses.
    pub fn method(&self, file: &StoredFile) -> Method {
        match (self.format, file.role) {
            (Format::Directory, FileRole::Archive) => Method::None,
            _ => self.compression.method,
        }
    }
}

#[cfg(test)]
mod tests;

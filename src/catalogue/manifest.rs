//! The manifest: what a backup is, in JSON beside its files. `doc/manifest.md` describes each field.

use std::collections::HashSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::details::Concealed;
use crate::catalogue::name;
use crate::catalogue::records::drill::DRILL;
use crate::config::Format;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::pipeline::compress::Method;
use crate::pipeline::digest::Digest;

mod properties;

pub use properties::{DatabaseProperties, ParameterSetting, SecurityLabel};

/// Version of the manifest of a backup that is not encrypted.
pub const VERSION: u32 = 1;

/// Version of the manifest whose details are encrypted: who does not know of these would restore without owner, privileges
/// and settings. A reader refuses newer ones.
pub const ENCRYPTED_VERSION: u32 = 2;

/// What follows a backup's id in the name of its manifest.
pub const MANIFEST: &str = ".manifest.json";

/// What follows a backup's id in the name of its last verify's result.
pub const VERIFY: &str = ".verify.json";

/// What follows a backup's id in the name of what pins it.
pub const PIN: &str = ".pin.json";

/// How many rewritten tables are named in words.
const REWRITTEN_NAMED: usize = 3;

/// Everything that is known of one backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this document.
    pub manifest_version: u32,
    /// `DB_YYYYMMDD_HHMMSS`.
    pub id: String,
    /// The database's name, as the server has it.
    pub database: String,
    /// OID of the database, which is another one when a database of that name was dropped and made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_oid: Option<u32>,
    /// Configuration that made the backup, or adopted it.
    pub instance: String,
    /// Host that made the backup, or adopted it.
    pub host: String,
    /// When the backup began, UTC. Its data are those of the snapshot that was taken then.
    pub started: Timestamp,
    /// When its archive and globals were whole, UTC.
    pub ended: Timestamp,
    /// Version of the pgcellar that wrote this.
    pub pgcellar: String,
    /// When the archive of another tool was given this manifest, UTC; none if pgcellar made the backup.
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
    /// The files of the backup: the archive first, then the globals, the fingerprints and the details.
    pub files: Vec<StoredFile>,
    /// What the archive has.
    pub contents: ObjectCounts,
    /// What belongs to the database and is in no archive.
    pub properties: DatabaseProperties,
    /// Whether the globals have the roles' passwords.
    pub role_passwords: bool,
    /// What the archive does not have, and why.
    pub omitted: Vec<Omission>,
    /// What pg_dump and pg_dumpall warned of.
    pub warnings: Vec<String>,
    /// What of all this only the details have, which are encrypted; none if this is all.
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
    /// Name of the role with OID 10, which initdb made.
    pub bootstrap_role: String,
    /// Whether it was a standby.
    pub standby: bool,
    /// What is the same only if the server is the same.
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub identity: Identity,
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
    /// Public keys of those who can decrypt.
    pub recipients: Vec<String>,
}

impl Encryption {
    /// Who can decrypt, for messages. Nobody knows for whom another tool encrypted.
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
    /// What pg_dump wrote, or one of the files of a directory archive.
    Archive,
    /// Roles and tablespaces.
    Globals,
    /// What the rows of the archive are ([`Fingerprints`](crate::fingerprint::Fingerprints)).
    Fingerprints,
    /// What the manifest of an encrypted backup does not say ([`Details`](crate::catalogue::details::Details)).
    Details,
}

/// One file of a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredFile {
    /// What it is.
    pub role: FileRole,
    /// Key in the store.
    pub key: String,
    /// Size in the store, in bytes.
    pub stored_bytes: u64,
    /// SHA-256 of the bytes in the store, hexadecimal.
    pub stored_sha256: String,
    /// Size before our compression and encryption, in bytes.
    pub plain_bytes: u64,
    /// SHA-256 of the bytes before our compression and encryption, hexadecimal.
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

/// What an archive has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ObjectCounts {
    /// Tables whose rows are in the archive.
    pub tables: u64,
    /// Rows of all these tables; none where they were not counted.
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

/// The kind of an [`Omission`]: rows of a table that has others in the archive, and that its extension makes again.
pub const EXTENSION_ROWS: &str = "extension rows";

/// Something that the archive does not have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Omission {
    /// `table data`, `subscription`, `user mapping`, `large objects` …
    pub kind: String,
    /// What it is called, quoted as in SQL.
    pub name: String,
    /// Why it is not in the archive.
    pub reason: String,
    /// Whether it is the rows of a table that was truncated, rewritten or replaced when the dump began. The archive has the
    /// table, and a backup with such a table is partial.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub rewritten: bool,
}

impl Omission {
    /// Whether a new database has it nevertheless, as long as it was not changed: such a thing is told, and is no reason to
    /// warn of every backup.
    pub fn is_made_by_extension(&self) -> bool {
        self.kind == EXTENSION_ROWS
    }
}

/// The result of the last verify, in `ID.verify.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Id of the backup.
    pub id: String,
    /// When it ended, UTC.
    pub at: Timestamp,
    /// Whether every check that could be made passed.
    pub passed: bool,
    /// `full`, or `stored` where only the stored bytes could be read.
    pub depth: Depth,
    /// What is damaged; empty if it passed.
    pub damage: Vec<String>,
}

/// How far a verify went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Stored bytes, plain bytes and the archive's structure.
    Full,
    /// Stored bytes only, for want of the private key.
    Stored,
}

/// What keeps a backup until it is unpinned, in `ID.pin.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Id of the backup.
    pub id: String,
    /// When it was pinned, UTC.
    pub at: Timestamp,
    /// Why, in the words of whoever pinned it.
    pub reason: Option<String>,
}

/// Only the fields that say whether the rest can be read.
#[derive(Deserialize)]
struct Header {
    manifest_version: u32,
}

impl Manifest {
    /// Key of the manifest of the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{MANIFEST}")
    }

    /// Reads a manifest and checks that it is one that can be trusted: its version is known, its id is that of its own
    /// name, and its files lie beside it.
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
            Some(file) => Err(bad(format!("it names the file '{}', which is none of its backup's", file.key))),
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
        // `a_20231231_020000.b_20240101_020000.dump` belongs to a database with a strange name, not to the first id.
        let anothers = name::leading_id(name.trim_start_matches('.')).is_some();
        beside && plain && !anothers && !rest.ends_with(MANIFEST) && ![VERIFY, PIN, DRILL].contains(&rest)
    }

    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        to_json(self)
    }

    /// Files with this role.
    pub fn files(&self, role: FileRole) -> impl Iterator<Item = &StoredFile> {
        self.files.iter().filter(move |file| file.role == role)
    }

    /// Tables whose rows the archive lacks because they were rewritten when the dump began, quoted as in SQL.
    pub fn rewritten(&self) -> impl Iterator<Item = &str> {
        self.omitted.iter().filter(|omission| omission.rewritten).map(|omission| omission.name.as_str())
    }

    /// How many tables these are, which is known also where their names are not.
    pub fn rewritten_tables(&self) -> u64 {
        self.concealed.map_or_else(|| self.rewritten().count() as u64, |concealed| concealed.rewritten)
    }

    /// What a partial backup lacks, in words; none for a whole one.
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

    /// The compression that pgcellar itself put on this file: none for the files of a directory archive, which pg_dump
    /// compresses.
    pub fn method(&self, file: &StoredFile) -> Method {
        match (self.format, file.role) {
            (Format::Directory, FileRole::Archive) => Method::None,
            _ => self.compression.method,
        }
    }
}

impl Verification {
    /// Key of the result for the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{VERIFY}")
    }

    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        to_json(self)
    }
}

impl Pin {
    /// Key of what pins the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{PIN}")
    }

    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        to_json(self)
    }
}

/// A document as it is stored.
pub fn to_json(document: &impl Serialize) -> Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(document)
        .map_err(|error| Error::new(Kind::Internal, format!("cannot write a document as JSON: {error}")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests;

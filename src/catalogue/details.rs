//! The details of an encrypted backup: the parts of the manifest that come from the server and the user, and that others with
//! access to the backup's files must not read. They are a file of the backup, encrypted as its archive is, and are left out of
//! the manifest. `doc/manifest.md` describes each field.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::{
    Concealed, DatabaseProperties, ENCRYPTED_VERSION, Extension, FileRole, Manifest, Omission, Preloaded, StoredFile,
};
use crate::document;

/// Version of the details that this pgcellar writes. Newer ones are refused.
pub const VERSION: u32 = 1;

/// What follows a backup's id in the name of its details, before the endings of compression and encryption.
pub const DETAILS: &str = ".details.json";

/// The settings that name a private key, for messages.
pub const WHERE_KEYS_ARE: &str = "BACKUP_AGE_IDENTITY_FILE, or the credential age-identity";

/// The details, in `ID.details.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Version of this document.
    pub details_version: u32,
    /// Name of the bootstrap superuser, the role with OID 10.
    pub bootstrap_role: String,
    /// What the server preloads.
    #[serde(default, skip_serializing_if = "Preloaded::is_unknown")]
    pub preloaded: Preloaded,
    /// Options of pg_dump that the user passed.
    pub dump_options: Vec<String>,
    /// Extensions of the database.
    pub extensions: Vec<Extension>,
    /// Properties of the database that are in no archive.
    pub properties: DatabaseProperties,
    /// What is not in the archive, and why.
    pub omitted: Vec<Omission>,
    /// Warnings of pg_dump and pg_dumpall.
    pub warnings: Vec<String>,
}

#[derive(Deserialize)]
struct Header {
    details_version: u32,
}

impl Details {
    /// The details of a complete manifest.
    pub fn of(manifest: &Manifest) -> Self {
        Details {
            details_version: VERSION,
            bootstrap_role: manifest.server.bootstrap_role.clone(),
            preloaded: manifest.server.preloaded.clone(),
            dump_options: manifest.dump_options.clone(),
            extensions: manifest.contents.extensions.clone(),
            properties: manifest.properties.clone(),
            omitted: manifest.omitted.clone(),
            warnings: manifest.warnings.clone(),
        }
    }

    /// Writes the document as it is stored, before compression and encryption.
    pub fn to_json(&self, to: impl Write) -> io::Result<()> {
        document::write(to, self)
    }

    /// Reads a document.
    ///
    /// # Errors
    /// `InvalidData` for a malformed document, or one of a newer pgcellar; those of the reader.
    pub fn from_json(from: impl Read) -> io::Result<Self> {
        document::read(from, "details", VERSION, |header: &Header| header.details_version)
    }
}

impl Manifest {
    /// Removes what is in the details. What is left are the names of the database and of the instance, sizes, numbers,
    /// versions, the encoding and the locale, options of pg_dump without names, and pgcellar's own warnings, `own_words`.
    pub fn conceal(&mut self, own_words: Vec<String>) {
        let omitted = self.omitted.iter().filter(|omission| !omission.is_made_by_extension());
        self.concealed = Some(Concealed {
            extensions: self.contents.extensions.len() as u64,
            omitted: omitted.count() as u64,
            rewritten: self.rewritten().count() as u64,
            warnings: self.warnings.len().saturating_sub(own_words.len()) as u64,
        });
        self.manifest_version = ENCRYPTED_VERSION;
        self.server.bootstrap_role.clear();
        self.server.preloaded = Preloaded::default();
        self.dump_options.retain(|option| !option.contains('=') || option.starts_with("--section="));
        self.contents.extensions.clear();
        let properties = std::mem::replace(&mut self.properties, DatabaseProperties::unknown());
        self.properties.encoding = properties.encoding;
        self.properties.locale_provider = properties.locale_provider;
        self.properties.collate = properties.collate;
        self.properties.ctype = properties.ctype;
        self.properties.locale = properties.locale;
        self.omitted.clear();
        self.warnings = own_words;
    }

    /// Adds the details again.
    pub fn reveal(&mut self, details: Details) {
        let Details {
            details_version: _,
            bootstrap_role,
            preloaded,
            dump_options,
            extensions,
            properties,
            omitted,
            warnings,
        } = details;
        self.concealed = None;
        self.server.bootstrap_role = bootstrap_role;
        self.server.preloaded = preloaded;
        self.dump_options = dump_options;
        self.contents.extensions = extensions;
        self.properties = properties;
        self.omitted = omitted;
        self.warnings = warnings;
    }

    /// The file with the details, if there is one.
    pub fn details(&self) -> Option<&StoredFile> {
        self.files(FileRole::Details).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str = include_str!("../../tests/golden/manifest.json");
    const CONCEALED: &str = include_str!("../../tests/golden/encrypted.json");
    const DOCUMENT: &str = include_str!("../../tests/golden/details.json");

    #[test]
    fn details_are_removed_and_added_again() {
        let whole: Manifest = serde_json::from_str(PLAIN).unwrap();
        let mut manifest = whole.clone();
        let details = Details::of(&manifest);
        manifest.conceal(Vec::new());
        assert_eq!(String::from_utf8(manifest.to_json().unwrap()).unwrap(), CONCEALED);
        let mut stored = Vec::new();
        details.to_json(&mut stored).unwrap();
        assert_eq!(String::from_utf8(stored).unwrap(), DOCUMENT);
        let concealed = manifest.concealed.unwrap();
        assert_eq!(concealed, Concealed { extensions: 1, omitted: 2, rewritten: 1, warnings: 1 });
        assert_eq!(concealed.words(), "1 warning of pg_dump and 2 things that are not in the archive");
        assert_eq!(manifest.lacking().unwrap(), "it lacks the rows of 1 table, rewritten when the dump began");

        manifest.reveal(Details::from_json(DOCUMENT.as_bytes()).unwrap());
        assert_eq!(manifest, Manifest { manifest_version: ENCRYPTED_VERSION, ..whole });
    }

    /// No text of the sample that is secret is left in the concealed manifest.
    #[test]
    fn a_concealed_manifest_has_no_secrets() {
        for secret in [
            "\"--exclude-table-data=log\"",
            "pg_trgm",
            "pg_cron",
            "\"postgres\"",
            "\"shop\"",
            "&a < g",
            "pg_default",
            "shop=CTc/shop",
            "what is sold",
            "unclassified",
            "search_path",
            "Europe/Berlin",
            "public.",
            "circular",
        ] {
            assert!(PLAIN.contains(secret), "{secret}");
            assert!(!CONCEALED.contains(secret), "{secret}");
        }
    }

    #[test]
    fn options_that_affect_a_restore_are_kept() {
        let mut manifest: Manifest = serde_json::from_str(PLAIN).unwrap();
        manifest.dump_options = ["--schema-only", "--table=secret", "--section=data"].map(str::to_owned).into();
        manifest.conceal(Vec::new());
        assert_eq!(manifest.dump_options, ["--schema-only", "--section=data"]);
    }

    #[test]
    fn newer_details_are_refused() {
        let error = Details::from_json(&br#"{"details_version": 2, "surprise": []}"#[..]).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }
}

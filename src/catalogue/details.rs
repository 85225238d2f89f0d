//! The details of an encrypted backup: what the server and the user told of the database, and no stranger with the backup's
//! files is to read. They are a file of the backup, encrypted as its archive is; what the manifest would say of them is empty
//! then. `doc/manifest.md` describes each field.

use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::catalogue::manifest::{
    DatabaseProperties, ENCRYPTED_VERSION, Extension, FileRole, Manifest, Omission, StoredFile,
};
use crate::document::versioned;

/// Version of the details that this pgcellar writes. A reader refuses newer ones.
pub const VERSION: u32 = 1;

/// What follows a backup's id in the name of its details, before what compression and encryption add.
pub const DETAILS: &str = ".details.json";

/// What gives pgcellar a private key, for messages.
pub const WHERE_KEYS_ARE: &str = "BACKUP_AGE_IDENTITY_FILE, or the credential age-identity";

/// What an encrypted backup says of its database to those who can decrypt it, in `ID.details.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Details {
    /// Version of this document.
    pub details_version: u32,
    /// Name of the role with OID 10, which initdb made.
    pub bootstrap_role: String,
    /// Options of pg_dump that the user passed.
    pub dump_options: Vec<String>,
    /// Extensions of the database.
    pub extensions: Vec<Extension>,
    /// What belongs to the database and is in no archive.
    pub properties: DatabaseProperties,
    /// What the archive does not have, and why.
    pub omitted: Vec<Omission>,
    /// What pg_dump and pg_dumpall warned of.
    pub warnings: Vec<String>,
}

/// How much the details have, for those who cannot decrypt them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Concealed {
    /// Extensions of the database.
    pub extensions: u64,
    /// What the archive does not have, but for rows that an extension makes again.
    pub omitted: u64,
    /// Tables of these whose rows are missing because they were rewritten when the dump began.
    pub rewritten: u64,
    /// Warnings that are not in the manifest.
    pub warnings: u64,
}

impl Concealed {
    /// What it is that only a private key shows, in words.
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

#[derive(Deserialize)]
struct Header {
    details_version: u32,
}

impl Details {
    /// What this manifest says of the database.
    pub fn of(manifest: &Manifest) -> Self {
        Details {
            details_version: VERSION,
            bootstrap_role: manifest.server.bootstrap_role.clone(),
            dump_options: manifest.dump_options.clone(),
            extensions: manifest.contents.extensions.clone(),
            properties: manifest.properties.clone(),
            omitted: manifest.omitted.clone(),
            warnings: manifest.warnings.clone(),
        }
    }

    /// The document, as it is stored before compression and encryption.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn to_json(&self, to: impl Write) -> io::Result<()> {
        versioned::write(to, self)
    }

    /// Reads a document to its end.
    ///
    /// # Errors
    /// `InvalidData` for what is no such document, or is of a newer pgcellar; those of the reader.
    pub fn from_json(from: impl Read) -> io::Result<Self> {
        versioned::read(from, "details", VERSION, |header: &Header| header.details_version)
    }
}

impl Manifest {
    /// Takes out what the server and the user told. What stays are the names of the database and of the configuration, sizes,
    /// numbers, versions, the encoding and the locale, and options of pg_dump that name nothing. Of the warnings those stay
    /// that are pgcellar's own words.
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
        self.dump_options.retain(|option| !option.contains('=') || option.starts_with("--section="));
        self.contents.extensions.clear();
        let known = std::mem::replace(&mut self.properties, DatabaseProperties::unknown());
        self.properties.encoding = known.encoding;
        self.properties.locale_provider = known.locale_provider;
        self.properties.collate = known.collate;
        self.properties.ctype = known.ctype;
        self.properties.locale = known.locale;
        self.omitted.clear();
        self.warnings = own_words;
    }

    /// Puts back what was taken out.
    pub fn reveal(&mut self, details: Details) {
        let Details { details_version: _, bootstrap_role, dump_options, extensions, properties, omitted, warnings } =
            details;
        self.concealed = None;
        self.server.bootstrap_role = bootstrap_role;
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
    fn what_is_taken_out_comes_back() {
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

    /// Each text of the sample that a stranger is not to read stands in it once more than in what is left.
    #[test]
    fn a_stranger_reads_nothing_of_the_server() {
        for told in [
            "\"--exclude-table-data=log\"",
            "pg_trgm",
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
            assert!(PLAIN.contains(told), "{told}");
            assert!(!CONCEALED.contains(told), "{told}");
        }
    }

    #[test]
    fn options_that_decide_over_a_restore_stay() {
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

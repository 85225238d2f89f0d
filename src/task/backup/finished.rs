//! A backup that is stored and has no name yet.

use jiff::Timestamp;

use crate::catalogue::manifest::{
    Compression, Encryption, Manifest, ObjectCounts, Omission, Server, StoredFile, VERSION,
};
use crate::identity::Identity;
use crate::postgres::dump::Dumped;
use crate::postgres::facts::DatabaseFacts;
use crate::store::Upload;
use crate::store::local::LocalFolder;
use crate::task::backup::BackupRun;

/// A backup that waits for its name.
pub struct FinishedBackup {
    /// Id.
    pub id: String,
    /// Database.
    pub database: String,
    /// When the snapshot was taken.
    pub started: Timestamp,
    /// The server.
    pub identity: Identity,
    /// The archive.
    pub archive: DurableArchive,
    /// The files beside the archive, in the order of `files`.
    pub beside: Vec<Box<dyn Upload>>,
    /// All files, the archive's first.
    pub files: Vec<StoredFile>,
    /// Rows of all tables in the archive, where they were counted.
    pub rows: Option<u64>,
    /// What the archive has.
    pub dumped: Dumped,
    /// What the snapshot told.
    pub facts: DatabaseFacts,
    /// What the archive does not have.
    pub omitted: Vec<Omission>,
    /// What pg_dump and pg_dumpall warned of, and what is to be said of the backup besides.
    pub warnings: Vec<String>,
    /// Those of the warnings that are pgcellar's own words, and name nothing of the database.
    pub own_words: Vec<String>,
    /// Version of pg_dump.
    pub pg_dump: String,
}

/// An archive that is durable under its temporary name.
pub enum DurableArchive {
    /// One file.
    File(Box<dyn Upload>),
    /// A folder.
    Folder(LocalFolder),
}

impl FinishedBackup {
    /// The manifest, which says of an encrypted backup what everybody may read.
    pub fn manifest(&self, run: &BackupRun<'_>) -> Manifest {
        let mut manifest = self.whole_manifest(run);
        if manifest.encryption.is_some() {
            manifest.conceal(self.own_words.clone());
        }
        manifest
    }

    /// The manifest with all that is known.
    pub fn whole_manifest(&self, run: &BackupRun<'_>) -> Manifest {
        let settings = &run.settings;
        let facts = &self.facts;
        Manifest {
            manifest_version: VERSION,
            id: self.id.clone(),
            database: self.database.clone(),
            database_oid: Some(facts.database_oid),
            instance: run.place.instance.clone(),
            host: run.place.host.clone(),
            started: self.started,
            ended: crate::task::backup::now(),
            pgcellar: env!("CARGO_PKG_VERSION").to_owned(),
            adopted: None,
            server: Server { identity: self.identity.clone(), ..facts.server.clone() },
            pg_dump: self.pg_dump.clone(),
            format: settings.format,
            compression: Compression {
                method: settings.compression,
                level: settings.compression.level(settings.level).ok().filter(|_| settings.compression.suffix() != ""),
            },
            encryption: settings
                .recipients
                .as_ref()
                .map(|recipients| Encryption { method: "age".to_owned(), recipients: recipients.names() }),
            partial: settings.options.partial || self.omitted.iter().any(|omission| omission.rewritten),
            dump_options: settings.options.arguments.clone(),
            files: self.files.clone(),
            contents: ObjectCounts {
                tables: self.dumped.tables(),
                rows: self.rows,
                large_objects: self.dumped.large_objects,
                extensions: facts.extensions.clone(),
                database_bytes: facts.bytes,
            },
            properties: facts.properties.clone(),
            role_passwords: facts.reads_passwords,
            omitted: self.omitted.clone(),
            warnings: self.warnings.clone(),
            concealed: None,
        }
    }
}

//! A backup that is stored and durable, and still has temporary names.

use jiff::Timestamp;

use crate::catalogue::manifest::{
    Compression, Encryption, FileRole, Manifest, ObjectCounts, Omission, Server, StoredFile, VERSION,
};
use crate::identity::Identity;
use crate::pipeline::Finished;
use crate::postgres::dump::Dumped;
use crate::postgres::facts::DatabaseFacts;
use crate::store::Upload;
use crate::store::local::LocalFolder;
use crate::task::backup::run::BackupRun;

/// A file that is durable under its temporary name.
pub struct UnnamedFile {
    /// Gives it its name.
    pub upload: Box<dyn Upload>,
    /// What the manifest says of it.
    pub file: StoredFile,
}

impl UnnamedFile {
    /// A file whose bytes have passed through a sink.
    pub fn new(role: FileRole, key: String, finished: Finished<Box<dyn Upload>>) -> Self {
        let Finished { inner: upload, plain, stored } = finished;
        let file = StoredFile::new(role, key, &plain, &stored);
        UnnamedFile { upload, file }
    }
}

/// A backup under temporary names.
pub struct FinishedBackup {
    /// Id.
    pub id: String,
    /// Database.
    pub database: String,
    /// When the snapshot was taken.
    pub started: Timestamp,
    /// The server.
    pub identity: Identity,
    /// The folder of a directory archive.
    pub folder: Option<LocalFolder>,
    /// The uploads of all files that are not in the folder, in the order of `files`.
    pub uploads: Vec<Box<dyn Upload>>,
    /// All files, the archive's first.
    pub files: Vec<StoredFile>,
    /// Rows of all tables in the archive, where they were counted.
    pub rows: Option<u64>,
    /// Contents of the archive.
    pub dumped: Dumped,
    /// The database, as the snapshot shows it.
    pub facts: DatabaseFacts,
    /// What is not in the archive.
    pub omitted: Vec<Omission>,
    /// Warnings of pg_dump and pg_dumpall, and pgcellar's own.
    pub warnings: Vec<String>,
    /// The warnings of pgcellar's own, which name nothing of the database.
    pub own_words: Vec<String>,
    /// Version of pg_dump.
    pub pg_dump: String,
    /// Number of sessions that read rows in parallel.
    pub sessions: Option<usize>,
}

impl FinishedBackup {
    /// Adds a file beside the archive.
    pub fn add(&mut self, UnnamedFile { upload, file }: UnnamedFile) {
        self.uploads.push(upload);
        self.files.push(file);
    }

    /// The manifest; that of an encrypted backup has no names and texts of the database.
    pub fn manifest(&self, run: &BackupRun<'_>) -> Manifest {
        let mut manifest = self.whole_manifest(run);
        if manifest.encryption.is_some() {
            manifest.conceal(self.own_words.clone());
        }
        manifest
    }

    /// The manifest with everything.
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
            ended: Timestamp::now(),
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
            jobs: self.sessions.map(|sessions| sessions as u64),
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

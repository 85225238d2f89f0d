//! A run of `pgcellar backup`: what each of its steps works with.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::blocking;
use crate::catalogue::details::DETAILS;
use crate::catalogue::manifest::FileRole;
use crate::cli::BackupArgs;
use crate::config::{BackupSettings, Connection, Format, Place, RetentionSettings};
use crate::error::{Error, Kind, Result};
use crate::fingerprint::FINGERPRINTS;
use crate::host::lock::Lock;
use crate::host::staging::must_be_in_memory;
use crate::postgres::dump::stream::Recipe;
use crate::stop::Stop;
use crate::store::local::LocalStore;
use crate::store::{ObjectKind, Store, Stores, Upload};

/// The time a stopped run waits for a bucket.
pub const PROMPT: Duration = Duration::from_secs(3);

/// The most bytes in flight to a bucket, and the lowest rate that is expected, in bytes per second.
const IN_FLIGHT: u64 = 64 << 20;
const LOWEST_RATE: u64 = 64 << 10;

/// A run of `pgcellar backup`: its settings, its stores, and what it has learned of the server and the bucket.
pub struct BackupRun<'a> {
    /// The settings.
    pub settings: BackupSettings,
    /// How the server is reached.
    pub connection: Connection,
    /// The instance and its stores.
    pub place: Place,
    /// The directory, unless backups go straight to the bucket.
    pub local: Option<LocalStore>,
    /// The bucket, if there is one.
    pub bucket: Option<Arc<dyn Store>>,
    /// Id of the directory, once the lock is held.
    pub directory_id: OnceLock<String>,
    /// The rules of retention; none if its settings are wrong.
    pub retention: Option<RetentionSettings>,
    /// Where backups are made: the directory, or else the bucket.
    pub store: Arc<dyn Store>,
    /// Whether a session could be opened: a later connection failure may be temporary.
    pub reached: AtomicBool,
    /// Whether the bucket did not answer: names are then neither announced there nor withdrawn.
    pub bucket_fails: AtomicBool,
    /// When to stop.
    pub stop: &'a Stop,
}

impl<'a> BackupRun<'a> {
    /// Checks the settings; the server and the bucket are not connected to. If the client of the bucket cannot be made, such as
    /// because a file is missing, the run still backs up into the directory; the error is returned beside it.
    ///
    /// # Errors
    /// `Config` for settings that exclude each other.
    pub async fn open(args: &BackupArgs, stop: &'a Stop) -> Result<(Self, Option<Error>)> {
        let settings = BackupSettings::new(args)?;
        no_plain_bytes_on_disk(&settings)?;
        let place = Place::new(&args.place)?;
        if settings.format == Format::Directory && place.directory.is_none() {
            return Err(Error::new(Kind::Config, "BACKUP_FORMAT=directory cannot be used with an empty BACKUP_DIR").hint(
                "pg_dump writes a directory's files itself: set BACKUP_DIR to a folder, or choose the custom format",
            ));
        }
        let connection = Connection::new(&args.connection)?;
        let (stores, unopened) = match (Stores::open_to_write(&place).await, &place.directory) {
            (Err(error), Some(directory)) => {
                (Stores { local: Some(LocalStore::of_backups(directory, false)), s3: None }, Some(error))
            }
            (stores, _) => (stores?, None),
        };
        let store = stores.all().into_iter().next();
        let run = BackupRun {
            settings,
            connection,
            store: store.ok_or_else(|| Error::new(Kind::Config, "there is neither a BACKUP_DIR nor a bucket"))?,
            local: stores.local,
            retention: RetentionSettings::new(&args.rules).inspect_err(|error| log::warn!("{error}")).ok(),
            bucket: stores.s3.map(|bucket| bucket as Arc<dyn Store>),
            directory_id: OnceLock::new(),
            reached: AtomicBool::new(false),
            bucket_fails: AtomicBool::new(false),
            place,
            stop,
        };
        Ok((run, unopened))
    }
}

impl BackupRun<'_> {
    /// Takes the lock of the directory, or of the instance in its bucket.
    pub fn lock(&self) -> Result<Lock> {
        match &self.local {
            Some(local) => {
                local.prepare()?;
                Lock::take(local.directory(), "backup")
            }
            None => Lock::take_for_bucket(&self.place.instance, &self.store.location(), "backup"),
        }
    }

    /// The time the bytes in flight may take to reach the bucket before progress shows.
    pub fn pause(&self) -> Duration {
        let rate = self.place.s3.as_ref().and_then(|settings| settings.rate_limit).unwrap_or(LOWEST_RATE).max(1);
        Duration::from_secs(IN_FLIGHT.div_ceil(rate.min(LOWEST_RATE)))
    }

    /// Key of the archive; of a directory archive, its folder.
    pub fn archive_key(&self, id: &str) -> String {
        match self.settings.format {
            Format::Directory => id.to_owned(),
            format => self.key(id, format.extension()),
        }
    }

    /// Key of the globals.
    pub fn globals_key(&self, id: &str) -> String {
        self.key(id, ".globals.sql")
    }

    /// Keys of everything that a backup may have in a store, except the manifest.
    pub fn keys(&self, id: &str) -> [String; 4] {
        [self.archive_key(id), self.globals_key(id), self.key(id, FINGERPRINTS), self.key(id, DETAILS)]
    }

    /// Begins an upload of unknown size.
    pub async fn create(&self, key: &str, role: FileRole) -> Result<Box<dyn Upload>> {
        let (store, key) = (Arc::clone(&self.store), key.to_owned());
        blocking::run(self.stop, move || match role {
            FileRole::Archive => store.create(&key, None, ObjectKind::Archive),
            _ => store.create(&key, None, ObjectKind::Document),
        })
        .await
    }

    /// Key of a file that is compressed and encrypted as the settings say.
    pub fn key(&self, id: &str, extension: &str) -> String {
        let age = if self.settings.recipients.is_some() { ".age" } else { "" };
        format!("{id}{extension}{}{age}", self.settings.compression.suffix())
    }

    /// Compression and encryption of the files.
    pub fn recipe(&self) -> Recipe {
        let settings = &self.settings;
        Recipe { method: settings.compression, level: settings.level, recipients: settings.recipients.clone() }
    }
}

/// pg_dump writes a directory's files itself, and spools a tar's in /tmp (`src/bin/pg_dump/pg_backup_tar.c`, `tmpfile()`).
fn no_plain_bytes_on_disk(settings: &BackupSettings) -> Result<()> {
    match (&settings.recipients, settings.format) {
        (Some(_), Format::Directory) => must_be_in_memory(&settings.staging, "BACKUP_STAGING_DIR"),
        (Some(_), Format::Tar) => must_be_in_memory("/tmp".as_ref(), "BACKUP_FORMAT=custom"),
        _ => Ok(()),
    }
}

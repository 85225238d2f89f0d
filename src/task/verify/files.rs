//! All files of a backup, read and checked.

use std::collections::HashSet;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::details::Details;
use crate::catalogue::manifest::{FileRole, Manifest};
use crate::catalogue::records::Depth;
use crate::config::Format;
use crate::config::verify::VerifySettings;
use crate::error::{Error, Kind, Result};
use crate::fingerprint::Fingerprints;
use crate::host::progress::Progress;
use crate::pipeline::encrypt::Identities;
use crate::postgres::child::Child;
use crate::postgres::programs::Programs;
use crate::restore::read_back::FileReader;
use crate::stop::Stop;
use crate::store::Store;
use crate::task::verify::checks;

/// A run of `pgcellar verify`.
pub struct VerifyRun<'a> {
    /// Private keys, if there are any.
    pub identities: Option<Arc<Identities>>,
    /// Its settings.
    pub settings: &'a VerifySettings,
    /// When to stop.
    pub stop: &'a Stop,
}

/// The result of reading a backup's files.
pub struct FilesResult {
    /// How far the files could be checked.
    pub depth: Depth,
    /// What is damaged.
    pub damage: Vec<String>,
    /// What is unusual and no damage.
    pub notes: Vec<String>,
    /// Why a file could not be read: the backup is then damaged or unverified, and not good.
    pub error: Option<Error>,
}

/// Reads all files. A tar archive that can be decrypted also goes through pg_restore.
pub async fn verify_files(
    run: &VerifyRun<'_>,
    store: &Arc<dyn Store>,
    manifest: &Manifest,
    progress: &Progress,
) -> Result<FilesResult> {
    let depth = match (&manifest.encryption, &run.identities) {
        (Some(_), None) => Depth::Stored,
        _ => Depth::Full,
    };
    let mut listing = match (manifest.format, depth) {
        (Format::Tar, Depth::Full) => Some(Listing::start(run.settings.bindir.as_deref()).await?),
        _ => None,
    };
    let reader = FileReader {
        store: Arc::clone(store),
        identities: run.identities.clone(),
        moved: progress.counter(),
        stop: run.stop.clone(),
    };
    let input = listing.as_mut().map(Listing::input).transpose()?;
    let files = manifest.clone();
    let mut result = blocking::run(run.stop, move || read_files(&reader, &files, depth, input)).await?;
    if let Some(listing) = listing
        && result.damage.is_empty()
        && result.error.is_none()
    {
        let damage = run.stop.or(listing.end()).await?;
        let archive = manifest.files(FileRole::Archive).next();
        result.damage.extend(damage.map(|what| format!("{}: {what}", archive.map_or("", |file| &file.key))));
    }
    Ok(result)
}

fn read_files(
    reader: &FileReader,
    manifest: &Manifest,
    depth: Depth,
    mut listing: Option<File>,
) -> Result<FilesResult> {
    let directory = checks::Directory::new(manifest);
    let mut result = FilesResult { depth, damage: Vec::new(), notes: Vec::new(), error: None };
    let archives = manifest.files(FileRole::Archive).count();
    let whole = match manifest.format {
        Format::Directory => directory.has_toc(),
        Format::Custom | Format::Tar | Format::Plain => archives == 1,
    };
    if !whole {
        result.damage.push(format!("the manifest names {archives} files of an archive, which cannot be a whole one"));
    }
    for file in &manifest.files {
        let listing = &mut listing;
        let read = reader.read(manifest, file, |plain| match (file.role, manifest.format) {
            (FileRole::Globals, _) => checks::globals(plain),
            (FileRole::Fingerprints, _) => checks::document(plain, Fingerprints::from_json),
            (FileRole::Details, _) => checks::document(plain, Details::from_json),
            (FileRole::Archive, Format::Custom) => checks::custom(plain, manifest),
            (FileRole::Archive, Format::Plain) => checks::script(plain, manifest),
            (FileRole::Archive, Format::Tar) => checks::tar(plain, manifest, listing.take()),
            (FileRole::Archive, Format::Directory) => directory.check(plain, &file.key, manifest),
        });
        match read {
            Ok(damage) => result.damage.extend(damage),
            Err(error) if reader.stop.requested() || error.kind() == Kind::Missing => return Err(error),
            // The other files are still checked for damage.
            Err(error) => drop(result.error.get_or_insert(error)),
        }
    }
    if manifest.format == Format::Directory {
        result.notes = unnamed_files(reader.store.as_ref(), manifest)?;
    }
    Ok(result)
}

/// Files in the folder of a directory archive that its manifest does not name. A restore does not read them.
fn unnamed_files(store: &dyn Store, manifest: &Manifest) -> Result<Vec<String>> {
    let own: HashSet<&str> = manifest.files.iter().map(|file| file.key.as_str()).collect();
    let keys = store.folder(&manifest.id)?.into_iter().map(|entry| entry.key);
    let unnamed = keys.filter(|key| !own.contains(key.as_str()));
    Ok(unnamed.map(|key| format!("{key}: is in the archive's folder, and the manifest does not name it")).collect())
}

/// A second check of a tar archive: a pg_restore that lists it from its standard input. It reads the table of contents and then no further.
struct Listing {
    child: Child,
    version: String,
}

impl Listing {
    /// Starts the newest pg_restore that is installed.
    async fn start(bindir: Option<&Path>) -> Result<Self> {
        let programs = Programs::newest(bindir).await?;
        let mut command = programs.command("pg_restore");
        command.args(["--list", "--format=tar"]).stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Listing { child: Child::start("pg_restore", command)?, version: programs.version })
    }

    /// The pipe that the archive is written to.
    fn input(&mut self) -> Result<File> {
        self.child.stdin()
    }

    /// Waits for the end, once the input is closed, and returns the error of pg_restore about the archive.
    ///
    /// # Errors
    /// A pg_restore that was killed, or that is older than the archive, proves nothing.
    async fn end(mut self) -> Result<Option<String>> {
        let (status, messages) = self.child.wait().await?;
        if status.success() {
            return Ok(None);
        }
        let why = messages.failure().unwrap_or_else(|| status.to_string());
        if status.code().is_none() || why.contains("unsupported version") {
            return Err(Error::new(
                Kind::System,
                format!("pg_restore {} cannot list the archive: {why}", self.version),
            )
            .hint("install the version of postgresql-client that made the backup, or a newer one"));
        }
        Ok(Some(format!("pg_restore --list: {why}")))
    }
}

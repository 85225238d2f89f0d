//! The details of an encrypted backup, put back into its manifest if there is a private key.

use std::sync::Arc;

use crate::catalogue::details::{Details, WHERE_KEYS_ARE};
use crate::catalogue::manifest::{Extension, Manifest, StoredFile};
use crate::config::IdentitySource;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Counter;
use crate::pipeline::encrypt::Identities;
use crate::postgres::foreign::Dump;
use crate::restore::archive::{Archive, damaged, whole};
use crate::store::Store;

/// A backup, its manifest as complete as the private keys allow.
#[derive(Clone)]
pub struct KnownBackup {
    /// Its manifest.
    pub manifest: Manifest,
    /// The private keys, if the backup is encrypted and there are any.
    pub identities: Option<Identities>,
}

impl KnownBackup {
    /// Whether only its manifest can be read.
    pub fn is_closed(&self) -> bool {
        self.manifest.encryption.is_some() && self.identities.is_none()
    }
}

/// Puts the details into the manifest. Without a private key they stay unknown. Blocks.
///
/// # Errors
/// `Data` or `Missing` if the details are not what the manifest says; what keeps them or the keys from being read.
pub fn reveal(store: &Arc<dyn Store>, manifest: Manifest, identities: &IdentitySource) -> Result<KnownBackup> {
    complete(store, manifest, identities, false)
}

/// As [`reveal`], but damaged details are a warning that names what is unknown without them.
pub fn reveal_if_whole(store: &Arc<dyn Store>, manifest: Manifest, identities: &IdentitySource) -> Result<KnownBackup> {
    complete(store, manifest, identities, true)
}

fn complete(
    store: &Arc<dyn Store>,
    mut manifest: Manifest,
    identities: &IdentitySource,
    lenient: bool,
) -> Result<KnownBackup> {
    let identities = if manifest.encryption.is_some() { identities.read()? } else { None };
    if manifest.concealed.is_some() && identities.is_some() {
        let archive = Archive::of_backup(Arc::clone(store), manifest.clone(), identities.clone())?;
        let details = match manifest.details() {
            Some(file) => read(&archive, file),
            None => of_archive(store, &manifest, identities.clone()),
        };
        match details {
            Ok(details) => manifest.reveal(details),
            Err(error) if lenient && matches!(error.kind(), Kind::Data | Kind::Missing) => {
                log::warn!("{}: continuing without {}", error.message(), LACKING);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(KnownBackup { manifest, identities })
}

/// What is unknown of a backup without its details.
pub const LACKING: &str = "the database's owner, privileges, settings and comment, and what the archive does not have";

/// What to do about unknown details, in one line; none if the manifest has them.
pub fn lacking(manifest: &Manifest) -> Option<String> {
    manifest.concealed.is_some().then(|| format!("{LACKING}, are known with a private key only ({WHERE_KEYS_ARE})"))
}

fn read(archive: &Archive, file: &StoredFile) -> Result<Details> {
    let mut plain = archive.open(file, &Counter::default())?;
    let read = Details::from_json(&mut plain);
    // Damaged bytes may be no JSON any more. That they are damaged is the more useful error.
    let checked = plain.finish().map_err(|error| archive.unreadable(&file.key, &error));
    checked.and_then(|digests| whole(file, &digests)).map_err(advise_keep_going)?;
    read.map_err(|error| advise_keep_going(damaged(&file.key, &error.to_string())))
}

fn advise_keep_going(error: Error) -> Error {
    match error.kind() {
        Kind::Data => error.hint(
            "restore --keep-going restores the archive into a new database without them; another copy may be whole: \
             pgcellar verify checks all copies",
        ),
        _ => error,
    }
}

/// The details of an adopted backup, which has no file of them: they are read from the archive.
fn of_archive(store: &Arc<dyn Store>, manifest: &Manifest, identities: Option<Identities>) -> Result<Details> {
    let inside = format!("{}/", manifest.id);
    let first = manifest.files.first().map_or("", |file| file.key.as_str());
    let key = if first.starts_with(&inside) { manifest.id.as_str() } else { first };
    let dump = Dump::recognize(Arc::clone(store), key, &manifest.id, || Ok(identities))?;
    let mut details = Details::of(manifest);
    let extension = |name: String| Extension { name, version: String::new(), schema: String::new() };
    details.extensions = dump.extensions.into_iter().map(extension).collect();
    details.warnings.extend(dump.properties.warnings());
    details.properties = dump.properties.complete(manifest.properties.clone());
    Ok(details)
}

//! The details of an encrypted backup, put back into its manifest where there is a private key.

use std::sync::Arc;

use crate::catalogue::details::{Details, WHERE_KEYS_ARE};
use crate::catalogue::manifest::{Extension, Manifest, StoredFile};
use crate::cli::IdentityArgs;
use crate::config::identities;
use crate::error::{Error, Kind, Result};
use crate::host::progress::Counter;
use crate::pipeline::encrypt::Identities;
use crate::postgres::foreign::Dump;
use crate::restore::archive::{Archive, damaged, whole};
use crate::store::Store;

/// A backup with all that can be known of it here.
#[derive(Clone)]
pub struct KnownBackup {
    /// Its manifest.
    pub manifest: Manifest,
    /// The private keys, if it is encrypted and there are any.
    pub identities: Option<Identities>,
}

impl KnownBackup {
    /// Whether nothing but its manifest can be read.
    pub fn is_closed(&self) -> bool {
        self.manifest.encryption.is_some() && self.identities.is_none()
    }
}

/// What can be known of a backup. Without a private key the details stay unknown. Blocks.
///
/// # Errors
/// `Data` or `Missing` if the details are not what the manifest says; what keeps them from being read.
pub fn reveal(store: &Arc<dyn Store>, manifest: Manifest, args: &IdentityArgs) -> Result<KnownBackup> {
    look(store, manifest, args, false)
}

/// The same where details that are damaged keep nothing from being done: what is lacking without them is said.
pub fn reveal_if_whole(store: &Arc<dyn Store>, manifest: Manifest, args: &IdentityArgs) -> Result<KnownBackup> {
    look(store, manifest, args, true)
}

fn look(store: &Arc<dyn Store>, mut manifest: Manifest, args: &IdentityArgs, lenient: bool) -> Result<KnownBackup> {
    let identities = if manifest.encryption.is_some() { identities(args)? } else { None };
    if manifest.concealed.is_some() && identities.is_some() {
        let archive = Archive::of_backup(Arc::clone(store), manifest.clone(), identities.clone())?;
        let details = match manifest.details() {
            Some(file) => read(&archive, file),
            None => of_archive(store, &manifest, identities.clone()),
        };
        match details {
            Ok(details) => manifest.reveal(details),
            Err(error) if lenient && matches!(error.kind(), Kind::Data | Kind::Missing) => {
                log::warn!("{}: going on without {}", error.message(), LACKING);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(KnownBackup { manifest, identities })
}

/// What is not known of a backup without its details.
pub const LACKING: &str = "the database's owner, privileges, settings and comment, and what the archive does not have";

/// What to do where details are not known, in a line: none for a manifest that says all.
pub fn lacking(manifest: &Manifest) -> Option<String> {
    manifest.concealed.is_some().then(|| format!("{LACKING}, are known with a private key only ({WHERE_KEYS_ARE})"))
}

fn read(archive: &Archive, file: &StoredFile) -> Result<Details> {
    let mut plain = archive.open(file, &Counter::default())?;
    let read = Details::from_json(&mut plain);
    // Bytes that are not those that were written may be no document any more: that they are damaged says more.
    let checked = plain.finish().map_err(|error| archive.unreadable(&file.key, &error));
    checked.and_then(|digests| whole(file, &digests)).map_err(going_on)?;
    read.map_err(|error| going_on(damaged(&file.key, &error.to_string())))
}

fn going_on(error: Error) -> Error {
    match error.kind() {
        Kind::Data => error.hint(
            "restore --keep-going restores the archive into a new database without them; another copy may be whole: \
             pgcellar verify tells",
        ),
        _ => error,
    }
}

/// An adopted archive has no details beside it: all of them are its own.
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

//! The last step of a backup in a bucket: writing its manifest, and checking that the bucket lists it.

use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::store::{ObjectKind, Store};

/// How often the bucket's list is checked for the manifest: some servers update the list with a delay.
const ATTEMPTS: u32 = 5;

/// Pause between two checks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Writes the manifest of a backup to a bucket, and checks that the bucket lists it.
///
/// # Errors `CannotWrite` if the bucket does not list it: some servers store an object under another key than the given one,
/// and answer to both.
pub fn publish(store: &dyn Store, key: &str, document: &[u8]) -> Result<()> {
    write(store, key, document)?;
    let mut attempts = 1;
    loop {
        match store.lists(key) {
            Ok(true) => return Ok(()),
            Ok(false) if attempts < ATTEMPTS => {
                attempts += 1;
                std::thread::sleep(INTERVAL);
            }
            Ok(false) => {
                let place = store.location();
                let message =
                    format!("{key} was written to {place}, which does not list it: the backup cannot be found there");
                return Err(Error::new(Kind::CannotWrite, message).hint(
                    "does the server store it under another name? set AWS_S3_PREFIX to plain names separated by single slashes",
                ));
            }
            // The key has no permission to list.
            Err(error) if error.kind() == Kind::NotPermitted => {
                log::warn!("cannot check whether the bucket lists the backup: {error}");
                return Ok(());
            }
            Err(error) => return Err(error.context(format!("cannot check whether the bucket lists {key}"))),
        }
    }
}

/// The same for a backup that was announced. The announcement is then removed; one that cannot be removed means nothing beside a
/// manifest, and retention removes it.
pub fn publish_announced(store: &dyn Store, key: &str, document: &[u8]) -> Result<()> {
    publish(store, key, document)?;
    if let Err(error) = store.discard(key) {
        log::warn!("the announcement of {key} stays in {} for now: {error}", store.location());
    }
    Ok(())
}

/// Writes a small object.
fn write(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<()> {
    let mut upload = store.create(key, Some(bytes.len() as u64), ObjectKind::Document)?;
    upload.write_all(bytes).map_err(|error| Error::write(format!("{key} to {}", store.location()), &error))?;
    upload.seal()?;
    upload.commit()
}

//! The last step of a backup in a bucket: its manifest, which must be found there afterwards.

use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// How often a manifest is looked for in the bucket's list, which some servers complete a moment later.
const LOOKS: u32 = 5;

/// How long is waited in between.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Gives a backup its manifest in a bucket, and makes sure that it will be found.
///
/// # Errors
/// `CannotWrite` if the bucket does not list it: some servers keep an object under another key than they were given, and
/// answer to both.
pub fn publish(store: &dyn Store, key: &str, document: &[u8]) -> Result<()> {
    write(store, key, document)?;
    let mut looks = 1;
    loop {
        match store.lists(key) {
            Ok(true) => return Ok(()),
            Ok(false) if looks < LOOKS => {
                looks += 1;
                std::thread::sleep(LOOK_AGAIN);
            }
            Ok(false) => {
                let place = store.location();
                let message =
                    format!("{place} was given {key}, and does not list it: the backup cannot be found there");
                return Err(Error::new(Kind::CannotWrite, message).hint(
                    "does the server keep it under another name? set AWS_S3_PREFIX to plain names with single slashes between",
                ));
            }
            // Who may write and not list has no list to be found in.
            Err(error) if error.kind() == Kind::NotPermitted => {
                log::warn!("whether the backup can be found is not known: {error}");
                return Ok(());
            }
            Err(error) => return Err(error.context(format!("whether {key} can be found is not known"))),
        }
    }
}

/// The same for a backup that was announced. The announcement is then removed; one that cannot be removed means nothing beside a
/// manifest, and retention removes it.
///
/// # Errors
/// Those of [`publish`].
pub fn publish_announced(store: &dyn Store, key: &str, document: &[u8]) -> Result<()> {
    publish(store, key, document)?;
    if let Err(error) = store.discard(key) {
        log::warn!("the announcement of {key} stays in {} for now: {error}", store.location());
    }
    Ok(())
}

/// Writes a small object whole.
fn write(store: &dyn Store, key: &str, bytes: &[u8]) -> Result<()> {
    let mut upload = store.create(key, Some(bytes.len() as u64))?;
    upload.write_all(bytes).map_err(|error| Error::write(format!("{key} to {}", store.location()), &error))?;
    upload.seal()?;
    upload.commit()
}

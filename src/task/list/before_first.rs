//! What there is to list before the first backup.

use crate::catalogue::inventory::Inventory;
use crate::config::{Place, default_directory};
use crate::error::{Error, Kind, Result};
use crate::host::mounts;
use crate::printable::printable;
use crate::store::StoreKind;
use crate::store::local::usable;

/// Before the first backup there is an empty list, also where that backup will make the folder. An error is that the backups may
/// be on a disk which is not mounted.
pub fn before_the_first(merged: &mut Inventory, place: &Place) -> Result<()> {
    let Some(folder) = &place.directory else { return Ok(()) };
    let local = folder.display().to_string();
    let unread =
        merged.unread.iter().position(|one| one.store == StoreKind::Local && one.error.kind() == Kind::Missing);
    let nothing = merged.groups.is_empty() && merged.unusable.is_empty() && merged.unmanaged.is_empty();
    if !nothing || (unread.is_none() && !merged.locations.contains(&local)) {
        return Ok(());
    }
    if let Some(disk) = mounts::missing_disk(folder) {
        let (folder, disk) = (printable(&local), printable(&disk.display().to_string()));
        return Err(Error::new(Kind::Missing, format!("nothing is in {folder}, and no disk is mounted on {disk}"))
            .hint("mount it, or set BACKUP_DIR (--backup-dir) to the folder of the backups"));
    }
    // The folder that the settings leave to us is made with those above it.
    let is_made = *folder == default_directory(&place.instance) || usable::is_to_be_made(folder);
    // Where the bucket cannot be read either, nothing is known to be empty.
    if let (Some(at), 1, true) = (unread, merged.unread.len(), is_made) {
        merged.unread.remove(at);
        merged.locations.push(local);
    }
    Ok(())
}

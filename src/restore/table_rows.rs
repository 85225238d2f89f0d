//! The numbers of rows that the fingerprints of many backups have.

use std::sync::Arc;

use crate::catalogue::Backup;
use crate::catalogue::shrunk::RowsById;
use crate::config::IdentitySource;
use crate::error::Result;
use crate::fingerprint::TableRows;
use crate::parallel;
use crate::pipeline::encrypt::Identities;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::compare::read_now;

/// Reads the fingerprints of backups that are not in `known` yet. Backups without fingerprints, and encrypted ones without a
/// private key, stay unknown. Blocks.
pub fn read<'a>(backups: impl IntoIterator<Item = &'a Backup>, identities: &IdentitySource, known: &mut RowsById) {
    let unknown = backups.into_iter().filter(|backup| !known.contains_key(&backup.manifest.id));
    let unknown: Vec<&Backup> = unknown.collect();
    let keys = match unknown.iter().any(|backup| backup.manifest.encryption.is_some()) {
        true => identities.read().unwrap_or_else(|error| {
            log::warn!("{error}: the rows of encrypted backups are not known");
            None
        }),
        false => None,
    };
    let read = parallel::map(&unknown, |backup| rows(backup, keys.as_ref()));
    for (backup, rows) in unknown.iter().zip(read) {
        let id = &backup.manifest.id;
        match rows {
            Ok(rows) => known.extend(rows.map(|rows| (id.clone(), Arc::new(rows)))),
            Err(error) => log::warn!("the rows of {} are not known: {error}", printable(id)),
        }
    }
}

fn rows(backup: &Backup, keys: Option<&Identities>) -> Result<Option<TableRows>> {
    if backup.manifest.encryption.is_some() && keys.is_none() {
        return Ok(None);
    }
    let archive = Archive::of_backup(Arc::clone(&backup.store), backup.manifest.clone(), keys.cloned())?;
    Ok(read_now(&archive)?.map(|prints| prints.table_rows()))
}

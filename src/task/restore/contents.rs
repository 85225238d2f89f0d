//! `restore --list`: shows what a backup or dump contains, without a server.

use std::sync::Arc;

use crate::error::Result;
use crate::restore::archive::Archive;
use crate::restore::contents::{Shown, closed};
use crate::restore::foreign;
use crate::restore::source::RestoreSource;
use crate::stop::Stop;

/// Prints the contents to standard output.
///
/// # Errors
/// What keeps them from being read or printed.
pub async fn show(source: RestoreSource, stop: &Stop) -> Result<()> {
    let archive = Arc::new(match source {
        RestoreSource::Backup(_, known) if known.is_closed() => return closed::show(&known.manifest, None, false),
        RestoreSource::Backup(store, known) => Archive::of_backup(store, known.manifest, known.identities)?,
        RestoreSource::Dump(dump) => foreign::only_to_show(*dump, stop).await?,
    });
    Shown::new(archive, None, None).await?.print(false, stop).await
}

//! `pgcellar show`: what a backup contains, and what is recorded of it. No server is needed.

use std::sync::Arc;

use crate::blocking;
use crate::catalogue::inventory::BackupQuery;
use crate::cli::ShowArgs;
use crate::config::{IdentitySource, Place, S3Access};
use crate::error::Result;
use crate::restore::archive::Archive;
use crate::restore::contents::{Shown, closed};
use crate::restore::details::reveal_if_whole;
use crate::restore::named_archive::{ArchiveQuery, NamedArchive};
use crate::restore::{compare, foreign};
use crate::stop::Stop;

/// Prints the contents. A damaged backup is shown if its table of contents and its fingerprints can be read.
pub async fn run(args: &ShowArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let query = ArchiveQuery {
        backup: BackupQuery { id: &args.id, database: args.database.as_deref(), verb: "show" },
        place: &place,
        s3: S3Access::from(&args.place.s3),
        identities: IdentitySource::from(&args.identity),
    };
    let shown = match NamedArchive::find(&query, stop).await? {
        NamedArchive::Dump(dump) => Shown::new(Arc::new(foreign::only_to_show(*dump, stop).await?), None, None).await?,
        NamedArchive::Backup(store, mut backup) => {
            let (from, manifest, identities) =
                (Arc::clone(&store), backup.manifest.clone(), IdentitySource::from(&args.identity));
            let known = blocking::run(stop, move || reveal_if_whole(&from, manifest, &identities)).await?;
            backup.manifest.clone_from(&known.manifest);
            if known.is_closed() {
                return closed::show(&known.manifest, Some(&backup), args.json);
            }
            let archive = Arc::new(Archive::of_backup(store, known.manifest, known.identities)?);
            let fingerprints = compare::read_fingerprints(&archive, stop).await?;
            Shown::new(archive, Some(backup), fingerprints).await?
        }
    };
    shown.print(args.json, stop).await
}

//! `pgcellar show`: what a backup contains, and what is recorded of it. No server is needed.

use std::sync::Arc;

use crate::blocking;
use crate::catalogue::inventory::BackupQuery;
use crate::catalogue::select::{self, Selected};
use crate::cli::ShowArgs;
use crate::config::{IdentitySource, Place, S3Access};
use crate::error::Result;
use crate::postgres::foreign::Dump;
use crate::restore::archive::Archive;
use crate::restore::contents::{Shown, closed};
use crate::restore::details::reveal_if_whole;
use crate::restore::{compare, foreign};
use crate::stop::Stop;

/// Prints the contents. A damaged backup is shown if its table of contents and its fingerprints can be read.
pub async fn run(args: &ShowArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let access = S3Access::from(&args.place.s3);
    let query = BackupQuery { id: &args.id, database: args.database.as_deref(), verb: "show" };
    let shown = match select::find(query, (&place, &access), None, || None, stop).await? {
        Selected::File(named) => {
            let identities = IdentitySource::from(&args.identity);
            let recognize = move || Dump::recognize(named.store, &named.key, &named.called, || identities.read());
            let dump = blocking::run(stop, recognize).await?;
            Shown::new(Arc::new(foreign::only_to_show(dump, stop).await?), None, None).await?
        }
        Selected::Backup(mut backup) => {
            let store = Arc::clone(&backup.store);
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

//! `pgcellar show`: what a backup contains, and what is recorded of it. No server is needed.

use std::sync::Arc;

use crate::blocking;
use crate::catalogue::Backup;
use crate::catalogue::inventory::{BackupQuery, Inventory};
use crate::cli::ShowArgs;
use crate::config::{IdentitySource, Place, S3Access};
use crate::error::{Kind, Result};
use crate::postgres::foreign::Dump;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::contents::{Shown, closed};
use crate::restore::details::reveal_if_whole;
use crate::restore::source::NamedPath;
use crate::restore::{compare, foreign};
use crate::stop::Stop;
use crate::store::{Store, Stores};

/// What the argument names.
enum ShowSource {
    /// A backup, and the store that has it.
    Backup(Arc<dyn Store>, Box<Backup>),
    /// A dump of another tool.
    Dump(Box<Dump>),
}

/// Prints the contents. A damaged backup is shown if its table of contents and its fingerprints can be read.
pub async fn run(args: &ShowArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let shown = match find(args, &place, stop).await? {
        ShowSource::Dump(dump) => Shown::new(Arc::new(foreign::only_to_show(*dump, stop).await?), None, None).await?,
        ShowSource::Backup(store, mut backup) => {
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

async fn find(args: &ShowArgs, place: &Place, stop: &Stop) -> Result<ShowSource> {
    if let Some(named) = NamedPath::find(&args.id, &S3Access::from(&args.place.s3), place).await? {
        return by_name(named, args, stop).await;
    }
    let stores = Stores::open(place).await?.all();
    let inventory = Inventory::read(stores, place, || None, stop).await?;
    let query = BackupQuery { id: &args.id, database: args.database.as_deref(), verb: "show" };
    let choice = match inventory.resolve(query) {
        Ok(choice) => choice,
        Err(error) => {
            let may_be_file = error.kind() == Kind::Missing && args.id != "latest";
            return match if may_be_file { NamedPath::among(&args.id, place)? } else { None } {
                Some(named) => by_name(named, args, stop).await,
                None => Err(inventory.or_unread(error)),
            };
        }
    };
    for remark in &choice.remarks {
        log::warn!("{}", printable(remark));
    }
    Ok(ShowSource::Backup(Arc::clone(&choice.copy.store), Box::new(choice.copy.clone())))
}

async fn by_name(named: NamedPath, args: &ShowArgs, stop: &Stop) -> Result<ShowSource> {
    let identities = IdentitySource::from(&args.identity);
    blocking::run(stop, move || match named.backup()? {
        Some(backup) => Ok(ShowSource::Backup(named.store, Box::new(backup))),
        None => {
            let dump = Dump::recognize(named.store, &named.key, &named.called, || identities.read())?;
            Ok(ShowSource::Dump(Box::new(dump)))
        }
    })
    .await
}

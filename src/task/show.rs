//! `pgcellar show`: what a backup contains, and what is known of it. No server is asked.

use std::sync::Arc;

use crate::blocking;
use crate::catalogue::Backup;
use crate::catalogue::inventory::BackupQuery;
use crate::cli::ShowArgs;
use crate::config::{IdentitySource, Place, S3Access, identities};
use crate::error::{Error, Kind, Result};
use crate::postgres::foreign::Dump;
use crate::printable::printable;
use crate::restore::archive::Archive;
use crate::restore::contents::{Shown, closed};
use crate::restore::details::reveal_if_whole;
use crate::restore::source::NamedPath;
use crate::restore::{fingerprints, foreign};
use crate::stop::Stop;
use crate::store::{Store, Stores};
use crate::task::list;

/// What was asked for.
enum Found {
    /// A backup, and the store that has it.
    Backup(Arc<dyn Store>, Box<Backup>),
    /// A dump of another tool.
    Dump(Box<Dump>),
}

/// Prints the contents. A damaged backup is shown as far as its table of contents and its fingerprints can be read.
pub async fn run(args: &ShowArgs, stop: &Stop) -> Result<()> {
    let place = Place::new(&args.place)?;
    let shown = match find(args, &place, stop).await? {
        Found::Dump(dump) => Shown::new(Arc::new(foreign::only_to_show(*dump, stop).await?), None, None).await?,
        Found::Backup(store, mut backup) => {
            let (from, manifest, identity) =
                (Arc::clone(&store), backup.manifest.clone(), IdentitySource::from(&args.identity));
            let known = blocking::run(stop, move || reveal_if_whole(&from, manifest, &identity)).await?;
            backup.manifest.clone_from(&known.manifest);
            if known.is_closed() {
                return closed::show(&known.manifest, Some(&backup), args.json);
            }
            let archive = Arc::new(Archive::of_backup(store, known.manifest, known.identities)?);
            let fingerprints = fingerprints::read(&archive, stop).await?;
            Shown::new(archive, Some(backup), fingerprints).await?
        }
    };
    shown.print(args.json, stop).await
}

async fn find(args: &ShowArgs, place: &Place, stop: &Stop) -> Result<Found> {
    if let Some(named) = NamedPath::find(&args.id, &S3Access::from(&args.place.s3), place).await? {
        return by_name(named, args, stop).await;
    }
    let stores = Stores::open(place).await?.all();
    let merged = list::read(stores.clone(), place, stop).await?;
    let asked = BackupQuery { id: &args.id, database: args.database.as_deref(), verb: "show" };
    let choice = match merged.resolve(asked) {
        Ok(choice) => choice,
        Err(error) => {
            let sought = error.kind() == Kind::Missing && args.id != "latest";
            return match if sought { NamedPath::among(&args.id, place)? } else { None } {
                Some(named) => by_name(named, args, stop).await,
                None => Err(merged.or_unread(error)),
            };
        }
    };
    for remark in &choice.remarks {
        log::warn!("{}", printable(remark));
    }
    let store = stores.iter().find(|store| store.name() == choice.copy.store);
    let store =
        store.ok_or_else(|| Error::new(Kind::Internal, format!("the store '{}' was lost", choice.copy.store)))?;
    Ok(Found::Backup(Arc::clone(store), Box::new(choice.copy.clone())))
}

async fn by_name(named: NamedPath, args: &ShowArgs, stop: &Stop) -> Result<Found> {
    let identity = args.identity.clone();
    blocking::run(stop, move || match named.backup()? {
        Some(backup) => Ok(Found::Backup(named.store, Box::new(backup))),
        None => {
            let dump = Dump::recognize(named.store, &named.key, &named.called, || identities(&identity))?;
            Ok(Found::Dump(Box::new(dump)))
        }
    })
    .await
}

//! What is in the stores.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustix::fs::Access;

use crate::catalogue::claim::Claim;
use crate::catalogue::manifest::Depth;
use crate::catalogue::merged::Owner;
use crate::catalogue::name::leading_id;
use crate::catalogue::{self, Catalogue, Status};
use crate::config::Place;
use crate::error::Result;
use crate::health::facts::{Backup, Contents, Drill, State, StoreFacts, Trouble};
use crate::host::thread::joined;
use crate::store::{Entry, Store, Stores};
use crate::task::list;

/// What the stores tell.
pub struct Found {
    pub stores: Vec<StoreFacts>,
    /// The stores themselves.
    pub opened: Stores,
    /// Backups of this instance in each store that could be read, by the store's name.
    pub backups: HashMap<&'static str, Vec<catalogue::Backup>>,
    /// Databases of which other instances of this host have backups in these stores.
    pub of_others: BTreeSet<String>,
}

/// Reads all stores. One that cannot be read is told so.
pub async fn read(place: &Place) -> Result<Found> {
    let (opened, bucket) = open(place).await?;
    let stores = opened.all();
    let mut found = Found { stores: Vec::new(), opened, backups: HashMap::new(), of_others: BTreeSet::new() };
    for store in stores {
        let (name, location, ours) = (store.name(), store.location(), place.clone());
        let read = joined(tokio::task::spawn_blocking(move || look(&store, &ours)).await);
        let contents = read.map(|read| {
            found.of_others.extend(read.of_others);
            found.backups.insert(name, read.backups);
            read.contents
        });
        let contents = contents.map_err(|error| Trouble::from(&error));
        let to_be_made = name == "local" && contents.is_err() && is_to_be_made(place);
        found.stores.push(StoreFacts { name, location, contents, to_be_made });
    }
    found.stores.extend(bucket);
    Ok(found)
}

/// Whether the backup directory is not there, and a backup can make it. In the mount point of a disk that is not there it
/// cannot, unless that is ours.
fn is_to_be_made(place: &Place) -> bool {
    let Some(directory) = &place.directory else { return false };
    let is_missing = matches!(directory.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound);
    let may_write = |parent: &Path| rustix::fs::access(parent, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    is_missing && directory.parent().is_some_and(may_write)
}

/// Opens the stores. A bucket that cannot even be opened does not keep the directory from being looked at.
async fn open(place: &Place) -> Result<(Stores, Option<StoreFacts>)> {
    match (Stores::open(place).await, &place.s3, &place.directory) {
        (Err(error), Some(bucket), Some(_)) => {
            let local = Stores::open(&Place { s3: None, ..place.clone() }).await?;
            let location = format!("s3://{}/{}", bucket.bucket, bucket.prefix);
            let contents = Err(Trouble::from(&error));
            Ok((local, Some(StoreFacts { name: "s3", location, contents, to_be_made: false })))
        }
        (opened, _, _) => opened.map(|stores| (stores, None)),
    }
}

/// What one store tells.
struct Read {
    contents: Contents,
    backups: Vec<catalogue::Backup>,
    of_others: Vec<String>,
}

fn look(store: &Arc<dyn Store>, place: &Place) -> Result<Read> {
    let (catalogue, owner) = (Catalogue::read(store.as_ref())?, Owner::of(place));
    let (backups, others): (Vec<_>, Vec<_>) = catalogue.backups.into_iter().partition(|backup| owner.owns(backup));
    let of_others = others.into_iter().filter(|backup| backup.manifest.host == place.host);
    let contents = Contents {
        backups: backups.iter().map(backup).collect(),
        unusable: catalogue.unusable.into_iter().map(|bad| (bad.key, bad.error.to_string())).collect(),
        debris: debris(store.as_ref(), place)?,
    };
    Ok(Read { contents, backups, of_others: of_others.map(|backup| backup.manifest.database).collect() })
}

fn backup(found: &catalogue::Backup) -> Backup {
    let (manifest, record) = (&found.manifest, found.verification.as_ref());
    let state = match found.status {
        Status::Partial => State::Partial,
        Status::Damaged if found.damage.is_empty() => {
            State::Damaged(record.map(|record| record.damage.clone()).unwrap_or_default())
        }
        Status::Damaged => State::Damaged(found.damage.clone()),
        Status::Good | Status::Verified => State::Good,
    };
    Backup {
        // What others made has no globals, and nobody knows how long it took.
        kind: match manifest.adopted {
            Some(_) => format!("adopted {}", list::format(manifest)),
            None => list::format(manifest),
        },
        bytes: manifest.stored_bytes(),
        started: manifest.started,
        ended: manifest.ended,
        state,
        rewritten: manifest.rewritten().map(str::to_owned).collect(),
        rewritten_tables: manifest.rewritten_tables().try_into().unwrap_or(usize::MAX),
        verified: record.filter(|record| record.passed && record.depth == Depth::Full).map(|record| record.at),
        drill: found.drill.as_ref().map(|drill| Drill {
            at: drill.at,
            result: drill.result,
            restore_seconds: drill.restore_seconds,
        }),
        id: manifest.id.clone(),
        database: manifest.database.clone(),
    }
}

/// What is not whole and named like a backup. In a bucket that others use too, only what an announcement of this instance
/// covers.
fn debris(store: &dyn Store, place: &Place) -> Result<Vec<(String, u64, Timestamp)>> {
    let named = store.partials()?.into_iter().filter(|entry| leading_id(&entry.key).is_some());
    let named: Vec<Entry> = match store.name() {
        "local" => named.collect(),
        _ => {
            let named: Vec<Entry> = named.collect();
            let ids: BTreeSet<&str> = named.iter().filter_map(|entry| leading_id(&entry.key)).collect();
            let ours: BTreeSet<String> =
                ids.into_iter().filter(|id| is_announced(store, id, place)).map(str::to_owned).collect();
            named.into_iter().filter(|entry| leading_id(&entry.key).is_some_and(|id| ours.contains(id))).collect()
        }
    };
    Ok(named.into_iter().map(|entry| (entry.key, entry.bytes, entry.modified)).collect())
}

fn is_announced(store: &dyn Store, id: &str, place: &Place) -> bool {
    let announced = Claim::read(store, id).ok().flatten().and_then(|(_, claim)| claim);
    announced.is_some_and(|claim| claim.is_of(&place.instance, &place.host))
}

//! The contents of the stores.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::acknowledged::Acknowledged;
use crate::catalogue::announcement::Announcement;
use crate::catalogue::backup_table::archive_format;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name::leading_id;
use crate::catalogue::ownership::{Doubt, Owner, Ownership, Whose};
use crate::catalogue::records::Depth;
use crate::catalogue::{self, Catalogue, Status};
use crate::config::{Connection, Place};
use crate::error::Result;
use crate::health::facts::{BackupFacts, DrillFacts, Mixed, RehearsalFacts, State, StoreContents, StoreFacts, Trouble};
use crate::postgres::identity;
use crate::printable::printable;
use crate::store::local::usable;
use crate::store::{Store, StoreEntry, StoreKind, Stores};

/// The contents of the stores, and whose they are.
pub struct StoresState {
    pub stores: Vec<StoreFacts>,
    /// The stores themselves.
    pub opened: Stores,
    /// Backups of this instance's server in each store that could be read, by the store's name: the input of retention.
    pub backups: HashMap<StoreKind, Vec<catalogue::Backup>>,
    /// Databases that other instances of this host have backed up to these stores.
    pub of_others: BTreeSet<String>,
    /// Other servers under the instance's name.
    pub mixed: Vec<Mixed>,
}

/// Reads all stores, and reports each store that cannot be read. The server's identity is read if it decides whose the
/// backups are.
pub async fn read(place: &Place, connection: Option<&Connection>) -> Result<StoresState> {
    let (opened, bucket) = open(place).await?;
    let mut read: Vec<(Arc<dyn Store>, Result<Read>)> = Vec::new();
    for store in opened.all() {
        let (own, opened) = (place.clone(), Arc::clone(&store));
        read.push((store, blocking::to_end(move || read_store(&opened, &own)).await));
    }
    let catalogues = || read.iter().filter_map(|(_, read)| Some(&read.as_ref().ok()?.catalogue));
    let owner = Owner::of(place);
    let mut ownership = Ownership::new(&owner, catalogues());
    if let Some(connection) = connection.filter(|_| !ownership.is_empty())
        && let Some(server) = identity::of_server(connection).await
    {
        ownership = Ownership::new(&Owner { server: Some(server), ..owner }, catalogues());
    }
    ownership.server.iter().for_each(|server| drop(place.server.set(server.clone())));
    let mut found = StoresState {
        stores: Vec::new(),
        backups: HashMap::new(),
        of_others: BTreeSet::new(),
        opened: opened.clone(),
        mixed: ownership.doubts.iter().filter(|doubt| !doubt.is_settled()).map(mixed).collect(),
    };
    for (store, read) in read {
        let (kind, location) = (store.kind(), store.location());
        let contents =
            read.map(|read| found.sort(kind, read, &ownership, place)).map_err(|error| Trouble::from(&error));
        let to_be_made = kind == StoreKind::Local
            && contents.is_err()
            && place.directory.as_deref().is_some_and(usable::is_to_be_made);
        found.stores.push(StoreFacts { name: kind.name(), location, contents, to_be_made });
    }
    found.stores.extend(bucket);
    Ok(found)
}

fn mixed(doubt: &Doubt) -> Mixed {
    Mixed { what: doubt.name(), message: doubt.to_string(), hint: doubt.hint(), unclear: doubt.is_unclear() }
}

impl StoresState {
    /// Sorts the contents of one store by owner.
    fn sort(&mut self, kind: StoreKind, read: Read, ownership: &Ownership, place: &Place) -> StoreContents {
        let Read { catalogue, acknowledged, debris } = read;
        let may_be_ours = |backup: &catalogue::Backup| ownership.whose(backup) != Whose::Another;
        let (backups, others): (Vec<_>, Vec<_>) = catalogue.backups.into_iter().partition(may_be_ours);
        let of_others = others.into_iter().filter(|backup| {
            let Manifest { host, instance, .. } = &backup.manifest;
            *host == place.host && *instance != place.instance
        });
        self.of_others.extend(of_others.map(|backup| backup.manifest.database));
        let likely = backups.iter().rev().find(|backup| ownership.whose(backup) == Whose::Likely);
        if let Some(backup) = likely.filter(|_| self.mixed.is_empty()) {
            let Manifest { id, instance, host, .. } = &backup.manifest;
            let (host, instance) = (printable(host), printable(instance));
            self.mixed.push(Mixed {
                what: "host",
                message: format!(
                    "all backups are of the host {host}, the last {}, and the server's identity cannot be read",
                    printable(id)
                ),
                hint: format!("is the server up? pgcellar takeover {host}/{instance} makes them this host's for good"),
                unclear: true,
            });
        }
        let unread =
            |backup: &catalogue::Backup| Some((backup.manifest.id.clone(), backup.verification_error.clone()?));
        let contents = StoreContents {
            unread_results: backups.iter().filter_map(unread).collect(),
            backups: backups.iter().map(|found| backup(found, &acknowledged)).collect(),
            unusable: catalogue.unusable.into_iter().map(|bad| (bad.key, bad.error.to_string())).collect(),
            debris,
        };
        self.backups.insert(kind, backups.into_iter().filter(|backup| ownership.owns(backup)).collect());
        contents
    }
}

/// Opens the stores. The directory is read even if the bucket cannot be opened.
async fn open(place: &Place) -> Result<(Stores, Option<StoreFacts>)> {
    match (Stores::open(place).await, &place.s3, &place.directory) {
        (Err(error), Some(bucket), Some(_)) => {
            let local = Stores::open(&Place { s3: None, ..place.clone() }).await?;
            let location = format!("s3://{}/{}", bucket.bucket, bucket.prefix);
            let contents = Err(Trouble::from(&error));
            Ok((local, Some(StoreFacts { name: StoreKind::S3.name(), location, contents, to_be_made: false })))
        }
        (opened, _, _) => opened.map(|stores| (stores, None)),
    }
}

/// The contents of one store.
struct Read {
    catalogue: Catalogue,
    debris: Vec<(String, u64, Timestamp)>,
    acknowledged: Acknowledged,
}

fn read_store(store: &Arc<dyn Store>, place: &Place) -> Result<Read> {
    Ok(Read {
        catalogue: Catalogue::read(store)?,
        acknowledged: Acknowledged::read(store.as_ref(), &place.instance),
        debris: debris(store.as_ref(), place)?,
    })
}

fn backup(found: &catalogue::Backup, acknowledged: &Acknowledged) -> BackupFacts {
    let (manifest, record) = (&found.manifest, found.verification.as_ref());
    let state = match found.status {
        Status::Partial => State::Partial,
        Status::Damaged if found.damage.is_empty() => {
            State::Damaged(record.map(|record| record.damage.clone()).unwrap_or_default())
        }
        Status::Damaged => State::Damaged(found.damage.clone()),
        Status::Good | Status::Verified => State::Good,
    };
    BackupFacts {
        // A dump of other programs has no globals, and its duration is unknown.
        kind: match manifest.adopted {
            Some(_) => format!("adopted {}", archive_format(manifest)),
            None => archive_format(manifest),
        },
        bytes: manifest.stored_bytes(),
        started: manifest.started,
        ended: manifest.ended,
        state,
        rewritten: manifest.rewritten().map(str::to_owned).collect(),
        rewritten_tables: manifest.rewritten_tables().try_into().unwrap_or(usize::MAX),
        verified: record.filter(|record| record.passed && record.depth == Depth::Full).map(|record| record.at),
        drill: found.drill.as_ref().map(|drill| DrillFacts {
            at: drill.at,
            result: drill.result,
            restore_seconds: drill.restore_seconds,
            seconds: drill.seconds,
            database_bytes: drill.database_bytes,
        }),
        rehearsal: found.rehearsal.as_ref().map(|rehearsal| RehearsalFacts {
            at: rehearsal.at,
            server: rehearsal.server,
            result: rehearsal.result,
            verdict: rehearsal.verdict(),
            restore_seconds: rehearsal.restore_seconds,
        }),
        fill: acknowledged.fill(manifest),
        acknowledged: acknowledged.has(manifest),
        id: manifest.id.clone(),
        database: manifest.database.clone(),
    }
}

/// Incomplete entries that are named like a backup. In a bucket, which others may use too, only those with an
/// announcement of this instance.
fn debris(store: &dyn Store, place: &Place) -> Result<Vec<(String, u64, Timestamp)>> {
    let named = store.partials()?.into_iter().filter(|entry| leading_id(&entry.key).is_some());
    let named: Vec<StoreEntry> = match store.kind() {
        StoreKind::Local => named.collect(),
        StoreKind::S3 => {
            let named: Vec<StoreEntry> = named.collect();
            let ids: BTreeSet<&str> = named.iter().filter_map(|entry| leading_id(&entry.key)).collect();
            let announced: BTreeSet<String> =
                ids.into_iter().filter(|id| is_announced(store, id, place)).map(str::to_owned).collect();
            named.into_iter().filter(|entry| leading_id(&entry.key).is_some_and(|id| announced.contains(id))).collect()
        }
    };
    Ok(named.into_iter().map(|entry| (entry.key, entry.bytes, entry.modified)).collect())
}

fn is_announced(store: &dyn Store, id: &str, place: &Place) -> bool {
    let announced = Announcement::read(store, id).ok().flatten().and_then(|(_, claim)| claim);
    announced.is_some_and(|claim| claim.is_of(&place.maker(), &place.known_server()))
}

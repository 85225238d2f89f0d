//! The last good backups, for an alert.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::ownership::{Owner, Ownership, Whose};
use crate::catalogue::{Catalogue, Status, is_from_future};
use crate::config::{Databases, Place, local_zone};
use crate::error::{Error, Kind, Result};
use crate::format::{ago, bytes, time};
use crate::printable::printable;
use crate::store::Stores;

/// How long a store may take: the alert must be sent.
const LIMIT: Duration = Duration::from_secs(20);

/// The last good backups.
#[derive(Debug, Default)]
pub struct LastGood {
    /// Each database's name and its last good backup in words.
    pub backups: Vec<(String, String)>,
    /// Whether the newest backup of a database is encrypted, good or not.
    pub encrypted: bool,
}

/// The last good backup of each database in the first store that backups go to.
pub async fn find(place: &Place, databases: &Option<Databases>) -> Result<LastGood> {
    let read = async {
        let store = Stores::open(place).await?.all().into_iter().next();
        let store = store.ok_or_else(|| Error::new(Kind::Config, "there is neither a BACKUP_DIR nor a bucket"))?;
        blocking::to_end(move || Catalogue::read(&store)).await
    };
    match tokio::time::timeout(LIMIT, read).await {
        Ok(catalogue) => Ok(newest(&catalogue?, place, databases, Timestamp::now())),
        Err(_) => Err(Error::new(Kind::Unavailable, format!("no answer within {} s", LIMIT.as_secs()))),
    }
}

fn newest(catalogue: &Catalogue, place: &Place, databases: &Option<Databases>, now: Timestamp) -> LastGood {
    let mut found: BTreeMap<&str, Option<String>> = BTreeMap::new();
    let mut encrypted: BTreeMap<&str, bool> = BTreeMap::new();
    if let Some(Databases::Named(names)) = databases {
        found.extend(names.iter().map(|name| (name.as_str(), None)));
    }
    let ownership = Ownership::new(&Owner::of(place), std::iter::once(catalogue));
    let good = |status: Status| matches!(status, Status::Good | Status::Verified);
    for backup in &catalogue.backups {
        let manifest = &backup.manifest;
        // An alert rather names a backup that may be this instance's than none.
        let may_be_own = ownership.whose(backup) != Whose::Another && !is_from_future(manifest.started, now);
        let named = match databases {
            Some(Databases::Named(names)) => names.contains(&manifest.database),
            Some(Databases::AllBut(_)) | None => true,
        };
        if !may_be_own || !named {
            continue;
        }
        // The oldest come first.
        encrypted.insert(&manifest.database, manifest.encryption.is_some());
        if good(backup.status) {
            let (started, age) = (time(manifest.started, &local_zone()), ago(manifest.started, now));
            let words = format!("{}, {started} ({age}), {}", manifest.id, bytes(manifest.stored_bytes()));
            found.insert(&manifest.database, Some(words));
        }
    }
    let words = |backup: Option<String>| backup.unwrap_or_else(|| "none: there is nothing to restore from".to_owned());
    LastGood {
        encrypted: encrypted.into_values().any(|encrypted| encrypted),
        backups: found.into_iter().map(|(name, backup)| (printable(name), words(backup))).collect(),
    }
}

//! Acknowledgements of databases that were emptied on purpose. The record is in each store beside the backups, so that
//! retention and all hosts see it. It does not cover databases that are emptied later.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::emptied::Fill;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::read_document;
use crate::document;
use crate::error::{Error, Kind, Result};
use crate::store::{ObjectKind, Store};

/// What follows the instance's name in the name of its record. The name begins with a dot, unlike those of backups.
pub const ENDING: &str = ".acknowledged.json";

/// The acknowledgement of a database on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Ack {
    /// When the last acknowledged backup began.
    until: Timestamp,
    /// The contents of that backup, which later ones are compared with.
    fill: Fill,
}

/// The acknowledgements, by database and host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledged {
    databases: BTreeMap<String, BTreeMap<String, Ack>>,
}

impl Acknowledged {
    /// Reads the record of an instance. A missing or unusable one is empty.
    pub fn read(store: &dyn Store, instance: &str) -> Self {
        let key = key(instance);
        let read = read_document(store, &key).and_then(|bytes| {
            let malformed =
                |error| Error::new(Kind::Data, format!("{key} is not a record of acknowledgements: {error}"));
            serde_json::from_slice(&bytes).map_err(malformed)
        });
        read.unwrap_or_else(|error| {
            if error.kind() != Kind::Missing {
                log::warn!("{error}: earlier acknowledgements are ignored");
            }
            Acknowledged::default()
        })
    }

    /// Writes the record of an instance.
    pub fn write(&self, store: &dyn Store, instance: &str) -> Result<()> {
        store.replace(&key(instance), &document::to_json(self)?, ObjectKind::Record)
    }

    /// Acknowledges this backup and the earlier ones of its database and host.
    pub fn add(&mut self, manifest: &Manifest) {
        let ack = Ack { until: manifest.started, fill: Fill::of(manifest) };
        self.put(&manifest.database, &manifest.host, ack);
    }

    /// Merges another store's record.
    pub fn merge(&mut self, other: Acknowledged) {
        for (database, hosts) in other.databases {
            hosts.into_iter().for_each(|(host, ack)| self.put(&database, &host, ack));
        }
    }

    fn put(&mut self, database: &str, host: &str, ack: Ack) {
        let of_host = self.databases.entry(database.to_owned()).or_default().entry(host.to_owned()).or_insert(ack);
        if ack.until > of_host.until {
            *of_host = ack;
        }
    }

    /// Whether this backup was acknowledged.
    pub fn has(&self, manifest: &Manifest) -> bool {
        self.of(manifest).is_some()
    }

    /// The contents of a backup; of an acknowledged one, those that were acknowledged.
    pub fn fill(&self, manifest: &Manifest) -> Fill {
        self.of(manifest).map_or_else(|| Fill::of(manifest), |ack| ack.fill)
    }

    fn of(&self, manifest: &Manifest) -> Option<&Ack> {
        let ack = self.databases.get(&manifest.database).and_then(|hosts| hosts.get(&manifest.host));
        ack.filter(|ack| manifest.started <= ack.until)
    }
}

fn key(instance: &str) -> String {
    format!(".pgcellar.{instance}{ENDING}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::local::LocalStore;

    #[test]
    fn an_acknowledgement_does_not_cover_later_backups() {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::new(folder.path());
        let manifest: Manifest = serde_json::from_str(include_str!("../../tests/golden/manifest.json")).unwrap();
        let later = |seconds: i64, change: &dyn Fn(&mut Manifest)| {
            let mut later = manifest.clone();
            later.started += jiff::SignedDuration::from_secs(seconds);
            change(&mut later);
            later
        };
        assert!(!Acknowledged::read(&store, "main").has(&manifest));
        let mut record = Acknowledged::default();
        record.add(&manifest);
        record.add(&later(-60, &|_| {}));
        record.write(&store, "main").unwrap();
        let read = Acknowledged::read(&store, "main");
        assert_eq!(read, record);
        assert!(read.has(&manifest) && read.has(&later(-60, &|_| {})));
        assert!(!read.has(&later(1, &|_| {})));
        assert!(!read.has(&later(0, &|manifest| manifest.database.push('2'))));
        assert!(!read.has(&later(0, &|manifest| manifest.host.push('2'))));
        let mut other = Acknowledged::default();
        other.add(&later(60, &|_| {}));
        other.merge(read);
        assert!(other.has(&later(60, &|_| {})));
        assert!(store.list().unwrap().is_empty());
        std::fs::write(folder.path().join(".pgcellar.main.acknowledged.json"), "{").unwrap();
        assert_eq!(Acknowledged::read(&store, "main"), Acknowledged::default());
    }
}

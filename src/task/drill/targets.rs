//! The backups to drill, and the stores that get their records.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalogue::inventory::{BackupQuery, Inventory};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::records::drill::archive_sha256;
use crate::config::drill::DrillSettings;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::store::Store;

/// A backup to drill.
pub struct DrillTarget {
    /// Its manifest.
    pub manifest: Manifest,
    /// The store it is read from.
    pub store: Arc<dyn Store>,
    /// All stores with the same archive.
    pub stores: Vec<Arc<dyn Store>>,
}

/// The requested backup, or the newest good one of each database.
pub fn find(inventory: &Inventory, settings: &DrillSettings) -> Result<Vec<DrillTarget>> {
    let database = settings.database.as_deref();
    if !settings.each {
        return Ok(vec![target(inventory, BackupQuery { id: &settings.backup, database, verb: "drill" })?]);
    }
    let databases: BTreeSet<&str> = inventory.own(database).map(|group| group.manifest().database.as_str()).collect();
    if databases.is_empty() {
        return Err(Error::new(Kind::Missing, "there is no backup to drill").hint("pgcellar list shows the backups"));
    }
    let newest = |name| target(inventory, BackupQuery { id: "latest", database: Some(name), verb: "drill" });
    databases.into_iter().map(newest).collect()
}

fn target(inventory: &Inventory, asked: BackupQuery<'_>) -> Result<DrillTarget> {
    let choice = inventory.resolve(asked)?;
    choice.remarks.iter().for_each(|remark| log::warn!("{}", printable(remark)));
    let manifest = choice.copy.manifest.clone();
    let archive = archive_sha256(&manifest);
    let same = choice.group.copies().filter(|copy| archive_sha256(&copy.manifest) == archive);
    let stores = same.map(|copy| Arc::clone(&copy.store)).collect();
    Ok(DrillTarget { manifest, store: Arc::clone(&choice.copy.store), stores })
}

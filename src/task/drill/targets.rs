//! Which backups are drilled, and where their records go.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::catalogue::inventory::{BackupQuery, Inventory};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::records::drill::archive_sha256;
use crate::cli::DrillArgs;
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::store::Store;

/// A backup that is drilled.
pub struct Subject {
    /// What it is.
    pub manifest: Manifest,
    /// Where it is read.
    pub store: Arc<dyn Store>,
    /// All that have the same archive.
    pub stores: Vec<Arc<dyn Store>>,
}

/// The backup that is asked for, or the newest good one of each database.
pub fn find(merged: &Inventory, args: &DrillArgs) -> Result<Vec<Subject>> {
    let database = args.database.as_deref();
    if !args.each {
        return Ok(vec![subject(merged, BackupQuery { id: &args.id, database, verb: "drill" })?]);
    }
    let databases: BTreeSet<&str> = merged.own(database).map(|group| group.manifest().database.as_str()).collect();
    if databases.is_empty() {
        return Err(Error::new(Kind::Missing, "there is no backup to drill").hint("pgcellar list shows what there is"));
    }
    let newest = |name| subject(merged, BackupQuery { id: "latest", database: Some(name), verb: "drill" });
    databases.into_iter().map(newest).collect()
}

fn subject(merged: &Inventory, asked: BackupQuery<'_>) -> Result<Subject> {
    let choice = merged.resolve(asked)?;
    choice.remarks.iter().for_each(|remark| log::warn!("{}", printable(remark)));
    let manifest = choice.copy.manifest.clone();
    let archive = archive_sha256(&manifest);
    let same = choice.group.copies().filter(|copy| archive_sha256(&copy.manifest) == archive);
    let stores = same.map(|copy| Arc::clone(&copy.store)).collect();
    Ok(Subject { manifest, store: Arc::clone(&choice.copy.store), stores })
}

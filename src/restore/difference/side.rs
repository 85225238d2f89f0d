//! One of two backups, dumps or databases that are compared.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::blocking;
use crate::catalogue::manifest::{Extension, Manifest};
use crate::error::Result;
use crate::fingerprint::{Fingerprints, Quoted, VERSION};
use crate::postgres::archive::{Recorder, table_names};
use crate::postgres::table_definition::RelationName;
use crate::printable::printable;
use crate::restore::archive::{Archive, major};
use crate::restore::compare;
use crate::restore::difference::index::ContentsIndex;
use crate::restore::object_numbers::record_rows;
use crate::stop::Stop;

/// One side of a comparison.
#[derive(Debug, Default)]
pub struct DiffSide {
    /// Its name in messages.
    pub name: String,
    /// Rows, sequences and large objects; none if they are not known.
    pub fingerprints: Option<Fingerprints>,
    /// Its objects.
    pub index: ContentsIndex,
    /// Version and schema of each extension; empty where unknown.
    pub extensions: BTreeMap<String, String>,
    /// Tables that were rewritten when the dump began, so that it lacks their rows.
    pub rewritten: BTreeSet<RelationName>,
    /// Number of things that are not in it.
    pub omitted: usize,
    /// Major version of the pg_dump that wrote its definitions; 0 if unknown.
    pub pg_dump: u32,
}

impl DiffSide {
    /// Reads fingerprints and table of contents. Without fingerprints the rows are read, if the archive's format allows it.
    ///
    /// # Errors
    /// `Data` for a damaged archive; what keeps it from being read.
    pub async fn of(archive: &Arc<Archive>, stop: &Stop) -> Result<Self> {
        let mut fingerprints = compare::read_fingerprints(archive, stop).await?;
        let (read, stopped, is_known) = (Arc::clone(archive), stop.clone(), fingerprints.is_some());
        let (index, read) = blocking::run(stop, move || {
            let index = ContentsIndex::read(&read, &stopped)?;
            let recorded = if is_known { None } else { record(&read, &index, &stopped)? };
            Ok((index, recorded))
        })
        .await?;
        fingerprints = fingerprints.or(read);
        let manifest = archive.manifest.iter();
        let omitted = manifest.clone().flat_map(|manifest| &manifest.omitted);
        let rewritten = manifest.clone().flat_map(Manifest::rewritten);
        Ok(DiffSide {
            name: printable(&archive.name),
            fingerprints,
            index,
            extensions: match &archive.manifest {
                Some(manifest) => manifest.contents.extensions.iter().map(extension).collect(),
                None => archive.expected.extensions.iter().map(|name| (name.clone(), String::new())).collect(),
            },
            rewritten: rewritten.filter_map(|name| table_names(&Quoted::from(name))).collect(),
            omitted: omitted.filter(|omission| !omission.is_made_by_extension()).count(),
            pg_dump: major(&archive.pg_dump),
        })
    }

    /// The encoding of its names and rows; empty if unknown.
    pub fn encoding(&self) -> &str {
        let of_rows = self.fingerprints.as_ref().and_then(|prints| prints.settings.get("client_encoding"));
        of_rows.map_or(self.index.encoding.as_str(), String::as_str)
    }
}

/// The name of an extension, and its version with its schema.
pub fn extension(Extension { name, version, schema }: &Extension) -> (String, String) {
    let known = if version.is_empty() { String::new() } else { format!("{version} in {schema}") };
    (name.clone(), known)
}

/// The fingerprints of an archive that has none, from all its rows.
fn record(archive: &Archive, index: &ContentsIndex, stop: &Stop) -> Result<Option<Fingerprints>> {
    let name = printable(&archive.name);
    log::warn!("{name} has no fingerprints: its rows are read");
    let recorded = match record_rows(archive, Recorder::default(), stop)? {
        Ok(recorded) => recorded,
        Err(why) => {
            log::warn!("the rows of {name} are not counted: {why}");
            return Ok(None);
        }
    };
    let settings = [("client_encoding".to_owned(), index.encoding.clone())];
    Ok(Some(Fingerprints {
        fingerprints_version: VERSION,
        settings: settings.into(),
        tables: recorded.tables,
        sequences: recorded.sequences,
        large_objects: recorded.large_objects,
        objects: BTreeMap::new(),
    }))
}

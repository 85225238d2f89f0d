//! The record of a drill, beside the manifest in every store that has the archive.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::blocking;
use crate::catalogue::manifest::Manifest;
use crate::catalogue::records;
use crate::catalogue::records::drill::{DrillRecord, NAMED, VERSION, archive_sha256};
use crate::error::{Error, Kind, Result};
use crate::printable::printable;
use crate::stop::Stop;
use crate::task::drill::targets::DrillTarget;
use crate::task::drill::verdict::Verdict;

/// The record of a drill.
pub fn of(manifest: &Manifest, verdict: Verdict, isolated: bool, begun: Instant) -> DrillRecord {
    let Verdict { outcome, postgres, restore, database_bytes, at, compared, mut differences, notes, refused: _ } =
        verdict;
    let more = differences.len().saturating_sub(NAMED) as u64;
    differences.truncate(NAMED);
    DrillRecord {
        drill_version: VERSION,
        id: manifest.id.clone(),
        at: Timestamp::now(),
        result: outcome,
        archive_sha256: archive_sha256(manifest),
        postgres,
        isolated,
        restore_seconds: seconds(restore),
        seconds: seconds(at.saturating_duration_since(begun)),
        database_bytes,
        compared,
        differences,
        more_differences: more,
        notes,
    }
}

/// Writes the record into every store that still has the backup. The record is not encrypted, so that of an encrypted backup names
/// nothing of the database.
pub async fn write(target: &DrillTarget, drill: &DrillRecord, stop: &Stop) -> Result<()> {
    let drill = match target.manifest.encryption {
        None => drill.clone(),
        Some(_) => drill.clone().without_names(),
    };
    let (key, document) = (DrillRecord::key(&drill.id), drill.to_json()?);
    write_record(target, key, document, drill.result.name().to_owned(), stop).await
}

/// Writes a record with a result into every store that still has the backup.
pub async fn write_record(
    target: &DrillTarget,
    key: String,
    document: Vec<u8>,
    result: String,
    stop: &Stop,
) -> Result<()> {
    let (stores, id) = (target.stores.clone(), target.manifest.id.clone());
    match blocking::run(stop, move || {
        let mut written = Ok(());
        let mut anywhere = false;
        for store in stores {
            let one = records::write(store.as_ref(), &id, &key, &document);
            written = written.and(one.map(|is_there| anywhere |= is_there));
        }
        match written {
            Ok(()) if !anywhere => Err(Error::new(Kind::Missing, format!("{id} was deleted while it was drilled"))),
            written => written,
        }
    })
    .await
    {
        // A full disk does not change the result.
        Err(error) if error.kind() == Kind::CannotWrite => {
            log::warn!("{}: {result}, not recorded: {error}", printable(&target.manifest.id));
            Ok(())
        }
        written => written.map_err(|error| error.context("the result of the drill cannot be recorded")),
    }
}

/// Seconds with three decimals, as records have them.
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

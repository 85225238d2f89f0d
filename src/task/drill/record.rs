//! The record of a drill, beside the manifest in every store that has the archive.

use std::time::Instant;

use jiff::Timestamp;

use crate::catalogue::drill::{Drill, NAMED, VERSION, archive_sha256};
use crate::catalogue::manifest::Manifest;
use crate::error::{Error, Kind, Result};
use crate::host::stop::Stop;
use crate::host::thread::joined;
use crate::task::drill::chosen::Subject;
use crate::task::drill::seconds;
use crate::task::drill::verdict::Verdict;

/// The record.
pub fn of(manifest: &Manifest, verdict: Verdict, isolated: bool, begun: Instant) -> Drill {
    let Verdict { outcome, postgres, restore, at, compared, mut differences, notes } = verdict;
    let more = differences.len().saturating_sub(NAMED) as u64;
    differences.truncate(NAMED);
    Drill {
        drill_version: VERSION,
        id: manifest.id.clone(),
        at: Timestamp::now(),
        result: outcome,
        archive_sha256: archive_sha256(manifest),
        postgres,
        isolated,
        restore_seconds: seconds(restore),
        seconds: seconds(at.saturating_duration_since(begun)),
        compared,
        differences,
        more_differences: more,
        notes,
    }
}

/// Writes it wherever the backup still is. That of an encrypted backup lies there as it is, and so it names nothing of the
/// database.
pub async fn write(subject: &Subject, drill: &Drill, stop: &Stop) -> Result<()> {
    let drill = match subject.manifest.encryption {
        None => drill.clone(),
        Some(_) => drill.clone().without_names(),
    };
    let stores = subject.stores.clone();
    let work = tokio::task::spawn_blocking(move || {
        let mut written = Ok(());
        let mut anywhere = false;
        for store in stores {
            let one = match store.size(&Manifest::key(&drill.id)) {
                Ok(Some(_)) => store.replace(&Drill::key(&drill.id), &drill.to_json()?).map(|()| anywhere = true),
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            written = written.and(one);
        }
        match written {
            Ok(()) if !anywhere => {
                Err(Error::new(Kind::Missing, format!("{} was deleted while it was drilled", drill.id)))
            }
            written => written,
        }
    });
    let written = stop.or(async { joined(work.await) }).await;
    written.map_err(|error| error.context("the result of the drill cannot be recorded"))
}

//! Disk space: whether a drill fits on the disk, and a watch that restored code does not fill it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::HumanBytes;

use crate::error::{Error, Kind, Result};
use crate::host::staging::free_bytes;
use crate::stop::Stop;
use crate::task::drill::protocol::DrillOrder;

/// Disk space of a database beside its tables and indexes, in bytes: WAL, and the cluster's own databases.
const OVERHEAD: u64 = 3 << 30;

/// Size of an empty cluster in bytes.
const EMPTY: u64 = 256 << 20;

/// Bytes that stay free for others, if so much is free.
const FOR_OTHERS: u64 = 1 << 30;

/// The interval of checks. The fastest disks write some gigabytes meanwhile, so a tenth of the free space is kept.
const PAUSE: Duration = Duration::from_millis(500);

/// Refuses a disk on which the archive and the database will not fit.
pub fn check(folder: &Path, order: &DrillOrder) -> Result<()> {
    // For a database of unknown size: indexes take about as much as rows.
    let database = if order.database_bytes > 0 { order.database_bytes } else { order.plain_bytes.saturating_mul(2) };
    let growth = database.saturating_add(order.plain_bytes);
    let needed = growth.saturating_add(growth.min(OVERHEAD)).saturating_add(EMPTY);
    let free = free_bytes(folder)?;
    if free >= needed {
        return Ok(());
    }
    let message =
        format!("{} has {} free, and the drill takes about {}", folder.display(), HumanBytes(free), HumanBytes(needed));
    Err(Error::new(Kind::CannotWrite, message).hint("free space there, or set DRILL_DIR to a folder with more"))
}

/// Stops a drill that leaves others no space. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    task: tokio::task::JoinHandle<()>,
    shortage: Arc<Mutex<Option<Error>>>,
}

impl Watch {
    /// Checks the disk of a folder until it is dropped, and sets `stop` once little of the free space is left.
    pub fn begin(folder: &Path, stop: &Stop) -> Result<Self> {
        let least = least(free_bytes(folder)?);
        let shortage = Arc::new(Mutex::new(None));
        let (folder, found, stop) = (folder.to_owned(), Arc::clone(&shortage), stop.clone());
        let task = tokio::spawn(async move {
            let error = short_of(folder, least).await;
            *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            stop.now();
        });
        Ok(Watch { task, shortage })
    }

    /// Why it has stopped the drill, if so.
    pub fn shortage(&self) -> Option<Error> {
        self.shortage.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The bytes that must stay free, of those free at the start.
fn least(free: u64) -> u64 {
    FOR_OTHERS.min(free / 10)
}

/// Returns once less than `least` bytes are free.
async fn short_of(folder: PathBuf, least: u64) -> Error {
    loop {
        tokio::time::sleep(PAUSE).await;
        match free_bytes(&folder) {
            Ok(free) if free < least => {
                let message = format!(
                    "the drill was ended, because {} has {} free, less than the {} that stay for others",
                    folder.display(),
                    HumanBytes(free),
                    HumanBytes(least)
                );
                return Error::new(Kind::CannotWrite, message)
                    .hint("free space there, or set DRILL_DIR to a folder with more; does a trigger or a function of the database write files?");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_disk_that_fills_up_ends_the_drill() {
        let folder = tempfile::tempdir().unwrap();
        let error = short_of(folder.path().to_owned(), u64::MAX).await;
        assert!(error.kind() == Kind::CannotWrite && error.message().contains("stay for others"), "{error}");
        assert_eq!((least(100 << 30), least(1 << 30)), (1 << 30, (1 << 30) / 10));
        let stop = Stop::default();
        let watch = Watch::begin(folder.path(), &stop).unwrap();
        assert!(watch.shortage().is_none() && !stop.requested());
    }
}

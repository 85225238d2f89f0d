//! Room on the disk: whether a drill fits on it, and that restored code does not fill it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::HumanBytes;

use crate::error::{Error, Kind, Result};
use crate::host::staging::free_bytes;
use crate::stop::Stop;
use crate::task::drill::protocol::DrillOrder;

/// What the database takes on the disk beside its tables and indexes, in bytes: WAL, and the cluster's own databases.
const OVERHEAD: u64 = 3 << 30;

/// What an empty cluster takes.
const EMPTY: u64 = 256 << 20;

/// What stays free for others in bytes, if there is as much.
const FOR_OTHERS: u64 = 1 << 30;

/// How often the disk is looked at. The fastest disk takes some gigabytes meanwhile, of which a tenth is kept.
const PAUSE: Duration = Duration::from_millis(500);

/// Refuses a disk on which the archive and the database will not fit.
pub fn check(folder: &Path, order: &DrillOrder) -> Result<()> {
    // Of a database whose size is unknown: indexes take about as much as rows.
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

/// Stops a drill that leaves others no room. Dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    task: tokio::task::JoinHandle<()>,
    shortage: Arc<Mutex<Option<Error>>>,
}

impl Watch {
    /// Looks at the disk of a folder until it is dropped, and sets `stop` once little is left of what was free.
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

    /// Why it has stopped the drill, if it has.
    pub fn shortage(&self) -> Option<Error> {
        self.shortage.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What must stay free in bytes, of what was free at the start.
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
    async fn a_disk_that_runs_short_ends_the_drill() {
        let folder = tempfile::tempdir().unwrap();
        let error = short_of(folder.path().to_owned(), u64::MAX).await;
        assert!(error.kind() == Kind::CannotWrite && error.message().contains("stay for others"), "{error}");
        assert_eq!((least(100 << 30), least(1 << 30)), (1 << 30, (1 << 30) / 10));
        let stop = Stop::default();
        let watch = Watch::begin(folder.path(), &stop).unwrap();
        assert!(watch.shortage().is_none() && !stop.requested());
    }
}

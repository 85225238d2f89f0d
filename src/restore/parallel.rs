//! A custom archive restored by several jobs at once, while it is unpacked.
//!
//! pg_restore's own jobs need the whole archive before they begin, load each table by one of them, and begin with the
//! table that pg_dump numbered first. So a call of pg_restore makes what comes before the data; then each job feeds
//! calls of pg_restore with what is there of the tables' rows. [`Passes`](crate::restore::pg_restore::passes::Passes) make
//! all else.
//!
//! Several jobs load a large table, in pieces of some hundred kilobytes each: its rows come to lie in nearly the order
//! that they had, and no longer in exactly that.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;

use crate::blocking;
use crate::error::{Error, Kind, Result};
use crate::postgres::child::Messages;
use crate::restore::parallel::queue::{Batch, LoadQueue};
use crate::restore::parallel::unpack::Unpacking;
use crate::restore::pg_restore::load::{Load, LoadFailure};
use crate::restore::run::RestoreRun;
use crate::restore::selection::UseList;

pub mod batch;
pub mod queue;
pub mod unpack;

/// Begins to unpack the archive.
pub fn begin(run: &RestoreRun<'_>) -> Result<Unpacking> {
    // With --keep-going a table is loaded whole or not at all.
    let sharing = run.faults.is_none();
    Unpacking::begin(&run.archive, run.part.as_ref(), (run.settings.staging_dir.as_deref(), sharing), run.stop)
}

/// Loads what comes before the data, and the rows, while the archive is unpacked.
pub(super) async fn load(load: &Load<'_>, jobs: NonZeroUsize, unpacking: &mut Unpacking) -> Result<Messages> {
    let path = unpacking.path().to_owned();
    let all = match up_to_rows(load, &unpacking.work, &path, jobs).await {
        Ok(all) => all,
        Err(failure) => return Err(cause(failure, unpacking).await),
    };
    unpacking.finish().await?;
    Ok(all)
}

/// Loads what comes before the data, and then the rows, while the file `path` is being unpacked.
///
/// # Errors
/// `LoadFailure::Stream` for an archive that cannot be unpacked; what keeps the load from succeeding.
pub async fn up_to_rows(
    load: &Load<'_>,
    work: &Arc<LoadQueue>,
    path: &Path,
    jobs: NonZeroUsize,
) -> std::result::Result<Messages, LoadFailure> {
    let toc = Arc::clone(work);
    blocking::to_end(move || Ok(toc.front())).await?.map_err(LoadFailure::Stream)?;
    let mut all = load.before_data(path).await?;
    all.append(rows(load, work, jobs).await?);
    Ok(all)
}

/// The error of a failed load. If the archive is damaged, that is the error, and not its consequence in the database. To find
/// out, the archive is unpacked to its end.
async fn cause(failure: LoadFailure, unpacking: &mut Unpacking) -> Error {
    match failure {
        LoadFailure::Stream(error) => match unpacking.finish().await {
            Err(reason) => reason,
            Ok(()) => Error::new(Kind::Internal, format!("the unpacked archive cannot be read: {error}")),
        },
        LoadFailure::Other(error) if error.kind() == Kind::Data => match unpacking.finish().await {
            Err(reason) if reason.kind() == Kind::Data => reason,
            _ => error,
        },
        LoadFailure::Other(error) => error,
    }
}

/// Loads the rows of all tables with this number of jobs. The first failure ends them all.
async fn rows(
    load: &Load<'_>,
    work: &Arc<LoadQueue>,
    jobs: NonZeroUsize,
) -> std::result::Result<Messages, LoadFailure> {
    let halt = load.stop.child();
    let load = &Load { stop: &halt, ..*load };
    let failure = Mutex::new(None);
    let all = join_all((0..jobs.get()).map(async |_| match job(load, work).await {
        Ok(messages) => messages,
        Err(error) => {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
            halt.now();
            Messages::default()
        }
    }))
    .await;
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(failure) => Err(failure),
        None => Ok(all.into_iter().fold(Messages::default(), |mut all, later| {
            all.append(later);
            all
        })),
    }
}

async fn job(load: &Load<'_>, work: &Arc<LoadQueue>) -> std::result::Result<Messages, LoadFailure> {
    let mut all = Messages::default();
    while let Some(share) = next(load, work).await? {
        let ids = share.dump_ids();
        let list = UseList::of(&ids)?;
        let (queue, poured) = (Arc::clone(work), share.clone());
        let loaded = load.data(list.path(), move |pipe| batch::pour(&queue, &poured, pipe));
        all.append(loaded.await?);
        work.loaded(&share);
    }
    Ok(all)
}

async fn next(load: &Load<'_>, work: &Arc<LoadQueue>) -> std::result::Result<Option<Batch>, LoadFailure> {
    let waiting = Arc::clone(work);
    let share = blocking::run(load.stop, move || Ok(waiting.take())).await?;
    share.map_err(LoadFailure::Stream)
}

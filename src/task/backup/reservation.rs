//! The reservation of a backup's name: free in the directory, and announced in the bucket, so that no other instance or host takes
//! it meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;

use crate::blocking;
use crate::blocking::joined;
use crate::catalogue::announcement::{AnnouncedServer, Announcement};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::store::Store;
use crate::store::local::LocalStore;
use crate::task::backup::run::{BackupRun, PROMPT};

/// The longest delay of a dump by a bucket that only gets its copy.
const PATIENCE: Duration = Duration::from_secs(10);

/// The number of attempts at announcing a name.
const TRIES: u32 = 3;

/// A reserved name.
pub struct BackupName {
    /// The id.
    pub id: String,
    /// The time in the id, in seconds.
    pub started: Timestamp,
    /// The server.
    pub identity: Identity,
}

/// Reserves the name of a backup that begins now; if it is taken, that of a later second.
///
/// # Errors
/// `TryAgain` if the process is stopped: nothing stays announced then.
pub async fn take(run: &BackupRun<'_>, database: &str, identity: Identity) -> Result<BackupName> {
    loop {
        let started = Timestamp::now();
        let id = name::id(database, started);
        let local = run.local.as_ref().map_or(Ok(true), |local| is_free(local, &id))?;
        if local && is_reserved(run, &id, &identity).await? {
            return Ok(BackupName { id, started, identity });
        }
        let nanoseconds = Timestamp::now().subsec_nanosecond();
        let pause = Duration::from_secs(1) - Duration::from_nanos(nanoseconds.unsigned_abs().into());
        run.stop.sleep(pause).await?;
    }
}

fn is_free(local: &LocalStore, id: &str) -> Result<bool> {
    let taken = |name: &str| name.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let names = std::fs::read_dir(local.directory())
        .map_err(|error| Error::read(format!("the backup directory {}", local.location()), &error))?;
    Ok(!names.flatten().any(|entry| entry.file_name().to_str().is_some_and(taken)))
}

/// Whether the name could be announced in the bucket. If the bucket does not answer, a backup in the directory is still made: whether
/// the name was free shows when it is copied.
async fn is_reserved(run: &BackupRun<'_>, id: &str, identity: &Identity) -> Result<bool> {
    let Some(bucket) = run.bucket.clone().filter(|_| !run.bucket_fails.load(Ordering::Relaxed)) else {
        return Ok(true);
    };
    let server = AnnouncedServer { identity: identity.clone() };
    let announcement = Announcement { id: id.to_owned(), maker: run.place.maker(), server };
    let keys = keys(run, id);
    let location = bucket.location();
    let mut announcing = tokio::task::spawn_blocking(move || announce(bucket.as_ref(), &announcement, &keys));
    let slow = |_| Err(Error::new(Kind::Unavailable, format!("{location} does not answer")));
    let patience = if run.local.is_some() { PATIENCE } else { Duration::MAX };
    let announced = tokio::select! {
        biased;
        () = run.stop.wait() => {
            // An announcement that arrives in time is withdrawn.
            if let Ok(Ok(Ok(true))) = tokio::time::timeout(PROMPT, announcing).await {
                withdraw(run, id).await;
            }
            return Err(run.stop.error());
        }
        announced = tokio::time::timeout(patience, &mut announcing) => announced.map_or_else(slow, joined),
    };
    match announced {
        Err(error) if run.local.is_none() => Err(error),
        Ok(is_reserved) => Ok(is_reserved),
        Err(error) => {
            run.bucket_fails.store(true, Ordering::Relaxed);
            log::warn!("{error}: backups are made in the directory all the same");
            // Time has passed, and the name has the time the dump begins.
            Ok(false)
        }
    }
}

/// Keys of everything that a backup may have in a store, the manifest last.
fn keys(run: &BackupRun<'_>, id: &str) -> Vec<String> {
    run.keys(id).into_iter().chain([Manifest::key(id)]).collect()
}

fn announce(bucket: &dyn Store, announced: &Announcement, keys: &[String]) -> Result<bool> {
    let manifest = Manifest::key(&announced.id);
    let announcement = announced.to_json()?;
    let mut tries = 0;
    while let Err(error) = bucket.announce(&manifest, &announcement) {
        tries += 1;
        match Announcement::read(bucket, &announced.id)? {
            Some(_) => return Ok(false),
            // The object that prevented the announcement may be gone by now.
            None if error.kind() == Kind::CannotWrite && tries < TRIES => {}
            None => return Err(error),
        }
    }
    for key in keys {
        if bucket.size(key)?.is_some() {
            bucket.discard(&manifest)?;
            return Ok(false);
        }
    }
    Ok(true)
}

/// Withdraws the name of a backup that failed.
pub async fn withdraw(run: &BackupRun<'_>, id: &str) {
    let Some(bucket) = run.bucket.clone().filter(|_| !run.bucket_fails.load(Ordering::Relaxed)) else { return };
    // The announcement is deleted last: it says whose the other objects are.
    let keys = match run.local {
        Some(_) => vec![Manifest::key(id)],
        None => keys(run, id),
    };
    let discard = move |bucket: Arc<dyn Store>| keys.iter().try_for_each(|key| bucket.discard(key));
    match tokio::time::timeout(PROMPT, blocking::to_end(move || discard(bucket))).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            log::warn!("the announcement of {id} stays in the bucket until retention removes it: {error}")
        }
        Err(_) => log::warn!("the announcement of {id} stays in the bucket until retention removes it"),
    }
}

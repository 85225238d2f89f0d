//! The name of a backup that begins: free in the directory, and announced in the bucket, so that no other instance or
//! host that shares the bucket takes it meanwhile.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;

use crate::blocking::joined;
use crate::catalogue::announcement::{AnnouncedServer, Announcement};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::name;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;
use crate::store::Store;
use crate::store::local::LocalStore;
use crate::task::backup::{BackupRun, PROMPT, attempt};

/// How long a bucket that will only get a copy may keep a dump from beginning.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often a name is announced that something unknown is in the way of.
const TRIES: u32 = 3;

/// A name that nobody else takes.
pub struct Name {
    /// The id.
    pub id: String,
    /// The second that it tells.
    pub started: Timestamp,
    /// The server.
    pub identity: Identity,
}

/// The name of a backup that begins now; if the second is taken, that of a later one.
///
/// # Errors
/// `TryAgain` where the run is told to stop: then nothing stays announced.
pub async fn take(run: &BackupRun<'_>, database: &str, identity: Identity) -> Result<Name> {
    loop {
        let started = super::now();
        let id = name::id(database, started);
        let local = run.local.as_ref().map_or(Ok(true), |local| is_free(local, &id))?;
        if local && is_ours(run, &id, &identity).await? {
            return Ok(Name { id, started, identity });
        }
        let nanoseconds = super::now().subsec_nanosecond();
        let pause = Duration::from_secs(1) - Duration::from_nanos(nanoseconds.unsigned_abs().into());
        let slept = async {
            tokio::time::sleep(pause).await;
            Ok(())
        };
        run.stop.or(slept).await?;
    }
}

fn is_free(local: &LocalStore, id: &str) -> Result<bool> {
    let taken = |name: &str| name.strip_prefix(id).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let names = std::fs::read_dir(local.directory())
        .map_err(|error| Error::read(format!("the backup directory {}", local.location()), &error))?;
    Ok(!names.flatten().any(|entry| entry.file_name().to_str().is_some_and(taken)))
}

/// Whether the bucket gives us this name. One that does not answer keeps no backup from the directory: its copy then
/// finds out later whether the name was free.
async fn is_ours(run: &BackupRun<'_>, id: &str, identity: &Identity) -> Result<bool> {
    let Some(bucket) = run.bucket.clone().filter(|_| !run.bucket_fails.load(Ordering::Relaxed)) else {
        return Ok(true);
    };
    let server = AnnouncedServer { identity: identity.clone() };
    let claim = Announcement { id: id.to_owned(), maker: run.place.maker(), server };
    let keys = keys(run, id);
    let location = bucket.location();
    let mut announcing = tokio::task::spawn_blocking(move || announce(bucket.as_ref(), &claim, &keys));
    let slow = |_| Err(Error::new(Kind::Unavailable, format!("{location} does not answer")));
    let patience = if run.local.is_some() { PATIENCE } else { Duration::MAX };
    let announced = tokio::select! {
        biased;
        () = run.stop.wait() => {
            // What is on its way is taken back when it has arrived.
            if let Ok(Ok(Ok(true))) = tokio::time::timeout(PROMPT, announcing).await {
                give_back(run, id).await;
            }
            return Err(run.stop.error());
        }
        announced = tokio::time::timeout(patience, &mut announcing) => announced.map_or_else(slow, joined),
    };
    match announced {
        Err(error) if run.local.is_none() => Err(error),
        Ok(ours) => Ok(ours),
        Err(error) => {
            run.bucket_fails.store(true, Ordering::Relaxed);
            log::warn!("{error}: backups are made in the directory all the same");
            // Time has passed: the name is to tell when the dump began.
            Ok(false)
        }
    }
}

/// Keys of everything that a backup may have in a store, the manifest last.
fn keys(run: &BackupRun<'_>, id: &str) -> Vec<String> {
    attempt::keys(run, id).into_iter().chain([Manifest::key(id)]).collect()
}

fn announce(bucket: &dyn Store, claim: &Announcement, keys: &[String]) -> Result<bool> {
    let manifest = Manifest::key(&claim.id);
    let announcement = claim.to_json()?;
    let mut tries = 0;
    while let Err(error) = bucket.announce(&manifest, &announcement) {
        tries += 1;
        match Announcement::read(bucket, &claim.id)? {
            Some(_) => return Ok(false),
            // It may have been in the way, and be gone by now.
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

/// Gives a name back whose backup came to nothing.
pub async fn give_back(run: &BackupRun<'_>, id: &str) {
    let Some(bucket) = run.bucket.clone().filter(|_| !run.bucket_fails.load(Ordering::Relaxed)) else { return };
    // The announcement goes last: while it is there, it tells whose the others are.
    let keys = match run.local {
        Some(_) => vec![Manifest::key(id)],
        None => keys(run, id),
    };
    let discard = move |bucket: Arc<dyn Store>| keys.iter().try_for_each(|key| bucket.discard(key));
    let discarded = tokio::task::spawn_blocking(move || discard(bucket));
    match tokio::time::timeout(PROMPT, discarded).await.map(joined) {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            log::warn!("what was announced of {id} stays in the bucket until retention removes it: {error}")
        }
        Err(_) => log::warn!("what was announced of {id} stays in the bucket until retention removes it"),
    }
}

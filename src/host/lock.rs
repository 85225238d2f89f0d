//! The lock that allows one writer at a time in a backup directory, or for an instance without one.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ring::digest::{SHA256, digest};

use crate::error::{Cause, Error, Kind, Result};
use crate::host::runtime_folder;
use crate::host::surroundings::Surroundings;
use crate::stop::Stop;

/// Name of the lock file in a directory. It stays where it is: only the kernel's lock on it counts (`flock(2)`).
const NAME: &str = ".pgcellar.lock";

/// How often a lock that another run holds is tried.
const PAUSE: Duration = Duration::from_millis(500);

/// A lock; it is released when it is dropped, or by the kernel when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a backup directory. The error names the holder.
    pub fn take(directory: &Path, task: &str) -> Result<Self> {
        Lock::of_file(&directory.join(NAME), &directory.display().to_string(), task)
    }

    /// Takes the lock of an instance whose backups go straight to a bucket. The error names the holder.
    ///
    /// It only avoids a second dump of the same instance on this host: the announcement in the bucket prevents two runs
    /// from writing the same object, on this host or on others. So it does no harm that a unit and a user's session
    /// have different runtime folders.
    pub fn take_for_bucket(instance: &str, bucket: &str, task: &str) -> Result<Self> {
        let hash = digest(&SHA256, bucket.as_bytes());
        let hash: String = hash.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let path = runtime_folder::find()?.join(format!("pgcellar-{instance}-{hash}.lock"));
        Lock::of_file(&path, &format!("the instance '{instance}' for {bucket}"), task)
    }

    /// Takes a lock by `take`; while another run holds it, tries again for `patience`, or until the process is asked to
    /// stop.
    pub async fn patiently(patience: Duration, stop: &Stop, take: impl Fn() -> Result<Self>) -> Result<Self> {
        let begun = Instant::now();
        let mut logged = false;
        loop {
            match take() {
                Err(error) if error.kind() == Kind::TryAgain && begun.elapsed() < patience => {
                    if !std::mem::replace(&mut logged, true) {
                        log::info!("{}: waiting for it, {} s at the most", error.message(), patience.as_secs());
                    }
                }
                taken => return taken,
            }
            stop.sleep(PAUSE).await?;
        }
    }

    fn of_file(path: &Path, what: &str, task: &str) -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)
            .map_err(|error| cannot_write(path, &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked(&mut file, what)),
            Err(TryLockError::Error(error)) => {
                return Err(Error::new(Kind::System, format!("cannot lock {}: {error}", path.display()))
                    .hint("the file system must support flock(2); NFS does since version 4"));
            }
        }
        let holder = format!("pgcellar {task}, process {}, since {:.0}\n", std::process::id(), Timestamp::now());
        // Only the kernel's lock counts: on a full disk, where retention must free space, the holder's name cannot be
        // written.
        let written = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(holder.as_bytes()));
        if let Err(error) = written {
            log::debug!("{} does not name its holder: {error}", path.display());
        }
        Ok(Lock { _file: file })
    }
}

fn locked(file: &mut File, what: &str) -> Error {
    let mut holder = String::new();
    let read = Read::by_ref(file).take(200).read_to_string(&mut holder);
    let holder = match holder.trim() {
        "" => "another run",
        _ if read.is_err() => "another run",
        text => text,
    };
    Error::new(Kind::TryAgain, format!("{what} is locked by {holder}"))
        .hint("wait until that run has ended, and try again")
        .caused_by(Cause::AnotherRun)
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Error {
    let (plain, place) = (Error::write(path.display(), error), Surroundings::here());
    match (error.kind(), path.parent()) {
        (std::io::ErrorKind::PermissionDenied, Some(folder)) if place.is_container() => {
            plain.hint(place.give(&[folder]))
        }
        _ => plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_and_the_holder_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let held = Lock::take(folder.path(), "backup").unwrap();
        let error = Lock::take(folder.path(), "retention").unwrap_err();
        assert_eq!(error.kind(), Kind::TryAgain);
        assert!(error.message().contains(&format!("pgcellar backup, process {}", std::process::id())), "{error}");
        drop(held);
        Lock::take(folder.path(), "retention").unwrap();
    }

    #[tokio::test]
    async fn who_is_patient_gets_the_lock_that_another_run_lets_go() {
        let folder = tempfile::tempdir().unwrap();
        let stop = Stop::default();
        let take = || Lock::take(folder.path(), "retention");
        let held = Lock::take(folder.path(), "backup").unwrap();
        let error = Lock::patiently(Duration::ZERO, &stop, take).await.unwrap_err();
        assert_eq!(error.kind(), Kind::TryAgain);
        let (taken, ()) = tokio::join!(Lock::patiently(Duration::from_secs(60), &stop, take), async { drop(held) });
        taken.unwrap();
    }

    #[test]
    fn instances_and_buckets_do_not_wait_for_each_other() {
        let held = Lock::take_for_bucket("lock-test", "s3://a/b", "backup").unwrap();
        assert_eq!(Lock::take_for_bucket("lock-test", "s3://a/b", "backup").unwrap_err().kind(), Kind::TryAgain);
        for (instance, bucket) in [("lock-test", "s3://a/c"), ("lock-test-2", "s3://a/b")] {
            Lock::take_for_bucket(instance, bucket, "backup").unwrap();
        }
        drop(held);
    }
}

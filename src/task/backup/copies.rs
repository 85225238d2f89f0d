//! Copies of the directory's backups to the bucket: those of this run, and those that earlier runs could not copy, the oldest first.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::blocking;
use crate::blocking::joined;
use crate::catalogue::copy_record;
use crate::catalogue::copy_record::{CopyRecord, ids, is_there};
use crate::catalogue::manifest::Manifest;
use crate::catalogue::ownership::{Owner, Ownership, Whose};
use crate::catalogue::retention_plan::would_stay;
use crate::catalogue::{Backup, Catalogue, Status};
use crate::config::{Place, RetentionSettings};
use crate::error::{Error, Kind, Result};
use crate::format::some;
use crate::host::event;
use crate::host::progress::{Counter, Progress};
use crate::identity::Identity;
use crate::store::Store;
use crate::store::local::LocalStore;
use crate::task::backup::copy::{Copier, interrupted};
use crate::task::backup::run::{BackupRun, PROMPT};

/// The number of backups in a message.
const NAMED: usize = 3;

/// The result of copying.
#[derive(Default)]
pub struct Copies {
    /// Ids of this instance's backups that are in the bucket.
    pub there: HashSet<String>,
    /// Why others are not.
    pub failure: Option<Error>,
}

/// The backups in both stores before the first copy.
struct Survey {
    copied: CopyRecord,
    /// This instance's backups in the bucket.
    there: HashSet<String>,
    /// The backups to copy, the oldest first, and why one cannot be copied.
    missing: Vec<(Manifest, Option<Error>)>,
}

/// Copies what the bucket lacks. If one backup cannot be copied, the others still are, unless the bucket does not answer.
pub async fn copy(run: &BackupRun<'_>, local: &LocalStore, bucket: &Arc<dyn Store>) -> Copies {
    let location = bucket.location();
    let survey = run.stop.or(survey(run, local, bucket)).await;
    let Survey { mut copied, mut there, missing } = match survey {
        Ok(survey) => survey,
        Err(error) => {
            let error = error.context(format!("backups are not copied to {location}"));
            return Copies { failure: Some(error), ..Copies::default() };
        }
    };
    let (mut lacking, mut failure) = (missing.len(), None);
    for (manifest, problem) in missing {
        let one = match problem {
            Some(problem) => Err(problem),
            None => copy_one(run, local, bucket, &manifest).await,
        };
        match one {
            Ok(()) => {
                lacking -= 1;
                copied.add(&address(run), &manifest.id);
                record(local, &copied).await;
                there.insert(manifest.id);
            }
            Err(error) => {
                let error = error.context(format!("{} is not copied", manifest.id));
                let ends = error.kind() == Kind::Unavailable || run.stop.requested();
                log::error!(
                    PGCELLAR_DATABASE = manifest.database, PGCELLAR_BACKUP = manifest.id,
                    PGCELLAR_STORE = bucket.kind().name();
                    "{error}"
                );
                failure.get_or_insert(error);
                if ends {
                    break;
                }
            }
        }
    }
    Copies { there, failure: failure.map(|first| outcome(&first, lacking, &location)) }
}

fn outcome(first: &Error, lacking: usize, location: &str) -> Error {
    let backups = if lacking == 1 { "1 backup is".to_owned() } else { format!("{lacking} backups are") };
    Error::new(first.kind(), format!("{backups} not in {location} yet")).hint("the next backup copies what is missing")
}

/// The bucket's address in the record of copies.
fn address(run: &BackupRun<'_>) -> String {
    run.place.s3.as_ref().map(copy_record::address).unwrap_or_default()
}

/// Lists the backups of the directory and the bucket.
async fn survey(run: &BackupRun<'_>, local: &LocalStore, bucket: &Arc<dyn Store>) -> Result<Survey> {
    let (local, bucket, place, rules) = (local.clone(), Arc::clone(bucket), run.place.clone(), run.retention.clone());
    let address = address(run);
    blocking::to_end(move || find_missing(&local, &bucket, &place, &address, rules.as_ref())).await
}

fn find_missing(
    local: &LocalStore,
    bucket: &Arc<dyn Store>,
    place: &Place,
    address: &str,
    rules: Option<&RetentionSettings>,
) -> Result<Survey> {
    let directory: Arc<dyn Store> = Arc::new(local.clone());
    let catalogue = Catalogue::read(&directory)?;
    let is_own = |backup: &&Backup| backup.manifest.instance == place.instance;
    let own: Vec<&Backup> = catalogue.backups.iter().filter(is_own).collect();
    let entries = bucket.list()?;
    let in_bucket = ids(&entries);
    let before = CopyRecord::read(local);
    let mut copied = before.clone();
    copied.keep(&catalogue.backups);
    copied.forget_emptied(address, &own, &in_bucket);
    let mut lacking = copied.lacking(address, &own, &in_bucket);
    if let Some(rules) = rules {
        leave_out_expired(&mut lacking.missing, &own, &in_bucket, bucket, place, rules)?;
    }
    if lacking.deleted > 0 {
        log::debug!("{} backups were copied to {address} and deleted there since", lacking.deleted);
    }
    let problem = |backup: &Backup| (backup.status == Status::Damaged).then(|| damaged(backup));
    let mut missing: Vec<(Manifest, Option<Error>)> =
        lacking.missing.iter().map(|backup| (backup.manifest.clone(), problem(backup))).collect();
    for backup in lacking.unknown {
        match is_there(bucket.as_ref(), &backup.manifest)? {
            true => copied.add(address, &backup.manifest.id),
            false => missing.push((backup.manifest.clone(), Some(another(bucket.as_ref(), &backup.manifest.id)))),
        }
    }
    if copied != before
        && let Err(error) = copied.write(local)
    {
        log::warn!("{error}");
    }
    let there = own.iter().map(|backup| backup.manifest.id.as_str()).filter(|id| in_bucket.contains(id));
    let there = there.filter(|id| copied.has(address, id)).map(str::to_owned).collect();
    Ok(Survey { copied, there, missing })
}

/// Leaves out what retention would remove from the bucket at once. The bucket's catalogue is read only if the directory's backups
/// rule out a copy.
fn leave_out_expired(
    missing: &mut Vec<&Backup>,
    own: &[&Backup],
    in_bucket: &HashSet<&str>,
    bucket: &Arc<dyn Store>,
    place: &Place,
    rules: &RetentionSettings,
) -> Result<()> {
    let stay =
        |missing: &[&Backup], there: &[&Backup]| would_stay(missing, there, &rules.s3, Timestamp::now(), &rules.zone);
    let both: Vec<&Backup> =
        own.iter().filter(|backup| in_bucket.contains(backup.manifest.id.as_str())).copied().collect();
    if stay(missing, &both).len() == missing.len() {
        return Ok(());
    }
    let there = Catalogue::read(bucket)?;
    let ownership = Ownership::new(&Owner::of(place), std::iter::once(&there));
    let may_be_own = |backup: &&Backup| ownership.whose(backup) != Whose::Another;
    let there: Vec<&Backup> = there.backups.iter().filter(may_be_own).collect();
    let stay = stay(missing, &there);
    let expired: Vec<&str> =
        missing.iter().map(|backup| backup.manifest.id.as_str()).filter(|id| !stay.contains(*id)).collect();
    if !expired.is_empty() {
        log::info!(
            "{} not copied to {}, where the rules would remove {} at once ({}): {}",
            if expired.len() == 1 { "1 backup is".to_owned() } else { format!("{} backups are", expired.len()) },
            bucket.location(),
            if expired.len() == 1 { "it" } else { "them" },
            rules.s3,
            some(&expired, NAMED),
        );
    }
    missing.retain(|backup| stay.contains(&backup.manifest.id));
    Ok(())
}

fn damaged(backup: &Backup) -> Error {
    let record = backup.verification.iter().flat_map(|record| &record.damage);
    let what = backup.damage.iter().chain(record).next().map_or("the last verify failed", String::as_str);
    Error::new(Kind::Data, format!("it is damaged: {what}")).hint("pgcellar verify shows its damage")
}

fn another(bucket: &dyn Store, id: &str) -> Error {
    Error::new(Kind::CannotWrite, format!("{} has another backup of the name {id}", bucket.location()))
        .hint("give each instance and host an AWS_S3_PREFIX of its own")
}

async fn copy_one(run: &BackupRun<'_>, local: &LocalStore, bucket: &Arc<dyn Store>, manifest: &Manifest) -> Result<()> {
    let bytes = manifest.stored_bytes();
    let progress = Progress::begin_slow(&format!("{} to {}", manifest.id, bucket.location()), Some(bytes), run.pause());
    let began = std::time::Instant::now();
    let (copier, copied) = (copier(run, local, bucket, progress.counter()), manifest.clone());
    let mut copying = tokio::task::spawn_blocking(move || copier.copy(&copied));
    let done = tokio::select! {
        biased;
        done = &mut copying => joined(done),
        () = run.stop.wait() => {
            // A bucket that does not answer does not delay the stop: the begun copy stays announced.
            drop(tokio::time::timeout(PROMPT, copying).await);
            Err(interrupted(run.stop))
        }
    };
    done?;
    log::info!(
        MESSAGE_ID = event::BACKUP_COPIED,
        PGCELLAR_DATABASE = manifest.database, PGCELLAR_BACKUP = manifest.id,
        PGCELLAR_BYTES = bytes, PGCELLAR_STORE = bucket.kind().name();
        "copied {} to {} in {:.1} s: {}",
        manifest.id,
        bucket.location(),
        began.elapsed().as_secs_f64(),
        indicatif::HumanBytes(bytes),
    );
    Ok(())
}

fn copier(run: &BackupRun<'_>, local: &LocalStore, bucket: &Arc<dyn Store>, moved: Counter) -> Copier {
    Copier {
        from: Arc::new(local.clone()),
        to: Arc::clone(bucket),
        maker: run.place.maker(),
        // The directory is locked, so announcements with its id are those of ended runs.
        server: Identity { backup_directory: run.directory_id.get().cloned(), ..Identity::default() },
        moved,
        stop: run.stop.clone(),
    }
}

/// Writes the record of copies. Without it, the next run finds the copy in the bucket.
async fn record(local: &LocalStore, copied: &CopyRecord) {
    let (local, copied) = (local.clone(), copied.clone());
    if let Err(error) = blocking::to_end(move || copied.write(&local)).await {
        log::warn!("{error}");
    }
}

//! Checks of the bucket: whether the server answers, knows the key and has the bucket, and whether the key permits
//! everything that backups need. A test object is written, read, listed and deleted, and removed whatever happens.

use std::sync::Arc;
use std::time::Duration;

use crate::cli::DoctorPart;
use crate::config::{S3Settings, secret_place};
use crate::error::{Error, Kind, Result};
use crate::stop::Stop;
use crate::store::s3::probe::{Keeping, Probe, Refusal, Stage};
use crate::task::doctor::check::Checks;
use crate::task::doctor::services::{BucketAccess, Services};

/// How long removing the test objects may take.
const CLEARING: Duration = Duration::from_secs(6);

/// Checks the bucket. The only error is that the process was asked to stop.
pub async fn check(services: &Arc<Services>, stop: &Stop) -> Result<Checks> {
    let mut checks = Checks::new(DoctorPart::S3);
    let bucket = stop.or(async { Ok(services.bucket().await) }).await?;
    let bucket = match bucket {
        Ok(bucket) => Arc::clone(bucket),
        Err(error) => {
            checks.failed("settings", error);
            return Ok(checks);
        }
    };
    if !reached(services, &bucket, &mut checks) {
        return Ok(checks);
    }
    let mut left = Left::Nothing;
    // Without a box the nested futures of the SDK's requests are too deep for the compiler.
    let acts = Box::pin(acts(&bucket, &mut left, &mut checks));
    let done = stop.or(async {
        acts.await;
        Ok(())
    });
    let done = done.await;
    if (left == Left::Something || bucket.probe.has_upload())
        && let Err(error) = clear(&bucket.probe).await
    {
        match done.is_ok() {
            true => checks.warning("delete", error.message(), error.hint_text().unwrap_or_default()),
            false => log::warn!("{error}"),
        }
    }
    done.map(|()| checks)
}

/// Adds how far the first request got. False if further requests are pointless.
fn reached(services: &Services, bucket: &BucketAccess, checks: &mut Checks) -> bool {
    let BucketAccess { settings, refusal, .. } = bucket;
    let stage = refusal.as_ref().map(|refusal| refusal.stage);
    let all: [(Stage, &str, String); 3] = [
        (Stage::Server, "server", format!("{} answers", server(settings))),
        (Stage::Key, "key", format!("the server knows the access key of {}", key(services, settings))),
        (Stage::Bucket, "bucket", format!("the bucket {} exists", settings.bucket)),
    ];
    for (at, check, found) in all {
        match refusal {
            Some(Refusal { stage, error }) if *stage == at => {
                checks.failed(check, error);
                checks.skipped("the rest", format!("{check} must succeed first"));
                return false;
            }
            // Some servers return the same error for an unknown key as for a missing permission.
            Some(_) if stage == Some(Stage::Permission) && at != Stage::Server => {}
            _ => checks.ok(check, found),
        }
    }
    let prefix = format!("s3://{}/{}", settings.bucket, settings.prefix);
    match refusal {
        Some(Refusal { error, .. }) => checks.failed("list", error),
        None => checks.ok("list", format!("{prefix} can be listed")),
    }
    true
}

fn server(settings: &S3Settings) -> String {
    match &settings.endpoint {
        Some(url) => url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host).to_owned(),
        None => format!("Amazon, {}", settings.region),
    }
}

/// Where the key comes from; never its value.
fn key(services: &Services, settings: &S3Settings) -> String {
    if settings.keys.is_none() {
        return "the SDK's chain (a profile, a web identity, a container's or an instance's role)".to_owned();
    }
    let args = &services.args.place.s3;
    let id = secret_place("aws-access-key-id", "AWS_ACCESS_KEY_ID", args.access_key_id_file.as_deref());
    let secret = secret_place("aws-secret-access-key", "AWS_SECRET_ACCESS_KEY", args.secret_access_key_file.as_deref());
    let places: Vec<String> = id.into_iter().chain(secret).collect();
    places.join(" and ")
}

/// What of the test may be left in the bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Nothing,
    Something,
}

/// Writes, reads, lists and deletes the test object. What depends on it is skipped if it cannot be written.
async fn acts(bucket: &BucketAccess, left: &mut Left, checks: &mut Checks) {
    let probe = &bucket.probe;
    *left = Left::Something;
    let written = probe.write().await;
    if matches!(&written, Err(error) if error.kind() == Kind::NotPermitted) {
        *left = Left::Nothing;
    }
    if !checks.act("write", written.map(|()| format!("{} was written", probe.address()))) {
        return checks.skipped("read, upload, delete", "nothing could be written");
    }
    conditional(probe, checks).await;
    checks.act("read", probe.read().await.map(|()| "it was read back unchanged".to_owned()));
    match (&bucket.refusal, probe.is_listed().await) {
        // That has been reported.
        (Some(_), _) => {}
        (None, Ok(true)) => {}
        (None, Ok(false)) => {
            let why = "the object that was written is missing from the list that follows";
            checks.warning(
                "list",
                why,
                "with lists that lag behind, retention and copies miss backups: ask the provider",
            );
        }
        (None, Err(error)) => checks.failed("list", &error),
    }
    let keeping = probe.keeping().await;
    match missing_lock(&keeping, &bucket.settings) {
        Some(error) => {
            checks.failed("lock", &error);
            checks.skipped("upload", "archives cannot be locked");
        }
        None => drop(checks.act("upload", probe.upload().await.map(|()| upload(&bucket.settings)))),
    }
    let deleted = probe.delete().await;
    if deleted.is_ok() {
        *left = Left::Nothing;
    }
    report_deletion(&deleted, checks);
    report_keeping(&keeping, checks);
}

async fn conditional(probe: &Probe, checks: &mut Checks) {
    match probe.is_conditional().await {
        Ok(true) => checks.ok("overwrite", "the server refuses to overwrite an object (conditional writes)"),
        Ok(false) => checks.ok(
            "overwrite",
            "the server does not support conditional writes: pgcellar checks for the object before it writes, so no \
             two hosts may share a prefix",
        ),
        Err(error) => checks.failed("overwrite", &error),
    }
}

fn upload(settings: &S3Settings) -> String {
    let mut words = "a multipart upload was started, listed and aborted".to_owned();
    if let Some(class) = &settings.storage_class {
        words += &format!(", with the storage class {class}");
    }
    if settings.lock.is_some() {
        words += ", with Object Lock";
    }
    words
}

fn report_deletion(deleted: &Result<bool>, checks: &mut Checks) {
    match deleted {
        Ok(false) => checks.ok("delete", "it was deleted, and is gone"),
        Ok(true) => checks.ok("delete", "it was deleted; its old version stays, because the bucket keeps versions"),
        Err(error) => checks.failed("delete", error),
    }
}

/// Why archives cannot be locked as the settings require.
fn missing_lock(keeping: &Keeping, settings: &S3Settings) -> Option<Error> {
    let is_missing = settings.lock.is_some() && keeping.lock == Some(false);
    is_missing.then(|| {
        Error::new(Kind::Config, "the bucket has no Object Lock, and AWS_S3_OBJECT_LOCK_DAYS is set")
            .hint("Object Lock is turned on for a bucket by its owner; or leave AWS_S3_OBJECT_LOCK_DAYS out")
    })
}

fn report_keeping(keeping: &Keeping, checks: &mut Checks) {
    if let Some(time) = &keeping.default_lock {
        checks.ok("lock", format!("the bucket locks new objects for {time}: retention waits as long"));
    } else if keeping.lock == Some(true) {
        checks.ok("lock", "the bucket has Object Lock");
    }
    match keeping.versions {
        Some(true) => checks.ok(
            "versions",
            "the bucket keeps old versions: deleted backups take space until a lifecycle rule removes them",
        ),
        Some(false) => checks.ok("versions", "the bucket keeps no old versions"),
        None => {}
    }
}

/// Removes what may be left, within a time limit.
async fn clear(probe: &Probe) -> Result<()> {
    let why = match tokio::time::timeout(CLEARING, Box::pin(probe.clear())).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => error.message().to_owned(),
        Err(_) => format!("no answer within {} s", CLEARING.as_secs()),
    };
    let left = format!("{} may be left: {why}", probe.address());
    Err(Error::new(Kind::Unavailable, left).hint("delete it; it is a small file, and does no harm"))
}

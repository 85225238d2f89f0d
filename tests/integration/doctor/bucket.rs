//! The bucket: the key, the bucket, and the key's permissions. No object is left behind.

use std::time::Duration;

use aws_sdk_s3::types::{BucketVersioningStatus, VersioningConfiguration};
use rustix::process::Signal;

use super::*;
use crate::common::bucket::Bucket;
use crate::common::cluster::CLOSED_PORT;
use crate::common::fault_proxy::{Fault, FaultProxy};
use crate::common::s3_server::{OWNER, READER, S3Server, WRITER, wait};

/// A run over an empty bucket with the owner's key.
fn run(cellar: &Cellar, bucket: &Bucket) -> Run {
    let server = bucket.server();
    let run = cellar.run(["doctor", "s3"]).env("AWS_S3_BUCKET", bucket.name());
    run.env("AWS_ENDPOINT_URL", server.endpoint())
        .env("AWS_ACCESS_KEY_ID", OWNER.id)
        .env("AWS_SECRET_ACCESS_KEY", OWNER.secret)
}

/// Everything in a bucket: keys of objects with any name, and of unfinished uploads.
fn everything(server: &S3Server, bucket: &str) -> Vec<String> {
    let client = server.client(OWNER);
    let objects = wait(client.list_objects_v2().bucket(bucket).send()).unwrap();
    let uploads = wait(client.list_multipart_uploads().bucket(bucket).send()).unwrap();
    let objects = objects.contents().iter().filter_map(|object| object.key().map(str::to_owned));
    let uploads = uploads.uploads().iter().filter_map(|upload| upload.key().map(str::to_owned));
    objects.chain(uploads).collect()
}

#[track_caller]
fn is_empty(bucket: &Bucket) {
    assert_eq!(everything(bucket.server(), bucket.name()), [""; 0]);
}

#[test]
fn a_good_bucket() {
    let (cellar, bucket) = (Cellar::unconnected(), Bucket::new());
    let report = Report::of(run(&cellar, &bucket), 0);
    report
        .says("s3", "server", "OK", &[&bucket.server().endpoint()])
        .says("s3", "key", "OK", &["AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"])
        .says("s3", "bucket", "OK", &[bucket.name()])
        .says("s3", "list", "OK", &["database-backups"])
        .says("s3", "write", "OK", &["/database-backups/.pgcellar-doctor-"])
        .says("s3", "overwrite", "OK", &["refuses to overwrite"])
        .says("s3", "read", "OK", &["read back unchanged"])
        .says("s3", "upload", "OK", &["aborted"])
        .says("s3", "delete", "OK", &["is gone"])
        .only_has(&["OK"]);
    for secret in [OWNER.id, OWNER.secret] {
        assert!(
            !report.outcome.stdout.contains(secret) && !report.outcome.stderr.contains(secret),
            "{}",
            report.outcome
        );
    }
    is_empty(&bucket);
    let file = cellar.scratch().join("key");
    fs::write(&file, OWNER.secret).unwrap();
    let from_file = run(&cellar, &bucket).without("AWS_SECRET_ACCESS_KEY").env("AWS_SECRET_ACCESS_KEY_FILE", &file);
    let place = format!("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY_FILE={}", file.display());
    Report::of(from_file.env("AWS_S3_PREFIX", ""), 0).says("s3", "key", "OK", &[&place]);
    let clock = run(&cellar, &bucket).arguments(["clock"]).env("DB_HOST", "nowhere.invalid");
    Report::of(clock, exit::UNAVAILABLE).says("clock", "s3", "OK", &["its clock"]);
    is_empty(&bucket);
}

#[test]
fn wrong_keys_and_buckets() {
    let (cellar, bucket) = (Cellar::unconnected(), Bucket::new());
    let run = || run(&cellar, &bucket);
    Report::of(run().env("AWS_ACCESS_KEY_ID", "NOBODYSKEY"), exit::NOPERM)
        .says("s3", "server", "OK", &[])
        .says("s3", "key", "FAILED", &["does not know the access key", "AWS_ACCESS_KEY_ID"])
        .says("s3", "the rest", "SKIPPED", &["key"]);
    Report::of(run().env("AWS_SECRET_ACCESS_KEY", "wrong+secret/0123456789"), exit::NOPERM).says(
        "s3",
        "key",
        "FAILED",
        &["does not match the access key", "AWS_SECRET_ACCESS_KEY"],
    );
    Report::of(run().env("AWS_S3_BUCKET", "no-such-bucket"), exit::CONFIG).says("s3", "key", "OK", &[]).says(
        "s3",
        "bucket",
        "FAILED",
        &["no bucket no-such-bucket", "create it first"],
    );
    Report::of(run().without("AWS_SECRET_ACCESS_KEY"), exit::CONFIG).says(
        "s3",
        "settings",
        "FAILED",
        &["AWS_SECRET_ACCESS_KEY is not"],
    );
    Report::of(run().without("AWS_S3_BUCKET"), exit::CONFIG).says(
        "s3",
        "settings",
        "FAILED",
        &["no bucket is configured", "AWS_S3_BUCKET"],
    );
    let closed = format!("http://127.0.0.1:{CLOSED_PORT}");
    let report = Report::of(run().env("AWS_ENDPOINT_URL", closed), exit::UNAVAILABLE);
    report.says("s3", "server", "FAILED", &["connection refused", "AWS_ENDPOINT_URL"]);
    assert!(report.outcome.took < Duration::from_secs(30), "{}", report.outcome);
    is_empty(&bucket);
}

#[test]
fn keys_with_few_permissions() {
    let (cellar, bucket) = (Cellar::unconnected(), Bucket::new());
    let by = |identity: crate::common::s3_server::Identity| {
        run(&cellar, &bucket).env("AWS_ACCESS_KEY_ID", identity.id).env("AWS_SECRET_ACCESS_KEY", identity.secret)
    };
    Report::of(by(READER), exit::NOPERM)
        .says("s3", "list", "OK", &[])
        .says("s3", "write", "FAILED", &["s3:PutObject"])
        .says("s3", "read, upload, delete", "SKIPPED", &["nothing could be written"]);
    is_empty(&bucket);
    Report::of(by(WRITER), exit::NOPERM)
        .says("s3", "list", "FAILED", &["s3:ListBucket"])
        .says("s3", "write", "OK", &[])
        .says("s3", "read", "OK", &[])
        .says("s3", "delete", "OK", &[]);
    is_empty(&bucket);
}

#[test]
fn missing_bucket_features_are_found() {
    let (cellar, bucket) = (Cellar::unconnected(), Bucket::new());
    let report = Report::of(run(&cellar, &bucket).env("AWS_S3_OBJECT_LOCK_DAYS", "1"), exit::CONFIG);
    report
        .says("s3", "lock", "FAILED", &["no Object Lock", "AWS_S3_OBJECT_LOCK_DAYS"])
        .says("s3", "upload", "SKIPPED", &[])
        .says("s3", "versions", "OK", &["no old versions"]);
    is_empty(&bucket);
}

#[test]
fn no_object_version_is_left_in_a_versioned_bucket() {
    let (cellar, bucket) = (Cellar::unconnected(), Bucket::new());
    let client = bucket.server().client(OWNER);
    let enabled = VersioningConfiguration::builder().status(BucketVersioningStatus::Enabled).build();
    wait(client.put_bucket_versioning().bucket(bucket.name()).versioning_configuration(enabled).send()).unwrap();
    Report::of(run(&cellar, &bucket), 0).says("s3", "delete", "OK", &["is gone"]).says(
        "s3",
        "versions",
        "OK",
        &["lifecycle rule"],
    );
    let left = wait(client.list_object_versions().bucket(bucket.name()).send()).unwrap();
    assert!(left.versions().is_empty() && left.delete_markers().is_empty(), "{left:?}");
}

#[test]
fn the_test_object_is_always_removed() {
    let (cellar, bucket) = (Cellar::unconnected(), Bucket::new());
    // The server fails midway and recovers.
    let proxy = FaultProxy::start(bucket.server().port(), |seen| {
        match seen.method == "GET" && seen.target.contains("doctor") {
            true => Fault::Answer(500, "InternalError"),
            false => Fault::None,
        }
    });
    let broken = run(&cellar, &bucket).env("AWS_ENDPOINT_URL", proxy.endpoint());
    Report::of(broken, exit::UNAVAILABLE).says("s3", "read", "FAILED", &[]).says("s3", "delete", "OK", &[]);
    is_empty(&bucket);
    // A signal while the object is there.
    let proxy = FaultProxy::start(bucket.server().port(), |seen| {
        match seen.method == "GET" && seen.target.contains("doctor") {
            true => Fault::Delay(Duration::from_secs(20)),
            false => Fault::None,
        }
    });
    let mut slow = run(&cellar, &bucket).env("AWS_ENDPOINT_URL", proxy.endpoint()).start();
    // It is read once all is written.
    slow.wait_until("the object is read", || proxy.faults() > 0);
    assert!(!everything(bucket.server(), bucket.name()).is_empty());
    slow.signal(Signal::TERM);
    let outcome = slow.wait();
    assert_eq!(outcome.code(), Some(exit::TEMPFAIL), "{outcome}");
    is_empty(&bucket);
}

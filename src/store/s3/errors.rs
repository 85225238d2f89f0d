//! The errors of failed requests: which object, why, and what to do.

use std::time::Duration;

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::config::S3Settings;
use crate::error::{Error, Kind};

/// The longest part of a server's own message that is shown, in characters.
const LONGEST_MESSAGE: usize = 300;

/// A failed request to S3.
pub type RequestError<E> = SdkError<E, HttpResponse>;

/// An operation, and the permission that it needs.
#[derive(Clone, Copy, Debug)]
pub struct Operation {
    /// The verb, as in `cannot …`.
    pub verb: &'static str,
    /// The permission's name in policies.
    pub permission: &'static str,
}

/// Reading an object or its metadata.
pub const READ: Operation = Operation { verb: "read", permission: "s3:GetObject" };
/// Writing an object.
pub const WRITE: Operation = Operation { verb: "write", permission: "s3:PutObject" };
/// Deleting an object.
pub const DELETE: Operation = Operation { verb: "delete", permission: "s3:DeleteObject" };
/// Listing objects.
pub const LIST: Operation = Operation { verb: "list", permission: "s3:ListBucket" };
/// Listing the buckets of an account.
pub const BUCKETS: Operation = Operation { verb: "list", permission: "s3:ListAllMyBuckets" };
/// Listing unfinished uploads.
pub const UPLOADS: Operation = Operation { verb: "list the uploads of", permission: "s3:ListBucketMultipartUploads" };
/// Aborting an upload.
pub const ABORT: Operation = Operation { verb: "abort the upload of", permission: "s3:AbortMultipartUpload" };

/// The error code, if the answer has one.
pub fn code<E: ProvideErrorMetadata>(error: &RequestError<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The HTTP status of the answer, if there was one.
pub fn status<E>(error: &RequestError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Whether the server may have carried out the request although it did not confirm it.
pub fn is_uncertain<E>(error: &RequestError<E>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(_) => status(error).is_some_and(|status| status >= 500),
        _ => true,
    }
}

/// Whether the server answers that it does not support this kind of request.
pub fn is_unsupported<E: ProvideErrorMetadata>(error: &RequestError<E>) -> bool {
    matches!(status(error), Some(405 | 501)) || matches!(code(error), Some("NotImplemented" | "MethodNotAllowed"))
}

/// Whether the bytes that the server received are not those that were sent.
pub fn is_corrupted<E: ProvideErrorMetadata>(error: &RequestError<E>) -> bool {
    matches!(code(error), Some("BadDigest" | "InvalidDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch"))
}

/// At which stage a request failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The server was not reached, or does not answer as an S3 server.
    Server,
    /// The access key is missing, or the server does not accept it.
    Key,
    /// There is no such bucket, or it is in another region.
    Bucket,
    /// Key and bucket seem right, and the operation is not permitted.
    Permission,
}

/// The stage at which a request about the bucket failed.
pub fn stage<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &RequestError<E>) -> Stage {
    match (code(error).unwrap_or_default(), status(error)) {
        (_, None) if mentions_credentials(error) => Stage::Key,
        (_, None) => Stage::Server,
        (
            "InvalidAccessKeyId"
            | "SignatureDoesNotMatch"
            | "ExpiredToken"
            | "InvalidToken"
            | "TokenRefreshRequired"
            | "RequestTimeTooSkewed"
            | "RequestExpired"
            | "RequestInTheFuture",
            _,
        ) => Stage::Key,
        (
            "NoSuchBucket"
            | "PermanentRedirect"
            | "TemporaryRedirect"
            | "AuthorizationHeaderMalformed"
            | "IncorrectEndpoint",
            _,
        )
        | (_, Some(301 | 307)) => Stage::Bucket,
        (_, Some(401 | 403)) => Stage::Permission,
        _ => Stage::Server,
    }
}

fn mentions_credentials(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| cause.to_string().to_lowercase().contains("credential"))
}

/// The error for a failed request.
pub fn explain<E>(settings: &S3Settings, operation: Operation, what: &str, error: &RequestError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if let Some(name) = &settings.misspelt_endpoint {
        let why =
            format!("{name} is set, which pgcellar does not support: without AWS_ENDPOINT_URL the bucket is Amazon's");
        return Error::new(Kind::Config, format!("cannot {} {what}: {why}", operation.verb))
            .hint(format!("rename {name} to AWS_ENDPOINT_URL, or unset it if Amazon is meant"));
    }
    let (kind, why, hint) = match error {
        SdkError::ServiceError(_) => refused(settings, operation, error),
        SdkError::TimeoutError(_) => {
            (Kind::Unavailable, "no answer in time".to_owned(), Some(CHECK_REACHABLE.to_owned()))
        }
        _ => broken(error),
    };
    error_of(settings, operation, what, (kind, why, hint))
}

/// The error for a server that sent nothing.
pub fn explain_silence(settings: &S3Settings, operation: Operation, what: &str, silence: &Silence) -> Error {
    let silent =
        || (Kind::Unavailable, format!("no byte in {} s", silence.lasted.as_secs()), Some(CHECK_REACHABLE.to_owned()));
    error_of(settings, operation, what, silence.failure.clone().unwrap_or_else(silent))
}

fn error_of(settings: &S3Settings, operation: Operation, what: &str, (kind, why, hint): Explanation) -> Error {
    let at = match &settings.endpoint {
        Some(url) => url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host).to_owned(),
        None => format!("Amazon, {}", settings.region),
    };
    let error = Error::new(kind, format!("cannot {} {what} ({at}): {why}", operation.verb));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

const CHECK_REACHABLE: &str = "is the server up, and are AWS_ENDPOINT_URL and the proxy right?";

/// Kind, reason and hint of a failure.
pub type Explanation = (Kind, String, Option<String>);

/// The server sent nothing for this long.
#[derive(Clone, Debug)]
pub struct Silence {
    /// How long.
    pub lasted: Duration,
    /// Why the last attempt failed, if one did.
    pub failure: Option<Explanation>,
}

/// Explains a request without a readable answer.
pub fn broken(error: &(dyn std::error::Error + 'static)) -> Explanation {
    let reason = innermost(error);
    let mentions = |word| causes(error).any(|cause| cause.to_string().to_lowercase().contains(word));
    if mentions_credentials(error) {
        let why = format!("no access key was found: {}", truncated(&reason));
        let hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, their _FILE variables or their credentials; there is also no \
                    profile in ~/.aws, no web identity, no container role and no instance role";
        return (Kind::NotPermitted, why, Some(hint.to_owned()));
    }
    let hint = match mentions("certificate") || mentions("tls") {
        true => "AWS_CA_BUNDLE names the authorities to trust instead of the system's",
        false => CHECK_REACHABLE,
    };
    (Kind::Unavailable, truncated(&reason), Some(hint.to_owned()))
}

/// Explains an answer that is an error.
fn refused<E: ProvideErrorMetadata + std::error::Error + 'static>(
    settings: &S3Settings,
    operation: Operation,
    error: &RequestError<E>,
) -> Explanation {
    let status = status(error).unwrap_or_default();
    let code = code(error).unwrap_or_default();
    let message = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    let header = |name| error.raw_response().and_then(|response| response.headers().get(name)).map(str::to_owned);
    let reason = || match (code, message) {
        ("", "") => format!("the server answered {status}"),
        ("", message) => format!("{} ({status})", truncated(message)),
        (code, "") => format!("{code} ({status})"),
        (code, message) => format!("{} ({code})", truncated(message)),
    };
    let say = |kind, why: &str, hint: String| (kind, format!("{why} ({code})"), Some(hint));
    match (code, status) {
        ("InvalidAccessKeyId", _) => {
            say(Kind::NotPermitted, "the server does not know the access key", "check AWS_ACCESS_KEY_ID".to_owned())
        }
        ("SignatureDoesNotMatch", _) => say(
            Kind::NotPermitted,
            "the secret access key does not match the access key",
            "check AWS_SECRET_ACCESS_KEY".to_owned(),
        ),
        ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => {
            say(Kind::NotPermitted, "the temporary access key has expired", "renew it".to_owned())
        }
        ("RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture", _) => say(
            Kind::NotPermitted,
            "the clocks of this host and of the server are too far apart",
            match header("date") {
                Some(date) => format!("the server's clock says {date}; set the clock of this host"),
                None => "set the clock of this host".to_owned(),
            },
        ),
        ("NoSuchBucket", _) => say(
            Kind::Config,
            &format!("there is no bucket {}", settings.bucket),
            "AWS_S3_BUCKET names the bucket; create it first".to_owned(),
        ),
        ("PermanentRedirect" | "TemporaryRedirect" | "AuthorizationHeaderMalformed" | "IncorrectEndpoint", _)
        | ("", 301 | 307) => {
            let right = header("x-amz-bucket-region").or_else(|| quoted_region(message));
            let hint = match right {
                Some(region) => format!("set AWS_REGION to {region}"),
                None => "AWS_REGION must be the bucket's region".to_owned(),
            };
            (Kind::Config, format!("the region {} is not the bucket's: {}", settings.region, reason()), Some(hint))
        }
        ("InvalidObjectState", _) => say(
            Kind::Unavailable,
            "the object is in an archive storage class and must be retrieved first",
            "retrieve it with `aws s3api restore-object`, and try again when that is complete".to_owned(),
        ),
        ("NoSuchKey" | "NotFound" | "NoSuchVersion", _) | ("", 404) => {
            (Kind::Missing, "no such object".to_owned(), None)
        }
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden", _) | ("", 401 | 403) => (
            Kind::NotPermitted,
            reason(),
            Some(format!("this takes the permission {} in the policy of the key or the bucket", operation.permission)),
        ),
        ("EntityTooLarge" | "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage", _) | (_, 507) => {
            (Kind::CannotWrite, reason(), None)
        }
        ("InvalidStorageClass", _) => (Kind::Config, reason(), Some("check AWS_S3_STORAGE_CLASS".to_owned())),
        (code, _) if code.starts_with("KMS.") => (
            Kind::NotPermitted,
            reason(),
            Some("check AWS_S3_SSE_KMS_KEY_ID, and the permission to use that key".to_owned()),
        ),
        ("InvalidRequest", _) if message.contains("ObjectLock") => {
            (Kind::Config, reason(), Some("AWS_S3_OBJECT_LOCK_DAYS needs a bucket with Object Lock".to_owned()))
        }
        _ => (Kind::Unavailable, reason(), None),
    }
}

/// The region in `…; expecting 'eu-west-1'`.
fn quoted_region(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("expecting '")?;
    rest.split_once('\'').map(|(region, _)| region.to_owned())
}

/// An error and its causes. The middle ones mostly name layers of the SDK.
fn causes<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |error| error.source())
}

/// The first cause of an error.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let cause = causes(error).last().unwrap_or(error);
    match cause.downcast_ref::<std::io::Error>() {
        Some(error) => crate::error::reason(error),
        None => cause.to_string(),
    }
}

fn truncated(text: &str) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_region_is_read_from_a_message() {
        let message =
            "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'";
        assert_eq!(quoted_region(message).as_deref(), Some("eu-central-1"));
        assert_eq!(quoted_region("expecting something"), None);
    }
}

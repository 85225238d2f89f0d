//! What a failed request means: which object, why, and what to do.

use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

use crate::config::S3Settings;
use crate::error::{Error, Kind};
use crate::store::s3::life::Silence;

/// The longest piece of a server's own words that is passed on, in characters.
const WORDS: usize = 300;

/// A failed request to S3.
pub type Refused<E> = SdkError<E, HttpResponse>;

/// What was being done, and the permission that it takes.
#[derive(Clone, Copy, Debug)]
pub struct Doing {
    /// As in `cannot …`.
    pub words: &'static str,
    /// As in policies.
    pub permission: &'static str,
}

/// Reading an object or looking at it.
pub const READ: Doing = Doing { words: "read", permission: "s3:GetObject" };
/// Writing an object.
pub const WRITE: Doing = Doing { words: "write", permission: "s3:PutObject" };
/// Deleting an object.
pub const DELETE: Doing = Doing { words: "delete", permission: "s3:DeleteObject" };
/// Listing objects.
pub const LIST: Doing = Doing { words: "list", permission: "s3:ListBucket" };
/// Listing the buckets of an account.
pub const BUCKETS: Doing = Doing { words: "list", permission: "s3:ListAllMyBuckets" };
/// Listing uploads that were begun.
pub const UPLOADS: Doing = Doing { words: "list the uploads of", permission: "s3:ListBucketMultipartUploads" };
/// Giving up an upload.
pub const ABORT: Doing = Doing { words: "end the upload of", permission: "s3:AbortMultipartUpload" };

/// The error code, or what stands for it where an answer has no body.
pub fn code<E: ProvideErrorMetadata>(error: &Refused<E>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The HTTP status of the answer, if there was one.
pub fn status<E>(error: &Refused<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Whether the server may have done what it was asked for, although it did not say so.
pub fn is_in_doubt<E>(error: &Refused<E>) -> bool {
    match error {
        SdkError::ConstructionFailure(_) => false,
        SdkError::ServiceError(_) => status(error).is_some_and(|status| status >= 500),
        _ => true,
    }
}

/// Whether the server says that it does not know this kind of request.
pub fn is_unknown_there<E: ProvideErrorMetadata>(error: &Refused<E>) -> bool {
    matches!(status(error), Some(405 | 501)) || matches!(code(error), Some("NotImplemented" | "MethodNotAllowed"))
}

/// Whether the server got other bytes than were sent.
pub fn is_garbled<E: ProvideErrorMetadata>(error: &Refused<E>) -> bool {
    matches!(code(error), Some("BadDigest" | "InvalidDigest" | "IncompleteBody" | "XAmzContentSHA256Mismatch"))
}

/// How far a request had come when it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The server was not reached, or did not answer as one of S3.
    Server,
    /// It does not take the access key, or there is none.
    Key,
    /// There is no such bucket, or not here.
    Bucket,
    /// Key and bucket are right, as far as is known, and this is not permitted.
    Permission,
}

/// How far a request about the bucket had come.
pub fn stage<E: ProvideErrorMetadata + std::error::Error + 'static>(error: &Refused<E>) -> Stage {
    match (code(error).unwrap_or_default(), status(error)) {
        (_, None) if says_credential(error) => Stage::Key,
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

fn says_credential(error: &(dyn std::error::Error + 'static)) -> bool {
    causes(error).any(|cause| cause.to_string().to_lowercase().contains("credential"))
}

/// Says what a failed request means.
pub fn explain<E>(settings: &S3Settings, doing: Doing, what: &str, error: &Refused<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    if let Some(name) = &settings.misspelt_endpoint {
        let why =
            format!("{name} is set, and pgcellar does not know it: without AWS_ENDPOINT_URL the bucket is Amazon's");
        return Error::new(Kind::Config, format!("cannot {} {what}: {why}", doing.words))
            .hint(format!("rename {name} to AWS_ENDPOINT_URL, or unset it if Amazon is meant"));
    }
    let (kind, why, hint) = match error {
        SdkError::ServiceError(_) => refused(settings, doing, error),
        SdkError::TimeoutError(_) => (Kind::Unavailable, "no answer in time".to_owned(), Some(REACH.to_owned())),
        _ => broken(error),
    };
    say(settings, doing, what, (kind, why, hint))
}

/// Says that nothing was heard of the server.
pub fn explain_silence(settings: &S3Settings, doing: Doing, what: &str, silence: &Silence) -> Error {
    let silent = || (Kind::Unavailable, format!("no byte in {} s", silence.lasted.as_secs()), Some(REACH.to_owned()));
    say(settings, doing, what, silence.failure.clone().unwrap_or_else(silent))
}

fn say(settings: &S3Settings, doing: Doing, what: &str, (kind, why, hint): Meaning) -> Error {
    let at = match &settings.endpoint {
        Some(url) => url.rsplit_once('@').map_or(url.as_str(), |(_, host)| host).to_owned(),
        None => format!("Amazon, {}", settings.region),
    };
    let error = Error::new(kind, format!("cannot {} {what} ({at}): {why}", doing.words));
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

const REACH: &str = "is the server up, and are AWS_ENDPOINT_URL and the proxy right?";

/// Kind, reason and hint of a failure.
pub type Meaning = (Kind, String, Option<String>);

/// No answer came, or none that could be read.
pub fn broken(error: &(dyn std::error::Error + 'static)) -> Meaning {
    let words = innermost(error);
    let mentions = |word| causes(error).any(|cause| cause.to_string().to_lowercase().contains(word));
    if says_credential(error) {
        let why = format!("no access key was found: {}", cut(&words));
        let hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, their _FILE variables or their credentials; looked for \
                    a profile in ~/.aws, a web identity, a container role and an instance role, too";
        return (Kind::NotPermitted, why, Some(hint.to_owned()));
    }
    let hint = match mentions("certificate") || mentions("tls") {
        true => "AWS_CA_BUNDLE names the authorities to trust instead of the system's",
        false => REACH,
    };
    (Kind::Unavailable, cut(&words), Some(hint.to_owned()))
}

/// The server said no.
fn refused<E: ProvideErrorMetadata + std::error::Error + 'static>(
    settings: &S3Settings,
    doing: Doing,
    error: &Refused<E>,
) -> Meaning {
    let status = status(error).unwrap_or_default();
    let code = code(error).unwrap_or_default();
    let told = error.as_service_error().and_then(ProvideErrorMetadata::message).unwrap_or_default();
    let header = |name| error.raw_response().and_then(|response| response.headers().get(name)).map(str::to_owned);
    let words = || match (code, told) {
        ("", "") => format!("the server answered {status}"),
        ("", told) => format!("{} ({status})", cut(told)),
        (code, "") => format!("{code} ({status})"),
        (code, told) => format!("{} ({code})", cut(told)),
    };
    let say = |kind, why: &str, hint: String| (kind, format!("{why} ({code})"), Some(hint));
    match (code, status) {
        ("InvalidAccessKeyId", _) => {
            say(Kind::NotPermitted, "the server does not know the access key", "check AWS_ACCESS_KEY_ID".to_owned())
        }
        ("SignatureDoesNotMatch", _) => say(
            Kind::NotPermitted,
            "the secret access key does not fit the access key",
            "check AWS_SECRET_ACCESS_KEY".to_owned(),
        ),
        ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired", _) => {
            say(Kind::NotPermitted, "the temporary access key is not valid any more", "renew it".to_owned())
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
            let right = header("x-amz-bucket-region").or_else(|| quoted_region(told));
            let hint = match right {
                Some(region) => format!("set AWS_REGION to {region}"),
                None => "AWS_REGION must be the bucket's region".to_owned(),
            };
            (Kind::Config, format!("the region {} is not the bucket's: {}", settings.region, words()), Some(hint))
        }
        ("InvalidObjectState", _) => say(
            Kind::Unavailable,
            "the object is in an archive from which it must be fetched first",
            "ask for it with `aws s3api restore-object`, and try again when it is there".to_owned(),
        ),
        ("NoSuchKey" | "NotFound" | "NoSuchVersion", _) | ("", 404) => {
            (Kind::Missing, "no such object".to_owned(), None)
        }
        ("AccessDenied" | "AllAccessDisabled" | "AccountProblem" | "Forbidden", _) | ("", 401 | 403) => (
            Kind::NotPermitted,
            words(),
            Some(format!("this takes the permission {} in the policy of the key or the bucket", doing.permission)),
        ),
        ("EntityTooLarge" | "QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage", _) | (_, 507) => {
            (Kind::CannotWrite, words(), None)
        }
        ("InvalidStorageClass", _) => (Kind::Config, words(), Some("check AWS_S3_STORAGE_CLASS".to_owned())),
        (code, _) if code.starts_with("KMS.") => {
            (Kind::NotPermitted, words(), Some("check AWS_S3_SSE_KMS_KEY_ID, and who may use that key".to_owned()))
        }
        ("InvalidRequest", _) if told.contains("ObjectLock") => (
            Kind::Config,
            words(),
            Some("AWS_S3_OBJECT_LOCK_DAYS needs a bucket that was made with Object Lock".to_owned()),
        ),
        _ => (Kind::Unavailable, words(), None),
    }
}

/// The region in `…; expecting 'eu-west-1'`.
fn quoted_region(told: &str) -> Option<String> {
    let (_, rest) = told.split_once("expecting '")?;
    rest.split_once('\'').map(|(region, _)| region.to_owned())
}

/// An error and its causes. Those in the middle mostly name the layers of the SDK.
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

fn cut(words: &str) -> String {
    match words.char_indices().nth(WORDS) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_region_is_found_in_words() {
        let told = "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'";
        assert_eq!(quoted_region(told).as_deref(), Some("eu-central-1"));
        assert_eq!(quoted_region("expecting something"), None);
    }
}

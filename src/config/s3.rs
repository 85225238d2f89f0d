//! Settings of the bucket.

use std::path::PathBuf;

use crate::cli::S3Args;
use crate::config::credentials;
use crate::config::refusal::{no_password, url_instead, wrong};
use crate::config::secret::Secret;
use crate::config::variables::{Harm, harmful};
use crate::error::{Error, Kind, Result};

/// The bucket, and how to connect to it.
#[derive(Clone, Debug)]
pub struct S3Settings {
    /// Bucket.
    pub bucket: String,
    /// Prefix of every key, without slashes at its ends; empty for the bucket's top.
    pub prefix: String,
    /// Region.
    pub region: String,
    /// URL of a server that is not Amazon's; keys are then sent in the path.
    pub endpoint: Option<String>,
    /// A variable that is set and is likely a misspelling of AWS_ENDPOINT_URL, which is not set. No request is sent then,
    /// because it would go to Amazon instead of the intended server.
    pub misspelt_endpoint: Option<String>,
    /// The access key. Without one, the SDK's chain applies: profile, web identity, container, instance.
    pub keys: Option<Keys>,
    /// Storage class of archives.
    pub storage_class: Option<String>,
    /// Encryption by the server.
    pub encryption: Option<ServerSideEncryption>,
    /// Object Lock of new objects.
    pub lock: Option<ObjectLock>,
    /// Certificates of the authorities that may sign the server's certificate (PEM).
    pub ca_bundle: Option<PathBuf>,
    /// Upper bound of uploads, in bytes a second.
    pub rate_limit: Option<u64>,
}

/// An access key.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Its id.
    pub id: Secret,
    /// The secret part.
    pub secret: Secret,
    /// The session token of a temporary key.
    pub token: Option<Secret>,
}

/// Encryption by the server (`x-amz-server-side-encryption`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerSideEncryption {
    /// With keys of S3.
    Aes256,
    /// With a key of KMS, or the account's default one.
    Kms(Option<String>),
}

/// Object Lock (`x-amz-object-lock-mode`, `x-amz-object-lock-retain-until-date`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// Days from the upload.
    pub days: u32,
    /// COMPLIANCE, which cannot be lifted, instead of GOVERNANCE.
    pub compliance: bool,
}

impl S3Settings {
    /// Checks the settings; none if no bucket is set.
    pub fn new(args: &S3Args) -> Result<Option<Self>> {
        let Some(bucket) = args.bucket.clone() else { return Ok(None) };
        for (setting, value) in [
            ("AWS_S3_PREFIX (--s3-prefix)", Some(&args.prefix)),
            ("AWS_REGION (--s3-region)", Some(&args.region)),
            ("AWS_S3_STORAGE_CLASS (--s3-storage-class)", args.storage_class.as_ref()),
        ] {
            no_password(setting, value.map(String::as_str), KEYS)?;
        }
        Ok(Some(S3Settings {
            bucket: bucket_name(bucket)?,
            prefix: prefix(&args.prefix)?,
            region: args.region.clone(),
            endpoint: args.endpoint_url.clone().map(endpoint).transpose()?,
            misspelt_endpoint: match args.endpoint_url {
                Some(_) => None,
                None => harmful(Harm::Amazon).map(|unread| unread.name),
            },
            keys: keys(args)?,
            storage_class: args.storage_class.clone(),
            encryption: encryption(args)?,
            lock: lock(args)?,
            ca_bundle: args.ca_bundle.clone(),
            rate_limit: args.rate_limit.as_deref().map(rate).transpose()?,
        }))
    }
}

impl S3Settings {
    /// The same connection with another bucket and prefix.
    pub fn of_address(args: &S3Args, bucket: &str, prefix: &str) -> Result<Self> {
        let args = S3Args { bucket: Some(bucket.to_owned()), prefix: prefix.to_owned(), ..args.clone() };
        let settings = S3Settings::new(&args)?;
        settings.ok_or_else(|| Error::new(Kind::Internal, format!("the bucket {bucket} is not set")))
    }
}

/// How the bucket of an address is reached: all settings but its name and its prefix. They are checked when the bucket is
/// opened: settings that no bucket uses are no error.
#[derive(Clone, Debug)]
pub struct S3Access(S3Args);

impl From<&S3Args> for S3Access {
    fn from(args: &S3Args) -> Self {
        S3Access(args.clone())
    }
}

impl S3Access {
    /// The settings of this bucket.
    pub fn bucket(&self, bucket: &str, prefix: &str) -> Result<S3Settings> {
        S3Settings::of_address(&self.0, bucket, prefix)
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.0.region
    }

    /// The URL of a server that is not Amazon's.
    pub fn endpoint_url(&self) -> Option<&str> {
        self.0.endpoint_url.as_deref()
    }
}

/// The settings for keys.
const KEYS: &str = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to the keys, or files or credentials with them";

/// The canonical spelling of a prefix: names separated by single slashes. Other spellings are the same prefix to some servers
/// and a different one to others, which then list nothing under it. Slashes at its ends are ignored.
fn prefix(text: &str) -> Result<String> {
    let prefix = text.trim_matches('/');
    let is_name =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(|c: char| c.is_control() || c == '\\');
    match prefix.is_empty() || prefix.split('/').all(is_name) {
        true => Ok(prefix.to_owned()),
        false => {
            Err(wrong("AWS_S3_PREFIX (--s3-prefix)", text, "names separated by single slashes, none of them . or ..")
                .hint("objects that exist under this prefix must be moved: aws s3 mv --recursive"))
        }
    }
}

fn bucket_name(name: String) -> Result<String> {
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html; other servers also allow more.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    match !matches!(name.as_str(), "" | "." | "..") && name.chars().all(plain) {
        true => Ok(name),
        false if name.contains('@') => Err(url_instead("AWS_S3_BUCKET (--s3-bucket)", KEYS)),
        false => {
            Err(wrong("AWS_S3_BUCKET (--s3-bucket)", &name, "the name of a bucket, without s3:// and without a path"))
        }
    }
}

fn endpoint(url: String) -> Result<String> {
    // A query may be a signature.
    if url.contains(['@', '?']) {
        return Err(url_instead("AWS_ENDPOINT_URL (--s3-endpoint-url)", KEYS));
    }
    match url.strip_prefix("https://").or_else(|| url.strip_prefix("http://")) {
        Some(host) if !host.is_empty() => Ok(url),
        _ => Err(wrong("AWS_ENDPOINT_URL (--s3-endpoint-url)", &url, "a URL that begins with https:// or http://")),
    }
}

fn keys(args: &S3Args) -> Result<Option<Keys>> {
    let find =
        |credential, variable, file: &Option<PathBuf>| credentials::secret(credential, variable, file.as_deref());
    let id = find("aws-access-key-id", "AWS_ACCESS_KEY_ID", &args.access_key_id_file)?;
    let secret = find("aws-secret-access-key", "AWS_SECRET_ACCESS_KEY", &args.secret_access_key_file)?;
    match (id, secret) {
        (Some(id), Some(secret)) => {
            let token = find("aws-session-token", "AWS_SESSION_TOKEN", &None)?;
            Ok(Some(Keys { id, secret, token }))
        }
        (None, None) => Ok(None),
        (Some(_), None) => Err(one_key("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        (None, Some(_)) => Err(one_key("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")),
    }
}

fn one_key(set: &str, missing: &str) -> Error {
    Error::new(Kind::Config, format!("{set} is set, and {missing} is not")).hint("an access key has two parts")
}

fn encryption(args: &S3Args) -> Result<Option<ServerSideEncryption>> {
    let key = args.sse_kms_key_id.clone();
    match (args.sse.as_deref(), key) {
        (None, None) => Ok(None),
        (Some("AES256"), None) => Ok(Some(ServerSideEncryption::Aes256)),
        (Some("aws:kms"), key) => Ok(Some(ServerSideEncryption::Kms(key))),
        (None | Some("AES256"), Some(_)) => {
            Err(Error::new(Kind::Config, "AWS_S3_SSE_KMS_KEY_ID is set, and AWS_S3_SSE is not aws:kms"))
        }
        (Some(other), _) => Err(wrong("AWS_S3_SSE (--s3-sse)", other, "AES256 or aws:kms")),
    }
}

fn lock(args: &S3Args) -> Result<Option<ObjectLock>> {
    let compliance = match args.object_lock_mode.as_str() {
        "GOVERNANCE" => false,
        "COMPLIANCE" => true,
        other => {
            return Err(wrong("AWS_S3_OBJECT_LOCK_MODE (--s3-object-lock-mode)", other, "GOVERNANCE or COMPLIANCE"));
        }
    };
    let Some(text) = args.object_lock_days.as_deref() else { return Ok(None) };
    match text.parse() {
        Ok(days @ 1..=36_500) => Ok(Some(ObjectLock { days, compliance })),
        _ => Err(wrong("AWS_S3_OBJECT_LOCK_DAYS (--s3-object-lock-days)", text, "a number of days from 1 to 36500")),
    }
}

/// `500K`, `10M`, `1G` (1024 each), or bytes.
fn rate(text: &str) -> Result<u64> {
    let (digits, unit) = match text.strip_suffix(['K', 'k']) {
        Some(digits) => (digits, 1 << 10),
        None => match text.strip_suffix(['M', 'm']) {
            Some(digits) => (digits, 1 << 20),
            None => text.strip_suffix(['G', 'g']).map_or((text, 1), |digits| (digits, 1 << 30)),
        },
    };
    let bytes = digits.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| *bytes >= 1 << 10).ok_or_else(|| {
        wrong("BACKUP_S3_RATE_LIMIT (--s3-rate-limit)", text, "bytes per second, at least 1K, such as 500K, 10M or 1G")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, bytes) in [("1024", 1024), ("500K", 512_000), ("10M", 10 << 20), ("1g", 1 << 30), ("2 M", 2 << 20)] {
            assert_eq!(rate(text).unwrap(), bytes, "{text}");
        }
        for text in ["", "M", "10", "-1M", "1.5M", "10MB", "99999999999G"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prefixes_have_one_spelling() {
        let same = [("", ""), ("/", ""), ("//", ""), ("a", "a"), ("/a/b/", "a/b"), ("a b/ü.x/..y", "a b/ü.x/..y")];
        for (text, canonical) in same {
            assert_eq!(prefix(text).unwrap(), canonical, "{text}");
        }
        for wrong in ["a//b", "a/./b", ".", "..", "../a", "a/..", "a\nb", "a\\b"] {
            assert_eq!(prefix(wrong).unwrap_err().kind(), Kind::Config, "{wrong}");
        }
    }

    #[test]
    fn buckets_and_endpoints() {
        assert!(bucket_name("my-backups.example".to_owned()).is_ok());
        for wrong in ["", "s3://bucket", "bucket/path", "a b", ".", ".."] {
            assert!(bucket_name(wrong.to_owned()).is_err(), "{wrong}");
        }
        assert!(endpoint("http://127.0.0.1:9000".to_owned()).is_ok());
        for wrong in ["", "minio:9000", "https://", "ftp://x"] {
            assert!(endpoint(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}

//! Lists of a server's buckets and of any bucket's objects, for `s3-ls`.

use aws_sdk_s3::types::EncodingType;
use jiff::Timestamp;

use crate::config::S3Settings;
use crate::error::Result;
use crate::store::s3::bucket::timestamp;
use crate::store::s3::list::decoded;
use crate::store::s3::{S3Store, errors};

/// An entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listed {
    /// A bucket.
    Bucket {
        /// When it was created.
        created: Timestamp,
        /// Its name.
        name: String,
    },
    /// The common beginning of several keys, up to a slash.
    Prefix(String),
    /// An object.
    Object {
        /// When it was written.
        modified: Timestamp,
        /// Its size.
        bytes: u64,
        /// Its key in the bucket.
        key: String,
    },
}

/// Passes all buckets that the access key may list to `each_page`, page by page.
///
/// # Errors
/// The server refuses the key or the list, or does not answer; and those of `each_page`.
pub async fn buckets(
    settings: &S3Settings,
    each_page: &mut (dyn FnMut(Vec<Listed>) -> Result<()> + Send),
) -> Result<()> {
    let store = open(settings).await?;
    let mut next: Option<String> = None;
    loop {
        let request = store.bucket.client.list_buckets().set_continuation_token(next.clone());
        let explain = |error| errors::explain(settings, errors::BUCKETS, "the buckets", &error);
        let page = request.send().await.map_err(explain)?;
        let buckets = page.buckets().iter().map(|bucket| Listed::Bucket {
            created: timestamp(bucket.creation_date()),
            name: bucket.name().unwrap_or_default().to_owned(),
        });
        each_page(buckets.collect())?;
        match page.continuation_token().filter(|token| !token.is_empty()) {
            None => return Ok(()),
            Some(token) if next.as_deref() == Some(token) => return Err(store.bucket.endless_list()),
            Some(token) => next = Some(token.to_owned()),
        }
    }
}

/// Passes the objects of the settings' bucket whose keys begin with `begin` to `each_page`, page by page; unless `all`, objects
/// behind a further slash are replaced by their common prefix.
///
/// # Errors
/// The server refuses the key or the list, has no such bucket, or does not answer; and those of `each_page`.
pub async fn objects(
    settings: &S3Settings,
    begin: &str,
    all: bool,
    each_page: &mut (dyn FnMut(Vec<Listed>) -> Result<()> + Send),
) -> Result<()> {
    let bucket = open(settings).await?.bucket;
    let mut next: Option<String> = None;
    loop {
        let request = bucket.client.list_objects_v2().bucket(&settings.bucket).prefix(begin);
        let request = request.encoding_type(EncodingType::Url).set_continuation_token(next.clone());
        let request = if all { request } else { request.delimiter("/") };
        let page = bucket.ask(errors::LIST, begin, || request.clone().send()).await?;
        let page = page.map_err(|error| bucket.explain(errors::LIST, begin, &error))?;
        let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
        let plain = |key: Option<&str>| match is_encoded {
            true => decoded(key.unwrap_or_default()),
            false => key.unwrap_or_default().to_owned(),
        };
        let prefixes = page.common_prefixes().iter().map(|prefix| Listed::Prefix(plain(prefix.prefix())));
        let objects = page.contents().iter().map(|object| Listed::Object {
            modified: timestamp(object.last_modified()),
            bytes: object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
            key: plain(object.key()),
        });
        each_page(prefixes.chain(objects).collect())?;
        let following = page.next_continuation_token().map(str::to_owned);
        match page.is_truncated() == Some(true) {
            false => return Ok(()),
            true if following.is_none() || following == next => return Err(bucket.endless_list()),
            true => next = following,
        }
    }
}

async fn open(settings: &S3Settings) -> Result<S3Store> {
    S3Store::open(settings, "", "").await
}

//! What is in the bucket under our prefix.

use std::collections::BTreeMap;

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::types::{EncodingType, MultipartUpload};

use crate::error::{Error, Kind, Result};
use crate::store::local::PARTIAL;
use crate::store::s3::bucket::{Bucket, timestamp};
use crate::store::s3::{client, errors};
use crate::store::{StoreEntry, is_inside};

impl Bucket {
    /// Every object under the prefix that has a key of the store which begins so, temporary ones too, in no order.
    pub async fn objects(&self, begin: &str) -> Result<Vec<StoreEntry>> {
        let prefix = self.prefix();
        let explain = |error| self.explain(errors::LIST, &prefix, &error);
        let mut entries = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.settings.bucket)
                .prefix(format!("{prefix}{begin}"))
                .encoding_type(EncodingType::Url)
                .set_continuation_token(next.clone());
            let page = self.ask(errors::LIST, &prefix, || request.clone().customize().config_override(slow()).send());
            let page = page.await?.map_err(explain)?;
            let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
            for object in page.contents() {
                let Some(key) = object.key().and_then(|key| relative(key, is_encoded, &prefix)) else { continue };
                let bytes = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                entries.push(StoreEntry { key, bytes, modified: timestamp(object.last_modified()) });
            }
            let following = page.next_continuation_token().map(str::to_owned);
            match page.is_truncated() == Some(true) {
                false => return Ok(entries),
                true if following.is_none() || following == next => return Err(self.circles()),
                true => next = following,
            }
        }
    }

    /// The uploads that were begun under a prefix of keys in the bucket, as key of the store and upload. A server that
    /// cannot tell has none. Keys come as they are: SeaweedFS says that it encodes them, and does not.
    pub async fn uploads(&self, begin: &str) -> Result<Vec<(String, MultipartUpload)>> {
        let prefix = self.prefix();
        let mut uploads = Vec::new();
        let mut next: (Option<String>, Option<String>) = (None, None);
        loop {
            let request = self
                .client
                .list_multipart_uploads()
                .bucket(&self.settings.bucket)
                .prefix(begin)
                .set_key_marker(next.0.clone())
                .set_upload_id_marker(next.1.clone());
            let page = self.ask(errors::UPLOADS, begin, || request.clone().customize().config_override(slow()).send());
            let page = match page.await? {
                Err(error) if errors::is_unknown_there(&error) => return Ok(Vec::new()),
                Err(error) => return Err(self.explain(errors::UPLOADS, begin, &error)),
                Ok(page) => page,
            };
            for upload in page.uploads() {
                let Some(key) = upload.key().and_then(|key| relative(key, false, &prefix)) else { continue };
                uploads.push((key, upload.clone()));
            }
            let following =
                (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
            match page.is_truncated() == Some(true) {
                false => return Ok(uploads),
                true if following.0.is_none() || following == next => return Err(self.circles()),
                true => next = following,
            }
        }
    }

    /// What is not whole, by key; the newest where a key has several.
    pub async fn partials(&self) -> Result<Vec<StoreEntry>> {
        let mut entries: BTreeMap<String, StoreEntry> = BTreeMap::new();
        let mut add = |entry: StoreEntry| match entries.get_mut(&entry.key) {
            Some(known) => {
                known.bytes += entry.bytes;
                known.modified = known.modified.max(entry.modified);
            }
            None => drop(entries.insert(entry.key.clone(), entry)),
        };
        for entry in self.objects("").await? {
            if let Some(key) = entry.key.strip_suffix(PARTIAL).filter(|key| is_inside(key)) {
                add(StoreEntry { key: key.to_owned(), ..entry });
            }
        }
        for (key, upload) in self.uploads(&self.prefix()).await? {
            add(StoreEntry { key, bytes: 0, modified: timestamp(upload.initiated()) });
        }
        Ok(entries.into_values().collect())
    }

    /// Gives up every upload of one object.
    pub async fn abort_uploads(&self, key: &str) -> Result<()> {
        let full = self.full_key(key)?;
        for (of, upload) in self.uploads(&full).await? {
            if let Some(id) = upload.upload_id().filter(|_| of == key) {
                self.abort(&full, id).await?;
            }
        }
        Ok(())
    }

    /// Gives up an upload; one that is not there any more is no error.
    pub async fn abort(&self, full: &str, id: &str) -> Result<()> {
        let request = self.client.abort_multipart_upload().bucket(&self.settings.bucket).key(full).upload_id(id);
        match self.outlast(errors::ABORT, full, None, request.send()).await? {
            Err(error) if errors::code(&error) == Some("NoSuchUpload") => Ok(()),
            Err(error) => Err(self.explain(errors::ABORT, full, &error)),
            Ok(_) => Ok(()),
        }
    }

    /// The error of a list that would never end.
    pub fn circles(&self) -> Error {
        let what = self.address(&self.prefix());
        Error::new(Kind::Unavailable, format!("cannot list {what}: the server does not say how its list goes on"))
    }
}

/// A page may take as long as its bytes move.
fn slow() -> Builder {
    Builder::new().timeout_config(client::timeouts(client::SLOW))
}

/// Whether a key is one that the store lists: of a whole object, at most one folder deep.
pub fn is_listed(key: &str) -> bool {
    let mut parts = key.split('/');
    let is_shown = |part: &str| !part.ends_with(PARTIAL) && !part.starts_with('.');
    parts.clone().count() <= 2 && parts.all(is_shown)
}

/// Key of the store, if a key of the bucket is one.
fn relative(key: &str, is_encoded: bool, prefix: &str) -> Option<String> {
    let key = if is_encoded { decoded(key) } else { key.to_owned() };
    key.strip_prefix(prefix).filter(|key| is_inside(key)).map(str::to_owned)
}

/// Undoes the encoding of keys in lists, in which a space may be a plus.
pub fn decoded(key: &str) -> String {
    let mut bytes = Vec::with_capacity(key.len());
    let mut rest = key.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            (first, _) => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed() {
        for key in ["a.dump", "a/toc.dat", "my%20shop.dump", "a.partial.dump"] {
            assert!(is_listed(key), "{key}");
        }
        for key in ["a.dump.partial", "a/b/c", "a.partial/toc.dat", ".lock", "a/.x"] {
            assert!(!is_listed(key), "{key}");
        }
    }

    #[test]
    fn keys_are_taken_out_of_lists() {
        assert_eq!(relative("p/a+b%2Bc%2520", true, "p/").as_deref(), Some("a b+c%20"));
        assert_eq!(relative("p/a+b%2Bc", false, "p/").as_deref(), Some("a+b%2Bc"));
        assert_eq!(relative("p-old/a", false, "p/"), None);
        assert_eq!(relative("p/", false, "p/"), None);
        assert_eq!(relative("p/a//b", false, "p/"), None);
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }
}

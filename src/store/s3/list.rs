//! Lists of the bucket: objects, uploads, and incomplete ones.

use std::collections::BTreeMap;

use aws_sdk_s3::config::Builder;
use aws_sdk_s3::types::{EncodingType, MultipartUpload};

use crate::error::{Error, Kind, Result};
use crate::store::interface::{PARTIAL, StoreEntry, is_inside};
use crate::store::s3::bucket::{Bucket, timestamp};
use crate::store::s3::{client, errors};

impl Bucket {
    /// Every object whose key in the store begins with `begin`, including temporary ones, in no particular order.
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
            let page =
                self.ask(errors::LIST, &prefix, || request.clone().customize().config_override(slow_timeouts()).send());
            let page = page.await?.map_err(explain)?;
            let is_encoded = page.encoding_type() == Some(&EncodingType::Url);
            for object in page.contents() {
                let Some(key) = object.key().and_then(|key| store_key(key, is_encoded, &prefix)) else { continue };
                let bytes = object.size().and_then(|size| u64::try_from(size).ok()).unwrap_or_default();
                entries.push(StoreEntry { key, bytes, modified: timestamp(object.last_modified()) });
            }
            let following = page.next_continuation_token().map(str::to_owned);
            match page.is_truncated() == Some(true) {
                false => return Ok(entries),
                true if following.is_none() || following == next => return Err(self.endless_list()),
                true => next = following,
            }
        }
    }

    /// The unfinished uploads whose keys in the bucket begin with `begin`, each with its key in the store; none if the server does not
    /// support this list. The keys are not encoded: SeaweedFS reports an encoding that it does not apply.
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
            let page = self
                .ask(errors::UPLOADS, begin, || request.clone().customize().config_override(slow_timeouts()).send());
            let page = match page.await? {
                Err(error) if errors::is_unsupported(&error) => return Ok(Vec::new()),
                Err(error) => return Err(self.explain(errors::UPLOADS, begin, &error)),
                Ok(page) => page,
            };
            for upload in page.uploads() {
                let Some(key) = upload.key().and_then(|key| store_key(key, false, &prefix)) else { continue };
                uploads.push((key, upload.clone()));
            }
            let following =
                (page.next_key_marker().map(str::to_owned), page.next_upload_id_marker().map(str::to_owned));
            match page.is_truncated() == Some(true) {
                false => return Ok(uploads),
                true if following.0.is_none() || following == next => return Err(self.endless_list()),
                true => next = following,
            }
        }
    }

    /// Incomplete objects by key; of several with one key the sum of their bytes and the latest time.
    pub async fn partials(&self) -> Result<Vec<StoreEntry>> {
        let mut entries: BTreeMap<String, StoreEntry> = BTreeMap::new();
        let mut add = |entry: StoreEntry| match entries.get_mut(&entry.key) {
            Some(first) => {
                first.bytes += entry.bytes;
                first.modified = first.modified.max(entry.modified);
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

    /// Aborts all uploads of one object.
    pub async fn abort_uploads(&self, key: &str) -> Result<()> {
        let full = self.full_key(key)?;
        for (of, upload) in self.uploads(&full).await? {
            if let Some(id) = upload.upload_id().filter(|_| of == key) {
                self.abort(&full, id).await?;
            }
        }
        Ok(())
    }

    /// Aborts an upload; it is no error if it no longer exists.
    pub async fn abort(&self, full: &str, id: &str) -> Result<()> {
        let request = self.client.abort_multipart_upload().bucket(&self.settings.bucket).key(full).upload_id(id);
        match self.wait_while_alive(errors::ABORT, full, None, request.send()).await? {
            Err(error) if errors::code(&error) == Some("NoSuchUpload") => Ok(()),
            Err(error) => Err(self.explain(errors::ABORT, full, &error)),
            Ok(_) => Ok(()),
        }
    }

    /// The error for a list that would never end.
    pub fn endless_list(&self) -> Error {
        let what = self.address(&self.prefix());
        Error::new(Kind::Unavailable, format!("cannot list {what}: the server gives no usable token for the next page"))
    }
}

/// Time-outs for a page, which may take long as long as bytes arrive.
fn slow_timeouts() -> Builder {
    Builder::new().timeout_config(client::timeouts(client::SLOW))
}

/// Whether the store lists a key: that of a complete object, at most one folder deep.
pub fn is_listed(key: &str) -> bool {
    let mut parts = key.split('/');
    let is_shown = |part: &str| !part.ends_with(PARTIAL) && !part.starts_with('.');
    parts.clone().count() <= 2 && parts.all(is_shown)
}

/// The key in the store of a key in the bucket; none if it is outside the prefix.
fn store_key(key: &str, is_encoded: bool, prefix: &str) -> Option<String> {
    let key = if is_encoded { decoded(key) } else { key.to_owned() };
    key.strip_prefix(prefix).filter(|key| is_inside(key)).map(str::to_owned)
}

/// Decodes a key of a list, in which a plus may stand for a space.
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
    fn listed_keys() {
        for key in ["a.dump", "a/toc.dat", "my%20shop.dump", "a.partial.dump"] {
            assert!(is_listed(key), "{key}");
        }
        for key in ["a.dump.partial", "a/b/c", "a.partial/toc.dat", ".lock", "a/.x"] {
            assert!(!is_listed(key), "{key}");
        }
    }

    #[test]
    fn keys_of_lists_are_decoded() {
        assert_eq!(store_key("p/a+b%2Bc%2520", true, "p/").as_deref(), Some("a b+c%20"));
        assert_eq!(store_key("p/a+b%2Bc", false, "p/").as_deref(), Some("a+b%2Bc"));
        assert_eq!(store_key("p-old/a", false, "p/"), None);
        assert_eq!(store_key("p/", false, "p/"), None);
        assert_eq!(store_key("p/a//b", false, "p/"), None);
        assert_eq!(decoded("%zz%4"), "%zz%4");
    }
}

use std::io::Write;

use super::*;
use crate::store::local::LocalStore;
use crate::store::{ObjectKind, StoreEntry, StoreKind, Upload};

const SAMPLE: &str = include_str!("../../../tests/golden/manifest.json");

/// The behaviour of a disk while a file is read.
#[derive(Clone, Copy, PartialEq)]
enum Disk {
    Healthy,
    /// Returns EIO once, after the first bytes.
    Failing,
    /// The backup is deleted while it is read.
    Emptied,
}

/// A local store on such a disk: a real disk that fails at a known byte needs root.
struct Shelf {
    folder: tempfile::TempDir,
    store: LocalStore,
    disk: Disk,
}

struct Broken<R> {
    inner: R,
    /// Bytes until the error, which comes once.
    left: Option<usize>,
}

impl<R: Read> Read for Broken<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.left {
            Some(0) => {
                self.left = None;
                Err(io::Error::from_raw_os_error(5))
            }
            Some(left) => {
                let room = buffer.len().min(left);
                let bytes = self.inner.read(&mut buffer[..room])?;
                self.left = Some(left - bytes);
                Ok(bytes)
            }
            None => self.inner.read(buffer),
        }
    }
}

impl Store for Shelf {
    fn kind(&self) -> StoreKind {
        self.store.kind()
    }

    fn location(&self) -> String {
        self.store.location()
    }

    fn create(&self, key: &str, bytes: Option<u64>, kind: ObjectKind) -> Result<Box<dyn Upload>> {
        self.store.create(key, bytes, kind)
    }

    fn read(&self, key: &str, offset: u64) -> Result<Box<dyn Read + Send>> {
        if self.disk == Disk::Emptied {
            for file in std::fs::read_dir(self.folder.path()).unwrap() {
                std::fs::remove_file(file.unwrap().path()).unwrap();
            }
        }
        let file = self.store.read(key, offset)?;
        Ok(if self.disk == Disk::Failing { Box::new(Broken { inner: file, left: Some(1000) }) } else { file })
    }

    fn size(&self, key: &str) -> Result<Option<u64>> {
        self.store.size(key)
    }

    fn list(&self) -> Result<Vec<StoreEntry>> {
        self.store.list()
    }

    fn delete(&self, key: &str) -> Result<()> {
        self.store.delete(key)
    }

    fn replace(&self, key: &str, bytes: &[u8], kind: ObjectKind) -> Result<()> {
        self.store.replace(key, bytes, kind)
    }

    fn withdraw(&self, key: &str) -> Result<()> {
        self.store.withdraw(key)
    }

    fn reinstate(&self, key: &str) -> Result<()> {
        self.store.reinstate(key)
    }

    fn announce(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.store.announce(key, bytes)
    }

    fn partials(&self) -> Result<Vec<StoreEntry>> {
        self.store.partials()
    }

    fn read_partial(&self, key: &str) -> Result<Vec<u8>> {
        self.store.read_partial(key)
    }

    fn discard(&self, key: &str) -> Result<()> {
        self.store.discard(key)
    }

    fn is_labelled(&self, key: &str) -> Result<bool> {
        self.store.is_labelled(key)
    }

    fn locked_until(&self, key: &str) -> Result<Option<jiff::Timestamp>> {
        self.store.locked_until(key)
    }
}

/// A backup with one file that has the bytes of `plain`, uncompressed, on such a disk.
fn backup(plain: &[u8], disk: Disk) -> (FileReader, Manifest) {
    let folder = tempfile::tempdir().unwrap();
    let store = LocalStore::new(folder.path());
    let mut manifest: Manifest = serde_json::from_str(SAMPLE).unwrap();
    manifest.encryption = None;
    manifest.compression.method = crate::pipeline::compress::Method::None;
    let mut digest = DigestReader::new(plain);
    io::copy(&mut digest, &mut io::sink()).unwrap();
    let (sha256, bytes) = (digest.digest().hex(), plain.len() as u64);
    let key = manifest.files[0].key.clone();
    manifest.files = vec![StoredFile {
        role: crate::catalogue::manifest::FileRole::Archive,
        key: key.clone(),
        stored_bytes: bytes,
        stored_sha256: sha256.clone(),
        plain_bytes: bytes,
        plain_sha256: sha256,
    }];
    for (key, bytes) in [(key, plain), (Manifest::key(&manifest.id), SAMPLE.as_bytes())] {
        let mut upload = store.create(&key, None, ObjectKind::Archive).unwrap();
        upload.write_all(bytes).unwrap();
        upload.commit().unwrap();
    }
    let shelf = Arc::new(Shelf { folder, store, disk });
    (FileReader { store: shelf, identities: None, moved: Counter::default(), stop: Stop::default() }, manifest)
}

fn read(
    reading: &FileReader,
    manifest: &Manifest,
    check: impl FnOnce(SharedPlain) -> ContentFindings,
) -> Result<Vec<String>> {
    reading.read(manifest, &manifest.files[0], check)
}

/// A check without findings.
fn content(mut plain: SharedPlain) -> ContentFindings {
    io::copy(&mut plain, &mut io::sink()).map(|_| Vec::new())
}

#[test]
fn unchanged_bytes_are_read_once_and_are_good() {
    let (reading, manifest) = backup(&[7; 5000], Disk::Healthy);
    assert_eq!(read(&reading, &manifest, content).unwrap(), Vec::<String>::new());
    assert_eq!(reading.moved.get(), 5000);
}

#[test]
fn bytes_are_read_to_the_end_after_a_check_that_reads_nothing() {
    let (reading, mut manifest) = backup(&[7; 5000], Disk::Healthy);
    assert_eq!(read(&reading, &manifest, |_| Ok(Vec::new())).unwrap(), Vec::<String>::new());
    manifest.files[0].stored_sha256 = "0".repeat(64);
    let found = read(&reading, &manifest, |_| Ok(Vec::new())).unwrap();
    assert!(found[0].contains("the SHA-256 of the stored bytes is "), "{found:?}");
}

#[test]
fn a_failing_disk_is_no_damage() {
    let checks: [fn(SharedPlain) -> ContentFindings; 2] = [content, |plain| {
        // A check may report the early end as damage.
        let mut plain = plain;
        let _ = io::copy(&mut plain, &mut io::sink());
        Ok(vec!["is cut".to_owned()])
    }];
    for check in checks {
        let (reading, manifest) = backup(&[7; 5000], Disk::Failing);
        let error = read(&reading, &manifest, check).unwrap_err();
        assert_eq!(error.kind(), Kind::System, "{error}");
        assert!(error.to_string().contains("input/output error") && error.hint_text().is_some(), "{error}");
    }
}

#[test]
fn a_backup_that_is_deleted_meanwhile_is_no_damage() {
    let (reading, manifest) = backup(&[7; 5000], Disk::Emptied);
    let error = read(&reading, &manifest, content).unwrap_err();
    assert_eq!(error.kind(), Kind::Missing);
    assert!(error.message().contains("was deleted while it was verified"), "{error}");
}

#[test]
fn a_finding_says_whether_the_store_changed_the_bytes() {
    let (reading, mut manifest) = backup(&[7; 5000], Disk::Healthy);
    let key = manifest.files[0].key.clone();
    let found = read(&reading, &manifest, |_| Ok(vec!["is odd".to_owned()])).unwrap();
    assert_eq!(found, [format!("{key}: is odd (the stored bytes are the ones that were written)")]);
    manifest.files[0].stored_sha256 = "0".repeat(64);
    let found = read(&reading, &manifest, |_| Ok(vec!["is odd".to_owned()])).unwrap();
    assert_eq!(found, [format!("{key}: is odd")]);
}

//! One file of a backup, read back: its size, its stored bytes, and its plain bytes, which a check reads.

use std::io::{self, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::catalogue;
use crate::catalogue::manifest::{Manifest, StoredFile};
use crate::error::{Error, Kind, Result};
use crate::host::progress::Counter;
use crate::pipeline::Source;
use crate::pipeline::digest::{Digest, DigestReader};
use crate::pipeline::encrypt::Identities;
use crate::postgres::archive::Malformed;
use crate::stop::Stop;
use crate::store::Store;

/// Reads the files of a backup.
pub struct FileReader {
    /// Store that has them.
    pub store: Arc<dyn Store>,
    /// Private keys, if there are any.
    pub identities: Option<Arc<Identities>>,
    /// Stored bytes that were read.
    pub moved: Counter,
    /// When to stop.
    pub stop: Stop,
}

/// The damage that a check finds in the plain bytes of a file; empty if they are good.
pub type ContentFindings = io::Result<Vec<String>>;

impl FileReader {
    /// Reads a file to its end and returns its damage, empty if it is good. `check` reads the plain bytes; it is not called if there is
    /// no private key to decrypt them.
    ///
    /// # Errors
    /// The file cannot be read for a reason other than damage: missing rights, a failing disk, the wrong key.
    pub fn read(
        &self,
        manifest: &Manifest,
        file: &StoredFile,
        check: impl FnOnce(SharedPlain) -> ContentFindings,
    ) -> Result<Vec<String>> {
        self.of_its_size(manifest, file, || self.read_bytes(manifest, file, check))
    }

    /// The same of the stored bytes alone.
    pub fn read_stored(&self, manifest: &Manifest, file: &StoredFile) -> Result<Vec<String>> {
        self.of_its_size(manifest, file, || Ok(stored_damage(file, &self.stored(file)?).into_iter().collect()))
    }

    /// Reads a file if it exists and has the size in the manifest.
    fn of_its_size(
        &self,
        manifest: &Manifest,
        file: &StoredFile,
        read: impl FnOnce() -> Result<Vec<String>>,
    ) -> Result<Vec<String>> {
        let damage = match self.store.size(&file.key)? {
            None => self.missing(manifest, &file.key)?,
            Some(bytes) if bytes < file.stored_bytes => vec![format!("has {bytes} of {} bytes", file.stored_bytes)],
            Some(bytes) if bytes > file.stored_bytes => {
                vec![format!("has {bytes} bytes instead of {}", file.stored_bytes)]
            }
            Some(_) => match read() {
                Err(error) if error.kind() == Kind::Missing => self.missing(manifest, &file.key)?,
                damage => damage?,
            },
        };
        Ok(damage.into_iter().map(|what| format!("{}: {what}", file.key)).collect())
    }

    /// A missing file is damage, unless the whole backup has been deleted meanwhile.
    fn missing(&self, manifest: &Manifest, key: &str) -> Result<Vec<String>> {
        match self.store.size(&Manifest::key(&manifest.id))? {
            Some(_) => Ok(vec![format!("is {}", catalogue::missing(self.store.as_ref(), key))]),
            None => Err(Error::new(Kind::Missing, format!("{} was deleted while it was verified", manifest.id))),
        }
    }

    fn read_bytes(
        &self,
        manifest: &Manifest,
        file: &StoredFile,
        check: impl FnOnce(SharedPlain) -> ContentFindings,
    ) -> Result<Vec<String>> {
        let identities = match (&manifest.encryption, &self.identities) {
            (Some(_), None) => return Ok(stored_damage(file, &self.stored(file)?).into_iter().collect()),
            (Some(_), Some(identities)) => Some(identities.as_ref()),
            (None, _) => None,
        };
        let (input, failure) = self.open(file)?;
        let source = match Source::open(manifest.method(file), identities, input) {
            Ok(source) => source,
            Err(error) => return self.cannot_open(manifest, file, &failure, &error),
        };
        let plain = SharedPlain(Arc::new(Mutex::new(PlainState { source: Some(source), failed: false })));
        let checked = check(plain.clone());
        // A check often fails on damaged bytes before the decoder reaches its own checksum, which locates the damage in the stored
        // bytes. A check may also leave bytes unread.
        let rest = if plain.failed() { Ok(0) } else { io::copy(&mut plain.clone(), &mut io::sink()) };
        let checked = rest.and(checked);
        let (source, failed) = plain.close()?;
        // If the store broke off the stream, the findings of the check are not about the bytes.
        if lock(&failure).is_some() {
            return Err(self.unread(&failure, file, &io::ErrorKind::Other.into()));
        }
        let damage = match checked {
            Ok(damage) if !damage.is_empty() => damage,
            Ok(_) => return self.compare(file, &failure, source),
            Err(error) => match locate(&error, failed.then(|| source.stored_offset())) {
                Some(damage) => vec![damage],
                None => return Err(self.unread(&failure, file, &error)),
            },
        };
        let stored = source.finish_stored().map_err(|error| self.unread(&failure, file, &error))?;
        Ok(damage.into_iter().map(|what| what + remark(file, &stored)).collect())
    }

    fn open(&self, file: &StoredFile) -> Result<(CountedBytes, Failure)> {
        let failure = Failure::default();
        let inner = self.store.read(&file.key, 0)?;
        let input =
            CountedBytes { inner, moved: self.moved.clone(), stop: self.stop.clone(), failure: Arc::clone(&failure) };
        Ok((input, failure))
    }

    /// The digest of the stored bytes alone.
    fn stored(&self, file: &StoredFile) -> Result<Digest> {
        let (input, failure) = self.open(file)?;
        let mut digest = DigestReader::new(input);
        io::copy(&mut digest, &mut io::sink()).map_err(|error| self.unread(&failure, file, &error))?;
        Ok(digest.digest())
    }

    /// The damage of a file that cannot be opened: the hash of its stored bytes tells damage from a wrong key.
    fn cannot_open(
        &self,
        manifest: &Manifest,
        file: &StoredFile,
        failure: &Failure,
        error: &io::Error,
    ) -> Result<Vec<String>> {
        let wrong_key = error.kind() == io::ErrorKind::PermissionDenied;
        if lock(failure).is_some() || !(wrong_key || is_about_bytes(error)) {
            return Err(self.unread(failure, file, error));
        }
        let stored = self.stored(file)?;
        match (stored_damage(file, &stored), wrong_key) {
            (None, true) => Err(wrong_identity(manifest, error)),
            (Some(damage), true) => Ok(vec![damage]),
            (_, false) => Ok(vec![format!("{error}, in its header{}", remark(file, &stored))]),
        }
    }

    /// Compares the sizes and hashes of a file that was read without errors with the manifest.
    fn compare(&self, file: &StoredFile, failure: &Failure, source: Source<CountedBytes>) -> Result<Vec<String>> {
        let digests = match source.finish() {
            Ok(digests) => digests,
            Err(error) if lock(failure).is_none() && is_about_bytes(&error) => return Ok(vec![error.to_string()]),
            Err(error) => return Err(self.unread(failure, file, &error)),
        };
        let stored = stored_damage(file, &digests.stored);
        let plain = || match digests.plain {
            plain if plain.bytes != file.plain_bytes => {
                Some(format!("has {} plain bytes instead of {}", plain.bytes, file.plain_bytes))
            }
            plain if plain.hex() != file.plain_sha256 => {
                Some(format!("the SHA-256 of the plain bytes is {plain} instead of {}", file.plain_sha256))
            }
            _ => None,
        };
        Ok(stored.or_else(plain).into_iter().collect())
    }

    /// The error of a file that could not be read to its end, for a reason other than damage.
    fn unread(&self, failure: &Failure, file: &StoredFile, error: &io::Error) -> Error {
        if self.stop.requested() {
            return self.stop.error();
        }
        let what = format!("{} in {}", file.key, self.store.location());
        let error = Error::read(what, lock(failure).as_ref().unwrap_or(error));
        match error.kind() {
            Kind::System => error.hint("whether the data is damaged is not known: see the kernel's log, and try again"),
            _ => error,
        }
    }
}

/// The damage with its position, if the error is about the bytes.
fn locate(error: &io::Error, stored_offset: Option<u64>) -> Option<String> {
    match (Malformed::in_error(error), stored_offset) {
        (Some(malformed), _) => Some(format!("is not a whole archive: {malformed}")),
        (None, Some(offset)) if is_about_bytes(error) => Some(format!("{error}, at about stored byte {offset}")),
        _ => None,
    }
}

fn is_about_bytes(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

fn stored_damage(file: &StoredFile, stored: &Digest) -> Option<String> {
    if stored.bytes != file.stored_bytes {
        return Some(format!("has {} bytes instead of {}", stored.bytes, file.stored_bytes));
    }
    let differs = stored.hex() != file.stored_sha256;
    differs.then(|| format!("the SHA-256 of the stored bytes is {stored} instead of {}", file.stored_sha256))
}

/// A remark if the store has the bytes unchanged: they were written damaged.
fn remark(file: &StoredFile, stored: &Digest) -> &'static str {
    match stored_damage(file, stored) {
        Some(_) => "",
        None => " (the stored bytes are the ones that were written)",
    }
}

fn wrong_identity(manifest: &Manifest, error: &io::Error) -> Error {
    let recipients = manifest.encryption.as_ref().map(crate::catalogue::manifest::Encryption::whom);
    Error::new(Kind::NotPermitted, format!("{} cannot be decrypted: {error}", manifest.id)).hint(format!(
        "it is encrypted to {}: BACKUP_AGE_IDENTITY_FILE must have one of their private keys",
        recipients.unwrap_or_default()
    ))
}

/// The first error of the store itself, which is not about the bytes.
type Failure = Arc<Mutex<Option<io::Error>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The stored bytes, counted; reading ends when the process is stopped.
pub struct CountedBytes {
    inner: Box<dyn Read + Send>,
    moved: Counter,
    stop: Stop,
    failure: Failure,
}

impl Read for CountedBytes {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match self.stop.requested() {
            true => Err(io::Error::other("interrupted")),
            false => self.inner.read(buffer),
        };
        match read {
            Ok(bytes) => self.moved.add(bytes as u64),
            Err(ref error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(ref error) => {
                let copy = match (error.raw_os_error(), Error::within(error)) {
                    (Some(code), _) => io::Error::from_raw_os_error(code),
                    (None, Some(ours)) => ours.into(),
                    (None, None) => io::Error::new(error.kind(), error.to_string()),
                };
                lock(&self.failure).get_or_insert(copy);
            }
        }
        read
    }
}

/// The plain bytes of a file. Clones read the same stream.
#[derive(Clone)]
pub struct SharedPlain(Arc<Mutex<PlainState>>);

struct PlainState {
    source: Option<Source<CountedBytes>>,
    failed: bool,
}

impl SharedPlain {
    /// Whether a read has failed: the error of a check is then not its own finding.
    pub fn failed(&self) -> bool {
        lock(&self.0).failed
    }

    fn close(&self) -> Result<(Source<CountedBytes>, bool)> {
        let mut state = lock(&self.0);
        let source = state.source.take().ok_or_else(|| Error::new(Kind::Internal, "a file was read twice"))?;
        Ok((source, state.failed))
    }
}

impl Read for SharedPlain {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.0);
        let Some(source) = &mut state.source else { return Err(io::Error::other("the file is closed")) };
        let read = source.read(buffer);
        state.failed |= read.is_err();
        read
    }
}

#[cfg(test)]
mod tests;

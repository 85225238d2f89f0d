//! One file of a backup, read back: its size, its stored bytes, its plain bytes, and what a check makes of those.

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

/// What is needed to read the files of a backup.
pub struct Reading {
    /// Store that has them.
    pub store: Arc<dyn Store>,
    /// Private keys, if there are any.
    pub identities: Option<Arc<Identities>>,
    /// Stored bytes that were read.
    pub moved: Counter,
    /// When to stop.
    pub stop: Stop,
}

/// What is wrong with the plain bytes of a file, in the words of a check; nothing if they are good.
pub type ContentFindings = io::Result<Vec<String>>;

impl Reading {
    /// Reads a file to its end and gives what is damaged about it, nothing if it is good.
    ///
    /// `check` looks at the plain bytes; it is not called where they cannot be had for want of a private key.
    ///
    /// # Errors
    /// What kept the file from being read, and says nothing of its bytes: rights, a failing disk, the wrong key.
    pub fn read(
        &self,
        manifest: &Manifest,
        file: &StoredFile,
        check: impl FnOnce(SharedPlain) -> ContentFindings,
    ) -> Result<Vec<String>> {
        self.of_its_size(manifest, file, || self.read_bytes(manifest, file, check))
    }

    /// The same of the stored bytes alone.
    ///
    /// # Errors
    /// What kept the file from being read.
    pub fn read_stored(&self, manifest: &Manifest, file: &StoredFile) -> Result<Vec<String>> {
        self.of_its_size(manifest, file, || Ok(stored_damage(file, &self.stored(file)?).into_iter().collect()))
    }

    /// Reads a file if it is there and has the size that it should have.
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

    /// A file that is missing is damage, unless the whole backup has been deleted meanwhile.
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
        let plain = SharedPlain(Arc::new(Mutex::new(State { source: Some(source), failed: false })));
        let checked = check(plain.clone());
        // Bytes that are damaged in the store often look wrong to a check before the decoder comes to its own: that one
        // knows where in the stored bytes the damage is. And a check may leave something unread.
        let rest = if plain.failed() { Ok(0) } else { io::copy(&mut plain.clone(), &mut io::sink()) };
        let checked = rest.and(checked);
        let (source, failed) = plain.close()?;
        // Whatever a check made of a stream that the store broke off, it is not about the bytes.
        if lock(&failure).is_some() {
            return Err(self.unread(&failure, file, &io::ErrorKind::Other.into()));
        }
        let found = match checked {
            Ok(found) if !found.is_empty() => found,
            Ok(_) => return self.compare(file, &failure, source),
            Err(error) => match locate(&error, failed.then(|| source.stored_offset())) {
                Some(found) => vec![found],
                None => return Err(self.unread(&failure, file, &error)),
            },
        };
        let stored = source.finish_stored().map_err(|error| self.unread(&failure, file, &error))?;
        Ok(found.into_iter().map(|what| what + remark(file, &stored)).collect())
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

    /// A file whose first bytes are damaged, or that is for other keys: its stored bytes can tell these apart.
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

    /// Compares a file that was read to its end without a fault with what the manifest says of it.
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

    /// The error of a file that could not be read to its end, for a reason that says nothing of its bytes.
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

/// Where the first bad byte is, for an error that is about the bytes.
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

/// Whether the store changed the bytes, or has them as they were written.
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

/// The first error of the store itself, which says nothing of the bytes that it has.
type Failure = Arc<Mutex<Option<io::Error>>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The bytes of the store, counted, until it is time to stop.
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

/// The plain bytes of a file. Its copies read the same stream.
#[derive(Clone)]
pub struct SharedPlain(Arc<Mutex<State>>);

struct State {
    source: Option<Source<CountedBytes>>,
    failed: bool,
}

impl SharedPlain {
    /// Whether a read has failed: then what a check says is not of its own finding.
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

//! Decryption of age files with age and SSH keys; the counterpart of [`encrypt`](super::encrypt).

use std::fmt;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::Arc;

use age::DecryptError;
use age::secrecy::{ExposeSecret, SecretString};
use age::stream::StreamReader;

type AnyIdentity = Box<dyn age::Identity + Send + Sync>;

/// Private keys. They are overwritten in memory when dropped, and never printed.
#[derive(Clone)]
pub struct Identities(Arc<[AnyIdentity]>);

impl Identities {
    /// Reads the text of an identity file: lines with `AGE-SECRET-KEY-1…`, unencrypted private keys of OpenSSH, or both.
    /// Blank lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    /// `InvalidInput` that names the line, never its contents.
    pub fn parse(text: &str) -> io::Result<Self> {
        if text.starts_with("age-encryption.org/") || text.contains("-----BEGIN AGE ENCRYPTED FILE-----") {
            return Err(invalid(
                "the age identity file is itself encrypted with a passphrase: decrypt it first (age -d), because pgcellar cannot ask for the passphrase",
            ));
        }
        let mut identities = Vec::new();
        let mut lines = text.lines().zip(1_usize..);
        while let Some((line, number)) = lines.next() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with("-----BEGIN ") {
                let rest = lines.by_ref().map(|(line, _)| line.trim());
                identities.push(ssh_identity(line, rest, number)?);
            } else {
                identities.push(age_identity(line, number)?);
            }
        }
        if identities.is_empty() {
            return Err(invalid("the age identity file has no key"));
        }
        Ok(Self(identities.into()))
    }

    /// A single private key.
    pub(super) fn of(identity: age::x25519::Identity) -> Self {
        Self(Arc::new([Box::new(identity)]))
    }

    /// Reads the header of an age file and decrypts what follows.
    ///
    /// # Errors
    /// `PermissionDenied` with [`NoMatchingKey`] inside if the file is encrypted to other keys, see [`is_no_matching_key`];
    /// `InvalidData` or `UnexpectedEof` if the header is damaged or not one of age; those of `stored`.
    pub fn decrypt<R: Read>(&self, stored: R) -> io::Result<Decryptor<R>> {
        let mut stored = BufReader::with_capacity(64 << 10, stored);
        let header = read_header(&mut stored)?;
        let length = header.len() as u64 + NONCE;
        let file = age::Decryptor::new_buffered(Cursor::new(header).chain(stored)).map_err(explain)?;
        if file.is_scrypt() {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the age file is encrypted with a passphrase, not to a key",
            ));
        }
        let identities = self.0.iter().map(|identity| identity.as_ref() as &dyn age::Identity);
        Ok(Decryptor { header: length, plain: file.decrypt(identities).map_err(explain)? })
    }
}

fn age_identity(line: &str, number: usize) -> io::Result<AnyIdentity> {
    match line.parse::<age::x25519::Identity>() {
        Ok(identity) => Ok(Box::new(identity)),
        Err(_) if line.starts_with("AGE-PLUGIN-") => Err(invalid(format!(
            "line {number} of the age identity file is the key of a plugin, which is not supported"
        ))),
        Err(_) if line.starts_with("age1") || line.starts_with("ssh-") => Err(invalid(format!(
            "line {number} of the age identity file is a public key: the private one is needed to decrypt"
        ))),
        Err(_) => Err(invalid(format!("line {number} of the age identity file is not a private key"))),
    }
}

fn ssh_identity<'a>(begin: &str, rest: impl Iterator<Item = &'a str>, number: usize) -> io::Result<AnyIdentity> {
    let mut lines = vec![begin];
    for line in rest {
        lines.push(line);
        if line.starts_with("-----END ") {
            break;
        }
    }
    let pem = SecretString::from(lines.join("\n") + "\n");
    let pem = pem.expose_secret().as_bytes();
    let why = match age::ssh::Identity::from_buffer(pem, None) {
        Ok(identity @ age::ssh::Identity::Unencrypted(_)) => return Ok(Box::new(identity)),
        Ok(age::ssh::Identity::Encrypted(_)) => {
            "has a passphrase, which pgcellar cannot ask for (make a copy without one: ssh-keygen -p)"
        }
        Ok(age::ssh::Identity::Unsupported(_)) => {
            "is of a type that age does not support (it supports ssh-ed25519 and ssh-rsa)"
        }
        Err(_) => "cannot be read: it is damaged, or not an OpenSSH private key",
    };
    Err(invalid(format!("the SSH key at line {number} of the age identity file {why}")))
}

/// The file is encrypted to none of the given keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoMatchingKey;

impl fmt::Display for NoMatchingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the file is encrypted to other keys than those in the age identity file")
    }
}

impl std::error::Error for NoMatchingKey {}

/// Whether the error is a [`NoMatchingKey`]: the header is undamaged, but the file is encrypted to other keys.
pub fn is_no_matching_key(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NoMatchingKey>())
}

/// The nonce that follows the header, in bytes.
const NONCE: u64 = 16;

/// The header up to and with its last line, which begins with `---`.
fn read_header(stored: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    loop {
        let start = header.len();
        let room = (HEADER_LIMIT - start) as u64;
        let read = stored.by_ref().take(room).read_until(b'\n', &mut header)?;
        let line = header.get(start..).unwrap_or_default();
        if start == 0 && !is_age(line) {
            return Err(corrupt("it does not begin with age-encryption.org/v1"));
        }
        if line.starts_with(b"---") && line.ends_with(b"\n") {
            return Ok(header);
        }
        if header.len() == HEADER_LIMIT {
            return Err(corrupt("its header does not end"));
        }
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the age file ends within its header"));
        }
    }
}

fn corrupt(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the age file is corrupt: {why}"))
}

fn explain(error: DecryptError) -> io::Error {
    match error {
        DecryptError::NoMatchingKeys => io::Error::new(io::ErrorKind::PermissionDenied, NoMatchingKey),
        DecryptError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            io::Error::new(io::ErrorKind::UnexpectedEof, "the age file ends within its header")
        }
        DecryptError::Io(error) => error,
        DecryptError::InvalidMac => corrupt("its header was changed"),
        _ => corrupt("its header cannot be read"),
    }
}

/// Bytes of plain data in a chunk of an age file, and bytes of the tag that follows it.
pub(super) const CHUNK: u64 = 64 << 10;
pub(super) const TAG: u64 = 16;

/// The plain bytes of an age file.
///
/// Reads fail with `InvalidData` if a chunk was changed or the file was cut between chunks, and with `UnexpectedEof` if it was
/// cut elsewhere or right after its header. Bytes are returned only after their chunk was verified.
pub struct Decryptor<R: Read> {
    header: u64,
    plain: StreamReader<io::Chain<Cursor<Vec<u8>>, BufReader<R>>>,
}

impl<R: Read> Decryptor<R> {
    /// Maps an offset in the contents to the offset in an age file with this header.
    pub(super) fn layout(&self) -> impl Fn(u64) -> u64 + Send + 'static {
        let header = self.header;
        move |plain| header + plain + plain / CHUNK * TAG
    }
}

impl<R: Read> Read for Decryptor<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.plain.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                io::Error::new(error.kind(), format!("the age file ends in the middle ({error})"))
            }
            io::ErrorKind::InvalidData => corrupt(&format!("a chunk was changed, or the file was cut ({error})")),
            _ => error,
        })
    }
}

/// How an age file begins, in its binary form.
const MAGIC: &[u8] = b"age-encryption.org/v1";

/// The largest header that is read, in bytes. An ssh-rsa recipient takes 700 of them, an age1 recipient 100.
pub(super) const HEADER_LIMIT: usize = 128 << 10;

/// Whether a file begins as an age file does (binary, not armored).
pub fn is_age(beginning: &[u8]) -> bool {
    beginning.starts_with(MAGIC)
}

/// The error of a key that cannot be used.
pub(super) fn invalid(message: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message.into())
}

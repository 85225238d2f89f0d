//! The beginning of an age file (<https://age-encryption.org/v1>), for both directions.

use std::io;

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

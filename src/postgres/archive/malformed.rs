//! Why an archive is refused.

use std::fmt;
use std::io;

/// A fault of an archive, and its place.
///
/// It travels inside an [`io::Error`] of kind [`io::ErrorKind::InvalidData`]; [`Malformed::in_error`] finds it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// Bytes from the start of the plain (decompressed, decrypted) stream.
    pub offset: u64,
    /// The part that was being read, and the fault.
    pub what: String,
}

impl Malformed {
    pub(super) fn new(offset: u64, what: impl Into<String>) -> Self {
        Self { offset, what: what.into() }
    }

    pub(super) fn reading(self, part: impl fmt::Display) -> Self {
        Self { offset: self.offset, what: format!("{part}: {}", self.what) }
    }

    /// The [`Malformed`] inside an I/O error; none if the bytes could not be read at all.
    #[must_use]
    pub fn in_error(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {} of the archive: {}", self.offset, self.what)
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for io::Error {
    fn from(malformed: Malformed) -> Self {
        Self::new(io::ErrorKind::InvalidData, malformed)
    }
}

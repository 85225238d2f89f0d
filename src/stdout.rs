//! Standard output: what a verb prints there is a part of its work, and what does not arrive is a failure.

use std::io::{self, Write};

use crate::error::{Error, Kind, reason};

/// Writes a text to standard output, down to its last byte.
///
/// # Errors
///
/// Standard output does not take it: a full disk, or a pipe whose reader is gone.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    // What follows the last line end would wait in a buffer, and an end of the process does not tell whether it arrived.
    out.write_all(text.as_ref()).and_then(|()| out.flush()).map_err(|error| failed(&error))
}

/// What a failed write to standard output is.
pub fn failed(error: &io::Error) -> Error {
    Error::within(error)
        .unwrap_or_else(|| Error::new(Kind::CannotWrite, format!("cannot write standard output: {}", reason(error))))
}

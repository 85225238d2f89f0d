//! Standard output. What a verb prints there is part of its result, so a failed write is an error.

use std::io::{self, Write};

use crate::error::{Error, Kind, reason};

/// Writes a text to standard output, and flushes it.
///
/// # Errors
/// The write fails: the disk is full, or the reader of the pipe has exited.
pub fn print(text: impl AsRef<[u8]>) -> Result<(), Error> {
    let mut out = io::stdout().lock();
    // Without the flush, text after the last line end stays buffered, and the error of writing it at exit is lost.
    out.write_all(text.as_ref()).and_then(|()| out.flush()).map_err(|error| failed(&error))
}

/// The error of a failed write to standard output.
pub fn failed(error: &io::Error) -> Error {
    Error::within(error)
        .unwrap_or_else(|| Error::new(Kind::CannotWrite, format!("cannot write standard output: {}", reason(error))))
}

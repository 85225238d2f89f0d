//! From plain bytes to stored bytes.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use super::compress::{Compressor, Method};
use super::digest::{Digest, DigestWriter, Running};
use super::encrypt::{Encryptor, Recipients};

/// Compresses, encrypts and digests what is written to it, and writes the result to `W`.
///
/// The plain bytes are hashed on the thread that writes, blocks are compressed on threads of their own, and encryption,
/// the hash of the stored bytes and `W` share one further thread. [`Sink::finish`] must be called; otherwise the
/// output is incomplete and its owner must remove it.
pub struct Sink<W: Write + Send + 'static> {
    /// None where the stored bytes are the plain ones, which are not hashed twice.
    plain: Option<Running>,
    compressor: Compressor<Layer<W>>,
}

/// The result of a finished sink.
#[derive(Debug)]
pub struct Finished<W> {
    /// The output, flushed; making it durable is up to its owner.
    pub inner: W,
    /// Size and hash of the bytes written to the sink.
    pub plain: Digest,
    /// Size and hash of the bytes written to the output.
    pub stored: Digest,
}

impl<W: Write + Send + 'static> Sink<W> {
    /// Starts the threads. With recipients the output becomes an age file.
    ///
    /// # Errors
    /// `InvalidInput` for a level that the method does not have; the system's error if a thread cannot be started.
    pub fn new(
        method: Method,
        level: Option<i32>,
        threads: NonZeroUsize,
        recipients: Option<&Recipients>,
        output: W,
    ) -> io::Result<Self> {
        let stored = DigestWriter::new(output);
        let layer = match recipients {
            None => Layer::Open(stored),
            Some(recipients) => Layer::Sealed(recipients.encrypt(stored)?),
        };
        let plain = (method != Method::None || recipients.is_some()).then(Running::new);
        Ok(Self { plain, compressor: Compressor::new(method, level, threads, layer)? })
    }

    /// Writes the rest, and returns the output with both digests.
    ///
    /// # Errors
    /// Those of the output, in their own kind; `Other` if a thread panicked.
    pub fn finish(self) -> io::Result<Finished<W>> {
        let stored = match self.compressor.finish()? {
            Layer::Open(stored) => stored,
            Layer::Sealed(encryptor) => encryptor.finish()?,
        };
        let (inner, stored) = stored.finish();
        Ok(Finished { inner, plain: self.plain.map_or(stored, |plain| plain.digest()), stored })
    }
}

impl<W: Write + Send + 'static> Write for Sink<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = self.compressor.write(data)?;
        if let Some(plain) = &mut self.plain {
            plain.update(data.get(..taken).unwrap_or(data));
        }
        Ok(taken)
    }

    /// Only checks whether the output has failed, as [`Compressor`] does.
    fn flush(&mut self) -> io::Result<()> {
        self.compressor.flush()
    }
}

/// The layer between the compressor and the output: with or without encryption.
enum Layer<W: Write> {
    Open(DigestWriter<W>),
    Sealed(Encryptor<DigestWriter<W>>),
}

impl<W: Write> Write for Layer<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        match self {
            Self::Open(inner) => inner.write(data),
            Self::Sealed(inner) => inner.write(data),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Open(inner) => inner.flush(),
            Self::Sealed(inner) => inner.flush(),
        }
    }
}

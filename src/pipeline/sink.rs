//! From plain bytes to stored ones.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use super::compress::{Compressor, Method};
use super::digest::{Digest, DigestWriter, Running};
use super::encrypt::{Encryptor, Recipients};

/// Compresses, encrypts and digests what is written to it, on its way into `W`.
///
/// The plain bytes are hashed on the thread that writes, blocks are compressed on threads of their own, and encryption,
/// the hash of the stored bytes and `W` share one further thread. [`Sink::finish`] must be called, else the output is
/// incomplete and must be removed by its owner.
pub struct Sink<W: Write + Send + 'static> {
    plain: Running,
    compressor: Compressor<Layer<W>>,
}

/// What a finished sink leaves.
#[derive(Debug)]
pub struct Finished<W> {
    /// The output, flushed; to make it durable is its owner's part.
    pub inner: W,
    /// Size and hash of what was written to the sink.
    pub plain: Digest,
    /// Size and hash of what the output took.
    pub stored: Digest,
}

impl<W: Write + Send + 'static> Sink<W> {
    /// Starts the threads. With recipients the output becomes an age file.
    ///
    /// # Errors
    /// `InvalidInput` for a level that the method does not have; what the system says when it gives no thread.
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
        Ok(Self { plain: Running::new(), compressor: Compressor::new(method, level, threads, layer)? })
    }

    /// Number of plain bytes that were written so far.
    pub fn plain_bytes(&self) -> u64 {
        self.plain.bytes()
    }

    /// Writes what is left, and gives the output back with both digests.
    ///
    /// # Errors
    /// Those of the output, in their own kind; `Other` when a thread broke down.
    pub fn finish(self) -> io::Result<Finished<W>> {
        let stored = match self.compressor.finish()? {
            Layer::Open(stored) => stored,
            Layer::Sealed(encryptor) => encryptor.finish()?,
        };
        let (inner, stored) = stored.finish();
        Ok(Finished { inner, plain: self.plain.digest(), stored })
    }
}

impl<W: Write + Send + 'static> Write for Sink<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = self.compressor.write(data)?;
        self.plain.update(data.get(..taken).unwrap_or(data));
        Ok(taken)
    }

    /// Only says whether the output still works, as [`Compressor`] does.
    fn flush(&mut self) -> io::Result<()> {
        self.compressor.flush()
    }
}

/// What lies between the compressor and the output.
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

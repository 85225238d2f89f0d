//! From stored bytes to plain bytes.

use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex};

use super::compress::Method;
use super::decompress::{self, Decoder};
use super::digest::{Digest, DigestReader, Running};
use super::encrypt::Identities;

/// Size and hash of a stream on both sides of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digests {
    /// Of the plain bytes.
    pub plain: Digest,
    /// Of the stored bytes.
    pub stored: Digest,
}

/// The plain bytes of a stored stream without digests, for readers that stop before its end.
///
/// # Errors
/// Those of [`Source::open`].
pub fn plain_bytes<R: Read + Send + 'static>(
    method: Method,
    identities: Option<&Identities>,
    stored: R,
) -> io::Result<Decoder> {
    match identities {
        None => decompress::decoder(method, stored),
        Some(identities) => decompress::decoder(method, identities.decrypt(stored)?),
    }
}

/// The plain bytes of a stored stream, decrypted and decompressed on a thread of its own ahead of the reader.
///
/// Errors are those of [`Decoder`] and [`encrypt::Decryptor`](super::encrypt::Decryptor), and each further read returns them
/// again. An end without an error means that all checks of the formats passed; only the digests show that nothing is missing.
pub struct Source<R> {
    /// None if the plain bytes are the stored ones, which have the same digest.
    plain: Option<Running>,
    plain_bytes: u64,
    decoder: Decoder,
    stored: Arc<Mutex<DigestReader<R>>>,
    locate: Box<dyn Fn(u64) -> u64 + Send>,
}

impl<R: Read + Send + 'static> Source<R> {
    /// Reads the header of an age file when identities are given, and starts the thread.
    pub fn open(method: Method, identities: Option<&Identities>, stored: R) -> io::Result<Self> {
        let stored = Arc::new(Mutex::new(DigestReader::new(stored)));
        let shared = Shared(Arc::clone(&stored));
        let (decoder, locate): (_, Box<dyn Fn(u64) -> u64 + Send>) = match identities {
            None => (decompress::decoder(method, shared)?, Box::new(|offset| offset)),
            Some(identities) => {
                let file = identities.decrypt(shared)?;
                let locate = file.layout();
                (decompress::decoder(method, file)?, Box::new(locate))
            }
        };
        let plain = (method != Method::None || identities.is_some()).then(Running::new);
        Ok(Self { plain, plain_bytes: 0, decoder, stored, locate })
    }

    /// Number of plain bytes that were read so far.
    pub fn plain_bytes(&self) -> u64 {
        self.plain_bytes
    }

    /// Bytes of the stored stream that the decoder has used; after an error, about the position of the damage, see
    /// [`Decoder::stored_offset`]. In an encrypted stream it is the start of the age chunk of 64 KiB.
    pub fn stored_offset(&self) -> u64 {
        (self.locate)(self.decoder.stored_offset())
    }

    /// Reads to the end, and returns the digests of the whole stream.
    ///
    /// # Errors
    /// Those of the reads, also one that was returned before; `InvalidData` for stored bytes after the end.
    pub fn finish(mut self) -> io::Result<Digests> {
        loop {
            let length = self.fill_buf()?.len();
            if length == 0 {
                break;
            }
            self.consume(length);
        }
        let plain = self.plain.as_ref().map(Running::digest);
        let before = self.stored_bytes()?;
        let stored = self.finish_stored()?;
        if stored.bytes != before {
            let extra = stored.bytes - before;
            let message = format!("{extra} bytes follow the end of the data, at byte {before}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Digests { plain: plain.unwrap_or(stored), stored })
    }

    /// Drops the plain bytes, and reads the stored ones to their end for their digest. After an error the digest distinguishes
    /// damage in the store (it is not the recorded one) from a stream that was written damaged.
    pub fn finish_stored(self) -> io::Result<Digest> {
        self.decoder.close();
        let mut stored = self.stored.lock().map_err(|_| broken())?;
        io::copy(&mut *stored, &mut io::sink())?;
        Ok(stored.digest())
    }

    fn stored_bytes(&self) -> io::Result<u64> {
        Ok(self.stored.lock().map_err(|_| broken())?.digest().bytes)
    }
}

impl<R: Read + Send + 'static> BufRead for Source<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.decoder.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        let data = self.decoder.buffer();
        let taken = data.get(..amount).unwrap_or(data);
        self.plain_bytes += taken.len() as u64;
        if let Some(plain) = &mut self.plain {
            plain.update(taken);
        }
        self.decoder.consume(amount);
    }
}

impl<R: Read + Send + 'static> Read for Source<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

/// The stored stream, used by the decoding thread and, when that has ended, by `finish`.
struct Shared<R>(Arc<Mutex<DigestReader<R>>>);

impl<R: Read> Read for Shared<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| broken())?.read(buffer)
    }
}

fn broken() -> io::Error {
    io::Error::other("the thread that reads the stored data ended unexpectedly")
}

//! Size and SHA-256 of a stream of bytes, computed while it is read or written.
//!
//! They are the digests in a manifest, and those that verify compares with them: the numbers that `wc -c` and `sha256sum`
//! print.

use std::fmt;
use std::io::{self, Read, Write};

use ring::digest::{Context, SHA256};

/// The size of a stream in bytes and its SHA-256 (FIPS 180-4). Displayed as the hash in lower-case hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    /// Number of bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: [u8; 32],
}

impl Digest {
    /// The SHA-256 as 64 lower-case hex digits, as `sha256sum` prints it.
    pub fn hex(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The digest of the bytes so far.
#[derive(Clone)]
pub(crate) struct Running {
    bytes: u64,
    context: Context,
}

impl Running {
    pub(crate) fn new() -> Self {
        Self { bytes: 0, context: Context::new(&SHA256) }
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        self.bytes += data.len() as u64;
        self.context.update(data);
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(self.context.clone().finish().as_ref());
        Digest { bytes: self.bytes, sha256 }
    }
}

/// Writes to `W` and digests the bytes that `W` took.
pub struct DigestWriter<W> {
    inner: W,
    running: Running,
}

impl<W: Write> DigestWriter<W> {
    /// Digests everything that is written to `inner` from here on.
    pub fn new(inner: W) -> Self {
        Self { inner, running: Running::new() }
    }

    /// The inner writer, and the digest of what it took. Does not flush.
    pub fn finish(self) -> (W, Digest) {
        (self.inner, self.running.digest())
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let taken = self.inner.write(data)?;
        self.running.update(data.get(..taken).unwrap_or(data));
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reads from `R` and digests the bytes that were read.
pub struct DigestReader<R> {
    inner: R,
    running: Running,
}

impl<R: Read> DigestReader<R> {
    /// Digests everything that is read from `inner` from here on.
    pub fn new(inner: R) -> Self {
        Self { inner, running: Running::new() }
    }

    /// The digest of the bytes read so far; that of the whole stream once a read returned 0.
    pub fn digest(&self) -> Digest {
        self.running.digest()
    }
}

impl<R: Read> Read for DigestReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.running.update(buffer.get(..read).unwrap_or(buffer));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Test vectors of FIPS 180-4 as NIST publishes them.
    const KNOWN: [(&str, &str); 3] = [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1",
        ),
    ];

    #[test]
    fn known_digests_both_ways() {
        for (text, hex) in KNOWN {
            let mut writer = DigestWriter::new(Vec::new());
            for byte in text.as_bytes() {
                writer.write_all(&[*byte]).unwrap();
            }
            let (inner, written) = writer.finish();
            assert_eq!(inner, text.as_bytes());

            let mut reader = DigestReader::new(text.as_bytes());
            io::copy(&mut reader, &mut io::sink()).unwrap();
            assert_eq!(reader.digest(), written);
            assert_eq!((written.bytes, written.hex().as_str()), (text.len() as u64, hex));
        }
    }

    #[test]
    fn only_written_bytes_count() {
        let mut room = [0_u8; 4];
        let mut writer = DigestWriter::new(&mut room[..]);
        assert_eq!(writer.write(b"abcdef").unwrap(), 4);
        let (_, digest) = writer.finish();
        let mut reader = DigestReader::new(&b"abcd"[..]);
        io::copy(&mut reader, &mut io::sink()).unwrap();
        assert_eq!(digest, reader.digest());
    }
}

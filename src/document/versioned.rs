//! Documents of a backup with a version.

use std::io::{self, BufWriter, Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::document;

/// Size limit of a document, in bytes: the fingerprints of about a million tables.
const LARGEST: u64 = 512 << 20;

/// Reads a document. `H` has only the version, which `version` returns; `known` is the newest version that can be read.
///
/// # Errors
/// `InvalidData` for a malformed document, or a newer version; those of the reader.
pub fn read<H: DeserializeOwned, T: DeserializeOwned>(
    mut from: impl Read,
    what: &str,
    known: u32,
    version: impl FnOnce(&H) -> u32,
) -> io::Result<T> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let mut text = Vec::new();
    from.by_ref().take(LARGEST + 1).read_to_end(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(invalid(format!("it has more than {LARGEST} bytes")));
    }
    let malformed = |error: serde_json::Error| invalid(format!("it is not a document of {what}: {error}"));
    let header: H = document::parse(&text).map_err(malformed)?;
    match version(&header) {
        version if version > known => {
            Err(invalid(format!("it has version {version}, and this pgcellar knows versions up to {known}")))
        }
        _ => serde_json::from_slice(&text).map_err(malformed),
    }
}

/// Writes a document and a line feed.
///
/// # Errors
/// Those of the writer.
pub fn write(to: impl Write, document: &impl Serialize) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    serde_json::to_writer(&mut to, document)?;
    to.write_all(b"\n")?;
    to.flush()
}

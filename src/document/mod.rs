//! JSON documents, in which no object may have two members of one name.
//!
//! RFC 8259, section 4, does not define which of two members of one name counts. A reader that takes the first and one that
//! takes the last would see different backups in one manifest.

use std::collections::HashSet;
use std::fmt;
use std::io::{self, BufWriter, Read, Write};

use serde::de::{self, DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error;

/// Reads a document.
///
/// # Errors
/// Malformed JSON, a wrong type, and an object with two members of one name, even of an unknown one.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice::<Unique>(bytes)?;
    serde_json::from_slice(bytes)
}

/// A document as pgcellar stores it: indented, with a line end.
///
/// # Errors
/// `Internal` for what cannot be written as JSON.
pub fn to_json(document: &impl Serialize) -> Result<Vec<u8>, error::Error> {
    let mut bytes = serde_json::to_vec_pretty(document).map_err(|error| {
        error::Error::new(error::Kind::Internal, format!("cannot write a document as JSON: {error}"))
    })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// Any JSON value whose objects have unique names.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Walk)
    }
}

struct Walk;

impl<'de> Visitor<'de> for Walk {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut names = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            map.next_value::<Unique>()?;
            if let Some(name) = names.replace(name) {
                return Err(A::Error::custom(format_args!("the key '{}' occurs twice", name.escape_debug())));
            }
        }
        Ok(Unique)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Unique, A::Error> {
        while items.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }

    fn visit_unit<E: de::Error>(self) -> Result<Unique, E> {
        Ok(Unique)
    }
}

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
    let header: H = parse(&text).map_err(malformed)?;
    match version(&header) {
        version if version > known => {
            Err(invalid(format!("it has version {version}, and this pgcellar knows versions up to {known}")))
        }
        _ => serde_json::from_slice(&text).map_err(malformed),
    }
}

/// Writes a document and a line feed.
pub fn write(to: impl Write, document: &impl Serialize) -> io::Result<()> {
    let mut to = BufWriter::new(to);
    serde_json::to_writer(&mut to, document)?;
    to.write_all(b"\n")?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for once in [r#"{"a": 1, "b": [{"a": 1.5}, {"a": -2, "c": null}], "d": {"a": "x"}, "e": true}"#, "[]", "7"] {
            parse::<serde_json::Value>(once.as_bytes()).unwrap();
        }
        for twice in [r#"{"a": 1, "a": 1}"#, r#"{"b": [{"c": {"a": 1, "\u0061": 2}}]}"#] {
            let error = parse::<serde_json::Value>(twice.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("the key 'a' occurs twice"), "{error}");
        }
        assert!(parse::<serde_json::Value>(b"{").is_err());
    }
}

//! Names as an archive quotes them, in the encoding of the dump.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A name or a list of names as the SQL of an archive has it, in the encoding of the dump.
///
/// In JSON it is a string if its bytes are UTF-8, and otherwise (in a dump of another encoding) an array of the bytes: two
/// different names must stay different.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quoted(Vec<u8>);

impl Quoted {
    /// The bytes, in the encoding of the dump.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text; none if the bytes are not UTF-8.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// The names between the dots, without quotes: schema and table of `public."My Table"` (`fmtId` of
    /// `src/fe_utils/string_utils.c`).
    pub fn parts(&self) -> Vec<Vec<u8>> {
        let (mut parts, mut quoted, mut after) = (vec![Vec::new()], false, false);
        for &byte in &self.0 {
            match byte {
                b'"' => {
                    // A quote right after a closing one is a doubled quote: part of the name.
                    if !quoted && after {
                        parts.last_mut().into_iter().for_each(|part| part.push(byte));
                    }
                    quoted = !quoted;
                }
                b'.' if !quoted => parts.push(Vec::new()),
                _ => parts.last_mut().into_iter().for_each(|part| part.push(byte)),
            }
            after = byte == b'"' && !quoted;
        }
        parts
    }
}

impl From<&[u8]> for Quoted {
    fn from(bytes: &[u8]) -> Self {
        Quoted(bytes.to_owned())
    }
}

impl From<&str> for Quoted {
    fn from(text: &str) -> Self {
        Quoted(text.as_bytes().to_owned())
    }
}

/// For messages: bytes that are not UTF-8 appear as U+FFFD.
impl fmt::Display for Quoted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&String::from_utf8_lossy(&self.0))
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written<'a> {
    Text(std::borrow::Cow<'a, str>),
    Bytes(Vec<u8>),
}

impl Serialize for Quoted {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.text() {
            Some(text) => Written::Text(text.into()).serialize(to),
            None => Written::Bytes(self.0.clone()).serialize(to),
        }
    }
}

impl<'a> Deserialize<'a> for Quoted {
    fn deserialize<D: Deserializer<'a>>(from: D) -> Result<Self, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::Text(text) => Quoted(text.into_owned().into_bytes()),
            Written::Bytes(bytes) => Quoted(bytes),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Quoted;

    #[test]
    fn parts_of_names() {
        for (quoted, parts) in [
            ("public.orders", &["public", "orders"][..]),
            ("public.\"My Table\"", &["public", "My Table"]),
            ("\"a.b\".\"c.\"\"d\"\"\"", &["a.b", "c.\"d\""]),
            ("\"\"\"\".x", &["\"", "x"]),
            ("\"\".x", &["", "x"]),
            ("x", &["x"]),
        ] {
            let parts: Vec<&[u8]> = parts.iter().map(|part| part.as_bytes()).collect();
            assert_eq!(Quoted::from(quoted).parts(), parts, "{quoted}");
        }
    }
}

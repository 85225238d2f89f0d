//! JSON documents of ours, as they are read back: nothing stands in them twice.
//!
//! RFC 8259, section 4, leaves open which of two members of one name counts. A reader that takes the first and one that
//! takes the last would see different backups in one manifest.

pub mod versioned;

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeOwned, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};

/// Reads a document. An object with two members of one name is an error, also where nothing is known of the name.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice::<Unique>(bytes)?;
    serde_json::from_slice(bytes)
}

/// Any JSON whose objects have each name once.
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
                return Err(A::Error::custom(format_args!("the key '{}' stands twice", name.escape_debug())));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_stands_twice() {
        for once in [r#"{"a": 1, "b": [{"a": 1.5}, {"a": -2, "c": null}], "d": {"a": "x"}, "e": true}"#, "[]", "7"] {
            parse::<serde_json::Value>(once.as_bytes()).unwrap();
        }
        for twice in [r#"{"a": 1, "a": 1}"#, r#"{"b": [{"c": {"a": 1, "\u0061": 2}}]}"#] {
            let error = parse::<serde_json::Value>(twice.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("the key 'a' stands twice"), "{error}");
        }
        assert!(parse::<serde_json::Value>(b"{").is_err());
    }
}

//! Takeovers of the backups of another host or instance: `pgcellar.takeover.INSTANCE@HOST.json` in the store.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::name::escape;
use crate::config::Maker;
use crate::error::{Error, Kind, Result};
use crate::identity::Identity;

/// Beginning and ending of the documents' names.
const BEGIN: &str = "pgcellar.takeover.";
const END: &str = ".json";

/// A takeover of one maker's backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Takeover {
    /// Their maker.
    pub from: Maker,
    /// Their new owner.
    pub to: Maker,
    /// Identity of the new owner's server, if it could be queried.
    #[serde(default, skip_serializing_if = "Identity::is_empty")]
    pub server: Identity,
    /// When they were taken over, UTC. Later backups of the old maker are its own.
    pub at: Timestamp,
}

impl Takeover {
    /// Key of the document.
    pub fn key(from: &Maker) -> String {
        format!("{BEGIN}{}@{}{END}", escape(&from.instance), escape(&from.host))
    }

    /// Whether a key is that of such a document.
    pub fn is_key(key: &str) -> bool {
        key.starts_with(BEGIN) && key.ends_with(END) && !key.contains('/')
    }

    /// Reads a document.
    ///
    /// # Errors
    /// `Data` for a malformed document: then it is unknown whose the backups are.
    pub fn parse(key: &str, bytes: &[u8]) -> Result<Self> {
        let bad = |why: String| {
            Error::new(Kind::Data, format!("{key} is not a usable takeover: {why}"))
                .hint("repeat it with pgcellar takeover, or delete the file")
        };
        let takeover: Takeover = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        match Takeover::key(&takeover.from) == key {
            true => Ok(takeover),
            false => Err(bad(format!("it is about the host '{}'", takeover.from.host))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_must_match_its_name() {
        let maker = |host: &str| Maker { instance: "main".to_owned(), host: host.to_owned() };
        let at = "2026-11-29T12:00:00Z".parse().unwrap();
        let takeover = Takeover { from: maker("a/b c"), to: maker("new"), server: Identity::default(), at };
        let key = Takeover::key(&takeover.from);
        assert_eq!(key, "pgcellar.takeover.main@a%2Fb%20c.json");
        assert!(Takeover::is_key(&key) && !Takeover::is_key("shop_20231231_020000.manifest.json"));
        let bytes = serde_json::to_vec(&takeover).unwrap();
        assert_eq!(Takeover::parse(&key, &bytes).unwrap(), takeover);
        for (key, bytes) in [(Takeover::key(&maker("other")).as_str(), bytes.as_slice()), (&key, b"{}")] {
            assert_eq!(Takeover::parse(key, bytes).unwrap_err().kind(), Kind::Data);
        }
    }
}

//! A pin, which keeps a backup until it is removed, in `ID.pin.json` beside the manifest. `doc/manifest.md` describes each field.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::name::PIN;
use crate::document;
use crate::error::Result;

/// A pin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    /// Id of the backup.
    pub id: String,
    /// When it was pinned, UTC.
    pub at: Timestamp,
    /// Why, as the user gave it.
    pub reason: Option<String>,
}

impl Pin {
    /// Key of what pins the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{PIN}")
    }

    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        document::to_json(self)
    }
}

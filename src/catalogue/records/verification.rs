//! The result of the last verify of a backup, in `ID.verify.json` beside its manifest. `doc/manifest.md` describes each field.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::catalogue::name::VERIFY;
use crate::document;
use crate::error::Result;

/// The result of a verify.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    /// Id of the backup.
    pub id: String,
    /// When it ended, UTC.
    pub at: Timestamp,
    /// Whether every check that could be made passed.
    pub passed: bool,
    /// `full`, or `stored` where only the stored bytes could be read.
    pub depth: Depth,
    /// What is damaged; empty if it passed.
    pub damage: Vec<String>,
}

/// How far a verify went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Depth {
    /// Stored bytes, plain bytes and the archive's structure.
    Full,
    /// Stored bytes only, for want of the private key.
    Stored,
}

impl Verification {
    /// Key of the result for the backup `id`.
    pub fn key(id: &str) -> String {
        format!("{id}{VERIFY}")
    }

    /// The document, as it is stored.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        document::to_json(self)
    }
}

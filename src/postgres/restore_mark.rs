//! The marks of a database that a restore has not finished: a connection limit, a comment that names the target and the
//! process, and the advisory lock of the target.

use serde::{Deserialize, Serialize};

use crate::host::process::Process;

/// Class of the advisory locks that restores hold on their targets (PostgreSQL documentation, "Advisory Lock Functions"): the
/// key's second half is the hash of the target's name. Its bytes are `pgce`.
pub const LOCK: i32 = 0x7067_6365;

/// The connection limit with which a restore makes a database, which no server reaches. Nothing else sets this limit, so it
/// marks a database whose restore was killed before it could set the comment.
pub const UNFINISHED_LIMIT: i32 = LOCK;

/// What the comment begins with.
pub const SAYS: &str = "pgcellar restores into this database: ";

/// The rest of the comment, as JSON.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreMark {
    /// The name that the database gets once it is complete.
    pub target: String,
    /// The process that makes it.
    pub process: Process,
}

impl RestoreMark {
    /// The mark in a comment: none if the comment is no mark, an error if its JSON cannot be read.
    pub fn read(comment: &str) -> Option<serde_json::Result<Self>> {
        comment.strip_prefix(SAYS).map(serde_json::from_str)
    }

    /// The comment.
    ///
    /// # Errors
    /// A process that cannot be written as JSON.
    pub fn comment(&self) -> serde_json::Result<String> {
        serde_json::to_string(self).map(|json| format!("{SAYS}{json}"))
    }
}

/// The target that the mark in a comment names.
pub fn target_of(comment: &str) -> Option<String> {
    RestoreMark::read(comment)?.ok().map(|mark| mark.target)
}

//! The format of an archive.

use std::fmt;

use crate::config::refusal::wrong;
use crate::error::Result;

/// Format of an archive (`pg_dump --format`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// pg_dump's own archive format, in one file.
    Custom,
    /// A folder with one file a table.
    Directory,
    /// The directory format in a tar file.
    Tar,
    /// An SQL script.
    Plain,
}

impl Format {
    /// Checks `BACKUP_FORMAT`.
    pub fn new(name: &str) -> Result<Self> {
        match name {
            "custom" => Ok(Format::Custom),
            "directory" => Ok(Format::Directory),
            "tar" => Ok(Format::Tar),
            "plain" => Ok(Format::Plain),
            other => Err(wrong("BACKUP_FORMAT (--format)", other, "custom, directory, tar or plain")),
        }
    }

    /// pg_dump's name.
    pub fn name(self) -> &'static str {
        match self {
            Format::Custom => "custom",
            Format::Directory => "directory",
            Format::Tar => "tar",
            Format::Plain => "plain",
        }
    }

    /// The ending of an archive's file name, before that of the compression.
    pub fn extension(self) -> &'static str {
        match self {
            Format::Custom => ".dump",
            Format::Directory => "",
            Format::Tar => ".tar",
            Format::Plain => ".sql",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

//! The compression formats: their names, file name suffixes and levels.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A compression format. Written in lower case in settings and manifests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// No compression.
    None,
    /// gzip, RFC 1952.
    Gzip,
    /// bzip2.
    Bzip2,
    /// The .xz file format.
    Xz,
    /// Zstandard, RFC 8878.
    Zstd,
}

impl Method {
    /// Every method, in the order of listings.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Bzip2, Self::Xz, Self::Zstd];

    /// The name in settings and manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }

    /// The suffix of file names, with its dot; empty for `none`.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }

    /// The levels that the format's own command accepts without further options; only 0 for `none`.
    pub fn levels(self) -> RangeInclusive<i32> {
        match self {
            Self::None => 0..=0,
            Self::Gzip | Self::Bzip2 => 1..=9,
            Self::Xz => 0..=9,
            Self::Zstd => 1..=19,
        }
    }

    /// The level if none is requested.
    pub fn default_level(self) -> i32 {
        match self {
            Self::None => 0,
            // libdeflate's 5 makes files about as large as zlib's 6 does, in a third of its time.
            Self::Gzip => 5,
            Self::Xz => 6,
            Self::Bzip2 => 9,
            Self::Zstd => 3,
        }
    }

    /// The level to use: the requested one, or the default.
    ///
    /// # Errors
    /// `InvalidInput` if the method does not have the requested level.
    pub fn level(self, requested: Option<i32>) -> io::Result<i32> {
        let level = requested.unwrap_or(self.default_level());
        let levels = self.levels();
        if levels.contains(&level) {
            return Ok(level);
        }
        let message = match self {
            Self::None => format!("compression none takes no level, but level {level} is set"),
            _ => format!("{self} has no compression level {level} (it has {} to {})", levels.start(), levels.end()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, message))
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|method| method.name() == name)
            .ok_or_else(|| format!("{name:?} is not a compression method (none, gzip, bzip2, xz or zstd)"))
    }
}

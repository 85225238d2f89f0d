//! The header: `WriteHead` and `ReadHead` of pg_backup_archiver.c.

use std::fmt;

use super::malformed::Malformed;
use super::primitive::{ArchiveInput, Int, Str};

/// The version of the archive format (`K_VERS_*` of pg_backup_archiver.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Version {
    /// Always 1.
    pub major: u8,
    /// 14 (PostgreSQL 13 to 15), 15 (16) or 16 (17 to 19).
    pub minor: u8,
    /// The revision, 0 so far.
    pub revision: u8,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The format byte of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveFormat {
    /// The custom format, `pg_dump -Fc`.
    #[default]
    Custom,
    /// `toc.dat` of the tar or the directory format: both write the same byte.
    Toc,
}

/// How pg_dump itself compressed the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ArchiveCompression {
    /// Not at all (`-Z0`).
    #[default]
    None,
    /// gzip, what pg_dump does by default.
    Gzip,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl fmt::Display for ArchiveCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Names of databases and versions have a few dozen bytes; pg_dump writes no longer ones.
const NAME_LIMIT: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Fixed,
    CompressionLevel,
    CompressionAlgorithm,
    Time(u8),
    DbName,
    ServerVersion,
    DumpVersion,
    Done,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Fixed => "the header",
            Self::CompressionLevel | Self::CompressionAlgorithm => "the compression in the header",
            Self::Time(_) => "the time in the header",
            Self::DbName => "the name of the database in the header",
            Self::ServerVersion => "the server's version in the header",
            Self::DumpVersion => "pg_dump's version in the header",
            Self::Done => "the end of the header",
        }
    }
}

/// A header that is being read; its fields are valid once [`Header::read`] returned true.
pub(super) struct Header {
    field: Field,
    fixed: Vec<u8>,
    int: Int,
    string: Str,
    pub(super) version: Version,
    pub(super) format: ArchiveFormat,
    pub(super) offset_size: usize,
    pub(super) compression: ArchiveCompression,
    pub(super) dbname: String,
    pub(super) server_version: String,
    pub(super) dump_version: String,
}

impl Header {
    pub(super) fn new() -> Self {
        Self {
            field: Field::Fixed,
            fixed: Vec::with_capacity(FIXED),
            int: Int::default(),
            string: Str::default(),
            version: Version::default(),
            format: ArchiveFormat::default(),
            offset_size: 0,
            compression: ArchiveCompression::default(),
            dbname: String::new(),
            server_version: String::new(),
            dump_version: String::new(),
        }
    }

    pub(super) fn part(&self) -> String {
        self.field.name().to_owned()
    }

    /// Reads on; true once the whole header was read.
    pub(super) fn read(&mut self, input: &mut ArchiveInput<'_>) -> Result<bool, Malformed> {
        while self.field != Field::Done {
            if !self.step(input).map_err(|error| error.reading(self.field.name()))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn step(&mut self, input: &mut ArchiveInput<'_>) -> Result<bool, Malformed> {
        self.field = match self.field {
            Field::Fixed => {
                if !self.fixed(input)? {
                    return Ok(false);
                }
                if self.version.minor < 15 { Field::CompressionLevel } else { Field::CompressionAlgorithm }
            }
            Field::CompressionLevel => {
                let Some(level) = self.int.read(input)? else {
                    return Ok(false);
                };
                self.compression = match level {
                    0 => ArchiveCompression::None,
                    -1 | 1..=9 => ArchiveCompression::Gzip,
                    _ => {
                        return Err(Malformed::new(input.offset() - 5, format!("level {level} is not known")));
                    }
                };
                Field::Time(0)
            }
            Field::CompressionAlgorithm => {
                let Some(byte) = input.byte() else {
                    return Ok(false);
                };
                self.compression = algorithm(byte)
                    .ok_or_else(|| Malformed::new(input.offset() - 1, format!("algorithm {byte} is not known")))?;
                Field::Time(0)
            }
            Field::Time(n) => {
                let Some(_) = self.int.read(input)? else {
                    return Ok(false);
                };
                if n < 6 { Field::Time(n + 1) } else { Field::DbName }
            }
            Field::DbName | Field::ServerVersion | Field::DumpVersion => {
                if !self.string.read(input, NAME_LIMIT, |_| {})? {
                    return Ok(false);
                }
                self.name(input)?
            }
            Field::Done => Field::Done,
        };
        Ok(true)
    }

    fn name(&mut self, input: &ArchiveInput<'_>) -> Result<Field, Malformed> {
        if self.string.truncated {
            return Err(Malformed::new(input.offset(), format!("a string of more than {NAME_LIMIT} bytes")));
        }
        let text = String::from_utf8_lossy(&self.string.kept).into_owned();
        Ok(match self.field {
            Field::DbName => {
                self.dbname = text;
                Field::ServerVersion
            }
            Field::ServerVersion => {
                self.server_version = text;
                Field::DumpVersion
            }
            _ => {
                self.dump_version = text;
                Field::Done
            }
        })
    }

    fn fixed(&mut self, input: &mut ArchiveInput<'_>) -> Result<bool, Malformed> {
        self.fixed.extend_from_slice(input.take(FIXED - self.fixed.len()));
        let magic = self.fixed.len().min(MAGIC.len());
        if self.fixed.get(..magic) != MAGIC.get(..magic) {
            return Err(Malformed::new(0, "no PGDMP at its start: not a custom-format archive or toc.dat of pg_dump"));
        }
        let Ok([_, _, _, _, _, major, minor, revision, int_size, offset_size, format]) =
            <[u8; FIXED]>::try_from(self.fixed.as_slice())
        else {
            return Ok(false);
        };
        self.version = Version { major, minor, revision };
        if major != 1 || !(14..=16).contains(&minor) {
            let what = format!("archive format version {major}.{minor} is not known (1.14 to 1.16 are)");
            return Err(Malformed::new(5, what));
        }
        if int_size != 4 {
            return Err(Malformed::new(8, format!("integer size {int_size} is not known (4 is)")));
        }
        if offset_size != 4 && offset_size != 8 {
            return Err(Malformed::new(9, format!("offset size {offset_size} is not known (4 and 8 are)")));
        }
        self.offset_size = usize::from(offset_size);
        self.format = match format {
            1 => ArchiveFormat::Custom,
            3 => ArchiveFormat::Toc,
            _ => {
                return Err(Malformed::new(10, format!("format {format} is not known (1 and 3 are)")));
            }
        };
        Ok(true)
    }
}

const MAGIC: [u8; 5] = *b"PGDMP";
/// Length in bytes of magic, version, sizes and format, with which every version begins.
const FIXED: usize = 11;

/// `pg_compress_algorithm` of src/include/common/compression.h.
fn algorithm(byte: u8) -> Option<ArchiveCompression> {
    match byte {
        0 => Some(ArchiveCompression::None),
        1 => Some(ArchiveCompression::Gzip),
        2 => Some(ArchiveCompression::Lz4),
        3 => Some(ArchiveCompression::Zstd),
        _ => None,
    }
}

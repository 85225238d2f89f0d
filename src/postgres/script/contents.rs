//! What a script contains.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

/// Most findings that are kept: a script with one of them is refused already.
pub const FINDINGS: usize = 64;

/// A position in the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptPosition {
    /// Bytes from the start.
    pub offset: u64,
    /// Line, from 1.
    pub line: u64,
}

impl fmt::Display for ScriptPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} (byte {})", self.line, self.offset)
    }
}

/// What a script must not have if it is restored into one database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerWide {
    /// `\connect` or `\c`: what follows goes to another database.
    Connect,
    /// A CREATE DATABASE statement.
    CreateDatabase,
    /// A DROP DATABASE statement.
    DropDatabase,
    /// A statement about a database itself, this one or another: `ALTER DATABASE`, `GRANT … ON DATABASE`.
    Database,
    /// A statement about roles, tablespaces or the settings of the whole server.
    Server,
    /// A backslash command that pg_dump does not write: it may run programs and read files.
    Command,
    /// A zero byte, which PostgreSQL's text never has and at which psql cuts a line.
    Nul,
    /// A dollar quote with a tag of more than a thousand bytes, which the scanner does not follow.
    LongDollarTag,
}

impl fmt::Display for ServerWide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "\\connect",
            Self::CreateDatabase => "CREATE DATABASE",
            Self::DropDatabase => "DROP DATABASE",
            Self::Database => "a statement about a database itself",
            Self::Server => "a statement about the server's roles, tablespaces or settings",
            Self::Command => "a psql command that pg_dump does not write",
            Self::Nul => "a zero byte",
            Self::LongDollarTag => "an overlong dollar quote",
        })
    }
}

/// A finding in a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptFinding {
    /// What was found.
    pub kind: ServerWide,
    /// Where it begins.
    pub place: ScriptPosition,
}

/// The construct within which a script ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenConstruct {
    /// The rows after COPY … FROM stdin, before their `\.`.
    CopyData,
    /// A string or a quoted name.
    Quote,
    /// A dollar-quoted string.
    DollarQuote,
    /// A `/* … */` comment.
    Comment,
    /// A statement without its semicolon.
    Statement,
}

impl fmt::Display for OpenConstruct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CopyData => "the rows of a COPY",
            Self::Quote => "a quoted string or name",
            Self::DollarQuote => "a dollar-quoted string",
            Self::Comment => "a comment",
            Self::Statement => "a statement",
        })
    }
}

/// What a script contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    pub(super) tables: Vec<u128>,
    /// Calls of `lo_create`: large objects.
    pub large_objects: u64,
    /// COPY … FROM stdin statements, including those whose table name cannot be parsed.
    pub copies: u64,
    /// CREATE TABLE statements.
    pub tables_made: u64,
    /// CREATE statements, including those of tables.
    pub made: u64,
    /// pg_dump's comments before the data of a table, which may have no rows.
    pub data_headings: u64,
    /// Statements that remove objects which a new database does not have, or create those that it has.
    pub removals: u64,
    /// Comments on extensions.
    pub extension_comments: u64,
    /// Statements that set the planner's statistics.
    pub statistics: u64,
    /// Statements that create event triggers, and those that fire them by refreshing materialized views.
    pub fires: u64,
    /// Whether pg_dump's completion line is at the end. An `\unrestrict` and blank lines may follow it.
    pub complete: bool,
    /// Whether pg_dumpall's completion line is at the end.
    pub cluster_complete: bool,
    /// The construct within which the script ends, and where it begins.
    pub unfinished: Option<(OpenConstruct, ScriptPosition)>,
    /// What a restore refuses, in order of position; at most [`FINDINGS`].
    pub findings: Vec<ScriptFinding>,
}

impl Script {
    /// Whether the script has COPY data for this table; the names are without quotes and in the script's encoding.
    #[must_use]
    pub fn has_table(&self, schema: impl AsRef<[u8]>, table: impl AsRef<[u8]>) -> bool {
        self.tables.binary_search(&fingerprint(schema.as_ref(), table.as_ref())).is_ok()
    }

    /// Whether it creates tables and fills none (`pg_dump --schema-only`).
    #[must_use]
    pub fn is_schema_only(&self) -> bool {
        self.tables_made > 0 && !self.has_data()
    }

    /// Whether it fills tables and creates none (`pg_dump --data-only`).
    #[must_use]
    pub fn is_data_only(&self) -> bool {
        self.made == 0 && self.has_data()
    }

    fn has_data(&self) -> bool {
        self.copies > 0 || self.data_headings > 0
    }

    /// Whether some statements need special treatment: those that a new database or an older server may refuse without that being an
    /// error (which they are depends on whether the role is a superuser), and those that run code of the database.
    #[must_use]
    pub fn needs_statements(&self, superuser: bool) -> bool {
        self.removals > 0 || self.fires > 0 || self.statistics > 0 || !superuser && self.extension_comments > 0
    }

    /// Number of tables with COPY data.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.tables.len()
    }
}

/// A hash of 128 bits that identifies a table: collisions do not occur in practice.
pub(super) fn fingerprint(schema: &[u8], table: &[u8]) -> u128 {
    let half = |salt: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(salt);
        hasher.write_usize(schema.len());
        hasher.write(schema);
        hasher.write(table);
        u128::from(hasher.finish())
    };
    half(0) << 64 | half(1)
}

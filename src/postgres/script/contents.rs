//! What a script holds.

use std::fmt;
use std::hash::{DefaultHasher, Hasher};

/// Findings that are kept; a script with more of them is as unfit as one with these.
pub const FINDINGS: usize = 64;

/// A place in the script.
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

/// What a script should not have that is restored into one database.
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
    /// A zero byte, which text of PostgreSQL never has and at which psql cuts a line.
    Nul,
    /// A dollar quote with a tag of more than a thousand bytes, whose end is not looked for.
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

/// One finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScriptFinding {
    /// What was found.
    pub kind: ServerWide,
    /// Where it begins.
    pub place: ScriptPosition,
}

/// What a script ends in the middle of.
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

/// What a script holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    pub(super) tables: Vec<u128>,
    /// Calls of `lo_create`: large objects.
    pub large_objects: u64,
    /// COPY … FROM stdin statements, those with a table name that cannot be read among them.
    pub copies: u64,
    /// CREATE TABLE statements.
    pub tables_made: u64,
    /// CREATE statements, those of tables among them.
    pub made: u64,
    /// pg_dump's comments that head data, also where a table has no rows.
    pub data_headings: u64,
    /// Statements that remove what a new database lacks, or make what it has.
    pub removals: u64,
    /// Comments on extensions.
    pub extension_comments: u64,
    /// Statements that make event triggers, or fire them when they refresh materialized views.
    pub fires: u64,
    /// pg_dump's own completion line stands at the end. An `\unrestrict` and blank lines may follow.
    pub complete: bool,
    /// pg_dumpall's completion line stands at the end.
    pub cluster_complete: bool,
    /// What the script ends in the middle of, and where that began.
    pub unfinished: Option<(OpenConstruct, ScriptPosition)>,
    /// What a restore refuses, by its place; at most [`FINDINGS`] of it.
    pub findings: Vec<ScriptFinding>,
}

impl Script {
    /// Whether the script has COPY data for this table, by its names as PostgreSQL has them (without quotes), in the script's
    /// encoding.
    #[must_use]
    pub fn has_table(&self, schema: impl AsRef<[u8]>, table: impl AsRef<[u8]>) -> bool {
        self.tables.binary_search(&fingerprint(schema.as_ref(), table.as_ref())).is_ok()
    }

    /// Whether it makes tables, and fills none (`pg_dump --schema-only`).
    #[must_use]
    pub fn is_schema_only(&self) -> bool {
        self.tables_made > 0 && !self.has_data()
    }

    /// Whether it fills tables, and makes nothing (`pg_dump --data-only`).
    #[must_use]
    pub fn is_data_only(&self) -> bool {
        self.made == 0 && self.has_data()
    }

    fn has_data(&self) -> bool {
        self.copies > 0 || self.data_headings > 0
    }

    /// Whether statements need a treatment of their own: those that a new database may refuse, to a role that is a superuser
    /// or is none, and is no error then; and those that fire code of the database.
    #[must_use]
    pub fn needs_statements(&self, superuser: bool) -> bool {
        self.removals > 0 || self.fires > 0 || !superuser && self.extension_comments > 0
    }

    /// Tables with COPY data.
    #[must_use]
    pub fn tables(&self) -> usize {
        self.tables.len()
    }
}

/// 128 bits that stand for a table: two tables never share them in practice.
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

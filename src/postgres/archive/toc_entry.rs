//! An entry of the table of contents.

use std::fmt;

/// Bytes kept of a tag. PostgreSQL's names have at most 63; a function's tag lists the types of all its arguments.
pub const TAG_LIMIT: usize = 8 << 10;
/// How the tag of an entry about the database begins.
pub(super) const DATABASE_TAG: &[u8] = b"DATABASE ";

/// The head of a string of the archive, in the encoding of the dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TocString<'a> {
    /// The bytes as they are.
    pub bytes: &'a [u8],
    /// Whether the string is longer than what is kept.
    pub truncated: bool,
}

impl fmt::Display for TocString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.bytes))?;
        f.write_str(if self.truncated { "…" } else { "" })
    }
}

/// One entry of the table of contents. Strings that are NULL in the archive are empty here.
#[derive(Debug, Clone, Copy)]
pub struct TocEntry<'a> {
    /// The archive's own number of the entry.
    pub dump_id: u32,
    /// OID of the system catalogue that has the object as a row; 0 for an entry that is not such an object.
    pub catalog: u32,
    /// OID of the object in the dumped database; for TABLE DATA that of the table in pg_class.
    pub oid: u32,
    /// What kind of object: `TABLE`, `TABLE DATA`, `INDEX`, …
    pub desc: TocString<'a>,
    /// Schema of the object, empty if it has none.
    pub namespace: TocString<'a>,
    /// Name of the object; up to [`TAG_LIMIT`] bytes are kept.
    pub tag: TocString<'a>,
    /// Owner of the object, empty if it has none.
    pub owner: TocString<'a>,
    /// Tablespace of the object, empty for the database's own.
    pub tablespace: TocString<'a>,
    /// Section: 1 for none, 2 for pre-data, 3 for data, 4 for post-data (`teSection` of pg_backup.h).
    pub section: u8,
    /// Dump ids of the entries that it depends on, up to a limit. For ACL, COMMENT and SECURITY LABEL the first is the object
    /// itself.
    pub dependencies: &'a [u32],
    /// Whether the archive holds data for it.
    pub has_data: bool,
    /// The COPY statement that loads its data, up to 1 MiB; empty if there is none.
    pub copy_statement: TocString<'a>,
    /// In `toc.dat`: the file with the data, without a suffix for compression; empty if there is none.
    pub file: TocString<'a>,
    /// The first bytes of the definition; for tables, their keys and types, ACL, DEFAULT ACL, POLICY, SEQUENCE SET and the
    /// database's own properties all of it, up to 1 MiB.
    pub defn: TocString<'a>,
    /// The hash of the whole definition, XXH3 with 128 bits as of a row.
    pub defn_hash: u128,
    pub(super) copy: bool,
    pub(super) defn_lines: u64,
    pub(super) position: Option<u64>,
}

impl TocEntry<'_> {
    /// Whether it defines the database itself or a property of it.
    #[must_use]
    pub fn is_of_database(&self) -> bool {
        match self.desc.bytes {
            b"DATABASE" | b"DATABASE PROPERTIES" => true,
            b"ACL" | b"COMMENT" | b"SECURITY LABEL" => self.tag.bytes.starts_with(DATABASE_TAG),
            _ => false,
        }
    }
}

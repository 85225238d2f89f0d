//! The table of contents: `WriteToc` and `ReadToc` of pg_backup_archiver.c.

use super::header::{ArchiveFormat, Header, Version};
use super::malformed::Malformed;
use super::primitive::{ArchiveInput, Int, Str};
use super::toc_entry::{DATABASE_TAG, TAG_LIMIT, TocEntry, TocString};
use crate::fingerprint::LongRow;

const NAME_LIMIT: usize = 1024;
/// Limit of a description. The longest of PostgreSQL so far is "TEXT SEARCH CONFIGURATION".
const DESC_LIMIT: usize = 64;
/// Bytes kept of most definitions: enough for that of the ENCODING entry.
const DEFN_LIMIT: usize = 128;
/// Dependencies kept of an entry.
const DEPENDENCIES: usize = 64;
/// Bytes kept of the definitions that are needed whole.
const WHOLE_LIMIT: usize = 1 << 20;
/// Entries whose definitions are kept whole: some name roles that own nothing, some are properties of the database, some
/// set values of sequences, some are run by our own sessions, and some say what the columns of a table are.
const WHOLE: [&[u8]; 16] = [
    b"ACL",
    b"DEFAULT ACL",
    b"POLICY",
    b"DATABASE",
    b"DATABASE PROPERTIES",
    b"SEQUENCE SET",
    b"MATERIALIZED VIEW DATA",
    b"EVENT TRIGGER",
    b"TABLE",
    b"FOREIGN TABLE",
    b"TABLE ATTACH",
    b"CONSTRAINT",
    b"SEQUENCE",
    b"TYPE",
    b"DOMAIN",
    b"ENCODING",
];
/// Entries whose definitions are kept whole if their tag names a database or an event trigger.
const ABOUT: [&[u8]; 2] = [b"COMMENT", b"SECURITY LABEL"];
/// How the tag of an entry about an event trigger begins.
const EVENT_TRIGGER_TAG: &[u8] = b"EVENT TRIGGER ";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Count,
    DumpId,
    HadDumper,
    Catalog,
    Oid,
    Tag,
    Desc,
    Section,
    Defn,
    DropStmt,
    CopyStmt,
    Namespace,
    Tablespace,
    TableAm,
    RelKind,
    Owner,
    WithOids,
    Dependency,
    Offset,
    File,
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Count => "number of entries",
            Self::DumpId => "dump id",
            Self::HadDumper => "mark of data",
            Self::Catalog => "catalogue's OID",
            Self::Oid => "OID",
            Self::Tag => "tag",
            Self::Desc => "description",
            Self::Section => "section",
            Self::Defn => "definition",
            Self::DropStmt => "drop statement",
            Self::CopyStmt => "COPY statement",
            Self::Namespace => "schema",
            Self::Tablespace => "tablespace",
            Self::TableAm => "access method",
            Self::RelKind => "relation kind",
            Self::Owner => "owner",
            Self::WithOids => "WITH OIDS flag",
            Self::Dependency => "dependencies",
            Self::Offset => "data offset",
            Self::File => "file name",
        }
    }

    fn limit(self) -> usize {
        match self {
            Self::Tag => TAG_LIMIT,
            Self::Namespace | Self::Tablespace | Self::Owner | Self::File => NAME_LIMIT,
            Self::Desc => DESC_LIMIT,
            Self::Defn => DEFN_LIMIT,
            Self::CopyStmt => WHOLE_LIMIT,
            Self::Catalog | Self::Oid | Self::Dependency | Self::WithOids => 16,
            _ => 0,
        }
    }

    fn next(self, version: Version, format: ArchiveFormat) -> Self {
        match self {
            Self::Count | Self::Offset | Self::File => Self::DumpId,
            Self::DumpId => Self::HadDumper,
            Self::HadDumper => Self::Catalog,
            Self::Catalog => Self::Oid,
            Self::Oid => Self::Tag,
            Self::Tag => Self::Desc,
            Self::Desc => Self::Section,
            Self::Section => Self::Defn,
            Self::Defn => Self::DropStmt,
            Self::DropStmt => Self::CopyStmt,
            Self::CopyStmt => Self::Namespace,
            Self::Namespace => Self::Tablespace,
            Self::Tablespace => Self::TableAm,
            Self::TableAm if version.minor >= 16 => Self::RelKind,
            Self::TableAm | Self::RelKind => Self::Owner,
            Self::Owner => Self::WithOids,
            Self::WithOids => Self::Dependency,
            Self::Dependency if format == ArchiveFormat::Custom => Self::Offset,
            Self::Dependency => Self::File,
        }
    }
}

#[derive(Default)]
struct Kept {
    bytes: Vec<u8>,
    truncated: bool,
}

impl Kept {
    fn text(&self) -> TocString<'_> {
        TocString { bytes: &self.bytes, truncated: self.truncated }
    }
}

/// The entry that is being read; its buffers are reused for the next one.
#[derive(Default)]
struct Draft {
    dump_id: u32,
    catalog: u32,
    oid: u32,
    section: u8,
    dependencies: Vec<u32>,
    has_data: bool,
    copy: bool,
    position: Option<u64>,
    defn_lines: u64,
    defn_hash: LongRow,
    tag: Kept,
    desc: Kept,
    defn: Kept,
    copy_statement: Kept,
    namespace: Kept,
    tablespace: Kept,
    owner: Kept,
    file: Kept,
}

impl Draft {
    /// Whether the definition, which is the next field, is kept whole.
    fn keeps_definition(&self) -> bool {
        let desc = self.desc.bytes.as_slice();
        let is_about = |tag: &[u8]| ABOUT.contains(&desc) && self.tag.bytes.starts_with(tag);
        WHOLE.contains(&desc) || is_about(DATABASE_TAG) || is_about(EVENT_TRIGGER_TAG)
    }

    fn entry(&self) -> TocEntry<'_> {
        TocEntry {
            dump_id: self.dump_id,
            catalog: self.catalog,
            oid: self.oid,
            desc: self.desc.text(),
            namespace: self.namespace.text(),
            tag: self.tag.text(),
            owner: self.owner.text(),
            tablespace: self.tablespace.text(),
            section: self.section,
            dependencies: &self.dependencies,
            has_data: self.has_data,
            file: self.file.text(),
            copy: self.copy,
            copy_statement: self.copy_statement.text(),
            defn: self.defn.text(),
            defn_lines: self.defn_lines,
            defn_hash: self.defn_hash.digest(),
            position: self.position,
        }
    }
}

/// A table of contents that is being read.
pub(super) struct Toc {
    version: Version,
    format: ArchiveFormat,
    offset_size: usize,
    field: Field,
    int: Int,
    string: Str,
    offset: Vec<u8>,
    draft: Draft,
    /// Entries that the archive says it has.
    count: u32,
    /// Entries that were read.
    read: u32,
}

impl Toc {
    pub(super) fn new(header: &Header) -> Self {
        Self {
            version: header.version,
            format: header.format,
            offset_size: header.offset_size,
            field: Field::Count,
            int: Int::default(),
            string: Str::default(),
            offset: Vec::with_capacity(9),
            draft: Draft::default(),
            count: 0,
            read: 0,
        }
    }

    pub(super) fn part(&self) -> String {
        match self.field {
            Field::Count => "the number of entries of the table of contents".to_owned(),
            field => format!("the {} of entry {} of {}", field.name(), u64::from(self.read) + 1, self.count),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.field == Field::DumpId && self.read == self.count
    }

    /// Reads on; true once the whole table of contents was read. `each` is called for each entry.
    pub(super) fn read(
        &mut self,
        input: &mut ArchiveInput<'_>,
        mut each: impl FnMut(&TocEntry<'_>) -> Result<(), String>,
    ) -> Result<bool, Malformed> {
        while !self.is_done() {
            let start = input.offset();
            let whole = self.step(input).map_err(|error| error.reading(self.part()))?;
            if !whole {
                return Ok(false);
            }
            if matches!(self.field, Field::Offset | Field::File) {
                each(&self.draft.entry()).map_err(|what| Malformed::new(start, what).reading(self.part()))?;
                self.read += 1;
            }
            // The list of dependencies goes on until a NULL.
            if self.field != Field::Dependency || self.string.null {
                self.field = self.field.next(self.version, self.format);
            }
        }
        Ok(true)
    }

    /// Reads on in the current field; true once all of it is in the draft.
    fn step(&mut self, input: &mut ArchiveInput<'_>) -> Result<bool, Malformed> {
        match self.field {
            Field::Count | Field::DumpId | Field::HadDumper | Field::Section | Field::RelKind => {
                let Some(value) = self.int.read(input)? else {
                    return Ok(false);
                };
                self.integer(value).ok_or_else(|| Malformed::new(input.offset() - 5, format!("found {value}")))?;
                Ok(true)
            }
            Field::Offset => self.data_offset(input),
            field => {
                let limit = match field {
                    Field::Defn if self.draft.keeps_definition() => WHOLE_LIMIT,
                    field => field.limit(),
                };
                let hash = &mut self.draft.defn_hash;
                let is_definition = field == Field::Defn;
                if !self.string.read(input, limit, |piece| {
                    if is_definition {
                        hash.push(piece)
                    }
                })? {
                    return Ok(false);
                }
                self.text(field).map_err(|what| Malformed::new(input.offset(), what))?;
                Ok(true)
            }
        }
    }

    fn integer(&mut self, value: i64) -> Option<()> {
        match self.field {
            Field::Count => self.count = u32::try_from(value).ok()?,
            Field::DumpId => {
                self.draft.dump_id = u32::try_from(value).ok().filter(|&id| id > 0)?;
                self.draft.dependencies.clear();
                self.draft.defn_hash.clear();
            }
            Field::HadDumper => self.draft.has_data = [false, true].into_iter().nth(usize::try_from(value).ok()?)?,
            // SECTION_NONE to SECTION_POST_DATA of pg_backup.h.
            Field::Section => {
                self.draft.section = u8::try_from(value).ok().filter(|section| (1..=4).contains(section))?
            }
            // A C `char`, which may be signed.
            _ => (-128..=255).contains(&value).then_some(())?,
        }
        Some(())
    }

    /// `ReadOffset`: a flag, then an offset that is valid only with one value of the flag.
    fn data_offset(&mut self, input: &mut ArchiveInput<'_>) -> Result<bool, Malformed> {
        self.offset.extend_from_slice(input.take(self.offset_size + 1 - self.offset.len()));
        if self.offset.len() <= self.offset_size {
            return Ok(false);
        }
        let mut bytes = [0; 8];
        for (to, from) in bytes.iter_mut().zip(self.offset.iter().skip(1)) {
            *to = *from;
        }
        self.draft.position = match self.offset.first() {
            // K_OFFSET_POS_SET; K_OFFSET_POS_NOT_SET and K_OFFSET_NO_DATA of pg_backup_archiver.h.
            Some(2) => Some(u64::from_le_bytes(bytes)),
            Some(1 | 3) => None,
            flag => {
                let what = format!("flag {} is not known (1 to 3 are)", flag.copied().unwrap_or_default());
                return Err(Malformed::new(input.offset() - self.offset.len() as u64, what));
            }
        };
        self.offset.clear();
        Ok(true)
    }

    fn text(&mut self, field: Field) -> Result<(), String> {
        if self.string.truncated
            && !matches!(field, Field::Tag | Field::CopyStmt)
            && field.limit() > 0
            && field != Field::Defn
        {
            return Err(format!("more than {} bytes", field.limit()));
        }
        let draft = &mut self.draft;
        let kept = match field {
            Field::Catalog => return number(&self.string.kept).map(|oid| draft.catalog = oid),
            Field::Oid => return number(&self.string.kept).map(|oid| draft.oid = oid),
            Field::Dependency if self.string.null => return Ok(()),
            Field::Dependency => {
                let dump_id = number(&self.string.kept)?;
                if draft.dependencies.len() < DEPENDENCIES {
                    draft.dependencies.push(dump_id);
                }
                return Ok(());
            }
            Field::WithOids => {
                let known = matches!(self.string.kept.as_slice(), b"true" | b"false");
                return if known { Ok(()) } else { Err("neither true nor false".to_owned()) };
            }
            Field::CopyStmt => {
                draft.copy = !self.string.null;
                &mut draft.copy_statement
            }
            Field::Tag => &mut draft.tag,
            Field::Desc => &mut draft.desc,
            Field::Defn => {
                draft.defn_lines = self.string.lines;
                &mut draft.defn
            }
            Field::Namespace => &mut draft.namespace,
            Field::Tablespace => &mut draft.tablespace,
            Field::Owner => &mut draft.owner,
            Field::File => &mut draft.file,
            _ => return Ok(()),
        };
        std::mem::swap(&mut kept.bytes, &mut self.string.kept);
        kept.truncated = self.string.truncated;
        Ok(())
    }
}

/// A number that pg_dump wrote as a string, "for historical reasons".
fn number(digits: &[u8]) -> Result<u32, String> {
    std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| format!("{:?} is not a number", String::from_utf8_lossy(digits)))
}

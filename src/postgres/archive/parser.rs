//! The parser of a whole archive: header, table of contents and blocks, fed with pieces of the stream.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;

use super::blocks::{BlockSink, Blocks, Claims, EntryData, LARGE_OBJECTS, TABLE};
use super::contents::Contents;
use super::header::{ArchiveCompression, ArchiveFormat, Header};
use super::malformed::Malformed;
use super::primitive::ArchiveInput;
use super::toc::Toc;
use super::toc_entry::TocEntry;

/// Which formats the caller accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Custom,
    Toc,
    Either,
}

enum Stage {
    Header,
    Toc(Box<Toc>),
    Blocks,
    /// The second table of contents, with the offsets of the blocks.
    Again(Box<Toc>),
    /// The rest is not parsed.
    Unread,
}

/// The parser. After an error it must not be fed again.
pub(super) struct Parser {
    expect: Expect,
    stage: Stage,
    offset: u64,
    header: Header,
    contents: Contents,
    claims: Claims,
    blocks: Blocks,
    /// Digest of the entries, to compare a repeated table of contents with the first.
    digest: DefaultHasher,
    again: DefaultHasher,
    positions: bool,
}

impl Parser {
    pub(super) fn new(expect: Expect) -> Self {
        Self {
            expect,
            stage: Stage::Header,
            offset: 0,
            header: Header::new(),
            contents: Contents::default(),
            claims: Claims::default(),
            blocks: Blocks::new(),
            digest: DefaultHasher::new(),
            again: DefaultHasher::new(),
            positions: false,
        }
    }

    /// Whether header and table of contents were read.
    pub(super) fn in_data(&self) -> bool {
        !matches!(self.stage, Stage::Header | Stage::Toc(_))
    }

    pub(super) fn is_custom(&self) -> bool {
        self.contents.format == ArchiveFormat::Custom
    }

    /// The encoding of the strings, once the table of contents was read.
    pub(super) fn encoding(&self) -> Option<&str> {
        self.contents.encoding.as_deref()
    }

    /// Whether chunks may be made longer: they are plain, and no offset in the table of contents would become wrong.
    pub(super) fn can_join(&self) -> bool {
        self.is_plain() && !self.positions
    }

    /// Whether rows and large objects are not compressed by pg_dump.
    pub(super) fn is_plain(&self) -> bool {
        self.blocks.plain
    }

    /// How pg_dump compressed rows and large objects; meaningful once the header was read.
    pub(super) fn compression(&self) -> ArchiveCompression {
        self.contents.compression
    }

    /// Parses the bytes of `piece` that belong to the header and the table of contents, and returns their number.
    pub(super) fn front(&mut self, piece: &[u8], visit: &mut dyn FnMut(&TocEntry<'_>)) -> io::Result<usize> {
        let mut input = ArchiveInput::new(piece, self.offset);
        if matches!(self.stage, Stage::Header) && self.header.read(&mut input)? {
            self.check_format()?;
            self.stage = Stage::Toc(Box::new(Toc::new(&self.header)));
            self.contents.set_header(&mut self.header);
            self.blocks.plain = self.contents.compression == ArchiveCompression::None;
        }
        if let Stage::Toc(toc) = &mut self.stage {
            let (contents, claims, digest) = (&mut self.contents, &mut self.claims, &mut self.digest);
            let done = toc.read(&mut input, |entry| {
                contents.add(entry)?;
                identify(entry, digest);
                if entry.has_data {
                    self.positions |= entry.position.is_some();
                    claims.0.push(claim(entry));
                }
                visit(entry);
                Ok(())
            })?;
            if done {
                self.contents.seal();
                self.claims.seal().map_err(|what| Malformed::new(input.offset(), what))?;
                self.stage = Stage::Blocks;
            }
        }
        let taken = input.offset() - self.offset;
        self.offset = input.offset();
        Ok(usize::try_from(taken).unwrap_or(piece.len()))
    }

    fn check_format(&self) -> Result<(), Malformed> {
        match (self.expect, self.header.format) {
            (Expect::Custom, ArchiveFormat::Toc) => {
                Err(Malformed::new(10, "tar or directory format where the custom format is expected"))
            }
            (Expect::Toc, ArchiveFormat::Custom) => {
                Err(Malformed::new(10, "custom format where the tar or directory format is expected"))
            }
            _ => Ok(()),
        }
    }

    /// Parses a piece that follows the table of contents.
    pub(super) fn back<S: BlockSink>(&mut self, piece: &[u8], sink: &mut S) -> io::Result<()> {
        let mut input = ArchiveInput::new(piece, self.offset);
        if matches!(self.stage, Stage::Blocks) && !self.blocks.read(&mut input, &mut self.claims, sink)? {
            self.stage = self.after_blocks();
        }
        if let Stage::Again(toc) = &mut self.stage {
            let (claims, again) = (&mut self.claims, &mut self.again);
            let done = toc.read(&mut input, |entry| repeat(entry, claims, again))?;
            if done && !input.is_empty() {
                return Err(Malformed::new(input.offset(), AFTER_END).into());
            }
        }
        self.offset += piece.len() as u64;
        Ok(())
    }

    /// pg_dump 18 does not repeat the definitions of statistics, so that its second table of contents cannot be parsed
    /// (`WriteToc` seeks over them, without effect in a file opened for appending). No program reads it.
    fn after_blocks(&self) -> Stage {
        if self.contents.count_of("STATISTICS DATA") + self.contents.count_of("EXTENDED STATISTICS DATA") > 0 {
            Stage::Unread
        } else {
            Stage::Again(Box::new(Toc::new(&self.header)))
        }
    }

    /// Fails if there are bytes where none may be.
    pub(super) fn no_more(&self, piece: &[u8]) -> io::Result<()> {
        if self.in_data() && !piece.is_empty() {
            return Err(Malformed::new(self.offset, AFTER_END).into());
        }
        Ok(())
    }

    /// The contents, if the stream has ended where a table of contents does or after it.
    pub(super) fn finish_toc(self) -> io::Result<Contents> {
        match &self.stage {
            Stage::Header => Err(self.ends_in(&self.header.part()).into()),
            Stage::Toc(toc) => Err(self.ends_in(&toc.part()).into()),
            _ => Ok(self.contents),
        }
    }

    /// The contents, if the stream has ended where an archive does.
    pub(super) fn finish(mut self) -> io::Result<Contents> {
        match &self.stage {
            Stage::Header | Stage::Toc(_) => return self.finish_toc(),
            Stage::Again(toc) => {
                if !toc.is_done() {
                    return Err(self.ends_in(&format!("the second table of contents, {}", toc.part())).into());
                }
                if self.digest.finish() != self.again.finish() {
                    return Err(
                        Malformed::new(self.offset, "the second table of contents differs from the first").into()
                    );
                }
            }
            Stage::Blocks if !self.blocks.is_between() => {
                return Err(self.ends_in(&self.blocks.part()).into());
            }
            Stage::Blocks | Stage::Unread => {}
        }
        if let Some(claim) = self.claims.0.iter().find(|claim| !claim.seen) {
            let what = format!("the stream ends before the data for dump id {}", claim.dump_id);
            return Err(Malformed::new(self.offset, what).into());
        }
        self.contents.large_objects_with_data = self.blocks.large_objects;
        self.contents.data_bytes = self.blocks.bytes;
        Ok(self.contents)
    }

    fn ends_in(&self, part: &str) -> Malformed {
        Malformed::new(self.offset, format!("the stream ends in {part}"))
    }
}

const AFTER_END: &str = "bytes after the end";

fn claim(entry: &TocEntry<'_>) -> EntryData {
    let kind = if entry.desc.bytes == b"BLOBS" { LARGE_OBJECTS } else { TABLE };
    EntryData { dump_id: entry.dump_id, kind, copy: entry.copy && kind == TABLE, seen: false, position: entry.position }
}

fn identify(entry: &TocEntry<'_>, digest: &mut DefaultHasher) {
    (entry.dump_id, entry.catalog, entry.oid, entry.has_data, entry.copy, entry.defn_lines).hash(digest);
    (entry.desc.bytes, entry.namespace.bytes, entry.tag.bytes, entry.owner.bytes, entry.defn.bytes).hash(digest);
}

fn repeat(entry: &TocEntry<'_>, claims: &mut Claims, digest: &mut DefaultHasher) -> Result<(), String> {
    identify(entry, digest);
    let seen = claims.get_mut(i64::from(entry.dump_id)).filter(|claim| claim.seen).and_then(|claim| claim.position);
    match entry.position {
        Some(position) if entry.has_data && seen != Some(position) => {
            Err(format!("the second table of contents says byte {position} for the data of dump id {}", entry.dump_id))
        }
        _ => Ok(()),
    }
}

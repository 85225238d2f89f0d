//! Splits a script as psql does, byte by byte, across pieces.

mod quoted;
mod token;

use super::contents::{FINDINGS, OpenConstruct, Script, ScriptFinding, ScriptPosition, ServerWide, fingerprint};
use super::excuse::{Excuse, WhenRun};
use super::statement::{First, Statement};
use token::{Prefix, Token, is_word_start};

/// Bytes kept of a word or a command's name: `standard_conforming_strings` fits.
const WORD: usize = 32;
/// Bytes kept of a comment: [`COMPLETE`] fits.
const COMMENT: usize = 48;
const COMPLETE: &[u8] = b"-- PostgreSQL database dump complete";
/// The same line of pg_dumpall.
const CLUSTER_COMPLETE: &[u8] = b"-- PostgreSQL database cluster dump complete";
/// The comment of pg_dump before the rows of a table, also of an empty one (`_printTocEntry`).
const DATA: &[u8] = b"-- Data for Name: ";
const TAG: usize = 1000;
const BYTE_ORDER_MARK: [u8; 3] = *b"\xef\xbb\xbf";
/// [`State::Rows`] of a line that is not `\.`.
const NO_END: u8 = 255;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// In a statement or between statements, outside of the following states.
    Sql,
    /// A `-` that may begin a comment.
    Dash,
    /// A `/` that may begin a comment.
    Slash,
    LineComment,
    BlockComment {
        depth: u32,
        last: u8,
    },
    /// `'…'`; with escapes a backslash escapes the next byte.
    Quote {
        escapes: bool,
        escaped: bool,
    },
    /// `"…"`.
    Name,
    /// `$` and the bytes after it that may be the tag of a dollar quote.
    Tag,
    DollarQuote,
    /// A `$` in a dollar quote, and how many bytes of the tag follow it.
    TagEnd {
        matched: usize,
    },
    /// A backslash outside of strings.
    Backslash,
    /// The name of a psql command.
    Command,
    /// The arguments of the command, up to the end of the line.
    Arguments,
    /// In a line of COPY data, and how many bytes of `\.` it has so far.
    Rows {
        matched: u8,
    },
}

/// Where a statement or the rows of a COPY begin and end, in bytes from the start of the script.
pub(super) enum Boundary {
    /// From its first token to its semicolon.
    Statement { start: ScriptPosition, end: u64, excuse: Option<Excuse>, turn: WhenRun, copies: bool },
    /// The first byte of rows.
    Rows { from: u64 },
    /// The end of the line that ends the rows.
    EndOfRows { end: u64 },
}

pub(super) struct Lexer {
    state: State,
    /// Boundaries since they were taken last, if they are recorded.
    boundaries: Option<Vec<Boundary>>,
    /// The state after COPY data.
    resume: State,
    /// COPY statements whose data comes after this line.
    pending: u32,
    run: Token,
    word: Vec<u8>,
    word_len: u64,
    prefix: Prefix,
    /// Number of dots just before; two make one token.
    dots: u32,
    /// Whether the string that the previous byte closed had escapes: a quote here would be a doubled one.
    closed: Option<bool>,
    comment: Vec<u8>,
    tag: Vec<u8>,
    command: Vec<u8>,
    standard_strings: bool,
    /// The next value of `standard_strings`: psql reads it once per line.
    next_strings: bool,
    statement: Statement,
    /// Whether a statement has created an object.
    has_made: bool,
    place: ScriptPosition,
    /// Start of the current quote, comment or command.
    start: ScriptPosition,
    rows_start: ScriptPosition,
    nul: Option<ScriptPosition>,
    script: Script,
}

impl Lexer {
    pub(super) fn new() -> Self {
        let place = ScriptPosition { offset: 0, line: 1 };
        Self {
            state: State::Sql,
            boundaries: None,
            resume: State::Sql,
            pending: 0,
            run: Token::None,
            word: Vec::with_capacity(WORD),
            word_len: 0,
            prefix: Prefix::None,
            dots: 0,
            closed: None,
            comment: Vec::with_capacity(COMMENT),
            tag: Vec::new(),
            command: Vec::with_capacity(WORD),
            standard_strings: true,
            next_strings: true,
            statement: Statement::new(),
            has_made: false,
            place,
            start: place,
            rows_start: place,
            nul: None,
            script: Script::default(),
        }
    }

    /// Starts to record boundaries.
    pub(super) fn mark_boundaries(&mut self) {
        self.boundaries = Some(Vec::new());
    }

    /// The boundaries since they were taken last.
    pub(super) fn take_boundaries(&mut self) -> Vec<Boundary> {
        self.boundaries.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Start of the unfinished statement.
    pub(super) fn statement_start(&self) -> Option<ScriptPosition> {
        self.statement.start
    }

    fn mark(&mut self, boundary: Boundary) {
        if let Some(boundaries) = &mut self.boundaries {
            boundaries.push(boundary);
        }
    }

    pub(super) fn feed(&mut self, mut piece: &[u8]) {
        self.note_nul(piece);
        while let Some((&byte, rest)) = piece.split_first() {
            let skipped = self.skip(piece);
            if skipped > 0 {
                self.place.offset += skipped as u64;
                piece = piece.get(skipped..).unwrap_or_default();
                continue;
            }
            let mark = usize::try_from(self.place.offset).ok().and_then(|at| BYTE_ORDER_MARK.get(at));
            if mark != Some(&byte) {
                self.byte(byte);
            }
            self.place.offset += 1;
            if byte == b'\n' {
                self.place.line += 1;
                self.line_feed();
            }
            piece = rest;
        }
    }

    fn note_nul(&mut self, piece: &[u8]) {
        if self.nul.is_some() || !piece.contains(&0) {
            return;
        }
        let before = piece.split(|byte| *byte == 0).next().unwrap_or_default();
        let lines = before.iter().filter(|&&byte| byte == b'\n').count();
        let ScriptPosition { offset, line } = self.place;
        self.nul = Some(ScriptPosition { offset: offset + before.len() as u64, line: line + lines as u64 });
    }

    /// Number of bytes at the start of the piece that do not change the state.
    #[inline]
    fn skip(&self, piece: &[u8]) -> usize {
        let until = |stop: fn(u8) -> bool| piece.iter().position(|&byte| stop(byte)).unwrap_or(piece.len());
        match self.state {
            State::Rows { matched: NO_END } => until(|byte| byte == b'\n'),
            State::Quote { escaped: false, .. } => until(|byte| matches!(byte, b'\'' | b'\\' | b'\n')),
            State::DollarQuote => until(|byte| matches!(byte, b'$' | b'\n')),
            _ => 0,
        }
    }

    fn byte(&mut self, byte: u8) {
        match self.state {
            State::Sql => self.sql(byte),
            State::Dash => self.dash(byte),
            State::Slash => self.slash(byte),
            State::LineComment => self.line_comment(byte),
            State::BlockComment { depth, last } => self.block_comment(byte, depth, last),
            State::Quote { escapes, escaped } => self.quote(byte, escapes, escaped),
            State::Name => {
                self.statement.text(byte);
                if byte == b'"' {
                    self.state = State::Sql;
                }
            }
            State::Tag => self.tag(byte),
            State::DollarQuote if byte == b'$' => self.state = State::TagEnd { matched: 0 },
            State::DollarQuote => {}
            State::TagEnd { matched } => self.tag_end(byte, matched),
            State::Backslash => self.backslash(byte),
            State::Command => self.command(byte),
            State::Arguments => match byte {
                b'\n' => self.state = State::Sql,
                b'\\' => self.begin_command(),
                _ => {}
            },
            State::Rows { matched } => self.rows(byte, matched),
        }
    }

    /// Rows of a COPY follow the line on which its statement ends, whatever else that line has.
    fn line_feed(&mut self) {
        self.standard_strings = self.next_strings;
        if self.pending > 0 && !matches!(self.state, State::Rows { .. }) {
            self.pending -= 1;
            self.resume = self.state;
            self.state = State::Rows { matched: 0 };
            self.rows_start = self.place;
            self.mark(Boundary::Rows { from: self.place.offset });
        }
    }

    /// A completion line before this point is not the last one.
    fn incomplete(&mut self) {
        self.script.complete = false;
        self.script.cluster_complete = false;
    }

    fn report(&mut self, kind: ServerWide, place: ScriptPosition) {
        if self.script.findings.len() < FINDINGS {
            self.script.findings.push(ScriptFinding { kind, place });
        }
    }

    /// Any byte of a statement.
    fn token(&mut self, byte: u8) {
        if self.statement.start.is_none() {
            self.statement.start = Some(self.place);
        }
        self.incomplete();
        self.statement.text(byte);
    }

    fn sql(&mut self, byte: u8) {
        if self.continue_run(byte) {
            return;
        }
        self.end_run();
        let prefix = std::mem::take(&mut self.prefix);
        let dots = std::mem::take(&mut self.dots);
        let closed = self.closed.take();
        match byte {
            b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                self.statement.text(b' ');
                return;
            }
            b'-' => return self.state = State::Dash,
            b'/' => return self.state = State::Slash,
            b'\\' => return self.state = State::Backslash,
            _ => {}
        }
        self.start = self.place;
        if byte == b';' && self.statement.is_top() {
            return self.end_statement();
        }
        self.token(byte);
        match byte {
            b'\'' => self.state = State::Quote { escapes: self.has_escapes(prefix, closed), escaped: false },
            b'"' => self.state = State::Name,
            b'$' => {
                self.tag.clear();
                self.state = State::Tag;
            }
            b'(' => self.statement.parens = self.statement.parens.saturating_add(1),
            b')' => self.statement.parens = self.statement.parens.saturating_sub(1),
            b'.' => self.dots = dots.saturating_add(1),
            b'&' if prefix == Prefix::U => self.prefix = Prefix::Plain,
            b'0'..=b'9' => self.begin_run(Token::Number { dotted: dots % 2 == 1 }, byte),
            _ if is_word_start(byte) => self.begin_run(Token::Word, byte),
            _ => {}
        }
    }

    fn has_escapes(&self, prefix: Prefix, closed: Option<bool>) -> bool {
        match (closed, prefix) {
            (Some(escapes), _) => escapes,
            (None, Prefix::Escapes) => true,
            (None, Prefix::Plain) => false,
            (None, Prefix::None | Prefix::U) => !self.standard_strings,
        }
    }

    fn end_statement(&mut self) {
        self.report_statement();
        let excuse = self.statement.excused.excuse(!self.has_made);
        self.has_made |= self.statement.excused.makes();
        match excuse {
            Some(Excuse::Missing | Excuse::Present) => self.script.removals += 1,
            Some(Excuse::Comment) => self.script.extension_comments += 1,
            Some(Excuse::Statistics) => self.script.statistics += 1,
            None => {}
        }
        let turn = self.statement.excused.turn();
        self.script.fires += u64::from(matches!(turn, WhenRun::Refresh | WhenRun::Last));
        if let Some(start) = self.statement.start {
            let (end, copies) = (self.place.offset, self.statement.is_copy_from_stdin());
            self.mark(Boundary::Statement { start, end, excuse, turn, copies });
        }
        match self.statement.first() {
            First::CreateTable => {
                self.script.tables_made += 1;
                self.script.made += 1;
            }
            First::CreateAnother => self.script.made += 1,
            First::LargeObject => self.script.large_objects += 1,
            First::StringsOff => self.next_strings = false,
            First::StringsOn => self.next_strings = true,
            _ => {}
        }
        if self.statement.is_copy_from_stdin() {
            self.script.copies += 1;
            self.pending = self.pending.saturating_add(1);
            if let Some((schema, table)) = self.statement.copy_target() {
                self.script.tables.push(fingerprint(&schema, &table));
            }
        }
        self.incomplete();
        self.statement.clear();
    }

    fn report_statement(&mut self) {
        let Some(start) = self.statement.start else {
            return;
        };
        match self.statement.first() {
            First::CreateDatabase => self.report(ServerWide::CreateDatabase, start),
            First::DropDatabase => self.report(ServerWide::DropDatabase, start),
            _ => {
                if let Some(kind) = self.statement.reach.server_wide() {
                    self.report(kind, start);
                }
            }
        }
    }

    /// What the script contains, at its end.
    pub(super) fn finish(mut self) -> Script {
        match self.state {
            State::Sql => self.end_run(),
            State::LineComment => self.end_comment(),
            State::Backslash | State::Command => self.end_command(),
            State::Dash | State::Slash | State::Tag => self.token(b' '),
            _ => {}
        }
        // psql sends what it has at the end of a script.
        self.report_statement();
        if let Some(place) = self.nul {
            self.script.findings.push(ScriptFinding { kind: ServerWide::Nul, place });
        }
        self.script.findings.sort_by_key(|finding| finding.place.offset);
        self.script.findings.truncate(FINDINGS);
        self.script.unfinished = self.unfinished();
        self.script.complete &= self.script.unfinished.is_none();
        self.script.cluster_complete &= self.script.unfinished.is_none();
        self.script.tables.sort_unstable();
        self.script.tables.dedup();
        self.script
    }

    fn unfinished(&self) -> Option<(OpenConstruct, ScriptPosition)> {
        match self.state {
            State::Rows { matched: 2 | 3 } if self.pending == 0 => None,
            State::Rows { .. } => Some((OpenConstruct::CopyData, self.rows_start)),
            _ if self.pending > 0 => Some((OpenConstruct::CopyData, self.place)),
            State::Quote { .. } | State::Name => Some((OpenConstruct::Quote, self.start)),
            State::DollarQuote | State::TagEnd { .. } => Some((OpenConstruct::DollarQuote, self.start)),
            State::BlockComment { .. } => Some((OpenConstruct::Comment, self.start)),
            _ => self.statement.start.map(|start| (OpenConstruct::Statement, start)),
        }
    }
}

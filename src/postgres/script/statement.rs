//! A statement by its first words.

use super::contents::ScriptPosition;
use super::excuse::Excused;
use super::reach::Reach;

/// `COPY`, two names of 63 bytes with every byte a doubled quote, and some room for longer names.
const HEAD: usize = 1024;

/// How much of COPY … FROM stdin was recognised.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Copy {
    No,
    To,
    From,
    Stdin,
}

/// A statement that is being read.
pub(super) struct Statement {
    /// Start of its first token; none before it.
    pub(super) start: Option<ScriptPosition>,
    /// Open parentheses.
    pub(super) parens: u32,
    /// Open BEGIN and CASE in the body of a function or procedure.
    pub(super) begins: u32,
    head: Vec<u8>,
    words: u32,
    first: First,
    copy: Copy,
    routine: Routine,
    /// Whether it reaches beyond its database.
    pub(super) reach: Reach,
    /// Whether a new database may refuse it.
    pub(super) excused: Excused,
}

/// The words that a statement begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    None,
    Create,
    Drop,
    Set,
    Select,
    CreateDatabase,
    CreateTable,
    CreateAnother,
    DropDatabase,
    /// `SET standard_conforming_strings`, before its value.
    SetStrings,
    StringsOff,
    StringsOn,
    LargeObject,
    Other,
}

/// How much of CREATE [OR REPLACE] FUNCTION or PROCEDURE was recognised.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Routine {
    Open,
    Yes,
    No,
}

impl Statement {
    pub(super) fn new() -> Self {
        Self::with_head(Vec::with_capacity(HEAD))
    }

    pub(super) fn clear(&mut self) {
        let mut head = std::mem::take(&mut self.head);
        head.clear();
        *self = Self::with_head(head);
    }

    fn with_head(head: Vec<u8>) -> Self {
        Self {
            start: None,
            parens: 0,
            begins: 0,
            head,
            words: 0,
            first: First::None,
            copy: Copy::No,
            routine: Routine::Open,
            reach: Reach::default(),
            excused: Excused::default(),
        }
    }

    /// The text of the statement, byte by byte.
    #[inline]
    pub(super) fn text(&mut self, byte: u8) {
        if self.start.is_some() && self.head.len() < HEAD {
            self.head.push(byte);
        }
    }

    /// An unquoted word, in lower case.
    pub(super) fn word(&mut self, word: &[u8]) {
        if self.parens > 0 {
            return;
        }
        self.words = self.words.saturating_add(1);
        self.reach.word(word);
        self.excused.word(word);
        self.first = self.first.then(self.words, word);
        self.copy = match (self.copy, word) {
            (Copy::No, b"copy") if self.words == 1 => Copy::To,
            (Copy::To, b"from") => Copy::From,
            (Copy::From, b"stdin") => Copy::Stdin,
            (Copy::From, _) => Copy::No,
            (copy, _) => copy,
        };
        self.routine = match (self.routine, self.words, word) {
            (Routine::Open, 1, b"create") | (Routine::Open, 2, b"or") | (Routine::Open, 3, b"replace") => Routine::Open,
            (Routine::Open, 2 | 4, b"function" | b"procedure") => Routine::Yes,
            (Routine::Open, ..) => Routine::No,
            (routine, ..) => routine,
        };
        if self.routine == Routine::Yes {
            match word {
                b"begin" => self.begins += 1,
                b"case" if self.begins > 0 => self.begins += 1,
                b"end" => self.begins = self.begins.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// Whether a semicolon ends the statement here, as psql sees it.
    pub(super) fn is_top(&self) -> bool {
        self.parens == 0 && self.begins == 0
    }

    pub(super) fn first(&self) -> First {
        self.first
    }

    pub(super) fn is_copy_from_stdin(&self) -> bool {
        self.copy == Copy::Stdin
    }

    /// Schema (empty if there is none) and name of the table in a COPY statement.
    pub(super) fn copy_target(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let rest = self.head.get(b"copy".len()..)?.trim_ascii_start();
        let (first, rest) = identifier(rest)?;
        match rest.split_first()? {
            (b'.', rest) => {
                let (second, rest) = identifier(rest)?;
                (!rest.is_empty()).then_some((first, second))
            }
            _ => Some((Vec::new(), first)),
        }
    }
}

impl First {
    fn then(self, nth: u32, word: &[u8]) -> Self {
        match (nth, self, word) {
            (1, _, b"create") => Self::Create,
            (1, _, b"drop") => Self::Drop,
            (1, _, b"set") => Self::Set,
            (1, _, b"select") => Self::Select,
            (2, Self::Create, b"database") => Self::CreateDatabase,
            (2, Self::Create, b"table" | b"unlogged") => Self::CreateTable,
            (2, Self::Create, _) => Self::CreateAnother,
            (2, Self::Drop, b"database") => Self::DropDatabase,
            (2, Self::Set, b"standard_conforming_strings") => Self::SetStrings,
            (2, Self::Select, b"pg_catalog") => Self::Select,
            (2 | 3, Self::Select, b"lo_create") => Self::LargeObject,
            (3, Self::SetStrings, b"to") => Self::SetStrings,
            (3 | 4, Self::SetStrings, b"off" | b"false" | b"no") => Self::StringsOff,
            (3 | 4, Self::SetStrings, _) => Self::StringsOn,
            (1, ..) | (_, Self::Create | Self::Drop | Self::Set | Self::Select, _) => Self::Other,
            (_, first, _) => first,
        }
    }
}

/// A name as `fmtId` of src/fe_utils/string_utils.c writes it, and what follows it.
pub(in crate::postgres) fn identifier(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some((b'"', mut rest)) = text.split_first() else {
        let end = text.iter().position(|byte| !is_name_byte(*byte)).unwrap_or(text.len());
        let (name, rest) = text.split_at(end);
        return (end > 0).then(|| (name.to_ascii_lowercase(), rest));
    };
    let mut name = Vec::new();
    loop {
        let quote = rest.iter().position(|byte| *byte == b'"')?;
        name.extend_from_slice(rest.get(..quote)?);
        rest = rest.get(quote + 1..)?;
        match rest.split_first() {
            Some((b'"', after)) => {
                name.push(b'"');
                rest = after;
            }
            _ => return Some((name, rest)),
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

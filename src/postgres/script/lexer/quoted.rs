//! The states for words and numbers, quotes, comments, psql's commands and COPY data. The end of a word decides whether a quote
//! has escapes, and whether a dollar begins a quote.

use super::super::contents::ServerWide;
use super::token::{Prefix, Token, is_word_start};
use super::{Boundary, CLUSTER_COMPLETE, COMMENT, COMPLETE, DATA, Lexer, NO_END, State, TAG, WORD};

impl Lexer {
    pub(super) fn dash(&mut self, byte: u8) {
        if byte == b'-' {
            self.state = State::LineComment;
            self.comment.clear();
            self.comment.extend_from_slice(b"--");
            self.statement.text(b' ');
            return;
        }
        self.state = State::Sql;
        self.token(b'-');
        self.byte(byte);
    }

    pub(super) fn slash(&mut self, byte: u8) {
        self.state = State::Sql;
        if byte == b'*' {
            self.state = State::BlockComment { depth: 0, last: 0 };
            self.start = self.place;
            self.statement.text(b' ');
            return;
        }
        self.token(b'/');
        self.byte(byte);
    }

    pub(super) fn line_comment(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\r') {
            self.state = State::Sql;
            self.end_comment();
            self.byte(byte);
        } else if self.comment.len() < COMMENT {
            self.comment.push(byte);
        }
    }

    pub(super) fn end_comment(&mut self) {
        match self.comment.as_slice() {
            b"--" => {}
            COMPLETE => self.script.complete = self.statement.start.is_none(),
            CLUSTER_COMPLETE => self.script.cluster_complete = self.statement.start.is_none(),
            comment => {
                self.script.data_headings += u64::from(comment.starts_with(DATA));
                self.incomplete();
            }
        }
    }

    pub(super) fn block_comment(&mut self, byte: u8, depth: u32, last: u8) {
        self.state = match (last, byte) {
            (b'*', b'/') if depth == 0 => State::Sql,
            (b'*', b'/') => State::BlockComment { depth: depth - 1, last: 0 },
            (b'/', b'*') => State::BlockComment { depth: depth.saturating_add(1), last: 0 },
            _ => State::BlockComment { depth, last: byte },
        };
    }

    pub(super) fn quote(&mut self, byte: u8, escapes: bool, escaped: bool) {
        match byte {
            b'\'' if !escaped => {
                self.closed = Some(escapes);
                self.state = State::Sql;
            }
            b'\\' if escapes && !escaped => self.state = State::Quote { escapes, escaped: true },
            _ => self.state = State::Quote { escapes, escaped: false },
        }
    }

    pub(super) fn tag(&mut self, byte: u8) {
        if byte == b'$' {
            self.state = State::DollarQuote;
        } else if is_word_start(byte) || byte.is_ascii_digit() && !self.tag.is_empty() {
            self.tag.push(byte);
            if self.tag.len() > TAG {
                self.report(ServerWide::LongDollarTag, self.start);
                self.no_tag();
            }
        } else if byte.is_ascii_digit() {
            self.state = State::Sql;
            // A parameter such as $1 ends like a number that has a dot already.
            self.begin_run(Token::Number { dotted: true }, byte);
        } else {
            self.no_tag();
            self.byte(byte);
        }
    }

    /// The bytes of the supposed tag are a word.
    fn no_tag(&mut self) {
        self.state = State::Sql;
        let tag = std::mem::take(&mut self.tag);
        if let Some((&first, rest)) = tag.split_first() {
            self.begin_run(Token::Word, first);
            rest.iter().for_each(|&byte| self.push_word(byte));
        }
    }

    pub(super) fn tag_end(&mut self, byte: u8, matched: usize) {
        self.state = match self.tag.get(matched) {
            None if byte == b'$' => State::Sql,
            _ if byte == b'$' => State::TagEnd { matched: 0 },
            Some(&expected) if byte == expected => State::TagEnd { matched: matched + 1 },
            _ => State::DollarQuote,
        };
    }

    pub(super) fn backslash(&mut self, byte: u8) {
        if matches!(byte, b';' | b':') {
            // psql puts the bare byte into the statement.
            self.state = State::Sql;
            if byte == b';' && self.statement.is_top() {
                self.end_statement();
            } else {
                self.token(byte);
            }
            return;
        }
        self.begin_command();
        self.start.offset = self.start.offset.saturating_sub(1);
        self.command(byte);
    }

    pub(super) fn begin_command(&mut self) {
        self.start = self.place;
        self.command.clear();
        self.state = State::Command;
    }

    pub(super) fn command(&mut self, byte: u8) {
        match byte {
            // Two backslashes go back to statements on the same line.
            b'\\' if self.command.is_empty() => self.state = State::Sql,
            b'\\' | b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c => {
                self.end_command();
                self.state = State::Arguments;
                self.byte(byte);
            }
            _ if self.command.len() < WORD => self.command.push(byte),
            _ => {}
        }
    }

    pub(super) fn end_command(&mut self) {
        match self.command.as_slice() {
            b"unrestrict" => return,
            b"restrict" => {}
            b"connect" | b"c" => self.report(ServerWide::Connect, self.start),
            _ => self.report(ServerWide::Command, self.start),
        }
        self.incomplete();
    }

    pub(super) fn rows(&mut self, byte: u8, matched: u8) {
        if matches!((matched, byte), (2 | 3, b'\n')) {
            self.mark(Boundary::EndOfRows { end: self.place.offset });
        }
        self.state = match (matched, byte) {
            (2 | 3, b'\n') => self.resume,
            (_, b'\n') => State::Rows { matched: 0 },
            (0, b'\\') => State::Rows { matched: 1 },
            (1, b'.') => State::Rows { matched: 2 },
            (2, b'\r') => State::Rows { matched: 3 },
            _ => State::Rows { matched: NO_END },
        };
    }
}

impl Lexer {
    pub(super) fn begin_run(&mut self, run: Token, byte: u8) {
        self.run = run;
        self.word.clear();
        self.word_len = 0;
        self.push_word(byte);
    }

    pub(super) fn push_word(&mut self, byte: u8) {
        self.word_len += 1;
        if self.word.len() < WORD {
            self.word.push(byte.to_ascii_lowercase());
        }
    }

    /// Whether the byte belongs to the token before it. The longest token wins, as in a scanner made by flex.
    pub(super) fn continue_run(&mut self, byte: u8) -> bool {
        let is_start = is_word_start(byte);
        self.run = match self.run {
            Token::Word | Token::Junk if is_start || byte.is_ascii_digit() || byte == b'$' => self.run,
            Token::Number { .. } if byte.is_ascii_digit() => self.run,
            Token::Number { dotted: false } if byte == b'.' => Token::Number { dotted: true },
            Token::Number { .. } if is_start => Token::Junk,
            _ => return false,
        };
        self.statement.text(byte);
        self.push_word(byte);
        true
    }

    pub(super) fn end_run(&mut self) {
        if std::mem::replace(&mut self.run, Token::None) != Token::Word {
            return;
        }
        self.prefix = match (self.word_len, self.word.first()) {
            (1, Some(b'e')) => Prefix::Escapes,
            (1, Some(b'b' | b'x')) => Prefix::Plain,
            (1, Some(b'u')) => Prefix::U,
            _ => Prefix::None,
        };
        self.statement.word(&self.word);
    }
}
